/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/measure.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double bench_median(double *times, size_t n)
{
    qsort(times, n, sizeof(*times), compare);
    return times[n / 2];
}

double bench_best(const double *times, size_t n)
{
    double best = times[0];

    for (size_t i = 1; i < n; i++)
        best = MIN(best, times[i]);
    return best;
}

double bench_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

void bench_at_most(const char *what, double value, double bar, const char *unit)
{
    g_print("%s: %.2f %s, bar <= %g: %s\n", what, value, unit, bar, value <= bar ? "met" : "MISSED");
}

void bench_at_least(const char *what, double value, double bar, const char *unit)
{
    g_print("%s: %.2f %s, bar >= %g: %s\n", what, value, unit, bar, value >= bar ? "met" : "MISSED");
}

uint64_t bench_status_kib(int pid, const char *line)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", pid);
    g_autofree char *begin = g_strdup_printf("\n%s:", line);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    const char *at;

    if (!g_file_get_contents(path, &text, NULL, &error))
        g_error("%s", error->message);
    at = strstr(text, begin);
    if (!at)
        g_error("%s has no %s", path, line);
    return g_ascii_strtoull(at + strlen(begin), NULL, 10);
}

bool bench_reset_peak(int pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/clear_refs", pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    /* proc(5): 5 resets the peak resident set size */
    bool is_reset = fd >= 0 && write(fd, "5", 1) == 1;

    if (fd >= 0)
        close(fd);
    return is_reset;
}

unsigned bench_setting(const char *name, unsigned otherwise)
{
    const char *text = g_getenv(name);
    guint64 value = otherwise;

    if (text && !g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT32, &value, NULL))
        g_error("%s is no number", name);
    return (unsigned)value;
}

double bench_run(const char *const argv[], const char *const environment[])
{
    g_autofree char *err = NULL;
    double before = bench_now();
    int status = test_run(argv, environment, NULL, NULL, &err);
    double taken = bench_now() - before;

    if (status != 0)
        g_error("%s exits with %d: %s", argv[0], status, err);
    return taken;
}

bool bench_go_ahead(void)
{
    const struct sched_param lowest = {.sched_priority = 1};

    return sched_setscheduler(0, SCHED_RR, &lowest) == 0;
}

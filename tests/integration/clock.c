/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Stands before the C library's functions of the same names, in a test and, as a library that is loaded
 * before all others, in the programs that it starts: the wall clock is set for all of them at once, and for
 * nobody else. */

#include "tests/integration/clock.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t *shift; /* seconds; in a file that all of them have mapped */

static void map(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*shift), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED)
        abort();
    (void)close(fd);
    shift = p;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv(TEST_CLOCK_VARIABLE);

    if (path)
        map(path);
}

void test_clock_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, sizeof(*shift)) < 0)
        abort();
    (void)close(fd);
    map(path);
}

void test_clock_set(int64_t seconds)
{
    atomic_store(shift, seconds);
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int r = (int)syscall(SYS_clock_gettime, id, ret);

    if (r == 0 && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret->tv_sec += atomic_load(shift);
    return r;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec t;
    int r = clock_gettime(CLOCK_REALTIME, &t);

    *ret = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
    return r;
}

time_t time(time_t *ret)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_REALTIME, &t);
    if (ret)
        *ret = t.tv_sec;
    return t.tv_sec;
}

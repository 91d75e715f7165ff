/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/dbus/timing.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROUNDS 3
#define T_GROSS 10.0    /* dudect's bound for "certainly leaks" */
#define SHARE_GROSS 0.2 /* of the time */
#define KEEP 0.3        /* the quickest: what is slower waited for other programs */

void timing_begin(Timing *t, TestAgent *a, const char *password, const char *const *names, size_t samples)
{
    g_autofree char *config = g_build_filename(a->folder, "agent.conf", NULL);

    g_assert_true(g_file_set_contents(config, "[sessions]\nper-minute = 0\n", -1, NULL));
    agent_start(a, NULL);
    if (password)
        agent_expect_named(agent_create_software(a, password), NULL);
    else
        g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    g_autoptr(GByteArray) pem = cipher_public_key(a);
    *t = (Timing){.agent = a, .names = names, .clock = CLOCK_MONOTONIC};
    g_assert_cmpint(rsa_key_from_pem((const char *)pem->data, pem->len, &t->recipient), ==, 0);
    for (size_t i = 0; i < TIMING_KINDS_MAX; i++)
        t->samples[i].values = g_new0(double, samples);
}

void timing_end(Timing *t)
{
    for (size_t i = 0; i < TIMING_KINDS_MAX; i++)
        g_free(t->samples[i].values);
    (void)rsa_key_free(t->recipient);
    agent_stop(t->agent);
}

static double now(const Timing *t)
{
    struct timespec ts;

    g_assert_cmpint(clock_gettime(t->clock, &ts), ==, 0);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* content: the arguments before the options. */
static double ask(const Timing *t, const char *method, GVariant *const *content, size_t n_content,
                  GUnixFDList *fds, const char *option, const char *expected)
{
    GVariantDict options;
    GVariant *members[3] = {NULL};
    g_autofree char *name = NULL;
    double before, after;

    g_variant_dict_init(&options, NULL);
    if (option)
        g_variant_dict_insert(&options, option, "b", TRUE);
    memcpy(members, content, n_content * sizeof(*content));
    members[n_content] = g_variant_dict_end(&options);
    g_autoptr(GVariant) arguments = g_variant_ref_sink(g_variant_new_tuple(members, n_content + 1));
    before = now(t);
    g_autoptr(GVariant) reply = cipher_call(t->agent, method, arguments, fds, expected ? &name : NULL, NULL);
    after = now(t);
    g_assert_cmpstr(name, ==, expected);
    return after - before;
}

double timing_ask(const Timing *t, const void *data, size_t n, const char *option, const char *expected)
{
    GVariant *content[] = {cipher_bytes(data, n)};

    return ask(t, "Decrypt", content, G_N_ELEMENTS(content), NULL, option, expected);
}

static int memory(const void *data, size_t n)
{
    int fd = memfd_create("timing", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, data, n, 0), ==, (ssize_t)n);
    return fd;
}

double timing_ask_fd(const Timing *t, const void *data, size_t n, const char *option, const char *expected)
{
    GVariant *content[] = {g_variant_new_handle(0), g_variant_new_handle(1)};
    const int ends[] = {memory(data, n), memory("", 0)};
    g_autoptr(GUnixFDList) fds =
        g_unix_fd_list_new_from_array(ends, G_N_ELEMENTS(ends)); /* they are its own */

    return ask(t, "DecryptFd", content, G_N_ELEMENTS(content), fds, option, expected);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double typical(const TimingSamples *s)
{
    return s->values[(size_t)((double)s->n * KEEP / 2)]; /* in the middle of what is kept */
}

/* Of what is kept. */
static void moments(const TimingSamples *s, double *ret_mean, double *ret_variance, double *ret_n)
{
    size_t n = (size_t)((double)s->n * KEEP);
    double sum = 0, squares = 0;

    for (size_t i = 0; i < n; i++)
        sum += s->values[i];
    *ret_mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (s->values[i] - *ret_mean) * (s->values[i] - *ret_mean);
    *ret_variance = squares / (double)(n - 1);
    *ret_n = (double)n;
}

static double welch(const TimingSamples *a, const TimingSamples *b)
{
    double ma, mb, va, vb, na, nb;

    moments(a, &ma, &va, &na);
    moments(b, &mb, &vb, &nb);
    return (ma - mb) / sqrt(va / na + vb / nb);
}

/* Prints, and says whether the two differ grossly. */
static bool differ(const Timing *t, int i, int k)
{
    const TimingSamples *x = &t->samples[i], *y = &t->samples[k];
    double score = welch(x, y), share = fabs(typical(x) - typical(y)) / fmin(typical(x), typical(y));

    g_test_message("%s, %.0f us, and %s, %.0f us: t = %.1f, %.1f %%", t->names[i], typical(x), t->names[k],
                   typical(y), score, 100 * share);
    return fabs(score) > T_GROSS && share > SHARE_GROSS;
}

static void shuffle(int *kinds, size_t n)
{
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = (size_t)g_random_int_range(0, (gint32)i + 1);
        int x = kinds[i];

        kinds[i] = kinds[k];
        kinds[k] = x;
    }
}

/* n of each of the kinds that there are, in random order; one of each first that does not count. */
static void measure(Timing *t, const int *kinds, size_t n_kinds, size_t n,
                    double (*sample)(void *context, int kind), void *context)
{
    int order[TIMING_KINDS_MAX];

    memcpy(order, kinds, n_kinds * sizeof(*kinds));
    for (size_t i = 0; i < n_kinds; i++) {
        t->samples[kinds[i]].n = 0;
        (void)sample(context, kinds[i]);
    }
    for (size_t i = 0; i < n; i++) {
        shuffle(order, n_kinds);
        for (size_t k = 0; k < n_kinds; k++) {
            TimingSamples *s = &t->samples[order[k]];

            s->values[s->n++] = sample(context, order[k]);
        }
    }
    for (size_t i = 0; i < n_kinds; i++)
        qsort(t->samples[kinds[i]].values, n, sizeof(double), compare);
}

void timing_expect_same(Timing *t, const int *kinds, size_t n_kinds, size_t n,
                        double (*sample)(void *context, int kind), void *context)
{
    bool seen = false, all_rounds[TIMING_KINDS_MAX][TIMING_KINDS_MAX];
    unsigned suspects = 1, round;

    memset(all_rounds, true, sizeof(all_rounds));
    for (round = 0; round < ROUNDS && (suspects > 0 || !seen); round++) {
        suspects = 0;
        measure(t, kinds, n_kinds, n, sample, context);
        for (size_t i = 0; i + 1 < n_kinds; i++)
            for (size_t k = i + 1; k + 1 < n_kinds; k++) {
                bool *all = &all_rounds[kinds[i]][kinds[k]];

                *all = differ(t, kinds[i], kinds[k]) && *all;
                suspects += *all;
            }
        seen |= differ(t, kinds[n_kinds - 2], kinds[n_kinds - 1]);
    }
    g_assert_cmpuint(suspects, ==, 0);
    g_assert_true(seen); /* else nothing was measured */
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/unwrap.h"

#include <string.h>

#include "agent/manager.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/double.h"

#define WAITERS_MAX 128

typedef struct Fixture Fixture;

typedef struct Waiter {
    Fixture *f;
    Unwrap *unwrap;
    int result; /* 1: none yet */
} Waiter;

struct Fixture {
    Double *d;
    Unwraps *unwraps;
    Waiter waiters[WAITERS_MAX];
    unsigned n;
    GString *order; /* the letters of those who were told */
    unsigned told, expected;
    bool all;
    Waiter *victim; /* freed by the next who is told */
};

static void set_up(Fixture *f, gconstpointer data)
{
    Manager *m;

    f->d = double_new();
    m = double_manager(f->d);
    g_assert_cmpint(unwraps_new(m->event, m->identity, &f->unwraps), ==, 0);
    f->order = g_string_new(NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    unwraps_free(f->unwraps);
    for (unsigned i = 0; i < f->n; i++)
        unwrap_free(f->waiters[i].unwrap);
    g_string_free(f->order, TRUE);
    double_free(f->d);
}

static void on_done(int r, const char *detail, const Secret *plaintext, void *userdata)
{
    Waiter *w = userdata;
    Fixture *f = w->f;

    g_assert_cmpint(w->result, ==, 1);
    w->result = r;
    w->unwrap = unwrap_free(w->unwrap);
    g_string_append_c(f->order, (char)('a' + (w - f->waiters)));
    if (f->victim) {
        f->victim->unwrap = unwrap_free(f->victim->unwrap);
        f->victim = NULL;
    }
    f->all = ++f->told == f->expected;
}

/* Asks for the key of this number, which does not open. */
static int ask(Fixture *f, unsigned key, const void *client)
{
    _cleanup_(buf_done) Buf ek = BUF_MAX(RSA_SIZE_MAX);
    const uint8_t *kid = identity_public(double_manager(f->d)->identity)->kid_bytes;
    Waiter *w = &f->waiters[f->n];
    uint8_t bytes[256] = {(uint8_t)key};

    g_assert_cmpuint(f->n, <, WAITERS_MAX);
    g_assert_cmpint(buf_append(&ek, bytes, sizeof(bytes)), ==, 0);
    const UnwrapInput input = {.kid = kid, .encrypted_key = &ek, .client = client};
    *w = (Waiter){.f = f, .result = 1};
    f->n++;
    return unwrap_start(f->unwraps, &input, on_done, w, &w->unwrap);
}

static void answer(Fixture *f, unsigned expected)
{
    f->expected = expected;
    f->all = f->told == expected;
    double_hold(f->d, false);
    double_run(f->d, &f->all);
}

static void test_joined(Fixture *f, gconstpointer data)
{
    double_hold(f->d, true);
    for (unsigned i = 0; i < 100; i++)
        g_assert_cmpint(ask(f, 7, &f->waiters[i]), ==, 0);
    answer(f, 100);
    g_assert_cmpuint(double_count_decrypt(f->d), ==, 1);
    for (unsigned i = 0; i < 100; i++)
        g_assert_cmpint(f->waiters[i].result, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    /* what was answered is not kept here */
    g_assert_cmpint(ask(f, 7, NULL), ==, 0);
    answer(f, 101);
    g_assert_cmpuint(double_count_decrypt(f->d), ==, 2);
}

/* Five of one client before one of another, and one of a third that a key of the first would do for. */
static void test_turns(Fixture *f, gconstpointer data)
{
    double_hold(f->d, true);
    for (unsigned i = 0; i < 6; i++)
        g_assert_cmpint(ask(f, i, &f->waiters[0]), ==, 0); /* a to f; a and b are with the TPM */
    g_assert_cmpint(ask(f, 100, &f->waiters[1]), ==, 0);   /* g: behind c */
    g_assert_cmpint(ask(f, 5, &f->waiters[2]), ==, 0);     /* h: with f, behind g */
    answer(f, 8);
    g_assert_cmpstr(f->order->str, ==, "abcgfhde");
    g_assert_cmpuint(double_count_decrypt(f->d), ==, 7);
}

/* Who asks one by one gets no more turns than who has asked for many at once. */
static void test_one_by_one(Fixture *f, gconstpointer data)
{
    double_hold(f->d, true);
    for (unsigned i = 0; i < 5; i++)
        g_assert_cmpint(ask(f, i, &f->waiters[0]), ==, 0); /* a to e */
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpint(ask(f, 10 + i, &f->waiters[1]), ==, 0); /* f to h */
    answer(f, 8);
    g_assert_cmpstr(f->order->str, ==, "abcfdgeh");
}

static void test_left(Fixture *f, gconstpointer data)
{
    double_hold(f->d, true);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpint(ask(f, i, NULL), ==, 0);
    g_assert_cmpint(ask(f, 0, NULL), ==, 0); /* e: as a */
    f->waiters[0].unwrap = unwrap_free(f->waiters[0].unwrap);
    f->waiters[1].unwrap = unwrap_free(f->waiters[1].unwrap); /* with the TPM, alone: makes room for c */
    f->waiters[3].unwrap = unwrap_free(f->waiters[3].unwrap); /* waits */
    answer(f, 2);
    g_assert_cmpstr(f->order->str, ==, "ec");
    g_assert_null(unwrap_free(NULL));
}

/* One of those who are told at once frees another, the last of them. */
static void test_freed_by_another(Fixture *f, gconstpointer data)
{
    double_hold(f->d, true);
    g_assert_cmpint(ask(f, 0, NULL), ==, 0);
    g_assert_cmpint(ask(f, 0, NULL), ==, 0);
    f->victim = &f->waiters[1];
    answer(f, 1);
    g_assert_cmpint(f->waiters[1].result, ==, 1);
}

static void test_failure(Fixture *f, gconstpointer data)
{
    double_fail(f->d, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(ask(f, 0, NULL), ==, 0);
    answer(f, 1);
    g_assert_cmpint(f->waiters[0].result, ==, HMSG_ERROR_TPM_UNAVAILABLE);
}

/* Whoever asks after a lock is not told what is said to those before it. */
static void test_epoch(Fixture *f, gconstpointer data)
{
    double_hold(f->d, true);
    g_assert_cmpint(ask(f, 0, NULL), ==, 0);
    double_lock(f->d);
    double_unlock(f->d);
    g_assert_cmpint(ask(f, 0, NULL), ==, 0);
    answer(f, 2);
    g_assert_cmpuint(double_count_decrypt(f->d), ==, 2);
}

static void test_freed_first(Fixture *f, gconstpointer data)
{
    double_hold(f->d, true);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpint(ask(f, i, NULL), ==, 0);
    f->unwraps = unwraps_free(f->unwraps);
    g_assert_cmpuint(f->told, ==, 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {
        {"/unwrap/joined", test_joined},
        {"/unwrap/turns", test_turns},
        {"/unwrap/one-by-one", test_one_by_one},
        {"/unwrap/left", test_left},
        {"/unwrap/freed-by-another", test_freed_by_another},
        {"/unwrap/failure", test_failure},
        {"/unwrap/epoch", test_epoch},
        {"/unwrap/freed-first", test_freed_first},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, Fixture, NULL, set_up, tests[i].test, tear_down);
    return g_test_run();
}

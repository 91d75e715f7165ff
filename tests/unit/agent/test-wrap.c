/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/wrap.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#define MANY 2000u

static void fill(uint8_t key[static WRAP_PLAIN_SIZE], unsigned n)
{
    for (unsigned i = 0; i < WRAP_PLAIN_SIZE; i++)
        key[i] = (uint8_t)(n * 31 + i);
}

typedef struct Fixture {
    WrapPool *pool;
    Secret *kek, *out;
    uint8_t key[WRAP_PLAIN_SIZE];
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(wrap_pool_new(&f->pool), ==, 0);
    g_assert_cmpint(secret_new_random(WRAP_KEK_SIZE, &f->kek), ==, 0);
    g_assert_cmpint(secret_new(WRAP_PLAIN_SIZE, &f->out), ==, 0);
    fill(f->key, 1);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    secret_free(f->out);
    secret_free(f->kek);
    wrap_pool_free(f->pool);
}

static void test_round_trip(Fixture *f, gconstpointer data)
{
    Wrapped *w = NULL;

    g_assert_cmpint(wrap_seal(f->pool, f->kek, 7, f->key, &w), ==, 0);
    g_assert_null(memmem(w, sizeof(*w), f->key, 8));
    g_assert_cmpint(wrap_open(f->pool, f->kek, 7, w, f->out), ==, 0);
    g_assert_cmpmem(secret_bytes(f->out), secret_size(f->out), f->key, sizeof(f->key));
    wrap_drop(f->pool, w);
}

static void test_refusal(Fixture *f, gconstpointer data)
{
    _cleanup_(secret_freep) Secret *other = NULL;
    static const uint8_t zero[WRAP_PLAIN_SIZE];
    Wrapped *w = NULL;

    g_assert_cmpint(secret_new_random(WRAP_KEK_SIZE, &other), ==, 0);
    g_assert_cmpint(wrap_seal(f->pool, f->kek, 7, f->key, &w), ==, 0);
    g_assert_cmpint(wrap_open(f->pool, f->kek, 8, w, f->out), ==, -EBADMSG);
    g_assert_cmpint(wrap_open(f->pool, other, 7, w, f->out), ==, -EBADMSG);
    for (size_t i = 0; i < sizeof(*w); i++) {
        ((uint8_t *)w)[i] ^= 1;
        g_assert_cmpint(wrap_open(f->pool, f->kek, 7, w, f->out), ==, -EBADMSG);
        g_assert_cmpmem(secret_bytes(f->out), secret_size(f->out), zero, sizeof(zero));
        ((uint8_t *)w)[i] ^= 1;
    }
    g_assert_cmpint(wrap_open(f->pool, f->kek, 7, w, f->out), ==, 0);
    wrap_drop(f->pool, w);
}

static void test_size(Fixture *f, gconstpointer data)
{
    _cleanup_(secret_freep) Secret *small = NULL;
    Wrapped *w = NULL;

    g_assert_cmpint(secret_new(WRAP_PLAIN_SIZE - 1, &small), ==, 0);
    g_assert_cmpint(wrap_seal(f->pool, f->kek, 7, f->key, &w), ==, 0);
    g_assert_cmpint(wrap_open(f->pool, f->kek, 7, w, small), ==, -EINVAL);
    wrap_drop(f->pool, w);
    g_assert_null(wrap_drop(f->pool, NULL));
}

/* More than a page of the pool, dropped and used again. */
static void test_many(Fixture *f, gconstpointer data)
{
    g_autofree Wrapped **w = g_new0(Wrapped *, MANY);

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            fill(f->key, i);
            g_assert_cmpint(wrap_seal(f->pool, f->kek, i, f->key, &w[i]), ==, 0);
        }
        for (unsigned i = 0; i < MANY; i++) {
            fill(f->key, i);
            g_assert_cmpint(wrap_open(f->pool, f->kek, i, w[i], f->out), ==, 0);
            g_assert_cmpmem(secret_bytes(f->out), secret_size(f->out), f->key, sizeof(f->key));
            w[i] = wrap_drop(f->pool, w[i]);
        }
    }
}

/* The same key twice: nothing of the one text is in the other. */
static void test_nonce(Fixture *f, gconstpointer data)
{
    Wrapped *a = NULL, *b = NULL;

    g_assert_cmpint(wrap_seal(f->pool, f->kek, 7, f->key, &a), ==, 0);
    g_assert_cmpint(wrap_seal(f->pool, f->kek, 7, f->key, &b), ==, 0);
    g_assert_cmpint(memcmp(a->nonce, b->nonce, sizeof(a->nonce)), !=, 0);
    g_assert_cmpint(memcmp(a->data, b->data, sizeof(a->data)), !=, 0);
    wrap_drop(f->pool, a);
    wrap_drop(f->pool, b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/agent/wrap/round-trip", Fixture, NULL, set_up, test_round_trip, tear_down);
    g_test_add("/agent/wrap/refusal", Fixture, NULL, set_up, test_refusal, tear_down);
    g_test_add("/agent/wrap/size", Fixture, NULL, set_up, test_size, tear_down);
    g_test_add("/agent/wrap/many", Fixture, NULL, set_up, test_many, tear_down);
    g_test_add("/agent/wrap/nonce", Fixture, NULL, set_up, test_nonce, tear_down);
    return g_test_run();
}

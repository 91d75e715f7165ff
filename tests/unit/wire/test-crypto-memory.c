/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/crypto-memory.h"

#include <glib.h>
#include <openssl/crypto.h>
#include <string.h>

#define SIZE 100u

/* free(3) of this program, to see what is in memory then. */
void __real_free(void *p);
void __wrap_free(void *p);

static const unsigned char *watched;
static unsigned n_seen, n_left; /* times it was freed; bytes that were not zero */

void __wrap_free(void *p)
{
    if (p && p == watched) {
        n_seen++;
        for (size_t i = 0; i < SIZE; i++)
            n_left += watched[i] != 0;
        watched = NULL;
    }
    __real_free(p);
}

static unsigned char *watch(void)
{
    unsigned char *p = OPENSSL_malloc(SIZE);

    g_assert_nonnull(p);
    memset(p, 'x', SIZE);
    watched = p;
    n_seen = n_left = 0;
    return p;
}

static void test_free(void)
{
    OPENSSL_free(watch());
    g_assert_cmpuint(n_seen, ==, 1);
    g_assert_cmpuint(n_left, ==, 0);
    OPENSSL_free(NULL);
}

/* The old place is wiped, and what was in it goes along. */
static void test_realloc(void)
{
    unsigned char *p = OPENSSL_realloc(watch(), 100 * SIZE);

    g_assert_nonnull(p);
    g_assert_cmpuint(n_seen, ==, 1);
    g_assert_cmpuint(n_left, ==, 0);
    for (size_t i = 0; i < SIZE; i++)
        g_assert_cmpint(p[i], ==, 'x');
    p = OPENSSL_realloc(p, SIZE);
    g_assert_nonnull(p);
    for (size_t i = 0; i < SIZE; i++)
        g_assert_cmpint(p[i], ==, 'x');
    watched = p;
    g_assert_null(OPENSSL_realloc(p, 0));
    g_assert_cmpuint(n_seen, ==, 2);
    g_assert_cmpuint(n_left, ==, 0);
    p = OPENSSL_realloc(NULL, SIZE);
    g_assert_nonnull(p);
    OPENSSL_free(p);
}

int main(int argc, char **argv)
{
    int r = crypto_memory_wipe_freed();

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(r, ==, 0);
    g_test_add_func("/crypto-memory/free", test_free);
    g_test_add_func("/crypto-memory/realloc", test_realloc);
    return g_test_run();
}

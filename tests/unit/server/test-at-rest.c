/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/at-rest.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/unit/server/store-util.h"

#define TEXT "what is to be sealed"
#define SEALED_SIZE (sizeof(TEXT) + AT_REST_EXTRA)

static AtRest *keys_new(void)
{
    AtRest *a = NULL;
    Secret *index = NULL, *root = NULL;
    g_assert_cmpint(at_rest_new(&a), ==, 0);
    g_assert_cmpint(secret_new_random(AT_REST_KEY_SIZE, &index), ==, 0);
    g_assert_cmpint(secret_new_random(AT_REST_KEY_SIZE, &root), ==, 0);
    at_rest_set_index_key(a, index);
    g_assert_cmpint(at_rest_add_root(a, 1, root), ==, 0);
    return a;
}

static void test_index(void)
{
    AtRest *a = keys_new(), *b = keys_new();
    const Chunk parts[] = {{"ab", 2}, {"c", 1}};
    uint8_t x[AT_REST_INDEX_SIZE], y[AT_REST_INDEX_SIZE];
    g_assert_cmpint(at_rest_index(a, INDEX_KEY, parts, 2, x), ==, 0);
    g_assert_cmpint(at_rest_index(a, INDEX_KEY, parts, 2, y), ==, 0);
    g_assert_cmpmem(x, sizeof(x), y, sizeof(y));
    g_assert_cmpint(at_rest_index(a, INDEX_MESSAGE, parts, 2, y), ==, 0);
    g_assert_false(bytes_equal(x, y, sizeof(x)));
    g_assert_cmpint(at_rest_index(b, INDEX_KEY, parts, 2, y), ==, 0);
    g_assert_false(bytes_equal(x, y, sizeof(x)));
    g_assert_cmpint(at_rest_index(a, INDEX_KEY, parts, AT_REST_INDEX_PARTS_MAX + 1, y), ==, -EINVAL);
    (void)at_rest_unref(a);
    (void)at_rest_unref(b);
}

static void test_places(void)
{
    const uint8_t index[AT_REST_INDEX_SIZE] = {1}, other[AT_REST_INDEX_SIZE] = {2};
    const AtRestPlace here = {'m', 1, 2, index};
    const AtRestPlace elsewhere[] = {{'i', 1, 2, index}, {'m', 2, 2, index}, {'m', 1, 3, index},
                                     {'m', 1, 2, other}, {'m', 1, 2, NULL},  {'m', 2, 1, index}};
    _cleanup_(secret_freep) Secret *key = NULL, *wrong = NULL;
    uint8_t sealed[SEALED_SIZE], again[SEALED_SIZE], text[sizeof(TEXT)];
    g_assert_cmpint(secret_new_random(AT_REST_KEY_SIZE, &key), ==, 0);
    g_assert_cmpint(secret_new_random(AT_REST_KEY_SIZE, &wrong), ==, 0);
    g_assert_cmpint(at_rest_seal(key, &here, TEXT, sizeof(TEXT), sealed), ==, 0);
    g_assert_cmpint(at_rest_seal(key, &here, TEXT, sizeof(TEXT), again), ==, 0);
    g_assert_false(bytes_equal(sealed, again, sizeof(sealed))); /* a nonce of its own */
    g_assert_cmpint(at_rest_open(key, &here, sealed, sizeof(sealed), text), ==, 0);
    g_assert_cmpstr((const char *)text, ==, TEXT);
    for (size_t i = 0; i < G_N_ELEMENTS(elsewhere); i++)
        g_assert_cmpint(at_rest_open(key, &elsewhere[i], sealed, sizeof(sealed), text), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(at_rest_open(wrong, &here, sealed, sizeof(sealed), text), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    for (size_t n = 0; n < AT_REST_EXTRA; n++)
        g_assert_cmpint(at_rest_open(key, &here, sealed, n, text), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        sealed[i] ^= 1;
        g_assert_cmpint(at_rest_open(key, &here, sealed, sizeof(sealed), text), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
        sealed[i] ^= 1;
    }
}

static void test_roots(void)
{
    AtRest *a = at_rest_ref(keys_new());
    const AtRestPlace place = {.table = 'k', .row = 7};
    _cleanup_(secret_freep) Secret *key = NULL, *got = NULL;
    Secret *root = NULL;
    uint8_t first[AT_REST_WRAPPED_SIZE], second[AT_REST_WRAPPED_SIZE];
    g_assert_cmpint(secret_new_random(AT_REST_KEY_SIZE, &key), ==, 0);
    g_assert_cmpint(secret_new(AT_REST_KEY_SIZE, &got), ==, 0);
    g_assert_cmpint(secret_new_random(AT_REST_KEY_SIZE, &root), ==, 0);
    g_assert_cmpint(at_rest_wrap(a, 1, &place, key, first), ==, 0);
    g_assert_cmpint(at_rest_wrap(a, 2, &place, key, second), ==, -ESTALE);
    g_assert_cmpint(at_rest_add_root(a, 2, root), ==, 0);
    g_assert_cmpint(at_rest_wrap(a, 2, &place, key, second), ==, 0);
    g_assert_cmpint(at_rest_unwrap(a, 1, &place, first, got), ==, 0);
    g_assert_true(secret_equal(key, got));
    g_assert_cmpint(at_rest_unwrap(a, 1, &place, second, got), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    at_rest_forget_roots(a, 2);
    g_assert_cmpint(at_rest_unwrap(a, 1, &place, first, got), ==, -ESTALE);
    g_assert_cmpint(at_rest_unwrap(a, 2, &place, second, got), ==, 0);
    g_assert_true(secret_equal(key, got));
    (void)at_rest_unref(a);
    (void)at_rest_unref(a);
}

/* Says that it wrapped, and did not. */
static int forget(void *userdata, const void *wrapped, size_t n, Secret **ret)
{
    return secret_new_random(AT_REST_KEY_SIZE, ret);
}

static void test_keeper(void)
{
    const StoreKeeper *k = test_store_keeper();
    StoreKeeper bad = *k;
    _cleanup_(secret_freep) Secret *made = NULL, *opened = NULL;
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(AT_REST_KEPT_SIZE_MAX);
    g_assert_cmpint(store_keeper_make(k, &made, &wrapped), ==, 0);
    g_assert_cmpint(store_keeper_open(k, wrapped.data, wrapped.size, &opened), ==, 0);
    g_assert_true(secret_equal(made, opened));
    opened = secret_free(opened);
    g_assert_cmpint(store_keeper_open(test_other_keeper(), wrapped.data, wrapped.size, &opened), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(store_keeper_open(k, wrapped.data, AT_REST_KEPT_SIZE_MAX + 1, &opened), ==, -EBADMSG);
    bad.unwrap = forget;
    made = secret_free(made);
    g_assert_cmpint(store_keeper_make(&bad, &made, &wrapped), ==, -EIO);
    g_assert_null(made);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/at-rest/index", test_index);
    g_test_add_func("/at-rest/places", test_places);
    g_test_add_func("/at-rest/roots", test_roots);
    g_test_add_func("/at-rest/keeper", test_keeper);
    return g_test_run();
}

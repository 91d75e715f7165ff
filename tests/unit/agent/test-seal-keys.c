/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys to encrypt to: each once, or as often as asked, with recovery keys; and packages joined. */

#include "agent/seal-keys.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

static TestPerson *alice, *offline;

static SealKey key_of(const TestPerson *p)
{
    SealKey key = {.kid = p->kid};

    key.spki = rsa_key_spki(p->decrypt, &key.spki_size);
    return key;
}

static void test_once(void)
{
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {0};
    const SealKey own = key_of(alice);
    SealKeys keys = {0};

    g_assert_cmpint(recovery_keys_add(&recovery, offline->decrypt, offline->sign), ==, 0);
    g_assert_cmpint(seal_keys_add(&keys, &own), ==, 0);
    g_assert_cmpint(seal_keys_add(&keys, &own), ==, 0);
    g_assert_cmpuint(keys.n, ==, 1);
    g_assert_cmpint(seal_keys_add_recovery(&keys, &recovery), ==, 0);
    g_assert_cmpint(seal_keys_add_recovery(&keys, &recovery), ==, 0);
    g_assert_cmpint(seal_keys_add_recovery(&keys, NULL), ==, 0);
    g_assert_cmpuint(keys.n, ==, 2);
    g_assert_cmpstr(keys.keys[0].kid, ==, alice->kid);
    /* the key that reads, not the one that signs */
    g_assert_cmpstr(keys.keys[1].kid, ==, offline->kid);
    g_assert_cmpint(seal_keys_append(&keys, &own), ==, 0);
    g_assert_cmpuint(keys.n, ==, 3);
}

static void test_limits(void)
{
    const SealKey own = key_of(alice), cut = {.kid = "short"};
    SealKeys keys = {0};

    g_assert_cmpint(seal_keys_add(&keys, &cut), ==, -EINVAL);
    for (size_t i = 0; i < RECIPIENTS_MAX; i++)
        g_assert_cmpint(seal_keys_append(&keys, &own), ==, 0);
    g_assert_cmpint(seal_keys_append(&keys, &own), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(seal_keys_add(&keys, &own), ==, 0);
}

static void test_join(void)
{
    _cleanup_(buf_done) Buf a = BUF_MAX(16), one = BUF_MAX(64), two = BUF_MAX(64), small = BUF_MAX(6);

    g_assert_cmpint(buf_append_string(&a, "{\"a\":1}"), ==, 0);
    const Buf packages[] = {a, a};
    g_assert_cmpint(seal_join(packages, 1, &one), ==, 0);
    g_assert_cmpstr(buf_text(&one), ==, "{\"a\":1}");
    g_assert_cmpint(seal_join(packages, 2, &two), ==, 0);
    g_assert_cmpstr(buf_text(&two), ==, "[{\"a\":1},{\"a\":1}]");
    g_assert_cmpint(seal_join(packages, 2, &small), !=, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    offline = test_person_new();
    g_test_add_func("/seal-keys/once", test_once);
    g_test_add_func("/seal-keys/limits", test_limits);
    g_test_add_func("/seal-keys/join", test_join);
    int r = g_test_run();
    test_person_free(alice);
    test_person_free(offline);
    return r;
}

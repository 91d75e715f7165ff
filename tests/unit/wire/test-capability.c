/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/capability.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "tests/unit/wire/hex-util.h"

static const uint8_t pin[PIN_SIZE] = {1, 2, 3};

/* Made with the hmac module of Python, from the description in docs/protocol.md. */
static void test_values(void)
{
    uint8_t code[CAPABILITY_SIZE], result[SHA256_SIZE];
    CapabilityGrant g = {.uses = 0x0102030405, .expires = 4000000000};
    _cleanup_(secret_freep) Secret *key = NULL;
    memset(code, 7, sizeof(code));
    g_assert_cmpint(secret_new_copy("0123456789abcdef0123456789abcdef", 32, &key), ==, 0);
    g_assert_cmpint(capability_hash(code, g.hash), ==, 0);
    expect_hex(g.hash, "c5a4f110557e11bb8eba2e8f258e21e278ef1a96f0c79853dcd10948593c6f76");
    g_assert_cmpint(capability_grant_mac(key, pin, &g, result), ==, 0);
    expect_hex(result, "8da8cc246ab645f121a76739dc14696d72e287adbb85c7d2263cf0fbebe935d7");
    g_assert_cmpint(capability_revoke_mac(key, pin, 77, result), ==, 0);
    expect_hex(result, "37a6499a4016c900f19f96b9714401d407eaa7925b564f3efe9cabe8b018b0ee");
}

/* Whatever changes, the MAC is another. */
static void test_bound(void)
{
    _cleanup_(secret_freep) Secret *key = NULL, *other_key = NULL;
    uint8_t other_pin[PIN_SIZE] = {1, 2, 4}, macs[6][SHA256_SIZE];
    CapabilityGrant g = {.hash = {9}, .uses = 1, .expires = 1000};
    g_assert_cmpint(secret_new_random(32, &key), ==, 0);
    g_assert_cmpint(secret_new_random(32, &other_key), ==, 0);
    g_assert_cmpint(capability_grant_mac(key, pin, &g, macs[0]), ==, 0);
    g_assert_cmpint(capability_grant_mac(other_key, pin, &g, macs[1]), ==, 0);
    g_assert_cmpint(capability_grant_mac(key, other_pin, &g, macs[2]), ==, 0);
    g.uses = 2;
    g_assert_cmpint(capability_grant_mac(key, pin, &g, macs[3]), ==, 0);
    g.uses = 1;
    g.expires = 1001;
    g_assert_cmpint(capability_grant_mac(key, pin, &g, macs[4]), ==, 0);
    g.expires = 1000;
    g.hash[31] = 1;
    g_assert_cmpint(capability_grant_mac(key, pin, &g, macs[5]), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(macs); i++)
        for (size_t k = 0; k < i; k++)
            g_assert_false(bytes_equal(macs[i], macs[k], SHA256_SIZE));
    g_assert_cmpint(capability_revoke_mac(key, pin, 1, macs[0]), ==, 0);
    g_assert_cmpint(capability_revoke_mac(key, pin, 2, macs[1]), ==, 0);
    g_assert_cmpint(capability_revoke_mac(key, other_pin, 1, macs[2]), ==, 0);
    g_assert_false(bytes_equal(macs[0], macs[1], SHA256_SIZE));
    g_assert_false(bytes_equal(macs[0], macs[2], SHA256_SIZE));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/capability/values", test_values);
    g_test_add_func("/capability/bound", test_bound);
    return g_test_run();
}

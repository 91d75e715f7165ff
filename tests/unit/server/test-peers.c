/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/peers.h"

#include <glib.h>

#include "tests/unit/server/numeric-address.h"

static bool enter(Peers *p, const char *text)
{
    struct sockaddr_storage a = numeric_address(text);
    return peers_enter(p, &a);
}

static void leave(Peers *p, const char *text)
{
    struct sockaddr_storage a = numeric_address(text);
    peers_leave(p, &a);
}

static void test_prefix(void)
{
    static const struct {
        const char *text;
        size_t n;
        uint8_t first, last;
    } cases[] = {{"192.0.2.1", 3, 192, 2},
                 {"::ffff:192.0.2.1", 3, 192, 2},
                 {"2001:db8:7::1", 6, 0x20, 7},
                 {"local", 0, 0, 0}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct sockaddr_storage a = numeric_address(cases[i].text);
        uint8_t prefix[PEER_PREFIX_SIZE];
        g_assert_cmpuint(peer_prefix(&a, 3, 6, prefix), ==, cases[i].n);
        if (cases[i].n > 0) {
            g_assert_cmpuint(prefix[0], ==, cases[i].first);
            g_assert_cmpuint(prefix[cases[i].n - 1], ==, cases[i].last);
        }
    }
}

static void test_count(void)
{
    _cleanup_(peers_freep) Peers *p = NULL;
    g_assert_cmpint(peers_new(2, &p), ==, 0);
    g_assert_true(enter(p, "192.0.2.1"));
    g_assert_true(enter(p, "::ffff:192.0.2.1"));
    g_assert_false(enter(p, "192.0.2.1"));
    g_assert_true(enter(p, "192.0.2.2"));
    leave(p, "192.0.2.1");
    g_assert_true(enter(p, "192.0.2.1"));
    g_assert_false(enter(p, "192.0.2.1"));
    g_assert_true(enter(p, "2001:db8::1"));
    g_assert_true(enter(p, "2001:db8::2"));
    g_assert_false(enter(p, "2001:db8::3"));
    g_assert_true(enter(p, "2001:db8:0:1::3"));
    for (unsigned i = 0; i < 3; i++) /* a socket without an address */
        g_assert_true(enter(p, "local"));
}

/* Many, who all leave, so that all may come again. */
static void test_many(void)
{
    _cleanup_(peers_freep) Peers *p = NULL;
    g_assert_cmpint(peers_new(1, &p), ==, 0);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 20000; i++) {
            g_autofree char *text = g_strdup_printf("10.0.%u.%u", i / 256, i % 256);
            g_assert_true(enter(p, text));
            g_assert_false(enter(p, text));
        }
        for (unsigned i = 0; i < 20000; i++) {
            g_autofree char *text = g_strdup_printf("10.0.%u.%u", i / 256, i % 256);
            leave(p, text);
        }
    }
}

static void test_no_limit(void)
{
    _cleanup_(peers_freep) Peers *p = NULL;
    g_assert_cmpint(peers_new(0, &p), ==, 0);
    for (unsigned i = 0; i < 100; i++)
        g_assert_true(enter(p, "192.0.2.1"));
    leave(p, "192.0.2.1");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/peers/prefix", test_prefix);
    g_test_add_func("/peers/count", test_count);
    g_test_add_func("/peers/many", test_many);
    g_test_add_func("/peers/no-limit", test_no_limit);
    return g_test_run();
}

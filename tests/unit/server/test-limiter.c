/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/limiter.h"

#include <glib.h>

#include "tests/unit/server/numeric-address.h"

#define SECOND 1000000u
#define START (1000u * (uint64_t)SECOND)

static const LimitRate rates[LIMIT_KIND_MAX_] = {[LIMIT_NONCE] = {3, 60},
                                                 [LIMIT_REGISTER] = {1, 6},
                                                 [LIMIT_LOOKUP] = {5, 0},
                                                 [LIMIT_STRANGERS] = {1, 6},
                                                 [LIMIT_GUESTS] = {1, 6}};

static void test_rate(void)
{
    _cleanup_(limiter_freep) Limiter *l = NULL;
    unsigned retry = 0;
    g_assert_cmpint(limiter_new(rates, &l), ==, 0);
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(limiter_take(l, LIMIT_NONCE, "a", 1, START, &retry));
    g_assert_false(limiter_take(l, LIMIT_NONCE, "a", 1, START, &retry));
    g_assert_cmpuint(retry, >=, 1);
    g_assert_cmpuint(retry, <=, 2);
    /* others and other things are not concerned */
    g_assert_true(limiter_take(l, LIMIT_NONCE, "b", 1, START, &retry));
    g_assert_true(limiter_take(l, LIMIT_REGISTER, "a", 1, START, &retry));
    g_assert_false(limiter_take(l, LIMIT_REGISTER, "a", 1, START + 9 * SECOND, &retry));
    g_assert_cmpuint(retry, ==, 2);
    g_assert_true(limiter_take(l, LIMIT_REGISTER, "a", 1, START + 10 * SECOND, &retry));
    /* one a second comes back, never more than three */
    g_assert_true(limiter_take(l, LIMIT_NONCE, "a", 1, START + SECOND, &retry));
    g_assert_false(limiter_take(l, LIMIT_NONCE, "a", 1, START + SECOND, &retry));
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(limiter_take(l, LIMIT_NONCE, "a", 1, 2 * START, &retry));
    g_assert_false(limiter_take(l, LIMIT_NONCE, "a", 1, 2 * START, &retry));
    for (unsigned i = 0; i < 1000; i++)
        g_assert_true(limiter_take(l, LIMIT_LOOKUP, "a", 1, START, &retry));
}

static void test_addresses(void)
{
    _cleanup_(limiter_freep) Limiter *l = NULL;
    static const struct {
        const char *text;
        bool ok;
    } takes[] = {
        {"192.0.2.1", true},       {"192.0.2.1", false},      {"::ffff:192.0.2.1", false},
        {"192.0.2.2", true},       {"2001:db8:0:1::1", true}, {"2001:db8:0:1:ffff::9", false},
        {"2001:db8:0:2::1", true},
    };
    g_assert_cmpint(limiter_new(rates, &l), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(takes); i++) {
        struct sockaddr_storage a = numeric_address(takes[i].text);
        unsigned retry = 0;
        bool ok = limiter_take_address(l, LIMIT_REGISTER, &a, START, &retry);
        g_assert_cmpint(ok, ==, takes[i].ok);
    }
}

/* Strangers gain nothing from more addresses of one network. */
static void test_strangers(void)
{
    _cleanup_(limiter_freep) Limiter *l = NULL;
    static const struct {
        const char *text;
        bool ok;
    } takes[] = {
        {"192.0.2.1", true},   {"192.0.2.200", false},        {"192.0.3.1", true},
        {"2001:db8::1", true}, {"2001:db8:0:ffff::1", false}, {"2001:db8:1::1", true},
    };
    g_assert_cmpint(limiter_new(rates, &l), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(takes); i++) {
        struct sockaddr_storage a = numeric_address(takes[i].text);
        unsigned retry = 0;
        g_assert_cmpint(limiter_take_address(l, LIMIT_STRANGERS, &a, START, &retry), ==, takes[i].ok);
        g_assert_cmpint(limiter_take_address(l, LIMIT_GUESTS, &a, START, &retry), ==, takes[i].ok);
    }
}

/* Memory is fixed: many clients push out those who are at rest, not the one who is busy. */
static void test_many(void)
{
    _cleanup_(limiter_freep) Limiter *l = NULL;
    unsigned retry = 0;
    g_assert_cmpint(limiter_new(rates, &l), ==, 0);
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(limiter_take(l, LIMIT_NONCE, "busy", 4, START, &retry));
    for (unsigned i = 0; i < 1000; i++)
        g_assert_true(limiter_take(l, LIMIT_NONCE, &i, sizeof(i), START, &retry));
    g_assert_false(limiter_take(l, LIMIT_NONCE, "busy", 4, START, &retry));
    for (unsigned i = 0; i < 100000; i++)
        (void)limiter_take(l, LIMIT_NONCE, &i, sizeof(i), START + 4 * SECOND, &retry);
    g_assert_true(limiter_take(l, LIMIT_NONCE, "busy", 4, START + 8 * SECOND, &retry));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/limiter/rate", test_rate);
    g_test_add_func("/limiter/addresses", test_addresses);
    g_test_add_func("/limiter/strangers", test_strangers);
    g_test_add_func("/limiter/many", test_many);
    return g_test_run();
}

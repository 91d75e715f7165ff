/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "agent/courier/pin.h"
#include "libhmsg/base/clock.h"
#include "tests/lib/relay-chain.h"

static PinVerdict check(const RelayChainOptions *o, bool right_pin)
{
    g_autoptr(RelayChain) c = relay_chain_new(o);
    uint8_t pin[PIN_SIZE], found[PIN_SIZE] = {0};
    PinVerdict v;

    memcpy(pin, c->pin, sizeof(pin));
    pin[0] ^= !right_pin;
    v = pin_check(c->certificates, clock_realtime(), pin, found);
    if (v == PIN_GOOD || v == PIN_OTHER_KEY || v == PIN_BAD_TIME)
        g_assert_cmpmem(found, sizeof(found), c->pin, sizeof(c->pin));
    return v;
}

static void test_good(void)
{
    const unsigned sizes[] = {2048, 3072, 4096};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        const RelayChainOptions o = {.bits = sizes[i]};

        g_assert_cmpint(check(&o, true), ==, PIN_GOOD);
    }
    g_assert_cmpint(check(NULL, false), ==, PIN_OTHER_KEY);
}

static void test_no_pin(void)
{
    g_autoptr(RelayChain) c = relay_chain_new(NULL);
    uint8_t found[PIN_SIZE];

    g_assert_cmpint(pin_check(c->certificates, clock_realtime(), NULL, found), ==, PIN_OTHER_KEY);
    g_assert_cmpmem(found, sizeof(found), c->pin, sizeof(c->pin));
}

static void test_chains(void)
{
    const RelayChainOptions bad[] = {
        {.length = 1},        {.length = 3},         {.leaf_of_other_key = true},
        {.leaf_is_ca = true}, {.leaf_is_rsa = true}, {.identity_not_self_signed = true},
        {.sha1 = true},       {.bits = 1024},        {.bits = 2056},
    };
    uint8_t found[PIN_SIZE];

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_test_message("chain %zu", i);
        g_assert_cmpint(check(&bad[i], true), ==, PIN_BAD_CHAIN);
    }
    g_assert_cmpint(pin_check(NULL, clock_realtime(), NULL, found), ==, PIN_BAD_CHAIN);
}

static void test_times(void)
{
    const struct {
        RelayChainOptions o;
        PinVerdict v;
    } cases[] = {
        {{.from = -7200, .until = -3600}, PIN_BAD_TIME},
        {{.from = 3600, .until = 7200}, PIN_BAD_TIME},
        {{.from = -7200, .until = -150}, PIN_GOOD}, /* within the skew */
        {{.from = 150, .until = 7200}, PIN_GOOD},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpint(check(&cases[i].o, true), ==, cases[i].v);
}

static void test_texts(void)
{
    for (int v = PIN_GOOD; v <= PIN_FAILED; v++)
        for (int w = PIN_GOOD; w < v; w++)
            g_assert_cmpstr(pin_verdict_text((PinVerdict)v), !=, pin_verdict_text((PinVerdict)w));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/courier/pin/good", test_good);
    g_test_add_func("/courier/pin/none", test_no_pin);
    g_test_add_func("/courier/pin/chains", test_chains);
    g_test_add_func("/courier/pin/times", test_times);
    g_test_add_func("/courier/pin/texts", test_texts);
    return g_test_run();
}

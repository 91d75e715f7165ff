/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/rate.h"

#include <glib.h>

#define SECOND 1000000u
#define START (UINT64_C(1000) * SECOND)

static void test_burst(void)
{
    const Rate rate = {3, 60};
    uint64_t due = 0, wait = 0;

    for (unsigned i = 0; i < 3; i++)
        g_assert_true(rate_take(&rate, &due, START, &wait));
    g_assert_false(rate_take(&rate, &due, START, &wait));
    g_assert_cmpuint(wait, ==, SECOND);
    /* asking costs nothing */
    g_assert_false(rate_take(&rate, &due, START + SECOND - 1, &wait));
    g_assert_cmpuint(wait, ==, 1);
    g_assert_true(rate_take(&rate, &due, START + SECOND, &wait));
    g_assert_false(rate_take(&rate, &due, START + SECOND, &wait));
    /* after a long time again three, and not more */
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(rate_take(&rate, &due, 9 * START, &wait));
    g_assert_false(rate_take(&rate, &due, 9 * START, &wait));
}

/* Over any time no more than the burst and the rate. */
static void test_steady(void)
{
    const Rate rate = {5, 600};
    uint64_t due = 0, wait = 0, taken = 0;

    for (uint64_t now = START; now < START + 60 * (uint64_t)SECOND; now += 1000)
        taken += rate_take(&rate, &due, now, &wait);
    g_assert_cmpuint(taken, >=, 600);
    g_assert_cmpuint(taken, <=, 605);
}

static void test_edges(void)
{
    const Rate none = {0, 0}, no_burst = {0, 60}, fast = {1, UINT64_MAX};
    uint64_t due = 0, wait = 0;

    for (unsigned i = 0; i < 1000; i++)
        g_assert_true(rate_take(&none, &due, START, &wait));
    g_assert_cmpuint(due, ==, 0);
    g_assert_true(rate_take(&no_burst, &due, START, &wait)); /* one at a time is the least */
    g_assert_false(rate_take(&no_burst, &due, START, &wait));
    due = 0;
    g_assert_true(rate_take(&fast, &due, START, &wait));
    g_assert_false(rate_take(&fast, &due, START, &wait));
    g_assert_true(rate_take(&fast, &due, START + 1, &wait));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rate/burst", test_burst);
    g_test_add_func("/rate/steady", test_steady);
    g_test_add_func("/rate/edges", test_edges);
    return g_test_run();
}

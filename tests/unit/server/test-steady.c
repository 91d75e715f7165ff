/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/steady.h"

#include <glib.h>

#include "libhmsg/base/clock.h"

#define NOW 1800000000
#define YEAR (365 * 86400)
#define BOOT(seconds) ((uint64_t)(seconds)*1000000)

static Steady *steady(int64_t known)
{
    Steady *s = NULL;
    g_assert_cmpint(steady_new_at(known, NOW, BOOT(1000), &s), ==, 0);
    return s;
}

static void expect(Steady *s, int64_t wall, int64_t boot, int64_t time, bool held)
{
    g_assert_cmpint(steady_look(s, wall, BOOT(boot)), ==, time);
    g_assert_true(steady_held(s) == held);
}

/* Each look of a year ahead is of a clock that is not believed; then it is put right. */
static void test_forward(void)
{
    Steady *s = steady(NOW - 3600);
    expect(s, NOW, 1000, NOW, false);
    expect(s, NOW + 60, 1060, NOW + 60, false);
    expect(s, NOW + 61 + STEADY_LEAP, 1061, NOW + 61 + STEADY_LEAP, false); /* as much as it may */
    expect(s, NOW + YEAR, 1062, NOW + 62 + STEADY_LEAP, true);
    expect(s, NOW + YEAR + 3600, 4662, NOW + 3662 + STEADY_LEAP, true);
    expect(s, NOW + 3663, 4663, NOW + 3663, false);
    (void)steady_free(s);
}

/* A clock that stays where it was set is the right one after a day. */
static void test_believed(void)
{
    Steady *s = steady(0);
    expect(s, NOW + YEAR, 1000, NOW, true);
    expect(s, NOW + YEAR + STEADY_HOLD - 1, 1000 + STEADY_HOLD - 1, NOW + STEADY_HOLD - 1, true);
    expect(s, NOW + YEAR + STEADY_HOLD, 1000 + STEADY_HOLD, NOW + YEAR + STEADY_HOLD, false);
    expect(s, NOW + 2 * YEAR, 1001 + STEADY_HOLD, NOW + YEAR + STEADY_HOLD + 1, true); /* and again */
    (void)steady_free(s);
}

/* Set back it is believed; when it is put right again that is a leap, and only makes messages last. */
static void test_back(void)
{
    Steady *s = steady(0);
    expect(s, NOW - YEAR, 1000, NOW - YEAR, false);
    expect(s, NOW + 10, 1010, NOW - YEAR + 10, true);
    expect(s, NOW + 10 + STEADY_HOLD, 1010 + STEADY_HOLD, NOW + 10 + STEADY_HOLD, false);
    (void)steady_free(s);
}

static void expect_latest(Steady *s, int64_t wall, int64_t boot, int64_t time)
{
    g_assert_cmpint(steady_look_latest(s, wall, BOOT(boot)), ==, time);
}

/* What gets an end counts from the later time for a day. */
static void test_latest(void)
{
    Steady *s = steady(0);
    expect_latest(s, NOW + 1, 1001, NOW + 1);
    expect_latest(s, NOW + YEAR, 1002, NOW + YEAR); /* not believed, but it may be */
    expect_latest(s, NOW + 3, 1003, NOW + 3);
    expect_latest(s, NOW - YEAR, 1004, NOW + 4);
    expect_latest(s, NOW - 2 * YEAR, 1005, NOW + 5);
    expect(s, NOW - 2 * YEAR + 1, 1006, NOW - 2 * YEAR + 1, false);
    expect_latest(s, NOW - YEAR, 1003 + STEADY_HOLD, NOW + 3 + STEADY_HOLD);
    expect_latest(s, NOW - YEAR + 1, 1004 + STEADY_HOLD, NOW - YEAR + 1);
    s = steady_free(s);
    g_assert_cmpint(steady_new(0, &s), ==, 0);
    g_assert_cmpint(ABS(steady_latest(s) - clock_realtime()), <, STEADY_LEAP);
    (void)steady_free(s);
}

/* What was right when the relay ran last tells whether the machine has come up with a clock that may be. */
static void test_start(void)
{
    Steady *s = steady(NOW - STEADY_AWAY);
    expect(s, NOW, 1000, NOW, false);
    s = steady_free(s);
    s = steady(NOW - STEADY_AWAY - 1);
    g_assert_true(steady_held(s));
    expect(s, NOW + 5, 1005, NOW - STEADY_AWAY + 4, true);
    s = steady_free(s);
    s = steady(NOW + YEAR); /* it was ahead then */
    expect(s, NOW, 1000, NOW, false);
    s = steady_free(s);
    /* with the clocks of this machine */
    g_assert_cmpint(steady_new(0, &s), ==, 0);
    g_assert_cmpint(ABS(steady_now(s) - clock_realtime()), <, STEADY_LEAP);
    (void)steady_free(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/steady/forward", test_forward);
    g_test_add_func("/steady/believed", test_believed);
    g_test_add_func("/steady/back", test_back);
    g_test_add_func("/steady/latest", test_latest);
    g_test_add_func("/steady/start", test_start);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <time.h>

#include "libhmsg/base/clock.h"

static void test_boottime(void)
{
    struct timespec t;
    g_assert_cmpint(clock_gettime(CLOCK_BOOTTIME, &t), ==, 0);
    uint64_t before = (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
    uint64_t now = clock_boottime();
    g_assert_cmpint(clock_gettime(CLOCK_BOOTTIME, &t), ==, 0);
    uint64_t after = (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
    g_assert_cmpuint(before, <=, now);
    g_assert_cmpuint(now, <=, after);
}

static void test_realtime(void)
{
    struct timespec t;
    g_assert_cmpint(clock_gettime(CLOCK_REALTIME, &t), ==, 0);
    int64_t now = clock_realtime();
    g_assert_cmpint(now, >=, t.tv_sec);
    /* 2024-01-01: nonsense would be seconds since boot or microseconds. */
    g_assert_cmpint(now, >, 1704067200);
    g_assert_cmpint(now, <, INT64_C(1704067200) * 100);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/clock/boottime", test_boottime);
    g_test_add_func("/base/clock/realtime", test_realtime);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>

#include "agent/sweep.h"
#include "libhmsg/base/clock.h"

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
    ++*(unsigned *)userdata;
    return 0;
}

static void test_arm(void)
{
    sd_event *event = NULL;
    sd_event_source *source = NULL;
    uint64_t first = 0, second = 0;
    unsigned n = 0;

    g_assert_cmpint(sd_event_new(&event), >=, 0);
    g_assert_cmpint(sweep_arm(event, &source, on_sweep, &n), ==, 0);
    g_assert_cmpint(sd_event_source_get_time(source, &first), >=, 0);
    g_assert_cmpuint(first, >, clock_boottime());
    /* runs already: stays as it is */
    g_assert_cmpint(sweep_arm(event, &source, on_sweep, &n), ==, 0);
    g_assert_cmpint(sd_event_source_get_time(source, &second), >=, 0);
    g_assert_cmpuint(first, ==, second);
    /* time has come; then it rests until it is armed again */
    g_assert_cmpint(sd_event_source_set_time(source, 1), >=, 0);
    g_assert_cmpint(sd_event_source_set_time_accuracy(source, 1), >=, 0);
    while (n == 0)
        g_assert_cmpint(sd_event_run(event, UINT64_MAX), >=, 0);
    g_assert_cmpint(sd_event_source_get_enabled(source, NULL), ==, 0);
    g_assert_cmpint(sweep_arm(event, &source, on_sweep, &n), ==, 0);
    g_assert_cmpint(sd_event_source_get_enabled(source, NULL), >, 0);
    sd_event_source_disable_unref(source);
    sd_event_unref(event);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sweep/arm", test_arm);
    return g_test_run();
}

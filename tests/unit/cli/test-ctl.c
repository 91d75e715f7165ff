/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/ctl.h"

#include <errno.h>
#include <glib.h>

#include "cli/json-util.h"
#include "tests/unit/client/fake.h"

static void test_report(void)
{
    static const struct {
        int r, status;
    } cases[] = {
        {0, 0},
        {-EIO, 1},
        {HMSG_ERROR_INVALID_ARGS, 2},
        {HMSG_ERROR_NO_IDENTITY, 3},
        {HMSG_ERROR_NOT_FOUND, 4},
        {HMSG_ERROR_NOT_FOR_US, 5},
        {HMSG_ERROR_RELAY_UNAVAILABLE, 7},
        {HMSG_ERROR_UNTRUSTED, 8},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(ctl_done) Ctl ctl = {0};

        g_assert_cmpint(ctl_fail(&ctl, cases[i].r, "first %d", 1), ==, cases[i].r);
        g_assert_cmpint(ctl_fail(&ctl, cases[i].r, "second"), ==, cases[i].r);
        g_assert_cmpstr(ctl.detail, ==, "second");
        g_assert_cmpint(ctl_hint(&ctl, cases[i].r, "do"), ==, cases[i].r);
        g_assert_cmpint(ctl_report(&ctl, cases[i].r), ==, cases[i].status);
    }
}

static void test_calls(void)
{
    _cleanup_(ctl_done) Ctl ctl = {0};
    _cleanup_(json_unrefp) json_t *status = NULL;
    Fake fake = {0};

    fake_set_up(&fake, TRUE);
    g_setenv("DBUS_SESSION_BUS_ADDRESS", test_bus_address(fake.bus), TRUE);
    g_assert_cmpint(ctl_simple(&ctl, &status, "", "GetStatus", NULL), ==, 0);
    g_assert_cmpstr(json_string_value(json_object_get(status, "version")), ==, "1");
    g_assert_cmpint(ctl_simple(&ctl, NULL, "Mail", "Cancel", "error-NotFound"), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_nonnull(ctl.detail);
    /* the agent says what to do about its TPM */
    g_assert_cmpint(ctl_report(&ctl, HMSG_ERROR_TPM_UNAVAILABLE), ==, 6);
    g_assert_cmpstr(ctl.hint, ==, "Join the group tss");
    fake_tear_down(&fake);
}

static void test_no_agent(void)
{
    _cleanup_(ctl_done) Ctl ctl = {0};

    g_setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus", TRUE);
    g_assert_cmpint(ctl_simple(&ctl, NULL, "", "GetStatus", NULL), <, 0);
    g_assert_nonnull(ctl.hint);
    g_assert_cmpint(ctl_report(&ctl, -ECONNREFUSED), ==, 1);
}

static void test_confirm(void)
{
    _cleanup_(ctl_done) Ctl ctl = {.options.given = OPTION_BIT(OPTION_NO_ASK)};

    g_assert_cmpint(ctl_confirm(&ctl, "Sure?"), ==, HMSG_ERROR_INVALID_ARGS);
    ctl.options.given |= OPTION_BIT(OPTION_YES);
    g_assert_cmpint(ctl_confirm(&ctl, "Sure?"), ==, 0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/ctl/report", test_report);
    g_test_add_func("/cli/ctl/calls", test_calls);
    g_test_add_func("/cli/ctl/no-agent", test_no_agent);
    g_test_add_func("/cli/ctl/confirm", test_confirm);
    return g_test_run();
}

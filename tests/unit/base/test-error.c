/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>

#include "libhmsg/base/error.h"

static void test_table(void)
{
    for (int e = 1; e < HMSG_ERROR_MAX_; e++) {
        g_assert_nonnull(error_dbus_name(e));
        g_assert_cmpint(error_from_dbus_name(error_dbus_name(e)), ==, e);
        g_assert_cmpint(error_exit_status(e), >, 0);
        g_assert_cmpint(error_exit_status(e), <, 9);
        g_assert_nonnull(error_message(e));
    }
    g_assert_cmpint(error_from_dbus_name("org.example.Other"), ==, 0);
    g_assert_cmpint(error_from_dbus_name(NULL), ==, 0);
}

static void test_contract(void)
{
    g_assert_cmpstr(error_dbus_name(HMSG_ERROR_UNTRUSTED), ==, "org.hmsg.Agent1.Error.Untrusted");
    g_assert_cmpint(error_exit_status(HMSG_ERROR_UNTRUSTED), ==, 8);
    g_assert_cmpint(error_exit_status(HMSG_ERROR_RELAY_UNAVAILABLE), ==, 7);
    g_assert_cmpint(error_exit_status(HMSG_ERROR_TPM_LOCKED_OUT), ==, 6);
    g_assert_cmpint(error_exit_status(HMSG_ERROR_BAD_PACKAGE), ==, 5);
    g_assert_cmpint(error_exit_status(HMSG_ERROR_NOT_FOUND), ==, 4);
    g_assert_cmpint(error_exit_status(HMSG_ERROR_LOCKED), ==, 3);
    g_assert_cmpint(error_exit_status(HMSG_ERROR_INVALID_ARGS), ==, 2);
    g_assert_cmpint(error_exit_status(-EIO), ==, 1);
    g_assert_cmpint(error_exit_status(0), ==, 0);
    g_assert_cmpstr(error_dbus_name(-ENOSPC), ==, "org.hmsg.Agent1.Error.StorageFull");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/error/table", test_table);
    g_test_add_func("/base/error/contract", test_contract);
    return g_test_run();
}

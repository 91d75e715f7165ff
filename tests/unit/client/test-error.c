/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/client/error.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

static void test_message(void)
{
    for (int e = HMSG_E_NO_IDENTITY; e <= HMSG_E_INVALID_ARGS; e++)
        g_assert_cmpuint(strlen(hmsg_error_message(e)), >, 5);
    g_assert_cmpstr(hmsg_error_message(HMSG_E_LOCKED), ==, "the agent is locked");
    g_assert_cmpstr(hmsg_error_message(-ENOENT), ==, "No such file or directory");
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/client/error/message", test_message);
    return g_test_run();
}

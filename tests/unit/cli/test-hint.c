/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/hint.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"

static const Command *command(const char *name)
{
    for (size_t i = 0; i < command_count(); i++)
        if (g_str_equal(commands[i].name, name))
            return &commands[i];
    g_assert_not_reached();
}

static void expect(const char *name, int error, const char *word)
{
    const char *hint = hint_for(name ? command(name) : NULL, error);

    g_assert_nonnull(hint);
    g_assert_nonnull(strstr(hint, word));
}

static void test_hints(void)
{
    expect("encrypt", HMSG_ERROR_NO_IDENTITY, "hmsgctl identity create");
    expect(NULL, HMSG_ERROR_LOCKED, "hmsgctl unlock");
    expect("decrypt", HMSG_ERROR_UNTRUSTED, "--allow-unknown");
    expect("register", HMSG_ERROR_UNTRUSTED, "name@host#PIN");
    expect("register", HMSG_ERROR_UNTRUSTED, "--trust-relay");
    expect("register", HMSG_ERROR_INVALID_ARGS, "name@host[:port][#PIN]");
    expect("send", HMSG_ERROR_UNTRUSTED, "contact verify");
    expect("status", HMSG_ERROR_TPM_UNAVAILABLE, "hmsgctl doctor");
    expect("encrypt", HMSG_ERROR_TOO_LARGE, "1 MiB");
    expect(NULL, HMSG_ERROR_INVALID_ARGS, "hmsgctl help");
    g_assert_null(hint_for(NULL, HMSG_ERROR_CANCELLED));
    g_assert_null(hint_for(command("send"), -ENOMEM));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/hint/hints", test_hints);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/client/fake.h"

#include <string.h>

static gboolean has_name(const Fake *f)
{
    g_autofree char *option = g_strdup_printf("--bus=%s", test_bus_address(f->bus));
    const char *const argv[] = {"dbus-send",
                                option,
                                "--print-reply",
                                "--dest=org.freedesktop.DBus",
                                "/org/freedesktop/DBus",
                                "org.freedesktop.DBus.GetNameOwner",
                                "string:org.hmsg.Agent1",
                                NULL};

    return test_run(argv, NULL, NULL, NULL, NULL) == 0;
}

void fake_start(Fake *f)
{
    const char *const argv[] = {g_getenv("HMSG_FAKE_AGENT"), test_bus_address(f->bus), NULL};

    f->agent = test_process_start(argv, NULL, f->log);
    TEST_AWAIT(has_name(f));
}

void fake_stop(Fake *f)
{
    test_process_stop(g_steal_pointer(&f->agent));
}

void fake_set_up(Fake *f, gboolean start)
{
    f->folder = test_folder_new();
    f->log = g_build_filename(f->folder, "calls", NULL);
    f->bus = test_bus_new(f->folder);
    f->environment[0] = g_strdup_printf("DBUS_SESSION_BUS_ADDRESS=%s", test_bus_address(f->bus));
    f->environment[1] = g_strdup("TZ=UTC");
    if (start)
        fake_start(f);
}

void fake_tear_down(Fake *f)
{
    fake_stop(f);
    test_bus_free(f->bus);
    test_folder_remove(f->folder);
    g_free(f->log);
    g_free(f->environment[0]);
    g_free(f->environment[1]);
}

char *fake_last_call(const Fake *f)
{
    g_autofree char *text = NULL;
    char *line;

    g_assert_true(g_file_get_contents(f->log, &text, NULL, NULL));
    g_strchomp(text);
    line = strrchr(text, '\n');
    return g_strdup(line ? line + 1 : text);
}

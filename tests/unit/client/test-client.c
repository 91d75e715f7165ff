/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/client/client.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/client/fake.h"

static void set_up(Fake *f, gconstpointer start)
{
    fake_set_up(f, start != NULL);
    g_setenv("DBUS_SESSION_BUS_ADDRESS", test_bus_address(f->bus), TRUE);
}

static void tear_down(Fake *f, gconstpointer start)
{
    fake_tear_down(f);
}

static void test_connect(Fake *f, gconstpointer start)
{
    HmsgClient *c;

    g_assert_cmpint(hmsg_client_new(&c), ==, 0);
    g_assert_null(hmsg_client_bus(c));
    g_assert_cmpint(hmsg_client_connect(c), ==, 0);
    g_assert_nonnull(hmsg_client_bus(c));
    g_assert_cmpint(hmsg_client_connect(c), ==, 0);
    g_assert_cmpstr(hmsg_client_error_text(c), ==, "");
    g_assert_null(hmsg_client_free(c));
    g_assert_null(hmsg_client_free(NULL));

    g_autofree char *call = fake_last_call(f);
    g_assert_cmpstr(call, ==, ".OpenChannel (no-ask) {}");
}

/* The default address: a folder whose name must be escaped in an address. */
static void test_default_address(Fake *f, gconstpointer start)
{
    g_autofree char *folder = g_build_filename(f->folder, "run,=% ", NULL);
    g_autofree char *link = g_build_filename(folder, "bus", NULL);
    HmsgClient *c;

    g_assert_cmpint(g_mkdir(folder, 0700), ==, 0);
    g_assert_cmpint(symlink(strchr(test_bus_address(f->bus), '/'), link), ==, 0);
    g_setenv("XDG_RUNTIME_DIR", folder, TRUE);
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            g_unsetenv("DBUS_SESSION_BUS_ADDRESS");
        else
            g_setenv("DBUS_SESSION_BUS_ADDRESS", "", TRUE);
        g_assert_cmpint(hmsg_client_new(&c), ==, 0);
        g_assert_cmpint(hmsg_client_connect(c), ==, 0);
        hmsg_client_free(c);
    }
}

static void test_no_bus(void)
{
    HmsgClient *c;

    g_unsetenv("DBUS_SESSION_BUS_ADDRESS");
    g_unsetenv("XDG_RUNTIME_DIR");
    g_assert_cmpint(hmsg_client_new(&c), ==, 0);
    g_assert_cmpint(hmsg_client_connect(c), ==, -ENOMEDIUM);
    g_setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus", TRUE);
    g_assert_cmpint(hmsg_client_connect(c), ==, -ENOENT);
    g_assert_null(hmsg_client_bus(c));
    hmsg_client_free(c);
}

static void test_no_agent(Fake *f, gconstpointer start)
{
    HmsgClient *c;

    g_assert_cmpint(hmsg_client_new(&c), ==, 0);
    g_assert_cmpint(hmsg_client_connect(c), ==, -EHOSTUNREACH);
    g_assert_cmpstr(hmsg_client_error_text(c), !=, "");
    fake_start(f);
    g_assert_cmpint(hmsg_client_connect(c), ==, 0);
    hmsg_client_free(c);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/client/client/connect", Fake, "start", set_up, test_connect, tear_down);
    g_test_add("/client/client/default-address", Fake, "start", set_up, test_default_address, tear_down);
    g_test_add_func("/client/client/no-bus", test_no_bus);
    g_test_add("/client/client/no-agent", Fake, NULL, set_up, test_no_agent, tear_down);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent hears of a suspend on the system bus, here its own session bus, where the test is logind. */

#include <string.h>

#include "tests/dbus/cipher.h"

#define SESSIONS AGENT_NAME ".Sessions"
#define LOGIN1 "org.freedesktop.login1"

static guint32 count_sessions(TestAgent *a)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply =
        g_dbus_connection_call_sync(a->client, AGENT_NAME, AGENT_PATH, "org.freedesktop.DBus.Properties",
                                    "Get", g_variant_new("(ss)", SESSIONS, "Count"), G_VARIANT_TYPE("(v)"),
                                    G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);

    g_assert_no_error(error);
    g_autoptr(GVariant) value = g_variant_get_child_value(reply, 0);
    g_autoptr(GVariant) count = g_variant_get_variant(value);
    return g_variant_get_uint32(count);
}

static void become_logind(TestAgent *a)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        a->client, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
        g_variant_new("(su)", LOGIN1, 0), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);

    g_assert_no_error(error);
}

static void test_suspend(TestAgent *a, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    GVariantDict options;

    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", test_bus_address(a->bus), TRUE);
    become_logind(a);
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    g_variant_dict_init(&options, NULL);
    g_variant_unref(cipher_call(
        a, "Encrypt", g_variant_new("(as@ay@a{sv})", NULL, cipher_bytes("x", 1), cipher_to_self(a, &options)),
        NULL, NULL, NULL));
    g_assert_cmpuint(count_sessions(a), ==, 1);
    g_assert_true(g_dbus_connection_emit_signal(a->client, NULL, "/org/freedesktop/login1", LOGIN1 ".Manager",
                                                "PrepareForSleep", g_variant_new("(b)", TRUE), &error));
    TEST_AWAIT(count_sessions(a) == 0);
    /* nothing has to be unlocked */
    g_autofree char *state = agent_state(a);
    g_assert_cmpstr(state, ==, "ready");
    agent_stop(a);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/suspend", TestAgent, NULL, agent_set_up, test_suspend, agent_tear_down);
    return g_test_run();
}

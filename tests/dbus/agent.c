/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/dbus/agent.h"

#include <gio/gunixfdlist.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static bool has_owner(GDBusConnection *c)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        c, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner",
        g_variant_new("(s)", AGENT_NAME), G_VARIANT_TYPE("(b)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);
    gboolean owned = FALSE;

    g_assert_no_error(error);
    g_variant_get(reply, "(b)", &owned);
    return owned;
}

GDBusConnection *agent_connect(const TestAgent *a)
{
    g_autoptr(GError) error = NULL;
    GDBusConnection *c = g_dbus_connection_new_for_address_sync(
        test_bus_address(a->bus),
        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL,
        NULL, &error);

    g_assert_no_error(error);
    return c;
}

void agent_set_up(TestAgent *a, gconstpointer data)
{
    a->folder = test_folder_new();
    a->data = g_build_filename(a->folder, "data", NULL);
    a->log = g_build_filename(a->folder, "agent.log", NULL);
    a->program = g_build_filename(g_getenv("HMSG_BUILD"), "agent", "hmsg-agent", NULL);
    a->tpm = test_swtpm_new(a->folder);
    a->bus = test_bus_new(a->folder);
    a->client = agent_connect(a);
}

void agent_tear_down(TestAgent *a, gconstpointer data)
{
    (void)test_process_stop(a->process);
    g_object_unref(a->client);
    test_bus_free(a->bus);
    test_swtpm_free(a->tpm);
    g_free(a->data);
    g_free(a->log);
    g_free(a->program);
    g_free(a->courier);
    test_folder_remove(a->folder);
}

char **agent_environment(const TestAgent *a, const char *tcti)
{
    char *const environment[] = {
        g_strdup_printf("HMSG_DATA=%s", a->data),
        g_strdup_printf("HMSG_CONFIG=%s/agent.conf", a->folder),
        g_strdup_printf("HMSG_TCTI=%s", tcti ? tcti : test_swtpm_tcti(a->tpm)),
        a->courier ? g_strdup_printf("HMSG_COURIER=%s", a->courier)
                   : g_strdup_printf("HMSG_COURIER=%s/agent/courier/hmsg-courier", g_getenv("HMSG_BUILD")),
        g_strdup_printf("DBUS_SESSION_BUS_ADDRESS=%s", test_bus_address(a->bus)),
        NULL,
    };

    return g_memdup2(environment, sizeof(environment));
}

void agent_start(TestAgent *a, const char *tcti)
{
    g_auto(GStrv) environment = agent_environment(a, tcti);
    const char *const argv[] = {a->program, NULL};

    g_assert_null(a->process);
    a->process = test_process_start(argv, (const char *const *)environment, a->log);
    TEST_AWAIT(!test_process_runs(a->process) || has_owner(a->client));
    if (!test_process_runs(a->process))
        g_error("the agent does not start, see %s", a->log);
}

void agent_stop(TestAgent *a)
{
    int status = test_process_stop(g_steal_pointer(&a->process));

    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        g_error("the agent ended with wait status %d, see %s", status, a->log);
    TEST_AWAIT(!has_owner(a->client));
}

static GVariant *call(TestAgent *a, const char *interface, const char *method, GVariant *options,
                      GError **error)
{
    if (!options)
        options = g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0);
    return g_dbus_connection_call_sync(a->client, AGENT_NAME, AGENT_PATH, interface, method,
                                       g_variant_new_tuple(&options, 1), NULL, G_DBUS_CALL_FLAGS_NONE,
                                       TEST_AWAIT_SECONDS * 1000, NULL, error);
}

GVariant *agent_call(TestAgent *a, const char *interface, const char *method, GVariant *options)
{
    g_autoptr(GError) error = NULL;
    GVariant *reply = call(a, interface, method, options, &error);

    if (error)
        g_error("%s.%s: %s", interface, method, error->message);
    return reply;
}

char *agent_call_error(TestAgent *a, const char *interface, const char *method, GVariant *options,
                       char **ret_message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = call(a, interface, method, options, &error);

    if (reply)
        g_error("%s.%s succeeded", interface, method);
    char *name = g_dbus_error_get_remote_error(error);
    (void)g_dbus_error_strip_remote_error(error);
    if (ret_message)
        *ret_message = g_strdup(error->message);
    return name;
}

void agent_expect_error(TestAgent *a, const char *interface, const char *method, GVariant *options,
                        const char *name)
{
    g_autofree char *got = agent_call_error(a, interface, method, options, NULL);

    g_assert_cmpstr(got, ==, name);
}

GVariant *agent_option(const char *key, GVariant *value)
{
    GVariant *entry = g_variant_new_dict_entry(g_variant_new_string(key), g_variant_new_variant(value));

    return g_variant_new_array(G_VARIANT_TYPE("{sv}"), &entry, 1);
}

char *agent_fact(TestAgent *a, const char *interface, const char *method, const char *key)
{
    g_autoptr(GVariant) reply = agent_call(a, interface, method, NULL);
    g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);
    char *value = NULL;

    (void)g_variant_lookup(facts, key, "s", &value);
    return value;
}

char *agent_state(TestAgent *a)
{
    return agent_fact(a, AGENT, "GetStatus", "state");
}

int agent_memfd(const char *text)
{
    int fd = memfd_create("pin", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
    return fd;
}

/* Ends options; takes over fd, -1: none. */
static char *call_with_fd(TestAgent *a, const char *method, GVariantDict *options, int fd)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new_from_array(&fd, fd < 0 ? 0 : 1); /* closes it */
    g_autoptr(GError) error = NULL;

    if (fd >= 0)
        g_variant_dict_insert(options, "pin", "h", 0);
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, IDENTITY, method,
        g_variant_new("(@a{sv})", g_variant_dict_end(options)), NULL, G_DBUS_CALL_FLAGS_NONE,
        TEST_AWAIT_SECONDS * 1000, fds, NULL, NULL, &error);
    return reply ? NULL : g_dbus_error_get_remote_error(error);
}

char *agent_call_with_fd(TestAgent *a, const char *method, int fd)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    return call_with_fd(a, method, &options, fd);
}

char *agent_create_software(TestAgent *a, const char *password)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "protection", "s", "software");
    return call_with_fd(a, "Create", &options, password ? agent_memfd(password) : -1);
}

void agent_expect_state(TestAgent *a, const char *expected)
{
    g_autofree char *state = agent_state(a);

    g_assert_cmpstr(state, ==, expected);
}

void agent_expect_named(char *name, const char *expected)
{
    g_autofree char *owned = name;

    g_assert_cmpstr(owned, ==, expected);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A desktop program's view: a session bus of GTestDBus that starts the agent when it is first asked for, and
 * GDBus as the client, on the bus and on a private channel. */

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/lib/process.h"
#include "tests/lib/swtpm.h"

#define NAME "org.hmsg.Agent1"
#define PATH "/org/hmsg/Agent1"

typedef struct Desktop {
    char *folder;
    TestSwtpm *tpm;
    GTestDBus *bus;
    GDBusConnection *connection;
} Desktop;

static void write_service(const char *folder)
{
    g_autofree char *file = g_build_filename(folder, NAME ".service", NULL);
    g_autofree char *text =
        g_strdup_printf("[D-BUS Service]\nName=" NAME "\nExec=%s/agent/hmsg-agent\n", g_getenv("HMSG_BUILD"));
    g_autoptr(GError) error = NULL;

    if (g_mkdir_with_parents(folder, 0700) < 0 || !g_file_set_contents(file, text, -1, &error))
        g_error("%s: %s", file, error ? error->message : "no folder");
}

static void set_folder(const char *variable, const Desktop *d, const char *name)
{
    g_autofree char *path = g_build_filename(d->folder, name, NULL);

    g_assert_cmpint(g_mkdir_with_parents(path, 0700), ==, 0);
    g_setenv(variable, path, TRUE);
}

static void set_up(Desktop *d, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    d->folder = test_folder_new();
    d->tpm = test_swtpm_new(d->folder);
    set_folder("XDG_DATA_HOME", d, "data");
    set_folder("XDG_CONFIG_HOME", d, "config");
    set_folder("XDG_RUNTIME_DIR", d, "run");
    g_setenv("HMSG_TCTI", test_swtpm_tcti(d->tpm), TRUE);
    g_autofree char *services = g_build_filename(d->folder, "services", NULL);
    write_service(services);
    d->bus = g_test_dbus_new(G_TEST_DBUS_NONE);
    g_test_dbus_add_service_dir(d->bus, services);
    g_test_dbus_up(d->bus);
    d->connection = g_dbus_connection_new_for_address_sync(g_test_dbus_get_bus_address(d->bus),
                                                           G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                                               G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                                                           NULL, NULL, &error);
    if (!d->connection)
        g_error("%s", error->message);
}

static unsigned agent_pid(const Desktop *d)
{
    guint32 pid = 0;
    g_autoptr(GVariant) reply =
        g_dbus_connection_call_sync(d->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                    "org.freedesktop.DBus", "GetConnectionUnixProcessID",
                                    g_variant_new("(s)", NAME), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL);

    if (reply)
        g_variant_get(reply, "(u)", &pid);
    return pid;
}

static void tear_down(Desktop *d, gconstpointer data)
{
    unsigned pid = agent_pid(d);
    g_autofree char *process = g_strdup_printf("/proc/%u", pid);

    g_object_unref(d->connection);
    g_test_dbus_down(d->bus);
    g_object_unref(d->bus);
    /* the agent ends with its bus */
    if (pid)
        TEST_AWAIT(!g_file_test(process, G_FILE_TEST_EXISTS));
    test_swtpm_free(d->tpm);
    test_folder_remove(d->folder);
}

/* On a connection that is no bus, name is NULL. */
static GVariant *call(GDBusConnection *c, const char *name, const char *interface, const char *method,
                      GVariant *arguments)
{
    g_autoptr(GError) error = NULL;
    GVariant *reply = g_dbus_connection_call_sync(c, name, PATH, interface, method, arguments, NULL,
                                                  G_DBUS_CALL_FLAGS_NONE, G_MAXINT, NULL, &error);

    if (!reply)
        g_error("%s.%s: %s", interface, method, error->message);
    return reply;
}

static GVariant *bytes(const void *data, size_t n)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, n, 1);
}

static GVariant *no_options(void)
{
    return g_variant_new("(a{sv})", NULL);
}

/* Encrypts to our own exported identity and decrypts it again. */
static void round_trip(GDBusConnection *c, const char *name)
{
    static const char text[] = "Dear diary";
    g_autoptr(GVariant) exported = call(c, name, NAME ".Identity", "ExportPublic", no_options());
    g_autoptr(GVariant) key = g_variant_get_child_value(exported, 0);
    GVariantBuilder options;

    g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&options, "{sv}", "recipient_keys",
                          g_variant_new_array(G_VARIANT_TYPE("ay"), &key, 1));
    g_autoptr(GVariant) packages =
        call(c, name, NAME ".Cipher", "Encrypt",
             g_variant_new("(as@aya{sv})", NULL, bytes(text, strlen(text)), &options));
    g_autoptr(GVariant) list = g_variant_get_child_value(packages, 0);
    g_assert_cmpuint(g_variant_n_children(list), ==, 1);
    g_autoptr(GVariant) package = g_variant_get_child_value(list, 0);
    g_autoptr(GVariant) opened =
        call(c, name, NAME ".Cipher", "Decrypt", g_variant_new("(@aya{sv})", package, NULL));
    g_autoptr(GVariant) plaintext = g_variant_get_child_value(opened, 0),
                        info = g_variant_get_child_value(opened, 1);
    gsize n = 0;
    const void *data = g_variant_get_fixed_array(plaintext, &n, 1);
    gboolean verified = FALSE;

    g_assert_cmpmem(data, n, text, strlen(text));
    g_assert_true(g_variant_lookup(info, "verified", "b", &verified) && verified);
}

static void test_starts_by_itself(Desktop *d, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpuint(agent_pid(d), ==, 0);
    g_autoptr(GDBusProxy) proxy = g_dbus_proxy_new_sync(d->connection, G_DBUS_PROXY_FLAGS_NONE, NULL, NAME,
                                                        PATH, NAME ".Identity", NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GVariant) state = g_dbus_proxy_get_cached_property(proxy, "State");
    g_assert_cmpstr(g_variant_get_string(state, NULL), ==, "none");
    g_assert_cmpuint(agent_pid(d), >, 0);

    /* the property follows by PropertiesChanged */
    g_variant_unref(call(d->connection, NAME, NAME ".Identity", "Create", no_options()));
    for (;;) {
        g_autoptr(GVariant) now = g_dbus_proxy_get_cached_property(proxy, "State");

        if (now && strcmp(g_variant_get_string(now, NULL), "ready") == 0)
            break;
        g_main_context_iteration(NULL, TRUE);
    }
}

static void test_bus(Desktop *d, gconstpointer data)
{
    g_variant_unref(call(d->connection, NAME, NAME ".Identity", "Create", no_options()));
    round_trip(d->connection, NAME);
}

static void test_channel(Desktop *d, gconstpointer data)
{
    g_autoptr(GUnixFDList) fds = NULL;
    g_autoptr(GError) error = NULL;

    g_variant_unref(call(d->connection, NAME, NAME ".Identity", "Create", no_options()));
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        d->connection, NAME, PATH, NAME, "OpenChannel", no_options(), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL,
        &fds, NULL, &error);
    g_assert_no_error(error);
    gint32 index = -1;
    g_variant_get(reply, "(h)", &index);
    g_autoptr(GSocket) socket = g_socket_new_from_fd(g_unix_fd_list_get(fds, index, &error), &error);
    g_assert_no_error(error);
    g_autoptr(GSocketConnection) stream = g_socket_connection_factory_create_connection(socket);
    g_autoptr(GDBusConnection) channel = g_dbus_connection_new_sync(
        G_IO_STREAM(stream), NULL, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, &error);
    g_assert_no_error(error);
    round_trip(channel, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/activation/starts-by-itself", Desktop, NULL, set_up, test_starts_by_itself, tear_down);
    g_test_add("/dbus/activation/bus", Desktop, NULL, set_up, test_bus, tear_down);
    g_test_add("/dbus/activation/channel", Desktop, NULL, set_up, test_channel, tear_down);
    return g_test_run();
}

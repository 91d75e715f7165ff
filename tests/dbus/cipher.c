/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/dbus/cipher.h"

GVariant *cipher_bytes(const void *data, gsize n)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, n, 1);
}

GByteArray *cipher_array(GVariant *v)
{
    GByteArray *b = g_byte_array_new();
    gsize n = 0;
    gconstpointer data = g_variant_get_fixed_array(v, &n, 1);

    g_byte_array_append(b, data, (guint)n);
    return b;
}

GVariant *cipher_call(TestAgent *a, const char *method, GVariant *arguments, GUnixFDList *fds,
                      char **ret_name, char **ret_text)
{
    g_autoptr(GError) error = NULL;
    GVariant *reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, CIPHER, method, arguments, NULL, G_DBUS_CALL_FLAGS_NONE,
        TEST_AWAIT_SECONDS * 1000, fds, NULL, NULL, &error);

    if (reply)
        return reply;
    if (!ret_name)
        g_error("%s: %s", method, error->message);
    *ret_name = g_dbus_error_get_remote_error(error);
    if (ret_text) {
        (void)g_dbus_error_strip_remote_error(error);
        *ret_text = g_strdup(error->message);
    }
    return NULL;
}

GByteArray *cipher_public_key(TestAgent *a)
{
    g_autoptr(GVariant) reply =
        agent_call(a, IDENTITY, "ExportPublic", agent_option("format", g_variant_new_string("pem")));
    g_autoptr(GVariant) array = g_variant_get_child_value(reply, 0);

    return cipher_array(array);
}

GVariant *cipher_to_self(TestAgent *a, GVariantDict *options)
{
    g_autoptr(GByteArray) key = cipher_public_key(a);
    GVariant *keys[] = {cipher_bytes(key->data, key->len)};

    g_variant_dict_insert_value(options, "recipient_keys",
                                g_variant_new_array(G_VARIANT_TYPE("ay"), keys, 1));
    return g_variant_dict_end(options);
}

GDBusConnection *cipher_channel(TestAgent *a)
{
    g_autoptr(GUnixFDList) fds = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, AGENT, "OpenChannel", g_variant_new("(a{sv})", NULL),
        G_VARIANT_TYPE("(h)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, &fds, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GSocket) socket = g_socket_new_from_fd(g_unix_fd_list_get(fds, 0, NULL), &error);
    g_assert_no_error(error);
    g_autoptr(GSocketConnection) stream = g_socket_connection_factory_create_connection(socket);
    GDBusConnection *channel = g_dbus_connection_new_sync(
        G_IO_STREAM(stream), NULL, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, &error);
    g_assert_no_error(error);
    return channel;
}

GByteArray *cipher_package(TestAgent *a)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_autoptr(GVariant) reply = cipher_call(
        a, "Encrypt",
        g_variant_new("(as@ay@a{sv})", NULL, cipher_bytes("text", 4), cipher_to_self(a, &options)), NULL,
        NULL, NULL);
    g_autoptr(GVariant) packages = g_variant_get_child_value(reply, 0);
    g_autoptr(GVariant) package = g_variant_get_child_value(packages, 0);
    return cipher_array(package);
}

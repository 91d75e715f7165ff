/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent asks for the PIN by pinentry, when the caller allows it. */

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/dbus/cipher.h"

#define MAIL AGENT_NAME ".Mail"
#define NO_MESSAGE "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

/* A pinentry that notes each window and waits for the file "user", which says what the user does. */
static const char script[] = "#!/bin/sh\n"
                             "folder=${0%/*}\n"
                             "echo OK\n"
                             "while read -r line; do\n"
                             "if [ \"$line\" = GETPIN ]; then\n"
                             "echo window >>\"$folder/windows\"\n"
                             "while [ ! -e \"$folder/user\" ]; do sleep 0.01; done\n"
                             "cat \"$folder/user\"\n"
                             "else\n"
                             "echo OK\n"
                             "fi\n"
                             "done\n";

#define ENTERS "D 2580\nOK\n"
#define CANCELS "ERR 83886179 cancelled\n"

static void user(TestAgent *a, const char *does)
{
    g_autofree char *path = g_build_filename(a->folder, "user", NULL);

    if (does)
        g_assert_true(g_file_set_contents(path, does, -1, NULL));
    else
        g_assert_cmpint(unlink(path), ==, 0);
}

static unsigned windows(const TestAgent *a)
{
    g_autofree char *path = g_build_filename(a->folder, "windows", NULL);
    g_autofree char *text = NULL;
    unsigned n = 0;

    if (g_file_get_contents(path, &text, NULL, NULL))
        for (const char *t = text; (t = strchr(t, '\n')); t++)
            n++;
    return n;
}

/* With an identity that is locked. */
static void start_prompting(TestAgent *a)
{
    g_autofree char *program = g_build_filename(a->folder, "pinentry", NULL);

    g_assert_true(g_file_set_contents(program, script, -1, NULL));
    g_assert_cmpint(chmod(program, 0700), ==, 0);
    g_setenv("HMSG_PINENTRY", program, TRUE);
    agent_start(a, NULL);
    g_unsetenv("HMSG_PINENTRY");
    agent_expect_named(agent_call_with_fd(a, "Create", agent_memfd("2580")), NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
}

/* A call that allows that the user is asked. */
typedef struct Asking {
    GAsyncResult *result;
} Asking;

static void on_answer(GObject *source, GAsyncResult *result, gpointer userdata)
{
    Asking *w = userdata;

    w->result = g_object_ref(result);
}

static void begin_with_fds(GDBusConnection *c, const char *interface, const char *method, GVariant *arguments,
                           GUnixFDList *fds, Asking *w)
{
    g_dbus_connection_call_with_unix_fd_list(c, g_dbus_connection_get_unique_name(c) ? AGENT_NAME : NULL,
                                             AGENT_PATH, interface, method, arguments, NULL,
                                             G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION,
                                             TEST_AWAIT_SECONDS * 1000, fds, NULL, on_answer, w);
}

static void begin(GDBusConnection *c, const char *interface, const char *method, GVariant *arguments,
                  Asking *w)
{
    begin_with_fds(c, interface, method, arguments, NULL, w);
}

static void begin_unlock(GDBusConnection *c, Asking *w)
{
    begin(c, IDENTITY, "Unlock", g_variant_new("(a{sv})", NULL), w);
}

static void begin_decrypt(GDBusConnection *c, const GByteArray *p, Asking *w)
{
    begin(c, CIPHER, "Decrypt", g_variant_new("(@aya{sv})", cipher_bytes(p->data, p->len), NULL), w);
}

static void begin_encrypt(TestAgent *a, GVariant *options, Asking *w)
{
    begin(a->client, CIPHER, "Encrypt",
          g_variant_new("(as@ay@a{sv})", NULL, cipher_bytes("text", 4), options), w);
}

/* The reply, or NULL with the name of the error. */
static GVariant *await(GDBusConnection *c, Asking *w, char **ret_error)
{
    g_autoptr(GError) error = NULL;

    while (!w->result)
        g_main_context_iteration(NULL, TRUE);
    GVariant *reply = g_dbus_connection_call_with_unix_fd_list_finish(c, NULL, w->result, &error);
    g_clear_object(&w->result);
    *ret_error = error ? g_dbus_error_get_remote_error(error) : NULL;
    return reply;
}

/* The name of its error, to be freed; NULL: none. */
static char *end(GDBusConnection *c, Asking *w)
{
    char *error = NULL;
    g_autoptr(GVariant) reply = await(c, w, &error);

    return error;
}

static void end_decrypt(GDBusConnection *c, Asking *w)
{
    g_autofree char *error = NULL;
    g_autoptr(GVariant) reply = await(c, w, &error);

    g_assert_cmpstr(error, ==, NULL);
    g_autoptr(GVariant) bytes = g_variant_get_child_value(reply, 0);
    g_autoptr(GByteArray) text = cipher_array(bytes);
    g_assert_cmpmem(text->data, text->len, "text", 4);
}

/* Once for all who wait. */
static void test_unlock(TestAgent *a, gconstpointer data)
{
    Asking first = {0}, second = {0};

    start_prompting(a);
    agent_expect_error(a, IDENTITY, "Unlock", NULL, ERROR("Locked"));
    agent_expect_state(a, "locked");
    g_assert_cmpuint(windows(a), ==, 0);

    begin_unlock(a->client, &first);
    begin_unlock(a->client, &second);
    TEST_AWAIT(windows(a) == 1);
    agent_expect_state(a, "locked"); /* the agent has read both */
    user(a, CANCELS);
    agent_expect_named(end(a->client, &first), ERROR("Cancelled"));
    agent_expect_named(end(a->client, &second), ERROR("Cancelled"));
    g_assert_cmpuint(windows(a), ==, 1);

    user(a, NULL);
    begin_unlock(a->client, &first);
    begin_unlock(a->client, &second);
    TEST_AWAIT(windows(a) == 2);
    agent_expect_state(a, "locked");
    user(a, ENTERS);
    agent_expect_named(end(a->client, &first), NULL);
    agent_expect_named(end(a->client, &second), NULL);
    agent_expect_state(a, "ready");
    g_assert_cmpuint(windows(a), ==, 2);
    agent_stop(a);
}

/* A client that leaves waits no more, the others do; and Lock takes the question back. */
static void test_leave(TestAgent *a, gconstpointer data)
{
    Asking first = {0}, second = {0};

    start_prompting(a);
    GDBusConnection *other = agent_connect(a);
    begin_unlock(other, &first);
    TEST_AWAIT(windows(a) == 1);
    begin_unlock(a->client, &second);
    agent_expect_state(a, "locked");
    g_assert_true(g_dbus_connection_close_sync(other, NULL, NULL));
    agent_expect_state(a, "locked");
    g_assert_null(second.result);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    agent_expect_named(end(a->client, &second), ERROR("Locked"));
    g_free(end(other, &first));
    g_object_unref(other);
    g_assert_cmpuint(windows(a), ==, 1);
    agent_stop(a);
}

static GVariant *signing(TestAgent *a, gboolean sign)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "sign", "b", sign);
    return cipher_to_self(a, &options);
}

/* What needs the keys asks for them, and goes on; each in its own way to the agent. */
static void test_content(TestAgent *a, gconstpointer data)
{
    Asking one = {0}, two = {0}, three = {0}, four = {0}, five = {0};
    int ends[2];

    start_prompting(a);
    GDBusConnection *channel = cipher_channel(a);
    agent_expect_named(agent_call_with_fd(a, "Unlock", agent_memfd("2580")), NULL);
    g_autoptr(GByteArray) p = cipher_package(a);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));

    int source = agent_memfd("");
    g_assert_cmpint(write(source, p->data, p->len), ==, p->len);
    g_assert_cmpint(lseek(source, 0, SEEK_SET), ==, 0);
    g_assert_cmpint(pipe(ends), ==, 0);
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new_from_array((int[]){source, ends[1]}, 2);

    begin_decrypt(a->client, p, &one);
    TEST_AWAIT(windows(a) == 1);
    begin_decrypt(channel, p, &two);
    begin_encrypt(a, signing(a, TRUE), &three);
    begin(a->client, IDENTITY, "ExportPublic", g_variant_new("(a{sv})", NULL), &four);
    begin_with_fds(a->client, CIPHER, "DecryptFd", g_variant_new("(hha{sv})", 0, 1, NULL), fds, &five);
    agent_expect_state(a, "locked");
    user(a, ENTERS);
    end_decrypt(a->client, &one);
    end_decrypt(channel, &two);
    agent_expect_named(end(a->client, &three), NULL);
    agent_expect_named(end(a->client, &four), NULL);
    agent_expect_named(end(a->client, &five), NULL);
    char text[5] = "";
    g_assert_cmpint(read(ends[0], text, sizeof(text)), ==, 4);
    g_assert_cmpstr(text, ==, "text");
    close(ends[0]);
    g_assert_cmpuint(windows(a), ==, 1);
    g_object_unref(channel);
    agent_stop(a);
}

/* A user who does not want to. */
static void test_refuse(TestAgent *a, gconstpointer data)
{
    Asking one = {0}, two = {0};

    start_prompting(a);
    begin_encrypt(a, signing(a, TRUE), &one);
    TEST_AWAIT(windows(a) == 1);
    begin(a->client, MAIL, "Send",
          g_variant_new("(@as@aya{sv})", g_variant_new_strv((const char *const[]){"nobody"}, 1),
                        cipher_bytes("text", 4), NULL),
          &two);
    agent_expect_state(a, "locked");
    user(a, CANCELS);
    agent_expect_named(end(a->client, &one), ERROR("Cancelled"));
    agent_expect_named(end(a->client, &two), ERROR("Cancelled"));
    g_assert_cmpuint(windows(a), ==, 1);
    /* a wrong PIN */
    user(a, "D 2581\nOK\n");
    begin_encrypt(a, signing(a, TRUE), &one);
    agent_expect_named(end(a->client, &one), ERROR("Locked"));
    g_assert_cmpuint(windows(a), ==, 2);
    agent_stop(a);
}

/* Nobody is asked for what needs no key of ours, or is not there, or when the caller does not allow it. */
static void test_no_need(TestAgent *a, gconstpointer data)
{
    Asking one = {0};

    start_prompting(a);
    begin_encrypt(a, signing(a, FALSE), &one);
    agent_expect_named(end(a->client, &one), NULL);
    begin(a->client, MAIL, "Read", g_variant_new("(sa{sv})", NO_MESSAGE, NULL), &one);
    agent_expect_named(end(a->client, &one), ERROR("NotFound"));
    begin(a->client, IDENTITY, "ExportPublic",
          g_variant_new("(@a{sv})", agent_option("format", g_variant_new_string("pem"))), &one);
    agent_expect_named(end(a->client, &one), NULL);
    agent_expect_error(a, IDENTITY, "ExportPublic", NULL, ERROR("Locked"));
    g_assert_cmpuint(windows(a), ==, 0);
    /* a name that is not known is found out later */
    user(a, ENTERS);
    begin(a->client, MAIL, "Send",
          g_variant_new("(@as@aya{sv})", g_variant_new_strv((const char *const[]){"nobody"}, 1),
                        cipher_bytes("text", 4), NULL),
          &one);
    agent_expect_named(end(a->client, &one), ERROR("NotFound"));
    g_assert_cmpuint(windows(a), ==, 1);
    agent_stop(a);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/prompt/unlock", TestAgent, NULL, agent_set_up, test_unlock, agent_tear_down);
    g_test_add("/dbus/prompt/leave", TestAgent, NULL, agent_set_up, test_leave, agent_tear_down);
    g_test_add("/dbus/prompt/content", TestAgent, NULL, agent_set_up, test_content, agent_tear_down);
    g_test_add("/dbus/prompt/refuse", TestAgent, NULL, agent_set_up, test_refuse, agent_tear_down);
    g_test_add("/dbus/prompt/no-need", TestAgent, NULL, agent_set_up, test_no_need, agent_tear_down);
    return g_test_run();
}

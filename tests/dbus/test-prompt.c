/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent asks for the PIN by pinentry, when the caller allows it. */

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/dbus/cipher.h"

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

static void begin(GDBusConnection *c, const char *interface, const char *method, GVariant *arguments,
                  Asking *w)
{
    g_dbus_connection_call(c, AGENT_NAME, AGENT_PATH, interface, method, arguments, NULL,
                           G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, TEST_AWAIT_SECONDS * 1000, NULL,
                           on_answer, w);
}

static void begin_unlock(GDBusConnection *c, Asking *w)
{
    begin(c, IDENTITY, "Unlock", g_variant_new("(a{sv})", NULL), w);
}

/* The name of its error, to be freed; NULL: none. */
static char *end(GDBusConnection *c, Asking *w)
{
    g_autoptr(GError) error = NULL;

    while (!w->result)
        g_main_context_iteration(NULL, TRUE);
    g_autoptr(GVariant) reply = g_dbus_connection_call_finish(c, w->result, &error);
    g_clear_object(&w->result);
    return reply ? NULL : g_dbus_error_get_remote_error(error);
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

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dbus/prompt/unlock", TestAgent, NULL, agent_set_up, test_unlock, agent_tear_down);
    g_test_add("/dbus/prompt/leave", TestAgent, NULL, agent_set_up, test_leave, agent_tear_down);
    return g_test_run();
}

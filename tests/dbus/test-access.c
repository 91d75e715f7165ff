/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which program may decrypt and sign. The programs are ourselves, in a process of its own: as a Flatpak, with
 * the file that says so in what is the root folder there. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/dbus/agent.h"

#define ACCESS AGENT_NAME ".Access"
#define CIPHER AGENT_NAME ".Cipher"
#define MAIL AGENT_NAME ".Mail"
#define APP "flatpak:org.example.Mail"
#define BUS_VARIABLE "HMSG_TEST_ACCESS_BUS"
#define ROOT_VARIABLE "HMSG_TEST_ACCESS_ROOT"
#define CALLS_VARIABLE "HMSG_TEST_ACCESS_CALLS"
#define SUBPROCESS "/dbus/access/subprocess"

/* A pinentry that notes what it is told, and answers questions by what the file "user" holds. */
static const char script[] = "#!/bin/sh\n"
                             "folder=${0%/*}\n"
                             "echo OK\n"
                             "while read -r line; do\n"
                             "case $line in\n"
                             "CONFIRM)\n"
                             "echo CONFIRM >>\"$folder/asked\"\n"
                             "while [ ! -e \"$folder/user\" ]; do sleep 0.01; done\n"
                             "cat \"$folder/user\" ;;\n"
                             "GETPIN) echo GETPIN >>\"$folder/asked\"\n"
                             "echo \"D 2580\"\n"
                             "echo OK ;;\n"
                             "*) echo \"$line\" >>\"$folder/asked\"\n"
                             "echo OK ;;\n"
                             "esac\n"
                             "done\n";

#define ALLOWS "OK\n"
#define DENIES "ERR 83886179 cancelled\n"
#define NO_SCREEN "ERR 83886340 no screen\n"

static char *path_of(const TestAgent *a, const char *name)
{
    return g_build_filename(a->folder, name, NULL);
}

static void put(const TestAgent *a, const char *name, const char *text)
{
    g_autofree char *path = path_of(a, name);
    g_autofree char *folder = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static unsigned times_asked(const TestAgent *a)
{
    g_autofree char *path = path_of(a, "asked");
    g_autofree char *text = NULL;
    unsigned n = 0;

    if (g_file_get_contents(path, &text, NULL, NULL))
        for (const char *t = text; (t = strstr(t, "CONFIRM\n")); t++)
            n++;
    return n;
}

static void start(TestAgent *a, const char *config)
{
    g_autofree char *program = path_of(a, "pinentry");

    put(a, "pinentry", script);
    g_assert_cmpint(chmod(program, 0700), ==, 0);
    put(a, "root/.flatpak-info", "[Application]\nname=org.example.Mail\n");
    put(a, "agent.conf", config);
    g_setenv("HMSG_PINENTRY", program, TRUE);
    agent_start(a, NULL);
    g_unsetenv("HMSG_PINENTRY");
}

/* In the subprocess. */
static void call_and_tell(GDBusConnection *c, const char *what)
{
    bool interactive = what[strlen(what) - 1] == '!';
    g_autofree char *call = g_strndup(what, strlen(what) - interactive);
    const char *method = strrchr(call, '.') + 1;
    g_autofree char *interface = g_strndup(call, (gsize)(method - 1 - call));
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        c, g_dbus_connection_get_unique_name(c) ? AGENT_NAME : NULL, AGENT_PATH, interface, method,
        g_variant_new("(a{sv})", NULL), NULL,
        interactive ? G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION : G_DBUS_CALL_FLAGS_NONE,
        TEST_AWAIT_SECONDS * 1000, NULL, &error);
    g_autofree char *name = error ? g_dbus_error_get_remote_error(error) : NULL;
    const char *last = name ? strrchr(name, '.') : NULL;

    g_print("%s=%s\n", method, last ? last + 1 : error ? error->message : "ok");
}

static GDBusConnection *open_channel(GDBusConnection *c)
{
    g_autoptr(GUnixFDList) fds = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        c, AGENT_NAME, AGENT_PATH, AGENT, "OpenChannel", g_variant_new("(a{sv})", NULL), NULL,
        G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, &fds, NULL, &error);

    g_assert_no_error(error);
    g_autoptr(GSocket) socket = g_socket_new_from_fd(g_unix_fd_list_get(fds, 0, NULL), NULL);
    g_autoptr(GSocketConnection) stream = g_socket_connection_factory_create_connection(socket);
    GDBusConnection *channel = g_dbus_connection_new_sync(
        G_IO_STREAM(stream), NULL, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, &error);
    g_assert_no_error(error);
    return channel;
}

static void subprocess(void)
{
    g_auto(GStrv) calls = g_strsplit(g_getenv(CALLS_VARIABLE), " ", -1);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDBusConnection) channel = NULL;
    g_autoptr(GDBusConnection) bus = g_dbus_connection_new_for_address_sync(
        g_getenv(BUS_VARIABLE),
        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL,
        NULL, &error);

    g_assert_no_error(error);
    if (g_getenv(ROOT_VARIABLE))
        g_assert_cmpint(chroot(g_getenv(ROOT_VARIABLE)), ==, 0);
    for (size_t i = 0; calls[i]; i++) {
        if (strcmp(calls[i], "channel") == 0)
            channel = open_channel(bus);
        else
            call_and_tell(channel ? channel : bus, calls[i]);
    }
    if (g_getenv(ROOT_VARIABLE)) { /* LeakSanitizer would look for /proc there */
        (void)fflush(stdout);
        _exit(0);
    }
}

/* The calls of a program, each INTERFACE.METHOD, with a "!" behind when the user may be asked; after
 * "channel" on a private channel. What comes out is METHOD=ok or METHOD=Error for each. */
static void expect(TestAgent *a, const char *root, const char *calls, const char *expected)
{
    g_autofree char *path = root ? path_of(a, root) : NULL;

    g_setenv(BUS_VARIABLE, test_bus_address(a->bus), TRUE);
    g_setenv(CALLS_VARIABLE, calls, TRUE);
    if (path)
        g_setenv(ROOT_VARIABLE, path, TRUE);
    g_test_trap_subprocess(SUBPROCESS, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_unsetenv(ROOT_VARIABLE);
    g_test_trap_assert_passed();
    g_test_trap_assert_stdout(expected);
}

static void expect_flatpak(TestAgent *a, const char *calls, const char *expected)
{
    expect(a, "root", calls, expected);
}

static void set_rule(TestAgent *a, const char *app, const char *verdict)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        a->client, AGENT_NAME, AGENT_PATH, ACCESS, verdict ? "Set" : "Revoke",
        verdict ? g_variant_new("(ssa{sv})", app, verdict, NULL) : g_variant_new("(sa{sv})", app, NULL), NULL,
        G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, &error);

    g_assert_no_error(error);
}

static void test_host(TestAgent *a, gconstpointer data)
{
    start(a, "");
    expect(a, NULL, MAIL ".Sync " IDENTITY ".ExportPublic " IDENTITY ".Delete channel " MAIL ".Sync",
           "*Sync=*ExportPublic=NoIdentity*Delete=NoIdentity*Sync=*");
    g_test_trap_assert_stdout_unmatched("*Denied*");
    set_rule(a, "host", "deny");
    expect(a, NULL, MAIL ".Sync " IDENTITY ".ExportPublic channel " MAIL ".Sync",
           "*Sync=Denied*ExportPublic=Denied*Sync=Denied*");
    set_rule(a, "host", NULL);
    expect(a, NULL, IDENTITY ".ExportPublic", "*ExportPublic=NoIdentity*");
    g_assert_cmpuint(times_asked(a), ==, 0);
}

static void test_asked(TestAgent *a, gconstpointer data)
{
    g_autofree char *path = path_of(a, "asked");
    g_autofree char *text = NULL;

    start(a, "");
    expect_flatpak(a, IDENTITY ".ExportPublic", "*ExportPublic=Denied*"); /* the user may not be asked */
    g_assert_cmpuint(times_asked(a), ==, 0);
    put(a, "user", ALLOWS);
    expect_flatpak(a, IDENTITY ".ExportPublic! " IDENTITY ".ExportPublic",
                   "*ExportPublic=NoIdentity*=NoIdentity*");
    g_assert_cmpuint(times_asked(a), ==, 1);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_nonnull(strstr(text, "SETDESC The Flatpak org.example.Mail wants to write in your name."));
    expect_flatpak(a, "channel " IDENTITY ".ExportPublic", "*ExportPublic=NoIdentity*"); /* another of it */
    g_assert_cmpuint(times_asked(a), ==, 1);
    put(a, "user", DENIES);
    expect_flatpak(a, MAIL ".Sync! channel " MAIL ".Sync!", "*Sync=Denied*Sync=Denied*");
    g_assert_cmpuint(times_asked(a), ==, 2);
}

static void test_nobody(TestAgent *a, gconstpointer data)
{
    start(a, "");
    put(a, "user", NO_SCREEN);
    expect_flatpak(a, MAIL ".Sync! " MAIL ".Sync!", "*Sync=Denied*Sync=Denied*");
    g_assert_cmpuint(times_asked(a), ==, 2); /* that was no answer */
}

static void test_rules(TestAgent *a, gconstpointer data)
{
    start(a, "");
    set_rule(a, APP, "allow");
    expect_flatpak(a, IDENTITY ".ExportPublic channel " IDENTITY ".ExportPublic",
                   "*=NoIdentity*=NoIdentity*");
    agent_stop(a);
    start(a, "");
    expect_flatpak(a, IDENTITY ".ExportPublic", "*=NoIdentity*");
    set_rule(a, APP, "deny");
    expect_flatpak(a, IDENTITY ".ExportPublic! channel " MAIL ".Sync!", "*=Denied*=Denied*");
    set_rule(a, APP, NULL);
    put(a, "user", ALLOWS);
    expect_flatpak(a, IDENTITY ".ExportPublic!", "*=NoIdentity*");
    g_assert_cmpuint(times_asked(a), ==, 1);
    set_rule(a, APP, "ask"); /* what the user said before is forgotten */
    expect_flatpak(a, IDENTITY ".ExportPublic", "*=Denied*");
}

/* Never, whatever the rules say. */
static void test_manage(TestAgent *a, gconstpointer data)
{
    start(a, "");
    set_rule(a, APP, "allow");
    put(a, "user", ALLOWS);
    expect_flatpak(a,
                   IDENTITY ".Delete! " IDENTITY ".Create! " ACCESS ".List! " ACCESS ".Log! channel " IDENTITY
                            ".Delete!",
                   "*Delete=Denied*Create=Denied*List=Denied*Log=Denied*Delete=Denied*");
    g_assert_cmpuint(times_asked(a), ==, 0);
    agent_expect_state(a, "none");
}

static void test_settings(TestAgent *a, gconstpointer data)
{
    start(a, "[access]\nsandboxed = deny\nhost = ask\n");
    put(a, "user", ALLOWS);
    expect_flatpak(a, IDENTITY ".ExportPublic!", "*=Denied*");
    g_assert_cmpuint(times_asked(a), ==, 0);
    expect(a, NULL, IDENTITY ".ExportPublic " IDENTITY ".ExportPublic!", "*=Denied*=NoIdentity*");
    g_assert_cmpuint(times_asked(a), ==, 1);
}

static void test_log(TestAgent *a, gconstpointer data)
{
    start(a, "");
    expect_flatpak(a, IDENTITY ".ExportPublic " IDENTITY ".ExportPublic", "*=Denied*");
    g_autoptr(GVariant) reply = agent_call(a, ACCESS, "Log", NULL);
    g_autofree char *text = g_variant_print(reply, FALSE);

    g_assert_nonnull(strstr(text, "'app': <'" APP "'>"));
    g_assert_nonnull(strstr(text, "'program': <'test-dbus-acces'>"));
    g_assert_nonnull(strstr(text, "'permission': <'sign'>"));
    g_assert_nonnull(strstr(text, "'uses': <uint64 2>"));
}

/* How often the log has this use by a program of the host. */
static guint64 uses(TestAgent *a, const char *permission, bool allowed)
{
    g_autoptr(GVariant) reply = agent_call(a, ACCESS, "Log", NULL);
    g_autoptr(GVariantIter) entries = NULL;
    GVariant *entry;
    guint64 n = 0;

    g_variant_get(reply, "(aa{sv})", &entries);
    while ((entry = g_variant_iter_next_value(entries))) {
        const char *app = "", *what = "";
        gboolean was = FALSE;
        guint64 more = 0;

        if (g_variant_lookup(entry, "app", "&s", &app) && strcmp(app, "host") == 0 &&
            g_variant_lookup(entry, "permission", "&s", &what) && strcmp(what, permission) == 0 &&
            g_variant_lookup(entry, "allowed", "b", &was) && !was == !allowed &&
            g_variant_lookup(entry, "uses", "t", &more))
            n += more;
        g_variant_unref(entry);
    }
    return n;
}

/* A call that waits for the user, for the PIN, or for both, comes anew, and is one use all the same; so is
 * one that the user refuses. */
static void test_counted_once(TestAgent *a, gconstpointer data)
{
    start(a, "[access]\nhost = ask\n");
    agent_expect_named(agent_call_with_fd(a, "Create", agent_memfd("2580")), NULL);
    put(a, "user", ALLOWS);
    expect(a, NULL, IDENTITY ".ExportPublic!", "*=ok*");
    g_assert_cmpuint(times_asked(a), ==, 1);
    g_assert_cmpuint(uses(a, "sign", true), ==, 1);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL)); /* ends the user's answer too */
    expect(a, NULL, IDENTITY ".ExportPublic!", "*=ok*");
    agent_expect_state(a, "ready");
    g_assert_cmpuint(uses(a, "sign", true), ==, 2);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    set_rule(a, "host", "allow");
    expect(a, NULL, IDENTITY ".ExportPublic!", "*=ok*");
    g_assert_cmpuint(uses(a, "sign", true), ==, 3);
    expect(a, NULL, IDENTITY ".ExportPublic! channel " IDENTITY ".ExportPublic!", "*=ok*=ok*");
    g_assert_cmpuint(uses(a, "sign", true), ==, 5);
    g_assert_cmpuint(uses(a, "sign", false), ==, 0);
    set_rule(a, "host", "ask");
    put(a, "user", DENIES);
    expect(a, NULL, IDENTITY ".ExportPublic!", "*=Denied*");
    g_assert_cmpuint(uses(a, "sign", false), ==, 1);
    g_assert_cmpuint(uses(a, "sign", true), ==, 5);
}

/* It leaves while the user is asked: the question leaves the screen, and the next one comes. */
static void test_leaves(TestAgent *a, gconstpointer data)
{
    g_autoptr(GDBusConnection) client = NULL;
    g_autofree char *user = path_of(a, "user");

    start(a, "[access]\nhost = ask\n");
    client = agent_connect(a);
    g_dbus_connection_call(client, AGENT_NAME, AGENT_PATH, IDENTITY, "ExportPublic",
                           g_variant_new("(a{sv})", NULL), NULL,
                           G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, -1, NULL, NULL, NULL);
    TEST_AWAIT(times_asked(a) == 1);
    g_assert_true(g_dbus_connection_close_sync(client, NULL, NULL));
    put(a, "user", DENIES);
    expect(a, NULL, MAIL ".Sync!", "*Sync=Denied*");
    g_assert_cmpuint(times_asked(a), ==, 2);
    g_assert_cmpint(unlink(user), ==, 0);
    put(a, "user", ALLOWS);
    expect(a, NULL, IDENTITY ".ExportPublic!", "*=NoIdentity*");
    g_assert_cmpuint(times_asked(a), ==, 3);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*test)(TestAgent *a, gconstpointer data);
        bool root; /* chroot(2) */
    } tests[] = {
        {"/dbus/access/host", test_host, false},
        {"/dbus/access/asked", test_asked, true},
        {"/dbus/access/nobody", test_nobody, true},
        {"/dbus/access/rules", test_rules, true},
        {"/dbus/access/manage", test_manage, true},
        {"/dbus/access/settings", test_settings, true},
        {"/dbus/access/log", test_log, true},
        {"/dbus/access/leaves", test_leaves, false},
        {"/dbus/access/counted-once", test_counted_once, false},
    };

    g_test_init(&argc, &argv, NULL);
    g_test_add_func(SUBPROCESS, subprocess);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++) {
        if (tests[i].root && getuid() != 0)
            g_test_message("%s: only root can stand for a Flatpak", tests[i].name);
        else
            g_test_add(tests[i].name, TestAgent, NULL, agent_set_up, tests[i].test, agent_tear_down);
    }
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <gio/gunixfdlist.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#include "agent/channel.h"
#include "agent/manager.h"
#include "agent/status.h"
#include "tests/dbus/agent.h"
#include "tests/lib/child.h"
#include "tests/lib/user.h"

#define INVALID_ARGS "org.freedesktop.DBus.Error.InvalidArgs"
#define GARBAGE_SIZE 4096u

static GDBusNodeInfo *live_interfaces(TestAgent *a)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        a->client, AGENT_NAME, AGENT_PATH, "org.freedesktop.DBus.Introspectable", "Introspect", NULL,
        G_VARIANT_TYPE("(s)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);
    const char *xml = NULL;

    g_assert_no_error(error);
    g_variant_get(reply, "(&s)", &xml);
    GDBusNodeInfo *node = g_dbus_node_info_new_for_xml(xml, &error);
    g_assert_no_error(error);
    return node;
}

static GDBusNodeInfo *documented_interfaces(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = NULL;

    g_assert_true(g_file_get_contents(g_getenv("HMSG_XML"), &xml, NULL, &error));
    GDBusNodeInfo *node = g_dbus_node_info_new_for_xml(xml, &error);
    g_assert_no_error(error);
    return node;
}

static void add_arguments(GString *text, const char *direction, GDBusArgInfo **arguments)
{
    for (; arguments && *arguments; arguments++)
        g_string_append_printf(text, " %s %s %s", direction, (*arguments)->signature, (*arguments)->name);
}

static int compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One line for each member, sorted. */
static char *describe(const GDBusInterfaceInfo *i)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

    for (GDBusMethodInfo **m = i->methods; m && *m; m++) {
        GString *text = g_string_new("method ");
        g_string_append(text, (*m)->name);
        add_arguments(text, "in", (*m)->in_args);
        add_arguments(text, "out", (*m)->out_args);
        g_ptr_array_add(lines, g_string_free(text, FALSE));
    }
    for (GDBusSignalInfo **s = i->signals; s && *s; s++) {
        GString *text = g_string_new("signal ");
        g_string_append(text, (*s)->name);
        add_arguments(text, "", (*s)->args);
        g_ptr_array_add(lines, g_string_free(text, FALSE));
    }
    for (GDBusPropertyInfo **p = i->properties; p && *p; p++) {
        const char *emits = g_dbus_annotation_info_lookup((*p)->annotations,
                                                          "org.freedesktop.DBus.Property.EmitsChangedSignal");

        g_ptr_array_add(lines, g_strdup_printf("property %s %s %d %s", (*p)->name, (*p)->signature,
                                               (*p)->flags, emits ? emits : "true"));
    }
    g_ptr_array_sort(lines, compare_lines);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}

static void test_introspection(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_autoptr(GDBusNodeInfo) live = live_interfaces(a);
    g_autoptr(GDBusNodeInfo) documented = documented_interfaces();
    unsigned n = 0;

    for (GDBusInterfaceInfo **i = documented->interfaces; *i; i++) {
        const GDBusInterfaceInfo *l = g_dbus_node_info_lookup_interface(live, (*i)->name);

        if (!l)
            g_error("the agent does not have %s", (*i)->name);
        g_autofree char *is = describe(l);
        g_autofree char *should = describe(*i);
        g_assert_cmpstr(is, ==, should);
        n++;
    }
    for (GDBusInterfaceInfo **i = live->interfaces; *i; i++)
        if (g_str_has_prefix((*i)->name, AGENT_NAME))
            g_assert_nonnull(g_dbus_node_info_lookup_interface(documented, (*i)->name));
    g_assert_cmpuint(n, ==, 7);
}

/* Every method that takes options alone: the others have tests of their own. */
static void test_unknown_option(TestAgent *a, gconstpointer data)
{
    unsigned n = 0;

    agent_start(a, NULL);
    g_autoptr(GDBusNodeInfo) live = live_interfaces(a);
    for (GDBusInterfaceInfo **i = live->interfaces; *i; i++)
        for (GDBusMethodInfo **m = (*i)->methods; g_str_has_prefix((*i)->name, AGENT_NAME) && m && *m; m++)
            if ((*m)->in_args && (*m)->in_args[0] && !(*m)->in_args[1]) {
                agent_expect_error(a, (*i)->name, (*m)->name,
                                   agent_option("no-such-option", g_variant_new_boolean(TRUE)), INVALID_ARGS);
                n++;
            }
    g_assert_cmpuint(n, >=, 14);
}

/* A character that is cut where an error quotes it: the bus drops whoever sends half of one. */
static void test_cut_characters(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    for (unsigned n = 60; n < 68; n++) {
        g_autofree char *key = g_strnfill(n, 'k');
        g_autofree char *whole = g_strconcat(key, "\xe2\x82\xac\xe2\x82\xac", NULL);

        agent_expect_error(a, AGENT, "GetStatus", agent_option(whole, g_variant_new_boolean(TRUE)),
                           INVALID_ARGS);
    }
    agent_stop(a);
}

static void test_status(TestAgent *a, gconstpointer data)
{
    static const char *const keys[] = {"version", "state",  "tpm",        "relays",
                                       "inbox",   "outbox", "sessions",   "session_keys_hot",
                                       "courier", "store",  "former_keys"};

    agent_start(a, NULL);
    g_autoptr(GVariant) reply = agent_call(a, AGENT, "GetStatus", NULL);
    g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);
    g_assert_cmpuint(g_variant_n_children(facts), ==, G_N_ELEMENTS(keys)); /* each once */
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(GVariant) value = g_variant_lookup_value(facts, keys[i], NULL);

        if (!value)
            g_error("GetStatus does not tell %s", keys[i]);
    }
    g_autofree char *version = agent_fact(a, AGENT, "GetStatus", "version");
    g_autofree char *tpm = agent_fact(a, AGENT, "GetStatus", "tpm");
    g_autofree char *state = agent_fact(a, AGENT, "GetStatus", "state");
    g_assert_nonnull(version);
    g_assert_cmpstr(tpm, ==, "ok");
    g_assert_cmpstr(state, ==, "none");
}

static void call_as_stranger(void *data)
{
    const TestAgent *a = data;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus *bus = NULL;

    test_user_become_nobody();
    g_assert_cmpint(sd_bus_new(&bus), >=, 0);
    g_assert_cmpint(sd_bus_set_address(bus, test_bus_address(a->bus)), >=, 0);
    g_assert_cmpint(sd_bus_set_bus_client(bus, true), >=, 0);
    g_assert_cmpint(sd_bus_start(bus), >=, 0);
    for (unsigned i = 0; i < 2; i++) { /* asked, then remembered */
        g_assert_cmpint(
            sd_bus_call_method(bus, AGENT_NAME, AGENT_PATH, AGENT, "GetStatus", &error, NULL, "a{sv}", 0), <,
            0);
        g_assert_cmpstr(error.name, ==, ERROR("Denied"));
        sd_bus_error_free(&error);
    }
    g_assert_cmpint(
        sd_bus_call_method(bus, AGENT_NAME, AGENT_PATH, AGENT, "OpenChannel", &error, NULL, "a{sv}", 0), <,
        0);
    g_assert_cmpstr(error.name, ==, ERROR("Denied"));
    sd_bus_error_free(&error);
    g_assert_cmpint(sd_bus_call_method(bus, AGENT_NAME, AGENT_PATH, "org.freedesktop.DBus.Properties", "Get",
                                       &error, NULL, "ss", IDENTITY, "State"),
                    <, 0);
    g_assert_cmpstr(error.name, ==, ERROR("Denied"));
    sd_bus_error_free(&error);
    sd_bus_close_unref(bus);
}

static void test_other_user(TestAgent *a, gconstpointer data)
{
    if (geteuid() != 0) {
        g_test_skip("only root can be two users");
        return;
    }
    agent_start(a, NULL);
    g_assert_cmpint(g_chmod(a->folder, 0711), ==, 0);
    test_in_child(call_as_stranger, a);
}

/* fd: the channel; -1: refused for want of room. */
static int open_channel(TestAgent *a)
{
    g_autoptr(GUnixFDList) fds = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
        a->client, AGENT_NAME, AGENT_PATH, AGENT, "OpenChannel",
        g_variant_new("(@a{sv})", g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0)),
        G_VARIANT_TYPE("(h)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, &fds, NULL, &error);

    if (!reply) {
        g_autofree char *name = g_dbus_error_get_remote_error(error);

        g_assert_cmpstr(name, ==, ERROR("QuotaExceeded"));
        return -1;
    }
    int fd = g_unix_fd_list_get(fds, 0, &error);
    g_assert_no_error(error);
    return fd;
}

static sd_bus *channel_bus(int fd)
{
    sd_bus *bus = NULL;

    g_assert_cmpint(sd_bus_new(&bus), >=, 0);
    g_assert_cmpint(sd_bus_set_fd(bus, fd, fd), >=, 0);
    g_assert_cmpint(sd_bus_negotiate_fds(bus, true), >=, 0);
    g_assert_cmpint(sd_bus_start(bus), >=, 0);
    return bus;
}

static void test_channel(TestAgent *a, gconstpointer data)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    const char *kid = NULL;

    agent_start(a, NULL);
    sd_bus *bus = channel_bus(open_channel(a));
    g_assert_cmpint(sd_bus_call_method(bus, NULL, AGENT_PATH, IDENTITY, "Create", &error, &reply, "a{sv}", 0),
                    >=, 0);
    sd_bus_message_unref(reply);
    g_assert_cmpint(sd_bus_get_property_string(bus, NULL, AGENT_PATH, IDENTITY, "State", &error,
                                               (char **)(uintptr_t)&kid),
                    >=, 0);
    g_assert_cmpstr(kid, ==, "ready");
    free((void *)(uintptr_t)kid);
    g_assert_cmpint(sd_bus_call_method(bus, NULL, AGENT_PATH, IDENTITY, "Create", &error, NULL, "a{sv}", 0),
                    <, 0);
    g_assert_cmpstr(error.name, ==, ERROR("AlreadyExists"));
    sd_bus_error_free(&error);
    sd_bus_close_unref(bus);
    g_autofree char *state = agent_state(a); /* the same agent, on the bus */
    g_assert_cmpstr(state, ==, "ready");
}

/* The last line of the authentication and a call in one piece, as GDBus may send them. */
static void test_channel_begin(TestAgent *a, gconstpointer data)
{
    static const char first[] = "\0AUTH EXTERNAL\r\nDATA\r\n", last[] = "BEGIN\r\n";
    g_autoptr(GDBusMessage) call =
        g_dbus_message_new_method_call(NULL, AGENT_PATH, "org.freedesktop.DBus.Peer", "Ping");
    g_autoptr(GByteArray) piece = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    char answer[256];
    gsize n = 0;

    agent_start(a, NULL);
    int fd = open_channel(a);
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    g_assert_cmpint(write(fd, first, sizeof(first) - 1), ==, sizeof(first) - 1);
    for (size_t have = 0;
         have < 4 || memcmp(answer + have - 2, "\r\n", 2) != 0 || !memmem(answer, have, "OK", 2);) {
        g_assert_cmpint(poll(&readable, 1, TEST_AWAIT_SECONDS * 1000), ==, 1);
        ssize_t got = read(fd, answer + have, sizeof(answer) - have);
        g_assert_cmpint(got, >, 0);
        have += (size_t)got;
    }
    g_dbus_message_set_serial(call, 1);
    g_autofree guchar *blob = g_dbus_message_to_blob(call, &n, G_DBUS_CAPABILITY_FLAGS_NONE, &error);
    g_assert_no_error(error);
    g_byte_array_append(piece, (const guint8 *)last, sizeof(last) - 1);
    g_byte_array_append(piece, blob, (guint)n);
    g_assert_cmpint(write(fd, piece->data, piece->len), ==, (gssize)piece->len);
    g_assert_cmpint(poll(&readable, 1, TEST_AWAIT_SECONDS * 1000), ==, 1);
    g_assert_cmpint(read(fd, answer, sizeof(answer)), >, 0);
    g_assert_cmpint(answer[1], ==, G_DBUS_MESSAGE_TYPE_METHOD_RETURN);
    close(fd);
}

static int on_never(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return 0;
}
/* Answers that nobody reads do not gather without end. */
static void test_channel_unread(TestAgent *a, gconstpointer data)
{
    int r = 0;

    agent_start(a, NULL);
    int fd = open_channel(a);
    struct pollfd end = {.fd = dup(fd)}; /* of which the other side's closing is told */
    sd_bus *bus = channel_bus(fd);
    for (unsigned i = 0; r >= 0 && poll(&end, 1, 0) == 0 && i < 20 * CHANNEL_UNREAD_MAX; i++) {
        r = sd_bus_call_method_async(bus, NULL, NULL, AGENT_PATH, "org.freedesktop.DBus.Introspectable",
                                     "Introspect", on_never, NULL, "");
        r = r < 0 ? r : sd_bus_flush(bus);
    }
    g_assert_cmpint(poll(&end, 1, TEST_AWAIT_SECONDS * 1000), ==, 1);
    close(end.fd);
    sd_bus_close_unref(bus);
}

static void test_channel_limit(TestAgent *a, gconstpointer data)
{
    int fds[CHANNELS_MAX];
    int again = -1;

    agent_start(a, NULL);
    for (unsigned i = 0; i < CHANNELS_MAX; i++) {
        fds[i] = open_channel(a);
        g_assert_cmpint(fds[i], >=, 0);
    }
    g_assert_cmpint(open_channel(a), ==, -1);
    close(fds[7]);
    TEST_AWAIT((again = open_channel(a)) >= 0);
    fds[7] = again;
    for (unsigned i = 0; i < CHANNELS_MAX; i++)
        close(fds[i]);
    TEST_AWAIT((again = open_channel(a)) >= 0);
    close(again);
}

/* At each point of a connection: in the handshake and in the messages. */
static void test_garbage(TestAgent *a, gconstpointer data)
{
    static const char *const starts[] = {"", "\0AUTH EXTERNAL 30\r\n", "\0AUTH ANONYMOUS\r\nBEGIN\r\n",
                                         "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"};
    guint8 garbage[GARBAGE_SIZE];

    agent_start(a, NULL);
    for (size_t s = 0; s < G_N_ELEMENTS(starts); s++)
        for (unsigned round = 0; round < 8; round++) {
            int fd = open_channel(a);
            char peer;

            g_assert_cmpint(fd, >=, 0);
            for (size_t i = 0; i < sizeof(garbage); i++)
                garbage[i] = (guint8)g_test_rand_int();
            if (s > 0) {
                (void)!write(fd, "", 1);
                (void)!write(fd, starts[s] + 1, strlen(starts[s] + 1));
            }
            garbage[0] = round % 2 ? 'l' : 'B'; /* as a message begins */
            (void)!write(fd, garbage, sizeof(garbage));
            (void)!read(fd, &peer, 0);
            close(fd);
            g_autofree char *state = agent_state(a);
            g_assert_cmpstr(state, ==, "none");
        }
}

/* Calls that the TPM never answers end with their client; the agent goes on. */
static void test_client_leaves(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    test_swtpm_freeze(a->tpm);
    for (unsigned i = 0; i < 4; i++) {
        g_autoptr(GDBusConnection) other = agent_connect(a);
        sd_bus *channel = channel_bus(open_channel(a));
        GVariant *none = g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0);

        g_dbus_connection_call(other, AGENT_NAME, AGENT_PATH, i % 2 ? AGENT : IDENTITY,
                               i % 2 ? "Diagnose" : "Unlock", g_variant_new_tuple(&none, 1), NULL,
                               G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL, NULL);
        g_assert_true(g_dbus_connection_flush_sync(other, NULL, NULL));
        g_assert_cmpint(sd_bus_call_method_async(channel, NULL, NULL, AGENT_PATH, IDENTITY, "ExportPublic",
                                                 NULL, NULL, "a{sv}", 0),
                        >=, 0);
        g_assert_cmpint(sd_bus_flush(channel), >=, 0);
        g_assert_true(g_dbus_connection_close_sync(other, NULL, NULL));
        sd_bus_close_unref(channel);
        g_autofree char *state = agent_state(a); /* answers while the TPM hangs */
        g_assert_cmpstr(state, ==, "ready");
    }
    test_swtpm_thaw(a->tpm);
    g_variant_unref(agent_call(a, IDENTITY, "Unlock", NULL));
}

/* Quick, though a TPM hangs and calls wait. */
static void test_stop_while_waiting(TestAgent *a, gconstpointer data)
{
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    test_swtpm_freeze(a->tpm);
    sd_bus *channel = channel_bus(open_channel(a));
    g_assert_cmpint(
        sd_bus_call_method_async(channel, NULL, NULL, AGENT_PATH, IDENTITY, "Unlock", NULL, NULL, "a{sv}", 0),
        >=, 0);
    g_assert_cmpint(sd_bus_flush(channel), >=, 0);
    g_autofree char *state = agent_state(a);
    agent_stop(a);
    sd_bus_close_unref(channel);
}

static void test_activation(TestAgent *a, gconstpointer data)
{
    g_autoptr(GKeyFile) service = g_key_file_new();
    g_autofree char *path = g_build_filename(g_getenv("HMSG_BUILD"), "dbus", AGENT_NAME ".service", NULL);
    g_auto(GStrv) environment = agent_environment(a, NULL);
    g_autofree char *variables = g_strjoinv(" ", environment);
    g_autofree char *command = g_strdup_printf("/usr/bin/env %s %s", variables, a->program);

    /* what is installed starts the same program */
    g_assert_true(g_key_file_load_from_file(service, path, G_KEY_FILE_NONE, NULL));
    g_autofree char *name = g_key_file_get_string(service, "D-BUS Service", "Name", NULL);
    g_autofree char *exec = g_key_file_get_string(service, "D-BUS Service", "Exec", NULL);
    g_assert_cmpstr(name, ==, AGENT_NAME);
    g_assert_true(g_str_has_suffix(exec, "/hmsg/hmsg-agent"));
    test_bus_activate(a->bus, AGENT_NAME, command);
    g_autofree char *state = agent_state(a);
    g_assert_cmpstr(state, ==, "none");
}

static void test_one_agent(TestAgent *a, gconstpointer data)
{
    g_auto(GStrv) environment = agent_environment(a, NULL);
    const char *const argv[] = {a->program, NULL};
    g_autofree char *err = NULL;

    agent_start(a, NULL);
    g_assert_cmpint(test_run(argv, (const char *const *)environment, NULL, NULL, &err), ==, 1);
    g_assert_nonnull(strstr(err, "Another agent"));
    g_autofree char *state = agent_state(a);
    g_assert_cmpstr(state, ==, "none");
}

typedef struct Refused {
    const TestAgent *agent;
    char *program, *folder, *tcti;
} Refused;

static void ask_refused_agent(void *data)
{
    const Refused *f = data;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    const char *key, *text = NULL, *tpm = NULL, *help = NULL;
    sd_bus_message *reply = NULL;
    sd_bus *bus = NULL;
    char type;

    test_user_become_nobody();
    g_autofree char *own_data = g_build_filename(f->folder, "data", NULL);
    const char *const argv[] = {f->program, "--tcti", f->tcti, "--data", own_data, "--config", "/none", NULL};
    g_autofree char *address =
        g_strdup_printf("DBUS_SESSION_BUS_ADDRESS=%s", test_bus_address(f->agent->bus));
    const char *const environment[] = {address, NULL};
    g_autoptr(TestProcess) process = test_process_start(argv, environment, NULL);
    g_assert_cmpint(sd_bus_new(&bus), >=, 0);
    g_assert_cmpint(sd_bus_set_address(bus, test_bus_address(f->agent->bus)), >=, 0);
    g_assert_cmpint(sd_bus_set_bus_client(bus, true), >=, 0);
    g_assert_cmpint(sd_bus_start(bus), >=, 0);
    TEST_AWAIT(!test_process_runs(process) || sd_bus_call_method(bus, AGENT_NAME, AGENT_PATH, AGENT,
                                                                 "GetStatus", NULL, &reply, "a{sv}", 0) >= 0);
    g_assert_nonnull(reply);
    g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "{sv}"), >, 0);
    while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
        g_assert_cmpint(sd_bus_message_read_basic(reply, 's', &key), >, 0);
        g_assert_cmpint(sd_bus_message_peek_type(reply, &type, &text), >, 0);
        if (strcmp(text, "s") == 0)
            g_assert_cmpint(sd_bus_message_read(reply, "v", "s", &text), >, 0);
        else
            g_assert_cmpint(sd_bus_message_skip(reply, "v"), >, 0);
        if (strcmp(key, "tpm") == 0)
            tpm = text;
        if (strcmp(key, "tpm_help") == 0)
            help = text;
        g_assert_cmpint(sd_bus_message_exit_container(reply), >, 0);
    }
    g_assert_nonnull(tpm);
    g_assert_nonnull(strstr(tpm, f->tcti));
    g_assert_nonnull(help);
    g_assert_nonnull(strstr(help, "tss"));
    g_assert_nonnull(strstr(help, "usermod -aG"));
    /* and the same where it hurts */
    g_assert_cmpint(
        sd_bus_call_method(bus, AGENT_NAME, AGENT_PATH, IDENTITY, "Create", &error, NULL, "a{sv}", 0), <, 0);
    g_assert_cmpstr(error.name, ==, ERROR("TpmUnavailable"));
    g_assert_nonnull(strstr(error.message, "usermod -aG"));
    sd_bus_error_free(&error);
    sd_bus_message_unref(reply);
    sd_bus_close_unref(bus);
}

static void copy_file(const char *from, const char *to, int mode)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    gsize n = 0;

    g_assert_true(g_file_get_contents(from, &text, &n, &error));
    g_assert_true(g_file_set_contents(to, text, (gssize)n, &error));
    g_assert_cmpint(g_chmod(to, mode), ==, 0);
}

static void test_permission_denied(TestAgent *a, gconstpointer data)
{
    Refused f = {.agent = a};
    g_autofree char *device = g_build_filename(a->folder, "tpmrm0", NULL);
    g_autofree char *program = g_build_filename(a->folder, "hmsg-agent", NULL);
    g_autofree char *home = g_build_filename(a->folder, "home", NULL);
    g_autofree char *tcti = g_strdup_printf("device:%s", device);

    copy_file(a->program, program, 0755); /* the checkout may be out of the user's reach */
    g_assert_true(g_file_set_contents(device, "", 0, NULL));
    g_assert_cmpint(g_chmod(device, 0), ==, 0);
    g_assert_cmpint(g_mkdir(home, 0777), ==, 0);
    g_assert_cmpint(g_chmod(home, 0777), ==, 0);
    g_assert_cmpint(g_chmod(a->folder, 0711), ==, 0);
    f.program = program;
    f.folder = home;
    f.tcti = tcti;
    test_in_child(ask_refused_agent, &f);
}

static void add(const char *path, void (*f)(TestAgent *, gconstpointer))
{
    g_test_add(path, TestAgent, NULL, agent_set_up, f, agent_tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_print("1..0 # SKIP swtpm is not installed\n");
        return 0;
    }
    add("/dbus/agent/introspection", test_introspection);
    add("/dbus/agent/unknown-option", test_unknown_option);
    add("/dbus/agent/cut-characters", test_cut_characters);
    add("/dbus/agent/status", test_status);
    add("/dbus/agent/other-user", test_other_user);
    add("/dbus/agent/channel", test_channel);
    add("/dbus/agent/channel-begin", test_channel_begin);
    add("/dbus/agent/channel-unread", test_channel_unread);
    add("/dbus/agent/channel-limit", test_channel_limit);
    add("/dbus/agent/garbage", test_garbage);
    add("/dbus/agent/client-leaves", test_client_leaves);
    add("/dbus/agent/stop-while-waiting", test_stop_while_waiting);
    add("/dbus/agent/activation", test_activation);
    add("/dbus/agent/one-agent", test_one_agent);
    add("/dbus/agent/permission-denied", test_permission_denied);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent with a courier that is a thief's (evil-courier.c): it lies, asks, floods, is silent, does not
 * even speak D-Bus. It gets no message and no answer, and the agent goes on serving its user. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/wire/export.h"
#include "tests/dbus/cipher.h"
#include "tests/lib/person.h"

#define MAIL AGENT_NAME ".Mail"
#define CONTACTS AGENT_NAME ".Contacts"
#define RELAY "relay.example"
#define PIN "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define TEXT "which no courier is to see"
#define WISHES 10u /* of ask_agent */
#define PROCESSES_MAX 16u

static char *beside(const TestAgent *a, const char *name)
{
    return g_build_filename(a->folder, name, NULL);
}

static char *contents(const TestAgent *a, const char *name)
{
    g_autofree char *path = beside(a, name);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

static bool was_told(const TestAgent *a, const char *what)
{
    g_autofree char *told = contents(a, "told");

    return strstr(told, what);
}

static void add_bob(TestAgent *a)
{
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    g_autoptr(TestPerson) bob = test_person_new();
    g_autofree char *statement = test_person_statement(bob, "bob@" RELAY);
    g_autoptr(GError) error = NULL;
    GVariantDict options;

    g_assert_cmpint(export_write(statement, strlen(statement), &exported), ==, 0);
    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert_value(&options, "key", cipher_bytes(exported.data, exported.size));
    g_autoptr(GVariant) reply =
        g_dbus_connection_call_sync(a->client, AGENT_NAME, AGENT_PATH, CONTACTS, "Add",
                                    g_variant_new("(s@a{sv})", "", g_variant_dict_end(&options)), NULL,
                                    G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, &error);
    g_assert_no_error(error);
}

/* The agent with this kind of courier, an identity, and a contact at a relay that it knows. */
static void start(TestAgent *a, const char *kind)
{
    g_autofree char *config = beside(a, "agent.conf");

    a->courier = beside(a, kind);
    g_assert_cmpint(symlink(g_getenv("HMSG_TEST_EVIL_COURIER"), a->courier), ==, 0);
    g_assert_true(g_file_set_contents(config, "[relays]\nhere = " RELAY ":7443#" PIN "\n", -1, NULL));
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
    add_bob(a);
}

static void works(TestAgent *a)
{
    g_autoptr(GByteArray) package = cipher_package(a);
    g_autoptr(GVariant) opened = cipher_call(
        a, "Decrypt", g_variant_new("(@aya{sv})", cipher_bytes(package->data, package->len), NULL), NULL,
        NULL, NULL);

    g_assert_nonnull(opened);
    agent_expect_state(a, "ready");
}

static GVariant *call(TestAgent *a, const char *interface, const char *method, GVariant *arguments)
{
    return g_dbus_connection_call_sync(a->client, AGENT_NAME, AGENT_PATH, interface, method, arguments, NULL,
                                       G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, NULL, NULL);
}

/* What takes the word of a relay fails, also for Bob, whom the relay has to know. */
static void use_courier(TestAgent *a)
{
    static const char *const bob[] = {"bob@" RELAY, NULL};

    g_assert_null(call(a, MAIL, "Register", g_variant_new("(sa{sv})", "alice@" RELAY, NULL)));
    g_assert_null(call(a, CONTACTS, "Lookup", g_variant_new("(sa{sv})", "carol@" RELAY, NULL)));
    g_assert_null(
        call(a, MAIL, "Send", g_variant_new("(^as@aya{sv})", bob, cipher_bytes(TEXT, strlen(TEXT)), NULL)));
}

/* No content, not a package, and nothing that was signed. */
static void expect_nothing_told(const TestAgent *a)
{
    static const char *const wanted[] = {TEXT, "Submit", "Register", "Login"};

    for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++)
        g_assert_false(was_told(a, wanted[i]));
}

static void test_lying(TestAgent *a, gconstpointer data)
{
    enum { ROUNDS = 10 };

    start(a, "lying");
    for (unsigned i = 0; i < ROUNDS; i++)
        use_courier(a);
    g_assert_true(was_told(a, "Challenge"));
    g_assert_true(was_told(a, "LookupName"));
    expect_nothing_told(a);
    works(a);
    agent_stop(a);
}

static void test_asking(TestAgent *a, gconstpointer data)
{
    unsigned n = 0;

    start(a, "asking");
    use_courier(a);
    g_autofree char *answered = contents(a, "answered");
    g_auto(GStrv) lines = g_strsplit(answered, "\n", -1);
    for (; lines[n] && *lines[n]; n++)
        g_assert_nonnull(strstr(lines[n], " org.freedesktop.DBus.Error.Unknown"));
    g_assert_cmpuint(n, ==, WISHES);
    expect_nothing_told(a);
    works(a);
    agent_stop(a);
}

static void test_flooding(TestAgent *a, gconstpointer data)
{
    start(a, "flooding");
    use_courier(a);
    expect_nothing_told(a);
    works(a);
    agent_stop(a);
}

static void test_garbage(TestAgent *a, gconstpointer kind)
{
    start(a, kind);
    use_courier(a);
    expect_nothing_told(a);
    works(a);
    agent_stop(a);
}

static void on_answer(GObject *source, GAsyncResult *result, gpointer answered)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

    g_assert_null(reply);
    *(bool *)answered = true;
}

/* Who waits for it holds nobody up, nor the agent's end. */
static void test_silent(TestAgent *a, gconstpointer data)
{
    bool answered = false;

    start(a, "silent");
    g_dbus_connection_call(a->client, AGENT_NAME, AGENT_PATH, MAIL, "Register",
                           g_variant_new("(sa{sv})", "alice@" RELAY, NULL), NULL, G_DBUS_CALL_FLAGS_NONE,
                           G_MAXINT, NULL, on_answer, &answered);
    works(a);
    g_assert_false(answered);
    agent_stop(a);
    while (!answered)
        g_main_context_iteration(NULL, TRUE);
}

/* ---- the socket ---- */

static void add_children(int pid, GArray *pids)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", pid, pid);
    g_autofree char *text = NULL;

    g_array_append_val(pids, pid);
    if (pids->len > PROCESSES_MAX || !g_file_get_contents(path, &text, NULL, NULL))
        return;
    g_auto(GStrv) children = g_strsplit(g_strstrip(text), " ", -1);
    for (size_t i = 0; children[i] && *children[i]; i++)
        add_children((int)g_ascii_strtoll(children[i], NULL, 10), pids);
}

/* "socket:[INODE]" of each descriptor that is one. */
static void add_sockets(int pid, GHashTable *sockets)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", pid);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *name;

    while (folder && (name = g_dir_read_name(folder))) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        char *target = g_file_read_link(file, NULL);

        if (target && g_str_has_prefix(target, "socket:["))
            g_hash_table_add(sockets, target);
        else
            g_free(target);
    }
}

/* Agent, launcher and courier have sockets, and none of them has a name or waits for connections: there is
 * nothing that another program could take its place at, or connect to. */
static void test_no_name(TestAgent *a, gconstpointer data)
{
    g_autoptr(GHashTable) sockets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GArray) pids = g_array_new(FALSE, FALSE, sizeof(int));
    g_autofree char *text = NULL;
    unsigned n = 0;

    start(a, "asking");
    use_courier(a);
    add_children(test_process_pid(a->process), pids);
    g_assert_cmpuint(pids->len, >=, 3);
    for (guint i = 0; i < pids->len; i++)
        add_sockets(g_array_index(pids, int, i), sockets);
    if (g_hash_table_size(sockets) == 0) {
        g_test_skip("only root may look at the descriptors of the agent");
        agent_stop(a);
        return;
    }
    g_assert_true(g_file_get_contents("/proc/net/unix", &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (size_t i = 1; lines[i]; i++) {
        unsigned references, protocol, flags, type, state;
        char inode[32], name[128] = "", link[48];

        if (sscanf(lines[i], "%*s %x %x %x %x %x %31s %127s", &references, &protocol, &flags, &type, &state,
                   inode, name) < 6)
            continue;
        (void)g_snprintf(link, sizeof(link), "socket:[%s]", inode);
        if (!g_hash_table_contains(sockets, link))
            continue;
        n++;
        g_assert_cmpstr(name, ==, "");
        g_assert_cmphex(flags, ==, 0); /* listening is one */
    }
    g_assert_cmpuint(n, >=, 4); /* bus, launcher and courier, each of these with two ends */
    agent_stop(a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(path, data, function)                                                                            \
    g_test_add("/dbus/courier/" path, TestAgent, data, agent_set_up, function, agent_tear_down)
    ADD("lying", NULL, test_lying);
    ADD("asking", NULL, test_asking);
    ADD("flooding", NULL, test_flooding);
    ADD("garbage", "garbage", test_garbage);
    ADD("garbage-after-greeting", "greeting", test_garbage);
    ADD("silent", NULL, test_silent);
    ADD("socket-without-name", NULL, test_no_name);
    return g_test_run();
}

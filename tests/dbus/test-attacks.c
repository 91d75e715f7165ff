/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What another program of the same user may try against the agent: its name, its files, its descriptors, its
 * patience. Each must be refused, and the agent must go on serving the others. */

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/dbus/cipher.h"
#include "tests/lib/refused.h"

#define VICTIM "what another program of this user keeps"

static void start(TestAgent *a)
{
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
}

static guint request_name(GDBusConnection *c, guint flags)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
        c, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
        g_variant_new("(su)", AGENT_NAME, flags), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);
    guint answer = 0;

    g_assert_no_error(error);
    g_variant_get(reply, "(u)", &answer);
    return answer;
}

/* Starts the agent, which must give up; what it wrote, to be freed. */
static char *fail_to_start(TestAgent *a)
{
    g_auto(GStrv) environment = agent_environment(a, NULL);
    const char *const argv[] = {a->program, NULL};
    int status = test_process_wait(test_process_start(argv, (const char *const *)environment, a->log));
    char *text = NULL;

    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), !=, 0);
    g_assert_true(g_file_get_contents(a->log, &text, NULL, NULL));
    return text;
}

static void test_fake_agent(TestAgent *a, gconstpointer data)
{
    enum { REPLACE = 2, DO_NOT_QUEUE = 4, EXISTS = 3, PRIMARY = 1 };

    agent_start(a, NULL);
    g_autoptr(GDBusConnection) fake = agent_connect(a);
    g_assert_cmpuint(request_name(fake, REPLACE | DO_NOT_QUEUE), ==, EXISTS);
    agent_stop(a);
    /* the fake was first: the agent says so, and does not wait behind it */
    g_assert_cmpuint(request_name(fake, REPLACE), ==, PRIMARY);
    g_autofree char *log = fail_to_start(a);
    g_assert_nonnull(strstr(log, "The name " AGENT_NAME " on the session bus"));
}

/* ---- links in the data folder ---- */

typedef struct Link {
    const char *name;
    bool hard;
    bool foreign_store; /* the victim is a database of another program */
    bool later;         /* put there when the agent has run once; Landlock alone refuses it */
} Link;

static void write_victim(const char *path, bool store)
{
    sqlite3 *db = NULL;

    if (!store) {
        g_assert_true(g_file_set_contents(path, VICTIM, -1, NULL));
        return;
    }
    g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(db, "CREATE TABLE places(url)", NULL, NULL, NULL), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_close(db), ==, SQLITE_OK);
}

static void test_link(TestAgent *a, gconstpointer data)
{
    const Link *l = data;
    g_autofree char *victim = g_build_filename(a->folder, "victim", NULL);
    g_autofree char *link_path = g_build_filename(a->data, l->name, NULL);
    g_autofree char *before = NULL, *after = NULL, *log = NULL;
    gsize n_before, n_after;
    struct stat st, st_after;

    if (l->later && !has_landlock()) {
        g_test_skip("this kernel has no Landlock");
        return;
    }
    write_victim(victim, l->foreign_store);
    g_assert_true(g_file_get_contents(victim, &before, &n_before, NULL));
    g_assert_cmpint(stat(victim, &st), ==, 0);
    if (l->later) {
        start(a);
        agent_stop(a);
        (void)g_remove(link_path);
    } else {
        g_assert_cmpint(g_mkdir(a->data, 0700), ==, 0);
    }
    g_assert_cmpint(l->hard ? link(victim, link_path) : symlink(victim, link_path), ==, 0);
    log = fail_to_start(a);
    g_assert_true(g_file_get_contents(victim, &after, &n_after, NULL));
    g_assert_cmpmem(before, n_before, after, n_after);
    g_assert_cmpint(stat(victim, &st_after), ==, 0);
    g_assert_cmpint(st.st_mode, ==, st_after.st_mode);
}

/* Folders that are links: nothing of ours appears behind them. */
static void test_linked_folder(TestAgent *a, gconstpointer name)
{
    g_autofree char *elsewhere = g_build_filename(a->folder, "elsewhere", NULL);
    g_autofree char *path = g_build_filename(a->data, name, NULL);
    g_auto(GStrv) environment = agent_environment(a, NULL);
    const char *const argv[] = {a->program, NULL};

    g_assert_cmpint(g_mkdir(elsewhere, 0700), ==, 0);
    g_assert_cmpint(g_mkdir(a->data, 0700), ==, 0);
    g_assert_cmpint(symlink(elsewhere, path), ==, 0);
    /* it gives up at once, or runs and makes no keys */
    a->process = test_process_start(argv, (const char *const *)environment, a->log);
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply = NULL;
    do {
        g_clear_error(&error);
        reply = g_dbus_connection_call_sync(a->client, AGENT_NAME, AGENT_PATH, IDENTITY, "Create",
                                            g_variant_new("(a{sv})", NULL), NULL, G_DBUS_CALL_FLAGS_NONE,
                                            TEST_AWAIT_SECONDS * 1000, NULL, &error);
        g_usleep(TEST_AWAIT_PAUSE);
    } while (g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN) &&
             test_process_runs(a->process));
    g_assert_null(reply);
    g_assert_cmpint(g_rmdir(elsewhere), ==, 0); /* empty */
}

/* ---- descriptors ---- */

typedef struct Mutator {
    int fd;
    size_t n;
    const guint8 *bytes;
    gint stop;
} Mutator;

/* Writes, cuts and grows a file that the agent is reading. */
static void *mutate(void *data)
{
    Mutator *m = data;

    for (guint i = 0; !g_atomic_int_get(&m->stop); i++) {
        const guint8 other = (guint8)i;
        bool done = pwrite(m->fd, &other, 1, (off_t)(i * 7919u % m->n)) == 1;

        if (i % 5 == 0)
            done = ftruncate(m->fd, (off_t)(i * 104729u % m->n)) == 0 && done;
        if (i % 3 == 0)
            done = pwrite(m->fd, m->bytes, m->n, 0) == (ssize_t)m->n && done;
        g_assert_true(done);
    }
    return NULL;
}

static GUnixFDList *two(int in, int out)
{
    g_autoptr(GUnixFDList) fds = g_unix_fd_list_new();

    g_assert_cmpint(g_unix_fd_list_append(fds, in, NULL), ==, 0);
    g_assert_cmpint(g_unix_fd_list_append(fds, out, NULL), ==, 1);
    return g_steal_pointer(&fds);
}

/* One call over bytes that change meanwhile; what came out, if it succeeded. */
static GByteArray *call_mutated(TestAgent *a, bool decrypt, const GByteArray *bytes)
{
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
    Mutator m = {.fd = in, .n = bytes->len, .bytes = bytes->data};
    g_autofree char *name = NULL;
    GVariantDict options;
    pthread_t thread;

    g_assert_cmpint(pwrite(in, bytes->data, bytes->len, 0), ==, bytes->len);
    g_assert_cmpint(pthread_create(&thread, NULL, mutate, &m), ==, 0);
    g_variant_dict_init(&options, NULL);
    g_autoptr(GUnixFDList) fds = two(in, out);
    g_autoptr(GVariant) reply =
        cipher_call(a, decrypt ? "DecryptFd" : "EncryptFd",
                    decrypt ? g_variant_new("(hh@a{sv})", 0, 1, g_variant_dict_end(&options))
                            : g_variant_new("(ashh@a{sv})", NULL, 0, 1, cipher_to_self(a, &options)),
                    fds, &name, NULL);
    g_atomic_int_set(&m.stop, 1);
    g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
    GByteArray *result = NULL;
    if (reply) {
        result = g_byte_array_new();
        g_byte_array_set_size(result, (guint)lseek(out, 0, SEEK_END));
        g_assert_cmpint(pread(out, result->data, result->len, 0), ==, result->len);
    }
    close(in);
    close(out);
    return result;
}

static GByteArray *encrypt(TestAgent *a, const GByteArray *bytes)
{
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
    GVariantDict options;

    g_assert_cmpint(pwrite(in, bytes->data, bytes->len, 0), ==, bytes->len);
    g_variant_dict_init(&options, NULL);
    g_autoptr(GUnixFDList) fds = two(in, out);
    g_autoptr(GVariant) reply =
        cipher_call(a, "EncryptFd", g_variant_new("(ashh@a{sv})", NULL, 0, 1, cipher_to_self(a, &options)),
                    fds, NULL, NULL);
    GByteArray *result = g_byte_array_new();
    g_byte_array_set_size(result, (guint)lseek(out, 0, SEEK_END));
    g_assert_cmpint(pread(out, result->data, result->len, 0), ==, result->len);
    close(in);
    close(out);
    return result;
}

static void test_mutated(TestAgent *a, gconstpointer data)
{
    enum { SIZE = 3 * 1024 * 1024, ROUNDS = 8 };
    g_autoptr(GByteArray) content = g_byte_array_new();

    start(a);
    g_byte_array_set_size(content, SIZE);
    memset(content->data, 'x', SIZE);
    g_autoptr(GByteArray) stream = encrypt(a, content);
    for (unsigned i = 0; i < ROUNDS; i++) {
        GByteArray *sealed = call_mutated(a, false, content);
        GByteArray *opened = call_mutated(a, true, stream);

        /* whatever was read of it was sealed; what opens is what was sealed */
        if (opened)
            g_assert_cmpmem(opened->data, opened->len, content->data, content->len);
        if (sealed)
            g_byte_array_unref(sealed);
        if (opened)
            g_byte_array_unref(opened);
    }
    agent_expect_state(a, "ready");
    agent_stop(a);
}

static void ignore(GObject *source, GAsyncResult *result, gpointer calls)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) reply =
        g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(source), NULL, result, &error);

    (*(guint *)calls)--;
}

/* Pipes that nobody writes to and nobody closes, more than a client may have open. */
static void test_endless(TestAgent *a, gconstpointer data)
{
    enum { CALLS = 300 };
    guint open_calls = 0;
    int ends[2];

    start(a);
    g_autoptr(GByteArray) package = cipher_package(a);
    g_autoptr(GDBusConnection) greedy = agent_connect(a);
    g_assert_cmpint(pipe(ends), ==, 0);
    for (guint i = 0; i < CALLS; i++) {
        GVariantDict options;

        g_variant_dict_init(&options, NULL);
        g_autoptr(GUnixFDList) fds = two(ends[0], ends[1]);
        open_calls++;
        g_dbus_connection_call_with_unix_fd_list(
            greedy, AGENT_NAME, AGENT_PATH, CIPHER, "EncryptFd",
            g_variant_new("(ashh@a{sv})", NULL, 0, 1, cipher_to_self(a, &options)), NULL,
            G_DBUS_CALL_FLAGS_NONE, G_MAXINT, fds, NULL, ignore, &open_calls);
    }
    g_assert_true(g_dbus_connection_flush_sync(greedy, NULL, NULL));
    /* others are served all the while, by content as well */
    for (guint i = 0; i < 5; i++) {
        g_autoptr(GVariant) opened = cipher_call(
            a, "Decrypt", g_variant_new("(@aya{sv})", cipher_bytes(package->data, package->len), NULL), NULL,
            NULL, NULL);

        g_assert_nonnull(opened);
    }
    g_assert_true(g_dbus_connection_close_sync(greedy, NULL, NULL));
    TEST_AWAIT(g_main_context_iteration(NULL, FALSE) || open_calls == 0);
    while (open_calls > 0)
        g_main_context_iteration(NULL, TRUE);
    close(ends[0]);
    close(ends[1]);
    agent_expect_state(a, "ready");
    agent_stop(a);
}

/* ---- patience ---- */

/* A client that asks and asks and never reads an answer. */
static void test_flood(TestAgent *a, gconstpointer data)
{
    enum { CALLS = 20000 };

    start(a);
    g_autoptr(GDBusConnection) flooder = agent_connect(a);
    for (guint i = 0; i < CALLS; i++) {
        g_autoptr(GDBusMessage) m =
            g_dbus_message_new_method_call(AGENT_NAME, AGENT_PATH, AGENT, "GetStatus");

        g_dbus_message_set_body(m, g_variant_new("(a{sv})", NULL));
        if (!g_dbus_connection_send_message(flooder, m, G_DBUS_SEND_MESSAGE_FLAGS_NONE, NULL, NULL))
            break;
        if (i % 1000 == 0)
            agent_expect_state(a, "ready");
    }
    agent_expect_state(a, "ready");
    g_variant_unref(agent_call(a, AGENT, "GetStatus", NULL));
    agent_stop(a);
}

/* ---- dumps ---- */

/* A signal that dumps, and that no sanitizer catches, where dumps are allowed and the folder is the
 * attacker's. */
static void test_core(TestAgent *a, gconstpointer data)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    g_autofree char *old = g_get_current_dir();
    struct rlimit before;
    const char *name;
    int status;

    g_assert_cmpint(getrlimit(RLIMIT_CORE, &before), ==, 0);
    if (setrlimit(RLIMIT_CORE, &unlimited) < 0) {
        g_test_skip("core dumps are not allowed here");
        return;
    }
    g_assert_cmpint(chdir(a->folder), ==, 0);
    start(a);
    test_process_signal(a->process, SIGQUIT);
    status = test_process_wait(g_steal_pointer(&a->process));
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGQUIT);
    g_assert_false(WCOREDUMP(status));
    g_autoptr(GDir) folder = g_dir_open(a->folder, 0, NULL);
    while ((name = g_dir_read_name(folder)))
        g_assert_false(g_str_has_prefix(name, "core"));
    g_assert_cmpint(chdir(old), ==, 0);
    (void)setrlimit(RLIMIT_CORE, &before);
}

int main(int argc, char **argv)
{
    static const Link links[] = {
        {"store.db", .hard = false},
        {"store.db", .hard = true},
        {"store.db", .hard = true, .foreign_store = true},
        {"store.db.lock", .hard = false},
        {"store.db-wal", .later = true},
    };

    g_test_init(&argc, &argv, NULL);
#define ADD(path, data, function)                                                                            \
    g_test_add("/dbus/attacks/" path, TestAgent, data, agent_set_up, function, agent_tear_down)
    ADD("fake-agent", NULL, test_fake_agent);
    for (size_t i = 0; i < G_N_ELEMENTS(links); i++) {
        g_autofree char *path =
            g_strdup_printf("/dbus/attacks/link/%s-%s%s", links[i].hard ? "hard" : "symbolic", links[i].name,
                            links[i].foreign_store ? "-of-another-program" : "");

        g_test_add(path, TestAgent, &links[i], agent_set_up, test_link, agent_tear_down);
    }
    ADD("link/folder-mail", "mail", test_linked_folder);
    ADD("link/folder-keys", "keys", test_linked_folder);
    ADD("mutated-memfd", NULL, test_mutated);
    ADD("endless-descriptors", NULL, test_endless);
    ADD("flood", NULL, test_flood);
    ADD("core", NULL, test_core);
    return g_test_run();
}

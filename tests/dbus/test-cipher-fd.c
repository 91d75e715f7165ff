/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/dbus/cipher.h"

#define SIZE (3u * 1024u * 1024u + 5u)
#define PIECE 65536u
#define JOB "of the test"

/* A call that is answered while the test goes on. */
typedef struct Pending {
    bool done;
    GVariant *reply;
    char *error;
} Pending;

static void on_reply(GObject *source, GAsyncResult *result, gpointer userdata)
{
    Pending *p = userdata;
    g_autoptr(GError) error = NULL;

    p->reply =
        g_dbus_connection_call_with_unix_fd_list_finish(G_DBUS_CONNECTION(source), NULL, result, &error);
    p->error = error ? g_dbus_error_get_remote_error(error) : NULL;
    p->done = true;
}

static void pending_clear(Pending *p)
{
    g_clear_pointer(&p->reply, g_variant_unref);
    g_clear_pointer(&p->error, g_free);
    p->done = false;
}

static bool loop_until(const bool *done)
{
    (void)g_main_context_iteration(NULL, FALSE);
    return *done;
}

static GUnixFDList *fd_list(int source, int destination)
{
    GUnixFDList *fds = g_unix_fd_list_new();

    g_assert_cmpint(g_unix_fd_list_append(fds, source, NULL), ==, 0);
    g_assert_cmpint(g_unix_fd_list_append(fds, destination, NULL), ==, 1);
    return fds;
}

static void begin(GDBusConnection *c, const char *method, GVariant *arguments, int source, int destination,
                  Pending *p)
{
    g_autoptr(GUnixFDList) fds = fd_list(source, destination);

    g_dbus_connection_call_with_unix_fd_list(c, AGENT_NAME, AGENT_PATH, CIPHER, method, arguments, NULL,
                                             G_DBUS_CALL_FLAGS_NONE, TEST_AWAIT_SECONDS * 1000, fds, NULL,
                                             p ? on_reply : NULL, p);
    g_assert_true(g_dbus_connection_flush_sync(c, NULL, NULL));
}

/* With the agent's own key as the recipient. job: for Progress, or NULL. */
static GVariant *encrypt_arguments(TestAgent *a, const char *job, bool sign)
{
    GVariantDict options;

    g_variant_dict_init(&options, NULL);
    if (job) {
        g_variant_dict_insert(&options, "job", "s", job);
        g_variant_dict_insert(&options, "size", "t", (guint64)SIZE);
    }
    g_variant_dict_insert(&options, "sign", "b", sign);
    return g_variant_new("(ashh@a{sv})", NULL, 0, 1, cipher_to_self(a, &options));
}

static GVariant *decrypt_arguments(void)
{
    return g_variant_new("(hha{sv})", 0, 1, NULL);
}

static int file_of(const void *data, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, data, n), ==, (gssize)n);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    return fd;
}

static GByteArray *contents(int fd)
{
    off_t n = lseek(fd, 0, SEEK_END);
    GByteArray *b = g_byte_array_new();

    g_byte_array_set_size(b, (guint)n);
    g_assert_cmpint(pread(fd, b->data, (size_t)n, 0), ==, n);
    return b;
}

static GByteArray *pattern(void)
{
    GByteArray *b = g_byte_array_new();

    g_byte_array_set_size(b, SIZE);
    for (guint i = 0; i < SIZE; i++)
        b->data[i] = (guint8)(i * 7 + i / 253);
    return b;
}

static void start(TestAgent *a)
{
    agent_start(a, NULL);
    g_variant_unref(agent_call(a, IDENTITY, "Create", NULL));
}

static guint64 number(GVariant *reply, const char *key)
{
    g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);
    guint64 n = 0;

    g_assert_true(g_variant_lookup(facts, key, "t", &n));
    return n;
}

/* What DecryptFd does with a file. */
static GByteArray *decrypt(TestAgent *a, const GByteArray *stream, const char *error)
{
    int in = file_of(stream->data, stream->len), out = file_of("", 0);
    g_autoptr(GUnixFDList) fds = fd_list(in, out);
    g_autofree char *name = NULL;
    g_autoptr(GVariant) reply =
        cipher_call(a, "DecryptFd", decrypt_arguments(), fds, error ? &name : NULL, NULL);

    g_assert_cmpstr(name, ==, error);
    GByteArray *all = contents(out);
    if (reply) {
        g_assert_cmpuint(number(reply, "bytes_in"), ==, stream->len);
        g_assert_cmpuint(number(reply, "bytes_out"), ==, all->len);
    }
    close(in);
    close(out);
    return all;
}

static GByteArray *encrypt(TestAgent *a, const GByteArray *data, bool sign)
{
    int in = file_of(data->data, data->len), out = file_of("", 0);
    g_autoptr(GUnixFDList) fds = fd_list(in, out);
    g_autoptr(GVariant) reply =
        cipher_call(a, "EncryptFd", encrypt_arguments(a, NULL, sign), fds, NULL, NULL);
    GByteArray *all = contents(out);

    g_assert_cmpuint(number(reply, "bytes_in"), ==, data->len);
    g_assert_cmpuint(number(reply, "bytes_out"), ==, all->len);
    close(in);
    close(out);
    return all;
}

static void test_files(TestAgent *a, gconstpointer over_channel)
{
    g_autoptr(GByteArray) data = pattern();

    start(a);
    g_autoptr(GDBusConnection) bus = a->client;
    a->client = over_channel ? cipher_channel(a) : g_object_ref(bus);
    g_autoptr(GByteArray) stream = encrypt(a, data, true);
    g_autoptr(GByteArray) back = decrypt(a, stream, NULL);
    g_assert_cmpmem(back->data, back->len, data->data, data->len);
    g_autoptr(GByteArray) anonymous = encrypt(a, data, false);
    g_autoptr(GByteArray) refused = decrypt(a, anonymous, ERROR("Untrusted"));
    g_assert_cmpuint(refused->len, ==, 0);
    /* changed near its end: what came out is the beginning of the content */
    stream->data[stream->len - 100] ^= 1;
    g_autoptr(GByteArray) part = decrypt(a, stream, ERROR("AuthenticationFailed"));
    g_assert_cmpuint(part->len, <, data->len);
    g_assert_cmpmem(part->data, part->len, data->data, part->len);
    g_byte_array_set_size(stream, 10);
    g_autoptr(GByteArray) cut = decrypt(a, stream, ERROR("BadPackage"));
    g_assert_cmpuint(cut->len, ==, 0);
    g_object_unref(a->client);
    a->client = g_object_ref(bus);
    agent_stop(a);
}

/* DecryptFd of source with a range; the error's text goes to ret_text. */
static GByteArray *decrypt_range(TestAgent *a, int source, guint64 offset, guint64 length, const char *error,
                                 char **ret_text, gboolean *ret_to_end)
{
    GVariantDict options;
    int out = file_of("", 0);
    g_autoptr(GUnixFDList) fds = fd_list(source, out);
    g_autofree char *name = NULL;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "range", "(tt)", offset, length);
    g_autoptr(GVariant) reply =
        cipher_call(a, "DecryptFd", g_variant_new("(hh@a{sv})", 0, 1, g_variant_dict_end(&options)), fds,
                    error ? &name : NULL, ret_text);
    g_assert_cmpstr(name, ==, error);
    if (reply) {
        g_autoptr(GVariant) facts = g_variant_get_child_value(reply, 0);

        g_assert_true(g_variant_lookup(facts, "to_end", "b", ret_to_end));
    }
    GByteArray *all = contents(out);
    close(out);
    return all;
}

static void test_range(TestAgent *a, gconstpointer data)
{
    g_autofree char *text = NULL;
    g_autofree char *pipe_text = NULL;
    gboolean to_end = TRUE;
    int ends[2];

    start(a);
    g_autoptr(GByteArray) content = pattern();
    g_autoptr(GByteArray) stream = encrypt(a, content, true);
    int in = file_of(stream->data, stream->len);
    g_autoptr(GByteArray) some = decrypt_range(a, in, 70000, 20000, NULL, NULL, &to_end);
    g_assert_cmpmem(some->data, some->len, content->data + 70000, 20000);
    g_assert_false(to_end);
    /* from where it stands */
    g_assert_cmpint(lseek(in, 0, SEEK_SET), ==, 0);
    g_autoptr(GByteArray) tail = decrypt_range(a, in, SIZE - 3, G_MAXUINT64, NULL, NULL, &to_end);
    g_assert_cmpmem(tail->data, tail->len, content->data + SIZE - 3, 3);
    g_assert_true(to_end);
    g_assert_cmpint(lseek(in, 0, SEEK_SET), ==, 0);
    g_autoptr(GByteArray) behind =
        decrypt_range(a, in, SIZE + 1, 1, "org.freedesktop.DBus.Error.InvalidArgs", &text, &to_end);
    g_assert_nonnull(strstr(text, "behind the end"));
    g_assert_cmpuint(behind->len, ==, 0);
    g_assert_cmpint(lseek(in, 0, SEEK_SET), ==, 0);
    g_autoptr(GByteArray) nothing =
        decrypt_range(a, in, 0, 0, "org.freedesktop.DBus.Error.InvalidArgs", NULL, &to_end);
    g_assert_cmpuint(nothing->len, ==, 0);
    close(in);

    g_assert_cmpint(pipe(ends), ==, 0);
    g_autoptr(GByteArray) piped =
        decrypt_range(a, ends[0], 0, 1, "org.freedesktop.DBus.Error.InvalidArgs", &pipe_text, &to_end);
    g_assert_nonnull(strstr(pipe_text, "not from a pipe"));
    g_assert_cmpuint(piped->len, ==, 0);
    close(ends[0]);
    close(ends[1]);
    agent_stop(a);
}

typedef struct Told {
    bool some;
    guint64 done, total;
} Told;

static void on_progress(GDBusConnection *c, const char *sender, const char *path, const char *interface,
                        const char *signal, GVariant *arguments, gpointer userdata)
{
    Told *t = userdata;
    const char *job = NULL;
    guint64 before = t->done;

    g_variant_get(arguments, "(&stt)", &job, &t->done, &t->total);
    g_assert_cmpstr(job, ==, JOB);
    g_assert_cmpuint(t->done, >=, before);
    t->some = true;
}

static guint watch(GDBusConnection *c, Told *t)
{
    return g_dbus_connection_signal_subscribe(c, NULL, AGENT, "Progress", AGENT_PATH, NULL,
                                              G_DBUS_SIGNAL_FLAGS_NONE, on_progress, t, NULL);
}

/* Through pipes that are filled and emptied bit by bit; another client is told nothing. */
static void test_pipes(TestAgent *a, gconstpointer none)
{
    g_autoptr(GByteArray) data = pattern();
    Pending call = {0};
    Told told = {0}, other_told = {0};
    int source[2], out = file_of("", 0);

    start(a);
    g_autoptr(GDBusConnection) other = agent_connect(a);
    guint id = watch(a->client, &told), other_id = watch(other, &other_told);
    g_assert_cmpint(pipe(source), ==, 0);
    begin(a->client, "EncryptFd", encrypt_arguments(a, JOB, true), source[0], out, &call);
    close(source[0]);
    for (guint at = 0; at < data->len; at += PIECE) {
        gsize n = MIN(PIECE, data->len - at);

        g_assert_cmpint(write(source[1], data->data + at, n), ==, (gssize)n);
        if (at == 0)
            TEST_AWAIT(loop_until(&told.some));
    }
    g_assert_false(call.done);
    g_assert_cmpuint(told.done, >, 0);
    g_assert_cmpuint(told.total, ==, SIZE);
    close(source[1]);
    TEST_AWAIT(loop_until(&call.done));
    g_assert_null(call.error);
    g_assert_cmpuint(number(call.reply, "bytes_in"), ==, data->len);
    pending_clear(&call);
    g_autoptr(GByteArray) stream = contents(out);
    g_autoptr(GByteArray) back = decrypt(a, stream, NULL);
    g_assert_cmpmem(back->data, back->len, data->data, data->len);
    g_assert_false(other_told.some);
    g_dbus_connection_signal_unsubscribe(a->client, id);
    g_dbus_connection_signal_unsubscribe(other, other_id);
    close(out);
    agent_stop(a);
}

static bool is_closed(int fd)
{
    return write(fd, "", 1) < 0 && errno == EPIPE;
}

/* The agent lets go of the pipes of a client that has left. */
static void test_client_leaves(TestAgent *a, gconstpointer over_channel)
{
    int source[2], sink = file_of("", 0);

    start(a);
    GDBusConnection *other = over_channel ? cipher_channel(a) : agent_connect(a);
    g_assert_cmpint(pipe(source), ==, 0);
    begin(other, "EncryptFd", encrypt_arguments(a, NULL, true), source[0], sink, NULL);
    close(source[0]);
    g_assert_cmpint(write(source[1], "some", 4), ==, 4);
    g_assert_true(g_dbus_connection_close_sync(other, NULL, NULL));
    g_object_unref(other);
    TEST_AWAIT(is_closed(source[1]));
    close(source[1]);
    close(sink);
    g_autofree char *state = agent_state(a);
    g_assert_cmpstr(state, ==, "ready");
    agent_stop(a);
}

/* What runs when the agent is locked ends, and no more comes out. */
static void test_lock(TestAgent *a, gconstpointer none)
{
    g_autoptr(GByteArray) data = pattern();
    Pending seal = {0}, open = {0};
    int source[2], stream_source[2], sink = file_of("", 0), plain = file_of("", 0);

    start(a);
    g_autoptr(GByteArray) stream = encrypt(a, data, true);
    g_assert_true(pipe(source) == 0 && pipe(stream_source) == 0);
    begin(a->client, "EncryptFd", encrypt_arguments(a, NULL, true), source[0], sink, &seal);
    begin(a->client, "DecryptFd", decrypt_arguments(), stream_source[0], plain, &open);
    close(source[0]);
    close(stream_source[0]);
    for (guint at = 0; at < 4 * PIECE; at += PIECE) {
        g_assert_cmpint(write(source[1], data->data + at, PIECE), ==, PIECE);
        g_assert_cmpint(write(stream_source[1], stream->data + at, PIECE), ==, PIECE);
    }
    TEST_AWAIT(lseek(plain, 0, SEEK_END) > 0 && lseek(sink, 0, SEEK_END) > 0);
    g_assert_true(!seal.done && !open.done);
    g_variant_unref(agent_call(a, IDENTITY, "Lock", NULL));
    TEST_AWAIT(loop_until(&seal.done) && loop_until(&open.done));
    g_assert_cmpstr(seal.error, ==, ERROR("Locked"));
    g_assert_cmpstr(open.error, ==, ERROR("Locked"));
    TEST_AWAIT(is_closed(source[1]) && is_closed(stream_source[1]));
    g_autoptr(GByteArray) part = contents(plain);
    g_assert_cmpuint(part->len, <, data->len);
    g_assert_cmpmem(part->data, part->len, data->data, part->len);
    pending_clear(&seal);
    pending_clear(&open);
    close(source[1]);
    close(stream_source[1]);
    close(sink);
    close(plain);
    agent_stop(a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_print("1..0 # SKIP swtpm is not installed\n");
        return 0;
    }
    (void)signal(SIGPIPE, SIG_IGN);
#define ADD(name, data, function)                                                                            \
    g_test_add("/dbus/cipher-fd/" name, TestAgent, data, agent_set_up, function, agent_tear_down)
    ADD("files", NULL, test_files);
    ADD("files-channel", "channel", test_files);
    ADD("range", NULL, test_range);
    ADD("pipes", NULL, test_pipes);
    ADD("client-leaves", NULL, test_client_leaves);
    ADD("client-leaves-channel", "channel", test_client_leaves);
    ADD("lock", NULL, test_lock);
    return g_test_run();
}

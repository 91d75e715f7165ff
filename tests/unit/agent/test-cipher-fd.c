/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "agent/cipher-fd.h"
#include "libhmsg/base/file.h"
#include "tests/unit/agent/cipher-scene.h"

static void on_fd(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    Result *x = userdata;

    take(x, r, detail, NULL);
    if (info) {
        x->info = *info;
        x->sender = g_strdup(info->sender);
    }
}

static void on_progress(uint64_t done, uint64_t total, void *userdata)
{
    ((Result *)userdata)->progress++;
}

static int temporary(const void *data, size_t n)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("hmsg-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    unlink(path);
    g_assert_cmpint(file_write_fd(fd, data, n), ==, 0);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    return fd;
}

static GByteArray *contents(int fd)
{
    GByteArray *all = g_byte_array_new();
    uint8_t piece[4096];
    ssize_t n;

    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        g_byte_array_append(all, piece, (guint)n);
    close(fd);
    return all;
}

static GByteArray *seal_fd(Scene *s, size_t n_keys, const GByteArray *data, const SealOptions *o)
{
    int in = temporary(data->data, data->len), out = temporary("", 0);
    SealKey keys[] = {s->us, s->us, s->us};
    Result x = {0};

    g_assert_cmpint(cipher_seal_fd(s->m->cipher, keys, n_keys, in, out, o, 0, on_progress, on_fd, &x, &x.job),
                    ==, 0);
    double_run(s->d, &x.done);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpuint(x.info.bytes_in, ==, data->len);
    GByteArray *all = contents(out);
    g_assert_cmpuint(x.info.bytes_out, ==, all->len);
    result_clear(&x);
    close(in);
    return all;
}

static GByteArray *open_fd(Scene *s, const GByteArray *data, const OpenOptions *o, Result *x)
{
    int in = temporary(data->data, data->len), out = temporary("", 0);

    *x = (Result){0};
    g_assert_cmpint(cipher_open_fd(s->m->cipher, in, out, o, 0, on_progress, on_fd, x, &x->job), ==, 0);
    double_run(s->d, &x->done);
    close(in);
    return contents(out);
}

static GByteArray *random_bytes(size_t n)
{
    GByteArray *b = g_byte_array_new();

    g_byte_array_set_size(b, (guint)n);
    g_assert_cmpint(crypto_random(b->data, n), ==, 0);
    return b;
}

static void test_files(void)
{
    static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 262144, 262145, 1000000, 3 * 262144};
    Result x;
    Scene s;

    scene_open(&s);
    for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
        g_autoptr(GByteArray) data = random_bytes(sizes[i]);

        for (size_t n = 1; n <= 3; n += 2) {
            g_autoptr(GByteArray) stream = seal_fd(&s, n, data, &plain);
            g_autoptr(GByteArray) back = open_fd(&s, stream, &strict, &x);

            g_assert_cmpint(x.r, ==, 0);
            g_assert_cmpmem(back->data, back->len, data->data, data->len);
            g_assert_true(x.info.verified);
            g_assert_cmpstr(x.info.format, ==, "stream");
            g_assert_cmpuint(x.info.bytes_in, ==, stream->len);
            g_assert_cmpuint(x.info.bytes_out, ==, data->len);
            result_clear(&x);
        }
    }
    /* a package, too */
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) back = open_fd(&s, p, &strict, &x);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpmem(back->data, back->len, TEXT, strlen(TEXT));
    g_assert_cmpstr(x.info.format, ==, "hmsg");
    result_clear(&x);
    scene_close(&s);
}

/* What comes out of a changed or cut stream is the beginning of what went in, and an error. */
static void test_bad_streams(void)
{
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) data = random_bytes(40000);
    g_autoptr(GByteArray) stream = seal_fd(&s, 2, data, &plain);
    for (guint i = 0; i < stream->len; i += i < 300 || i > stream->len - 1200 ? 13 : 997) {
        stream->data[i] ^= 0x10;
        g_autoptr(GByteArray) back = open_fd(&s, stream, &strict, &x);
        stream->data[i] ^= 0x10;
        g_assert_cmpint(x.r, !=, 0);
        g_assert_cmpuint(back->len, <=, data->len);
        g_assert_cmpmem(back->data, back->len, data->data, back->len);
        result_clear(&x);
    }
    for (guint n = 0; n < stream->len; n += 991) {
        g_autoptr(GByteArray) cut = g_byte_array_new();
        g_byte_array_append(cut, stream->data, n);
        g_autoptr(GByteArray) back = open_fd(&s, cut, &strict, &x);
        g_assert_true(x.r == HMSG_ERROR_AUTHENTICATION_FAILED || x.r == HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpmem(back->data, back->len, data->data, back->len);
        result_clear(&x);
    }
    scene_close(&s);
}

/* Without its signature a stream for several is of nobody that we know. */
static void test_no_trailer(void)
{
    const SealOptions anonymous = {.anonymous = true};
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) data = random_bytes(100);
    g_autoptr(GByteArray) nobody = seal_fd(&s, 2, data, &anonymous);
    g_autoptr(GByteArray) out = open_fd(&s, nobody, &strict, &x);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(out->len, ==, 0);
    result_clear(&x);
    g_autoptr(GByteArray) allowed = open_fd(&s, nobody, &unknown, &x);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpmem(allowed->data, allowed->len, data->data, data->len);
    g_assert_false(x.info.verified);
    result_clear(&x);

    g_autoptr(GByteArray) stream = seal_fd(&s, 2, data, &plain);
    memset(stream->data + 12, 0, 4); /* says that there is none */
    g_autoptr(GByteArray) refused = open_fd(&s, stream, &strict, &x);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(refused->len, ==, 0);
    result_clear(&x);
    scene_close(&s);
}

static void expect_range(Scene *s, const GByteArray *sealed_data, const OpenOptions *o,
                         const GByteArray *expected, size_t at, size_t n, bool to_end)
{
    Result x;
    g_autoptr(GByteArray) back = open_fd(s, sealed_data, o, &x);

    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpmem(back->data, back->len, expected->data + at, n);
    g_assert_true(x.info.is_range);
    g_assert_true(x.info.to_end == to_end);
    g_assert_true(x.info.verified == !o->allow_unknown);
    g_assert_cmpuint(x.info.bytes_out, ==, n);
    result_clear(&x);
}

static void expect_range_error(Scene *s, const GByteArray *sealed_data, const OpenOptions *o, int r,
                               const char *words)
{
    Result x;
    g_autoptr(GByteArray) back = open_fd(s, sealed_data, o, &x);

    g_assert_cmpint(x.r, ==, r);
    g_assert_nonnull(strstr(x.detail, words));
    g_assert_cmpuint(back->len, ==, 0);
    result_clear(&x);
}

static void test_range(void)
{
    const OpenOptions some = {.range_offset = 20000, .range_length = 30000};
    const OpenOptions tail = {.range_offset = 99000, .range_length = UINT64_MAX};
    const OpenOptions behind = {.range_offset = 100001, .range_length = 1};
    const OpenOptions several = {.range_offset = 20000, .range_length = 30000, .allow_unknown = true};
    const OpenOptions word = {.range_offset = 5, .range_length = 5};
    const OpenOptions rest = {.range_offset = 5, .range_length = 5000};
    Result x = {0};
    int ends[2];
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) data = random_bytes(100000);
    g_autoptr(GByteArray) one = seal_fd(&s, 1, data, &plain);
    expect_range(&s, one, &some, data, 20000, 30000, false);
    expect_range(&s, one, &tail, data, 99000, 1000, true);
    expect_range_error(&s, one, &behind, HMSG_ERROR_INVALID_ARGS, "behind the end");
    /* the signature of a stream for several is over the whole */
    g_autoptr(GByteArray) two = seal_fd(&s, 2, data, &plain);
    expect_range_error(&s, two, &some, HMSG_ERROR_UNTRUSTED, "over the whole");
    expect_range(&s, two, &several, data, 20000, 30000, false);
    /* a package is verified as a whole, and then cut */
    g_autoptr(GByteArray) package = sealed(&s, &plain);
    g_autoptr(GByteArray) text = g_byte_array_new();
    g_byte_array_append(text, (const guint8 *)TEXT, strlen(TEXT));
    expect_range(&s, package, &word, text, 5, 5, true);
    expect_range(&s, package, &rest, text, 5, strlen(TEXT) - 5, true);
    expect_range_error(&s, package, &tail, HMSG_ERROR_INVALID_ARGS, "behind the end");

    g_assert_cmpint(pipe(ends), ==, 0);
    g_assert_cmpint(cipher_open_fd(s.m->cipher, ends[0], ends[1], &some, 0, NULL, on_fd, &x, &x.job), ==,
                    HMSG_ERROR_INVALID_ARGS);
    close(ends[0]);
    close(ends[1]);
    scene_close(&s);
}

/* Both ends pipes or sockets that nobody serves: cancelling must not wait for them. */
static void test_stuck(void)
{
    static char much[1024 * 1024];
    int in[2], out[2];
    Result x = {0}, y = {0};
    Scene s;

    scene_open(&s);
    for (unsigned round = 0; round < 2; round++) {
        if (round == 0)
            g_assert_true(pipe(in) == 0 && pipe(out) == 0);
        else
            g_assert_true(socketpair(AF_UNIX, SOCK_STREAM, 0, in) == 0 &&
                          socketpair(AF_UNIX, SOCK_STREAM, 0, out) == 0);
        int file = temporary(much, sizeof(much));
        g_assert_cmpint(
            cipher_seal_fd(s.m->cipher, &s.us, 1, in[0], out[1], &plain, 0, on_progress, on_fd, &x, &x.job),
            ==, 0);
        g_assert_cmpint(
            cipher_seal_fd(s.m->cipher, &s.us, 1, file, out[1], &plain, 0, NULL, on_fd, &y, &y.job), ==, 0);
        for (unsigned i = 0; i < 20; i++) {
            double_turn(s.d);
            g_usleep(1000);
        }
        g_assert_true(!x.done && !y.done);
        result_clear(&x);
        result_clear(&y);
        for (unsigned i = 0; i < 2; i++) {
            close(in[i]);
            close(out[i]);
        }
        close(file);
    }
    scene_close(&s); /* waits for the threads */
}

typedef struct Leaver {
    CipherJob *job;
    bool left, answered;
} Leaver;

static void on_progress_leave(uint64_t done, uint64_t total, void *userdata)
{
    Leaver *l = userdata;

    l->job = cipher_job_free(l->job);
    l->left = true;
}

static void on_left(int r, const char *detail, const OpenInfo *info, void *userdata)
{
    ((Leaver *)userdata)->answered = true;
}

/* Progress that frees its job, also the last one, is the end of it. */
static void test_leaves_in_progress(void)
{
    int in = temporary("abc", 3), out = temporary("", 0);
    Leaver l = {0};
    Scene s;

    scene_open(&s);
    g_assert_cmpint(
        cipher_seal_fd(s.m->cipher, &s.us, 1, in, out, &plain, 0, on_progress_leave, on_left, &l, &l.job), ==,
        0);
    double_run(s.d, &l.left);
    for (unsigned i = 0; i < 20; i++)
        double_turn(s.d);
    g_assert_false(l.answered);
    close(in);
    close(out);
    scene_close(&s);
}

static void test_fd_errors(void)
{
    int in = temporary("abc", 3), out[2];
    Result x = {0};
    Scene s;

    scene_open(&s);
    /* nobody reads: an error, and no signal */
    g_assert_cmpint(pipe(out), ==, 0);
    close(out[0]);
    g_assert_cmpint(cipher_seal_fd(s.m->cipher, &s.us, 1, in, out[1], &plain, 0, NULL, on_fd, &x, &x.job), ==,
                    0);
    double_run(s.d, &x.done);
    g_assert_cmpint(x.r, ==, -EPIPE);
    result_clear(&x);
    int folder = open("/", O_RDONLY | O_DIRECTORY);
    g_assert_cmpint(cipher_seal_fd(s.m->cipher, &s.us, 1, folder, out[1], &plain, 0, NULL, on_fd, &x, &x.job),
                    ==, -EINVAL);
    g_assert_cmpint(cipher_open_fd(s.m->cipher, -1, out[1], &strict, 0, NULL, on_fd, &x, &x.job), ==, -EBADF);
    close(folder);
    close(out[1]);
    close(in);
    /* locked in the middle: nothing more comes out */
    int source[2], sink[2];
    g_assert_true(pipe(source) == 0 && pipe(sink) == 0);
    g_assert_cmpint(cipher_open_fd(s.m->cipher, source[0], sink[1], &strict, 0, NULL, on_fd, &x, &x.job), ==,
                    0);
    double_lock(s.d);
    g_assert_true(x.done);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_LOCKED);
    result_clear(&x);
    for (unsigned i = 0; i < 2; i++) {
        close(source[i]);
        close(sink[i]);
    }
    scene_close(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cipher-fd/files", test_files);
    g_test_add_func("/cipher-fd/bad-streams", test_bad_streams);
    g_test_add_func("/cipher-fd/no-trailer", test_no_trailer);
    g_test_add_func("/cipher-fd/range", test_range);
    g_test_add_func("/cipher-fd/stuck", test_stuck);
    g_test_add_func("/cipher-fd/leaves-in-progress", test_leaves_in_progress);
    g_test_add_func("/cipher-fd/fd-errors", test_fd_errors);
    return g_test_run();
}

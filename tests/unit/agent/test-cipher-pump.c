/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cipher-pump.h"

#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"

#define NOW INT64_C(1800000000)

static TestPerson *alice, *bob;

static int memory(const void *data, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(file_write_fd(fd, data, n), ==, 0);
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    return fd;
}

/* Closes fd. */
static GByteArray *contents(int fd)
{
    off_t n = lseek(fd, 0, SEEK_END);
    GByteArray *b = g_byte_array_new();

    g_assert_cmpint(n, >=, 0);
    g_byte_array_set_size(b, (guint)n);
    g_assert_cmpint(pread(fd, b->data, (size_t)n, 0), ==, n);
    close(fd);
    return b;
}

static GByteArray *pattern(size_t n)
{
    GByteArray *b = g_byte_array_new();

    g_byte_array_set_size(b, (guint)n);
    for (size_t i = 0; i < n; i++)
        b->data[i] = (guint8)(i * 7 + i / 253);
    return b;
}

static int stopper(bool stopped)
{
    int fd = eventfd(stopped, EFD_CLOEXEC | EFD_NONBLOCK);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static Pump *pump(int source, int destination)
{
    Pump *p = NULL;

    g_assert_cmpint(pump_new(source, destination, 0, &p), ==, 0);
    return p;
}

/* From source, for Bob alone; the writer's beginning is in the head. */
static Pump *sealing(int source, int destination)
{
    _cleanup_(wire_session_freep) WireSession *session = test_session_new(alice, bob, NOW);
    const StreamRecipient to = {session, 0};
    Pump *p = pump(source, destination);

    g_assert_cmpint(stream_writer_new(&to, 1, NOW, 0, &p->writer, &p->head), ==, 0);
    return p;
}

static GByteArray *sealed(const GByteArray *data)
{
    int in = memory(data->data, data->len), out = memory("", 0), stop = stopper(false);
    Pump *p = sealing(in, out);

    g_assert_cmpuint(p->total, ==, data->len);
    close(in); /* it has its own */
    g_assert_cmpint(pump_seal(p, stop), ==, 0);
    g_assert_cmpuint(p->bytes_in, ==, data->len);
    GByteArray *all = contents(out);
    g_assert_cmpuint(p->bytes_out, ==, all->len);
    pump_free_context(p);
    close(stop);
    return all;
}

/* With the head that was read. */
static void make_reader(Pump *p)
{
    const uint8_t(*kids)[KID_SIZE] = bob->kids;
    _cleanup_(package_freep) Package *package = NULL;
    _cleanup_(secret_freep) Secret *keys = NULL;
    size_t kid = 0;

    g_assert_cmpint(stream_header_parse(p->head.data, p->head.size, kids, 1, &package, &kid), ==, 0);
    g_assert_cmpint(package_check_sender(package, NULL, NULL), ==, 0);
    keys = test_person_unwrap(bob, package);
    g_assert_cmpint(stream_reader_new(p->head.data, p->head.size, package, keys, p->prefix, &p->reader), ==,
                    0);
}

static int open_all(const GByteArray *stream, GByteArray **ret)
{
    int in = memory(stream->data, stream->len), out = memory("", 0), stop = stopper(false);
    Pump *p = pump(in, out);
    int r;

    r = pump_read_head(p, stop);
    if (r == 0) {
        g_assert_true(p->is_stream);
        make_reader(p);
        r = pump_open(p, stop);
    }
    *ret = contents(out);
    g_assert_cmpuint(p->bytes_out, ==, (*ret)->len);
    g_assert_cmpuint(p->bytes_in, ==, stream->len);
    (void)pump_free(p);
    close(in);
    close(stop);
    return r;
}

static void test_round_trip(void)
{
    static const size_t sizes[] = {0, 1, STREAM_CHUNK_SIZE, 16 * STREAM_CHUNK_SIZE,
                                   99 * STREAM_CHUNK_SIZE + 1};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GByteArray) data = pattern(sizes[i]);
        g_autoptr(GByteArray) stream = sealed(data);
        g_autoptr(GByteArray) back = NULL;

        g_assert_cmpint(open_all(stream, &back), ==, 0);
        g_assert_cmpmem(back->data, back->len, data->data, data->len);
    }
}

/* What was written before the error is the beginning of the content. */
static void test_bad_stream(void)
{
    g_autoptr(GByteArray) data = pattern(40 * STREAM_CHUNK_SIZE);
    g_autoptr(GByteArray) stream = sealed(data);
    g_autoptr(GByteArray) cut = g_byte_array_new();
    g_autoptr(GByteArray) back = NULL;

    stream->data[stream->len - STREAM_CHUNK_SIZE] ^= 1;
    g_assert_cmpint(open_all(stream, &back), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(back->len, <, data->len);
    g_assert_cmpmem(back->data, back->len, data->data, back->len);
    stream->data[stream->len - STREAM_CHUNK_SIZE] ^= 1;
    for (guint n = STREAM_PREAMBLE_SIZE - 1; n < stream->len; n += n < 3000 ? 97 : 30011) {
        g_clear_pointer(&back, g_byte_array_unref);
        g_byte_array_set_size(cut, 0);
        g_byte_array_append(cut, stream->data, n);
        int r = open_all(cut, &back);
        g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpmem(back->data, back->len, data->data, back->len);
    }
}

static int open_range(const GByteArray *stream, uint64_t offset, uint64_t length, GByteArray **ret,
                      uint64_t *ret_read)
{
    int in = memory(stream->data, stream->len), out = memory("", 0), stop = stopper(false);
    Pump *p = pump(in, out);
    int r;

    g_assert_cmpint(pump_read_head(p, stop), ==, 0);
    make_reader(p);
    uint64_t head = p->bytes_in;
    p->offset = offset;
    p->length = length;
    r = pump_open_range(p, stop);
    g_assert_true((r == HMSG_ERROR_INVALID_ARGS) == (p->detail != NULL));
    if (r == 0)
        g_assert_cmpuint(p->total, ==, p->bytes_in);
    *ret_read = p->bytes_in - head;
    *ret = contents(out);
    g_assert_cmpuint(p->bytes_out, ==, (*ret)->len);
    (void)pump_free(p);
    close(in);
    close(stop);
    return r;
}

static void test_range(void)
{
    enum { CHUNKS = 40, SIZE = CHUNKS * STREAM_CHUNK_SIZE + 100 };
    static const uint64_t points[] = {0,
                                      1,
                                      STREAM_CHUNK_SIZE - 1,
                                      STREAM_CHUNK_SIZE,
                                      16 * STREAM_CHUNK_SIZE - 1,
                                      16 * STREAM_CHUNK_SIZE,
                                      33 * STREAM_CHUNK_SIZE + 5,
                                      SIZE - 100,
                                      SIZE - 1,
                                      SIZE};
    g_autoptr(GByteArray) data = pattern(SIZE);
    g_autoptr(GByteArray) stream = sealed(data);
    uint64_t count = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(points); i++)
        for (size_t k = 1; k <= G_N_ELEMENTS(points); k++) {
            uint64_t length = k < G_N_ELEMENTS(points) ? points[k] : UINT64_MAX;
            uint64_t n = MIN(length, SIZE - points[i]);
            g_autoptr(GByteArray) back = NULL;

            g_assert_cmpint(open_range(stream, points[i], length, &back, &count), ==, 0);
            g_assert_cmpmem(back->data, back->len, data->data + points[i], n);
            /* the chunks of the range, and no others */
            g_assert_cmpuint(count, <=, (n / STREAM_CHUNK_SIZE + 2) * STREAM_SEALED_CHUNK_SIZE);
        }
    g_autoptr(GByteArray) none = NULL, before = NULL, bad = NULL, cut = NULL;
    g_assert_cmpint(open_range(stream, SIZE + 1, 1, &none, &count), ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpuint(none->len, ==, 0);
    /* the last byte of the stream is of its last chunk's tag */
    stream->data[stream->len - 1] ^= 1;
    g_assert_cmpint(open_range(stream, SIZE - 101, 1, &before, &count), ==, 0);
    g_assert_cmpint(open_range(stream, SIZE - 101, 2, &bad, &count), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(bad->len, <=, 1);
    g_clear_pointer(&none, g_byte_array_unref);
    g_assert_cmpint(open_range(stream, SIZE + 1, 1, &none, &count), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_byte_array_set_size(stream, stream->len - 101);
    g_assert_cmpint(open_range(stream, 0, 1, &cut, &count), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(cut->len, ==, 0);
}

static int read_head(const void *data, size_t n, Buf *ret)
{
    int in = memory(data, n), stop = stopper(false);
    Pump *p = pump(in, in);
    int r = pump_read_head(p, stop);

    g_assert_false(r == 0 && p->is_stream);
    if (r == 0)
        g_assert_cmpint(buf_append(ret, p->head.data, p->head.size), ==, 0);
    (void)pump_free(p);
    close(in);
    close(stop);
    return r;
}

/* What is no stream is read to its end, up to the size of a list of packages. */
static void test_package(void)
{
    static const size_t sizes[] = {0, 3, STREAM_PREAMBLE_SIZE, 70000, PACKAGE_LIST_SIZE_MAX};
    g_autofree char *text = g_malloc(PACKAGE_LIST_SIZE_MAX + 1);
    Buf none = BUF_MAX(0);

    memset(text, '{', PACKAGE_LIST_SIZE_MAX + 1);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        _cleanup_(buf_done) Buf head = BUF_MAX(PACKAGE_LIST_SIZE_MAX);

        g_assert_cmpint(read_head(text, sizes[i], &head), ==, 0);
        g_assert_cmpmem(head.data, head.size, text, sizes[i]);
    }
    g_assert_cmpint(read_head(text, PACKAGE_LIST_SIZE_MAX + 1, &none), ==, HMSG_ERROR_TOO_LARGE);
}

static void test_write_head(void)
{
    int in = memory("", 0), out = memory("", 0), stop = stopper(false);
    Pump *p = pump(in, out);

    g_assert_cmpint(buf_append(&p->head, "abc", 3), ==, 0);
    g_assert_cmpint(pump_write_head(p, stop), ==, 0);
    g_assert_cmpuint(p->head.size, ==, 0);
    g_assert_cmpuint(p->bytes_out, ==, 3);
    g_autoptr(GByteArray) all = contents(out);
    g_assert_cmpmem(all->data, all->len, "abc", 3);
    (void)pump_free(p);
    close(in);
    close(stop);
}

/* A pipe that nobody fills, one that nobody empties, and one that nobody has. */
static void test_stop(void)
{
    g_autoptr(GByteArray) data = pattern(99 * STREAM_CHUNK_SIZE);
    int idle[2], full[2], gone[2], file = memory(data->data, data->len), sink = memory("", 0);
    int stop = stopper(true);

    g_assert_true(pipe(idle) == 0 && pipe(full) == 0 && pipe(gone) == 0);
    close(gone[0]);
    Pump *p = sealing(idle[0], sink);
    g_assert_cmpint(pump_seal(p, stop), ==, -ECANCELED);
    (void)pump_free(p);
    p = pump(idle[0], sink);
    g_assert_cmpint(pump_read_head(p, stop), ==, -ECANCELED);
    (void)pump_free(p);
    p = sealing(file, full[1]);
    g_assert_cmpint(pump_seal(p, stop), ==, -ECANCELED);
    (void)pump_free(p);
    close(stop);
    stop = stopper(false);
    p = sealing(idle[0], gone[1]);
    g_assert_cmpint(pump_seal(p, stop), ==, -EPIPE);
    (void)pump_free(p);
    for (unsigned i = 0; i < 2; i++) {
        close(idle[i]);
        close(full[i]);
    }
    close(gone[1]);
    close(file);
    close(sink);
    close(stop);
}

static void *run_seal(void *userdata)
{
    int stop = stopper(false);
    int r = pump_seal(userdata, stop);

    close(stop);
    return GINT_TO_POINTER(r);
}

static void *read_all(void *userdata)
{
    const int *fd = userdata;
    GByteArray *all = g_byte_array_new();
    uint8_t some[4096];
    ssize_t n;

    while ((n = read(*fd, some, sizeof(some))) > 0)
        g_byte_array_append(all, some, (guint)n);
    return all;
}

/* While the first thread cannot write, since nobody reads, the second one reads and encrypts. */
static void test_threads(void)
{
    enum { BLOCK = 16 * STREAM_CHUNK_SIZE };
    g_autoptr(GByteArray) data = pattern(8 * BLOCK), back = NULL;
    int in = memory(data->data, data->len), ends[2];
    uint64_t blocks = 0;

    g_assert_cmpint(pipe(ends), ==, 0);
    Pump *p = sealing(in, ends[1]);
    GThread *thread = g_thread_new("seal", run_seal, p);
    TEST_AWAIT(p->bytes_in >= 2 * BLOCK);
    GThread *reader = g_thread_new("read", read_all, &ends[0]);
    g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(thread)), ==, 0);
    g_assert_cmpuint(p->blocks[0], >, 0);
    g_assert_cmpuint(p->blocks[1], >, 0);
    for (size_t i = 0; i < STREAM_LANES; i++)
        blocks += p->blocks[i];
    g_assert_cmpuint(blocks, ==, 9); /* the last one is empty */
    (void)pump_free(p);
    close(in);
    close(ends[1]);
    g_autoptr(GByteArray) stream = g_thread_join(reader);
    close(ends[0]);
    g_assert_cmpint(open_all(stream, &back), ==, 0);
    g_assert_cmpmem(back->data, back->len, data->data, data->len);
}

static void test_expected(void)
{
    Pump *p = NULL;
    int fds[2];

    g_assert_cmpint(pipe(fds), ==, 0);
    g_assert_cmpint(pump_new(fds[0], fds[1], 12, &p), ==, 0);
    g_assert_cmpuint(p->total, ==, 12);
    p = pump_free(p);
    p = pump(fds[0], fds[1]);
    g_assert_cmpuint(p->total, ==, 0);
    p = pump_free(p);
    g_assert_cmpint(pump_new(fds[0], -1, 0, &p), ==, -EBADF);
    g_assert_null(p);
    close(fds[0]);
    close(fds[1]);
}

int main(int argc, char **argv)
{
    int r;

    g_test_init(&argc, &argv, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* as in a worker's thread */
    alice = test_person_new();
    bob = test_person_new();
    g_test_add_func("/cipher-pump/round-trip", test_round_trip);
    g_test_add_func("/cipher-pump/bad-stream", test_bad_stream);
    g_test_add_func("/cipher-pump/range", test_range);
    g_test_add_func("/cipher-pump/package", test_package);
    g_test_add_func("/cipher-pump/write-head", test_write_head);
    g_test_add_func("/cipher-pump/stop", test_stop);
    g_test_add_func("/cipher-pump/threads", test_threads);
    g_test_add_func("/cipher-pump/expected", test_expected);
    r = g_test_run();
    test_person_free(alice);
    test_person_free(bob);
    return r;
}

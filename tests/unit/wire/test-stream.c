/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/stream.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/unit/wire/stream-util.h"

static TestPerson *alice, *bob, *eve;

static void test_round_trip(void)
{
    static const size_t sizes[] = {
        0, 1, STREAM_CHUNK_SIZE - 1, STREAM_CHUNK_SIZE, STREAM_CHUNK_SIZE + 1, 5 * STREAM_CHUNK_SIZE, 300001};
    static const size_t steps[] = {1000, STREAM_SEALED_CHUNK_SIZE, STREAM_ROOM};
    const TestPerson *const to[] = {eve, bob};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        for (size_t n = 1; n <= 2; n++)
            for (int is_signed = 0; is_signed <= 1; is_signed++) {
                g_autofree uint8_t *plain = stream_content(sizes[i]);
                _cleanup_(buf_done) Buf stream =
                    stream_make(is_signed ? alice : NULL, to, n, plain, sizes[i]);

                for (size_t k = 0; k < G_N_ELEMENTS(steps); k++) {
                    _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM);
                    bool verified = false;

                    g_assert_cmpint(stream_read_all(&stream, to[n - 1], steps[k], &out, &verified), ==, 0);
                    g_assert_cmpmem(out.data, out.size, plain, sizes[i]);
                    g_assert_true(verified == is_signed);
                }
            }
}

static void test_damaged(void)
{
    enum { SIZE = 40000 };
    const TestPerson *const to[] = {bob, eve};
    g_autofree uint8_t *plain = stream_content(SIZE);

    for (size_t n = 1; n <= 2; n++) {
        _cleanup_(buf_done) Buf stream = stream_make(alice, to, n, plain, SIZE);
        size_t size = stream.size;

        for (size_t i = 0; i < size; i += i < 8000 ? 37 : 997) {
            stream.data[i] ^= 1;
            stream_expect_refused(&stream, bob, plain, SIZE);
            stream.data[i] ^= 1;
        }
        for (size_t i = 0; i < size; i += 613) {
            stream.size = i;
            stream_expect_refused(&stream, bob, plain, SIZE);
        }
        for (size_t i = 1; i < 40; i++) {
            stream.size = size - i;
            stream_expect_refused(&stream, bob, plain, SIZE);
        }
        stream.size = size;
        g_assert_cmpint(buf_append(&stream, "x", 1), ==, 0);
        stream_expect_refused(&stream, bob, plain, SIZE);
    }
}

/* Chunks in another order, and one left out at the end. */
static void test_chunks(void)
{
    enum { SIZE = 3 * STREAM_CHUNK_SIZE };
    const TestPerson *const to[] = {bob};
    g_autofree uint8_t *plain = stream_content(SIZE), *chunk = g_malloc0(STREAM_SEALED_CHUNK_SIZE);
    _cleanup_(buf_done) Buf stream = stream_make(alice, to, 1, plain, SIZE);
    size_t first = stream.size - STREAM_TAG_SIZE - 3 * STREAM_SEALED_CHUNK_SIZE;

    memcpy(chunk, stream.data + first, STREAM_SEALED_CHUNK_SIZE);
    memmove(stream.data + first, stream.data + first + STREAM_SEALED_CHUNK_SIZE, STREAM_SEALED_CHUNK_SIZE);
    memcpy(stream.data + first + STREAM_SEALED_CHUNK_SIZE, chunk, STREAM_SEALED_CHUNK_SIZE);
    stream_expect_refused(&stream, bob, plain, SIZE);
    memcpy(stream.data + first + STREAM_SEALED_CHUNK_SIZE, stream.data + first, STREAM_SEALED_CHUNK_SIZE);
    memcpy(stream.data + first, chunk, STREAM_SEALED_CHUNK_SIZE);
    stream.size -= STREAM_TAG_SIZE; /* ends on a whole chunk: a truncation */
    stream_expect_refused(&stream, bob, plain, SIZE);
}

/* One of two recipients knows the file key, and still cannot pass content off as the sender's. */
static void test_trailer_of_another(void)
{
    const TestPerson *const to[] = {bob, eve};
    g_autofree uint8_t *plain = stream_content(1000);
    _cleanup_(buf_done) Buf a = stream_make(alice, to, 2, plain, 1000),
                            b = stream_make(alice, to, 2, plain, 1000), out = BUF_MAX(STREAM_ROOM);
    bool verified = false;
    size_t trailer = 0;

    for (size_t i = 0; i < 4; i++)
        trailer = trailer << 8 | a.data[12 + i];
    g_assert_cmpuint(trailer, >, 300);
    memcpy(a.data + a.size - trailer, b.data + b.size - trailer, trailer);
    g_assert_cmpint(stream_read_all(&a, bob, STREAM_ROOM, &out, &verified), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_false(verified);
}

/* The same sender, the same recipients, the same content, and still nothing of one stream fits into another.
 */
static void test_mixed(void)
{
    enum { SIZE = 3 * STREAM_CHUNK_SIZE + 100 };
    const TestPerson *const to[] = {bob, eve};
    g_autofree uint8_t *plain = stream_content(SIZE);

    for (size_t n = 1; n <= 2; n++) {
        _cleanup_(buf_done) Buf a = stream_make(alice, to, n, plain, SIZE),
                                b = stream_make(alice, to, n, plain, SIZE);
        _cleanup_(buf_done) Buf mixed = BUF_MAX(2 * STREAM_ROOM);
        size_t header = 0, other = 0, last = SIZE % STREAM_CHUNK_SIZE + STREAM_TAG_SIZE;

        g_assert_cmpint(stream_header_size(a.data, &header), ==, 0);
        g_assert_cmpint(stream_header_size(b.data, &other), ==, 0);
        size_t first = header + STREAM_PREFIX_SIZE, from = other + STREAM_PREFIX_SIZE;

        /* the header of the other, with and without its salt and commitment */
        for (size_t prefix = 0; prefix <= STREAM_PREFIX_SIZE; prefix += STREAM_PREFIX_SIZE) {
            buf_clear(&mixed);
            g_assert_cmpint(buf_append(&mixed, b.data, other + prefix), ==, 0);
            g_assert_cmpint(buf_append(&mixed, a.data + header + prefix, a.size - header - prefix), ==, 0);
            stream_expect_refused(&mixed, bob, plain, SIZE);
        }
        /* each chunk of the other, the last one too */
        for (size_t i = 0; i < 4; i++) {
            size_t size = i < 3 ? STREAM_SEALED_CHUNK_SIZE : last, at = i * STREAM_SEALED_CHUNK_SIZE;

            buf_clear(&mixed);
            g_assert_cmpint(buf_append(&mixed, a.data, a.size), ==, 0);
            memcpy(mixed.data + first + at, b.data + from + at, size);
            stream_expect_refused(&mixed, bob, plain, SIZE);
        }
        /* a chunk twice: each whole one, and the last one */
        for (size_t i = 0; i < 4; i++) {
            size_t size = i < 3 ? STREAM_SEALED_CHUNK_SIZE : last, at = first + i * STREAM_SEALED_CHUNK_SIZE;

            buf_clear(&mixed);
            g_assert_cmpint(buf_append(&mixed, a.data, at + size), ==, 0);
            g_assert_cmpint(buf_append(&mixed, a.data + at, a.size - at), ==, 0);
            stream_expect_refused(&mixed, bob, plain, SIZE);
        }
        /* one stream behind the other */
        buf_clear(&mixed);
        g_assert_cmpint(buf_append(&mixed, a.data, a.size), ==, 0);
        g_assert_cmpint(buf_append(&mixed, b.data, b.size), ==, 0);
        stream_expect_refused(&mixed, bob, plain, SIZE);
    }
}

/* Without its signature, or with it twice, a stream for several is not read at all. */
static void test_trailer_stripped(void)
{
    enum { SIZE = 1000 };
    const TestPerson *const to[] = {bob, eve};
    g_autofree uint8_t *plain = stream_content(SIZE);
    _cleanup_(buf_done) Buf stream = stream_make(alice, to, 2, plain, SIZE);
    size_t whole = stream.size, trailer = 0, header = 0;

    for (size_t i = 0; i < 4; i++)
        trailer = trailer << 8 | stream.data[12 + i];
    g_assert_cmpint(stream_header_size(stream.data, &header), ==, 0);
    g_assert_cmpuint(whole, ==, header + STREAM_PREFIX_SIZE + SIZE + STREAM_TAG_SIZE + trailer);
    stream.size -= trailer;
    stream_expect_refused(&stream, bob, plain, SIZE);
    memset(stream.data + 12, 0, 4); /* which says that there is none: another header, so other keys */
    stream_expect_refused(&stream, bob, plain, SIZE);
    stream.data[14] = (uint8_t)(trailer >> 8);
    stream.data[15] = (uint8_t)trailer;
    stream.size = whole;
    g_autofree uint8_t *copy = g_memdup2(stream.data + whole - trailer, trailer);
    g_assert_cmpint(buf_append(&stream, copy, trailer), ==, 0);
    stream_expect_refused(&stream, bob, plain, SIZE);
}

static void test_header_limits(void)
{
    uint8_t preamble[STREAM_PREAMBLE_SIZE] = "hmsgstr1";
    size_t n = 0;

    g_assert_cmpint(stream_header_size(preamble, &n), ==, HMSG_ERROR_BAD_PACKAGE); /* no packages */
    preamble[8] = 0xff;
    g_assert_cmpint(stream_header_size(preamble, &n), ==, HMSG_ERROR_TOO_LARGE);
    preamble[8] = 0;
    preamble[10] = 1;
    g_assert_cmpint(stream_header_size(preamble, &n), ==, 0);
    g_assert_cmpuint(n, ==, 256 + STREAM_PREAMBLE_SIZE);
    preamble[12] = 1;
    g_assert_cmpint(stream_header_size(preamble, &n), ==, HMSG_ERROR_TOO_LARGE);
    preamble[0] = 'H';
    g_assert_cmpint(stream_header_size(preamble, &n), ==, HMSG_ERROR_BAD_PACKAGE);
}

typedef struct Job {
    const StreamWriter *writer;
    const StreamReader *reader;
    unsigned lane;
    StreamPart part;
    const uint8_t *in;
    uint8_t *out;
    size_t size;
    int r;
} Job;

static void *run_part(void *userdata)
{
    Job *j = userdata;

    j->r = j->writer ? stream_seal_part(j->writer, j->lane, &j->part, j->in, j->out, &j->size)
                     : stream_open_part(j->reader, j->lane, &j->part, j->in, j->out, &j->size);
    return NULL;
}

/* All at the same time. */
static void run_parts(Job *jobs, size_t n)
{
    GThread *threads[STREAM_LANES];

    for (size_t i = 0; i < n; i++)
        threads[i] = g_thread_new("part", run_part, &jobs[n - 1 - i]);
    for (size_t i = 0; i < n; i++)
        (void)g_thread_join(threads[i]);
}

enum { PART = 3 * STREAM_CHUNK_SIZE, SEALED_PART = 3 * STREAM_SEALED_CHUNK_SIZE, LAST = 70 };

/* Of three parts and a last one, by four threads; for two, so that there is a hash over all of it. */
static void seal_parts(const uint8_t *plain, Buf *ret)
{
    _cleanup_(wire_session_freep) WireSession *first = test_session_new(alice, bob, STREAM_NOW);
    _cleanup_(wire_session_freep) WireSession *second = test_session_new(alice, eve, STREAM_NOW);
    const StreamRecipient to[] = {{first, 0}, {second, 0}};
    _cleanup_(stream_writer_freep) StreamWriter *w = NULL;
    g_autofree uint8_t *out = g_malloc0(4 * STREAM_SEALED_SIZE(PART));
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    Job jobs[4];
    StreamPart more;

    g_assert_cmpint(stream_writer_new(to, 2, STREAM_NOW, 0, &w, ret), ==, 0);
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = (Job){.writer = w, .lane = i, .in = plain + (size_t)i * PART};
        jobs[i].out = out + i * STREAM_SEALED_SIZE(PART);
        g_assert_cmpint(stream_seal_begin(w, i < 3 ? PART : LAST, i == 3, &jobs[i].part), ==, 0);
        g_assert_cmpuint(jobs[i].part.chunk, ==, i * 3);
    }
    g_assert_cmpint(stream_seal_begin(w, PART, false, &more), ==, -EINVAL);
    run_parts(jobs, 4);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpint(stream_writer_prepare(w, &draft), ==, -EINVAL); /* not all of it has ended */
        g_assert_cmpint(jobs[i].r, ==, 0);
        g_assert_cmpint(stream_seal_end(w, &jobs[i].part, jobs[i].out, jobs[i].size), ==, 0);
        g_assert_cmpint(buf_append(ret, jobs[i].out, jobs[i].size), ==, 0);
    }
    stream_sign(alice, w, ret);
}

static void test_parts(void)
{
    enum { SIZE = 3 * PART + LAST };
    g_autofree uint8_t *plain = stream_content(SIZE), *out = g_malloc0(4 * (size_t)SEALED_PART);
    _cleanup_(buf_done) Buf stream = BUF_MAX(STREAM_ROOM), whole = BUF_MAX(STREAM_ROOM);

    seal_parts(plain, &stream);
    bool verified = false;
    g_assert_cmpint(stream_read_all(&stream, bob, STREAM_ROOM, &whole, &verified), ==, 0);
    g_assert_cmpmem(whole.data, whole.size, plain, SIZE);
    g_assert_true(verified);
    /* and back; in the second round with an error in the second part */
    for (unsigned bad = 0; bad < 2; bad++) {
        _cleanup_(stream_reader_freep) StreamReader *reader = NULL;
        Job jobs[4];
        size_t at = 0;

        g_assert_cmpint(stream_begin(&stream, eve, &reader, &at), ==, 0);
        stream.data[at + SEALED_PART] ^= (uint8_t)bad;
        for (unsigned i = 0; i < 4; i++) {
            size_t n = i < 3 ? SEALED_PART : stream.size - at - 3 * (size_t)SEALED_PART;

            jobs[i] = (Job){.reader = reader, .lane = i, .out = out + (size_t)i * SEALED_PART};
            jobs[i].in = stream.data + at + (size_t)i * SEALED_PART;
            g_assert_cmpint(stream_open_begin(reader, n, i == 3, &jobs[i].part), ==, 0);
        }
        g_assert_cmpuint(jobs[3].part.size, ==, LAST + STREAM_TAG_SIZE);
        run_parts(jobs, 4);
        for (unsigned i = 0; i < 4; i++) {
            int r = bad && i >= 1 ? HMSG_ERROR_AUTHENTICATION_FAILED : 0;

            g_assert_cmpint(jobs[i].r, ==, i == 1 ? r : 0);
            g_assert_false(stream_reader_verified(reader));
            g_assert_cmpint(stream_open_end(reader, &jobs[i].part, jobs[i].in, jobs[i].r), ==, r);
            if (r == 0)
                g_assert_cmpmem(jobs[i].out, jobs[i].size, plain + (size_t)i * PART, i < 3 ? PART : LAST);
        }
        g_assert_true(stream_reader_verified(reader) == !bad);
    }
}

/* The key of a stream is no message, and a message is no key of a stream. */
static void test_kinds(void)
{
    const uint8_t(*kids)[KID_SIZE] = bob->kids;
    const TestPerson *const to[] = {bob};
    _cleanup_(buf_done) Buf stream = stream_make(alice, to, 1, (const uint8_t *)"x", 1);
    _cleanup_(package_freep) Package *p = NULL;
    size_t header = 0, kid = 0;

    g_assert_cmpint(stream_header_size(stream.data, &header), ==, 0);
    g_assert_cmpint(package_find((const char *)stream.data + STREAM_PREAMBLE_SIZE,
                                 header - STREAM_PREAMBLE_SIZE, PACKAGE_MESSAGE, kids, 1, &p, &kid),
                    ==, HMSG_ERROR_BAD_PACKAGE);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    bob = test_person_new();
    eve = test_person_new();
    g_test_add_func("/stream/round-trip", test_round_trip);
    g_test_add_func("/stream/damaged", test_damaged);
    g_test_add_func("/stream/chunks", test_chunks);
    g_test_add_func("/stream/trailer-of-another", test_trailer_of_another);
    g_test_add_func("/stream/mixed", test_mixed);
    g_test_add_func("/stream/trailer-stripped", test_trailer_stripped);
    g_test_add_func("/stream/header-limits", test_header_limits);
    g_test_add_func("/stream/parts", test_parts);
    g_test_add_func("/stream/kinds", test_kinds);
    status = g_test_run();
    test_person_free(alice);
    test_person_free(bob);
    test_person_free(eve);
    return status;
}

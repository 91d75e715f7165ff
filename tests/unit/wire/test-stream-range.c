/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ranges of a stream: every boundary around a chunk, and damage inside and outside of them. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/unit/wire/stream-util.h"

#define CHUNK ((uint64_t)STREAM_CHUNK_SIZE)
#define CHUNKS_AT_ONCE 2u

static TestPerson *alice, *bob, *eve;

/* What the range gives, with span's skip and size taken off; only span->n bytes at span->at are looked at. */
static int read_range(const Buf *in, uint64_t offset, uint64_t length, Buf *ret, StreamSpan *ret_span,
                      bool *ret_verified)
{
    _cleanup_(stream_reader_freep) StreamReader *s = NULL;
    _cleanup_(buf_done) Buf all = BUF_MAX(2 * STREAM_ROOM);
    size_t at = 0;
    int r = stream_begin(in, bob, &s, &at);

    if (r == 0)
        r = stream_reader_seek(s, in->size - at, offset, length, ret_span);
    if (r != 0)
        return r;
    g_assert_cmpuint(at + ret_span->at + ret_span->n, <=, in->size);
    /* a copy, so that a byte beyond is an error of the memory checker */
    g_autofree uint8_t *bytes = g_memdup2(in->data + at + ret_span->at, ret_span->n);
    g_autofree uint8_t *out = g_malloc(CHUNKS_AT_ONCE * STREAM_SEALED_CHUNK_SIZE);
    for (size_t done = 0; r == 0 && done < ret_span->n;) {
        size_t n = MIN(ret_span->n - done, CHUNKS_AT_ONCE * STREAM_SEALED_CHUNK_SIZE), made = 0;

        r = stream_open(s, bytes + done, n, ret_span->to_end && done + n == ret_span->n, out, &made);
        if (r == 0)
            g_assert_cmpint(buf_append(&all, out, made), ==, 0);
        done += n;
    }
    *ret_verified = stream_reader_verified(s);
    if (r != 0)
        return r;
    g_assert_cmpuint(all.size, >=, ret_span->skip + ret_span->size);
    return buf_append(ret, all.data + ret_span->skip, ret_span->size);
}

static void expect_range(const Buf *in, const uint8_t *plain, uint64_t size, uint64_t offset, uint64_t length)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(2 * STREAM_ROOM);
    uint64_t from = MIN(offset, size), n = MIN(length, size - from);
    bool verified = false;
    StreamSpan span;

    g_assert_cmpint(read_range(in, offset, length, &out, &span, &verified), ==, 0);
    g_assert_cmpuint(span.size, ==, n);
    g_assert_true(span.to_end == (from + n == size || from + n > size / CHUNK * CHUNK));
    g_assert_true(span.behind == (offset > size));
    g_assert_cmpuint(span.skip, <, CHUNK);
    /* no more than the chunks that it touches, and the last one to know the end */
    g_assert_cmpuint(span.n, <=, (n / CHUNK + 2) * STREAM_SEALED_CHUNK_SIZE);
    g_assert_cmpmem(out.data ? out.data : plain, out.size, plain + from, n);
    g_assert_true(verified);
}

static void test_boundaries(void)
{
    static const size_t sizes[] = {0,         1,         CHUNK - 1,     CHUNK,
                                   CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK + 100};
    static const uint64_t points[] = {0,         1,         2,         CHUNK - 1,     CHUNK,
                                      CHUNK + 1, 2 * CHUNK, 4 * CHUNK, 5 * CHUNK + 99};
    const TestPerson *const to[] = {bob};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        size_t size = sizes[i];
        g_autofree uint8_t *plain = stream_content(size);
        _cleanup_(buf_done) Buf stream = stream_make(alice, to, 1, plain, size);

        for (size_t k = 0; k < G_N_ELEMENTS(points); k++) {
            for (size_t n = 1; n < G_N_ELEMENTS(points); n++)
                expect_range(&stream, plain, size, points[k], points[n]);
            expect_range(&stream, plain, size, points[k], UINT64_MAX);
        }
        expect_range(&stream, plain, size, size, 1);
        expect_range(&stream, plain, size, size + 1, 1);
        expect_range(&stream, plain, size, UINT64_MAX, UINT64_MAX);
        expect_range(&stream, plain, size, UINT64_MAX, 1);
        if (size > 0)
            expect_range(&stream, plain, size, size - 1, UINT64_MAX - size + 1);
    }
}

/* Each chunk of five is changed in turn: the ranges that touch it are refused, no others. */
static void test_damaged(void)
{
    enum { CHUNKS = 5, LAST = 100, SIZE = (CHUNKS - 1) * STREAM_CHUNK_SIZE + LAST };
    const TestPerson *const to[] = {bob};
    g_autofree uint8_t *plain = stream_content(SIZE);
    _cleanup_(buf_done) Buf stream = stream_make(alice, to, 1, plain, SIZE);
    size_t first = stream.size - (CHUNKS - 1) * STREAM_SEALED_CHUNK_SIZE - LAST - STREAM_TAG_SIZE;

    for (size_t bad = 0; bad < CHUNKS; bad++)
        for (int tag = 0; tag <= 1; tag++) {
            size_t within = bad == CHUNKS - 1 ? LAST : STREAM_CHUNK_SIZE;
            uint8_t *at = stream.data + first + bad * STREAM_SEALED_CHUNK_SIZE + (tag ? within + 3 : 3);

            *at ^= 1;
            for (size_t from = 0; from < CHUNKS; from++)
                for (size_t n = 1; n <= CHUNKS - from; n++) {
                    _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM);
                    uint64_t offset = from * CHUNK + 7, length = n * CHUNK - 7;
                    bool verified = false, touched = bad >= from && bad < from + n;
                    StreamSpan span;
                    int r = read_range(&stream, offset, length, &out, &span, &verified);

                    g_assert_cmpint(r, ==, touched ? HMSG_ERROR_AUTHENTICATION_FAILED : 0);
                    g_assert_true(verified == !touched);
                    if (!touched)
                        expect_range(&stream, plain, SIZE, offset, length);
                }
            *at ^= 1;
        }
    /* chunks at each other's place */
    g_autofree uint8_t *chunk = g_memdup2(stream.data + first, STREAM_SEALED_CHUNK_SIZE);
    memcpy(stream.data + first, stream.data + first + STREAM_SEALED_CHUNK_SIZE, STREAM_SEALED_CHUNK_SIZE);
    memcpy(stream.data + first + STREAM_SEALED_CHUNK_SIZE, chunk, STREAM_SEALED_CHUNK_SIZE);
    for (uint64_t i = 0; i < 2; i++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM);
        bool verified = false;
        StreamSpan span;

        g_assert_cmpint(read_range(&stream, i * CHUNK, 1, &out, &span, &verified), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_false(verified);
    }
    expect_range(&stream, plain, SIZE, 2 * CHUNK, CHUNK);
}

/* What is cut off is seen by a range that reaches the end, whatever the cut; one before it goes on. */
static void test_truncated(void)
{
    enum { SIZE = 3 * STREAM_CHUNK_SIZE + 500 };
    const TestPerson *const to[] = {bob};
    g_autofree uint8_t *plain = stream_content(SIZE);
    _cleanup_(buf_done) Buf stream = stream_make(alice, to, 1, plain, SIZE);
    size_t whole = stream.size;

    for (size_t cut = 1; cut < 2 * STREAM_SEALED_CHUNK_SIZE + 500; cut += cut < 600 ? 1 : 211) {
        _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM);
        bool verified = false;
        StreamSpan span;

        stream.size = whole - cut;
        g_assert_cmpint(read_range(&stream, 10, UINT64_MAX, &out, &span, &verified), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_false(verified);
        /* as it would be when it is behind the end that it seems to have */
        g_assert_cmpint(read_range(&stream, SIZE, 1, &out, &span, &verified), ==,
                        HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpuint(out.size, ==, 0);
        int r = read_range(&stream, 10, 100, &out, &span, &verified);
        g_assert_true(r == 0 || r == HMSG_ERROR_AUTHENTICATION_FAILED);
        if (r == 0)
            g_assert_cmpmem(out.data, out.size, plain + 10, 100);
    }
    /* a chunk more than there was */
    stream.size = whole;
    g_autofree uint8_t *last = g_memdup2(stream.data + whole - 516, 516);
    g_assert_cmpint(buf_append(&stream, last, 516), ==, 0);
    _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM);
    bool verified = false;
    StreamSpan span;
    g_assert_cmpint(read_range(&stream, SIZE - 1, UINT64_MAX, &out, &span, &verified), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* The signature is over the whole: in a range nothing tells which of several made it. */
static void test_several(void)
{
    enum { SIZE = 2 * STREAM_CHUNK_SIZE + 500 };
    const TestPerson *const to[] = {bob, eve};
    g_autofree uint8_t *plain = stream_content(SIZE);
    _cleanup_(buf_done) Buf stream = stream_make(alice, to, 2, plain, SIZE);
    _cleanup_(buf_done) Buf nobody = stream_make(NULL, to, 1, plain, SIZE);
    static const uint64_t offsets[] = {0, 17, 2 * CHUNK, SIZE, SIZE + 1};

    for (size_t i = 0; i < G_N_ELEMENTS(offsets); i++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(STREAM_ROOM), other = BUF_MAX(STREAM_ROOM);
        uint64_t from = MIN(offsets[i], SIZE);
        bool verified = true;
        StreamSpan span;

        g_assert_cmpint(read_range(&stream, offsets[i], UINT64_MAX, &out, &span, &verified), ==, 0);
        g_assert_cmpmem(out.data ? out.data : plain, out.size, plain + from, SIZE - from);
        g_assert_true(span.to_end);
        g_assert_false(verified);
        verified = true;
        g_assert_cmpint(read_range(&nobody, offsets[i], UINT64_MAX, &other, &span, &verified), ==, 0);
        g_assert_false(verified);
    }
}

static void test_misuse(void)
{
    const TestPerson *const to[] = {bob};
    g_autofree uint8_t *plain = stream_content(1000);
    _cleanup_(buf_done) Buf stream = stream_make(alice, to, 1, plain, 1000);
    _cleanup_(stream_reader_freep) StreamReader *s = NULL, *begun = NULL;
    uint8_t out[2000];
    StreamSpan span;
    size_t at = 0, made = 0;

    g_assert_cmpint(stream_begin(&stream, bob, &s, &at), ==, 0);
    g_assert_cmpint(stream_reader_seek(s, stream.size - at, 0, 0, &span), ==, -EINVAL);
    for (uint64_t n = 0; n < STREAM_TAG_SIZE; n++)
        g_assert_cmpint(stream_reader_seek(s, n, 0, 1, &span), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(stream_reader_seek(s, stream.size - at, 1, 1, &span), ==, 0);
    g_assert_cmpint(stream_reader_seek(s, stream.size - at, 1, 1, &span), ==, -EINVAL);
    g_assert_cmpint(stream_begin(&stream, bob, &begun, &at), ==, 0);
    g_assert_cmpint(stream_open(begun, stream.data + at, stream.size - at, true, out, &made), ==, 0);
    g_assert_cmpint(stream_reader_seek(begun, stream.size - at, 1, 1, &span), ==, -EINVAL);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    bob = test_person_new();
    eve = test_person_new();
    g_test_add_func("/stream-range/boundaries", test_boundaries);
    g_test_add_func("/stream-range/damaged", test_damaged);
    g_test_add_func("/stream-range/truncated", test_truncated);
    g_test_add_func("/stream-range/several", test_several);
    g_test_add_func("/stream-range/misuse", test_misuse);
    status = g_test_run();
    test_person_free(alice);
    test_person_free(bob);
    test_person_free(eve);
    return status;
}

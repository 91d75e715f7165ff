/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/wire/stream-util.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"

void stream_sign(const TestPerson *sender, StreamWriter *w, Buf *ret)
{
    _cleanup_(jws_draft_done) JwsDraft d = {0};
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);

    g_assert_cmpint(stream_writer_prepare(w, &d), ==, 0);
    g_assert_cmpint(rsa_private_sign_ps256(sender->sign_private, d.digest, &signature), ==, 0);
    g_assert_cmpint(stream_writer_finish(w, &d, signature.data, signature.size, ret), ==, 0);
}

Buf stream_make(const TestPerson *sender, const TestPerson *const *to, size_t n, const uint8_t *plain,
                size_t size)
{
    WireSession *sessions[2] = {NULL};
    StreamRecipient recipients[2];
    _cleanup_(stream_writer_freep) StreamWriter *w = NULL;
    Buf out = BUF_MAX(2 * STREAM_ROOM);
    size_t whole = size / STREAM_CHUNK_SIZE * STREAM_CHUNK_SIZE, made = 0;
    g_autofree uint8_t *sealed = g_malloc0(STREAM_SEALED_SIZE(size));

    for (size_t i = 0; i < n; i++) {
        sessions[i] = test_session_new(sender, to[i], STREAM_NOW);
        recipients[i] = (StreamRecipient){sessions[i], i};
    }
    g_assert_cmpint(stream_writer_new(recipients, n, STREAM_NOW, 0, &w, &out), ==, 0);
    g_assert_cmpint(stream_seal(w, plain, whole, false, sealed, &made), ==, 0);
    g_assert_cmpint(buf_append(&out, sealed, made), ==, 0);
    g_assert_cmpint(stream_seal(w, plain + whole, size - whole, true, sealed, &made), ==, 0);
    g_assert_cmpint(buf_append(&out, sealed, made), ==, 0);
    g_assert_cmpint(stream_seal(w, plain, 0, true, sealed, &made), ==, -EINVAL);
    g_assert_true(stream_writer_needs_trailer(w) == (sender && n > 1));
    if (stream_writer_needs_trailer(w))
        stream_sign(sender, w, &out);
    for (size_t i = 0; i < n; i++)
        (void)wire_session_free(sessions[i]);
    return out;
}

int stream_begin(const Buf *in, const TestPerson *reader, StreamReader **ret, size_t *ret_at)
{
    const uint8_t(*kids)[KID_SIZE] = reader->kids;
    _cleanup_(package_freep) Package *p = NULL;
    _cleanup_(secret_freep) Secret *keys = NULL;
    size_t header = 0, kid = 0;
    int r;

    if (in->size < STREAM_PREAMBLE_SIZE)
        return HMSG_ERROR_BAD_PACKAGE;
    r = stream_header_size(in->data, &header);
    if (r == 0 && in->size < header + STREAM_PREFIX_SIZE)
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = stream_header_parse(in->data, header, kids, 1, &p, &kid);
    if (r == 0)
        r = package_check_sender(p, NULL, NULL);
    if (r != 0)
        return r;
    keys = test_person_unwrap(reader, p);
    *ret_at = header + STREAM_PREFIX_SIZE;
    return stream_reader_new(in->data, header, p, keys, in->data + header, ret);
}

int stream_read_all(const Buf *in, const TestPerson *reader, size_t step, Buf *ret, bool *ret_verified)
{
    _cleanup_(stream_reader_freep) StreamReader *s = NULL;
    size_t at = 0, have = 0;
    int r;

    r = stream_begin(in, reader, &s, &at);
    if (r != 0)
        return r;
    g_autofree uint8_t *out = g_malloc0(in->size + 1);
    for (bool end = false; r == 0 && !end;) {
        size_t made = 0;

        have = MIN(have + step, in->size - at);
        end = at + have == in->size;
        size_t ready = stream_reader_ready(s, have, end);
        r = stream_open(s, in->data + at, ready, end, out, &made);
        if (r == 0)
            r = buf_append(ret, out, made);
        at += ready;
        have -= ready;
    }
    *ret_verified = stream_reader_verified(s);
    g_assert_true(r == 0 || !*ret_verified);
    return r;
}

uint8_t *stream_content(size_t n)
{
    uint8_t *plain = g_malloc0(n + 1);

    for (size_t i = 0; i < n; i++)
        plain[i] = (uint8_t)(i * 31 + i / 251);
    return plain;
}

void stream_expect_refused(const Buf *stream, const TestPerson *reader, const uint8_t *plain, size_t size)
{
    _cleanup_(buf_done) Buf out = BUF_MAX(2 * STREAM_ROOM);
    bool verified = false;
    int r = stream_read_all(stream, reader, STREAM_ROOM, &out, &verified);

    g_assert_true(r == HMSG_ERROR_AUTHENTICATION_FAILED || r == HMSG_ERROR_BAD_PACKAGE ||
                  r == HMSG_ERROR_NOT_FOR_US || r == HMSG_ERROR_TOO_LARGE);
    g_assert_false(verified);
    g_assert_cmpuint(out.size, <=, size);
    g_assert_cmpmem(out.data ? out.data : plain, out.size, plain, out.size); /* a prefix */
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Headers as they come, and a whole stream that the input edits: each three bytes are a position and what is
 * XORed there. Only a verified prefix of the content may come out. */

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/wire/stream.h"
#include "tests/fuzz/fuzz.h"

#define NOW 1800000000
#define CONTENT (STREAM_CHUNK_SIZE + 100)

typedef struct Sample {
    RsaKey *recipient;
    uint8_t kids[1][KID_SIZE];
    WireSession *session;
    Buf stream;
    size_t header;
    uint8_t content[CONTENT];
} Sample;

static Sample *sample_new(void)
{
    _cleanup_(stream_writer_freep) StreamWriter *w = NULL;
    Sample *s = calloc(1, sizeof(*s));
    EVP_PKEY *key = EVP_RSA_gen(2048);
    uint8_t *sealed = calloc(1, STREAM_SEALED_SIZE(CONTENT));
    size_t made = 0;

    fuzz_check(s && key && sealed && rsa_key_from_evp(key, &s->recipient) == 0, "a sample can be made");
    memcpy(s->kids[0], rsa_key_thumbprint(s->recipient), KID_SIZE);
    fuzz_check(wire_session_new(s->recipient, NULL, NOW, 60, &s->session) == 0, "a session");
    const StreamRecipient to = {s->session, 0};
    for (size_t i = 0; i < CONTENT; i++)
        s->content[i] = (uint8_t)(i % 251 + 1);
    s->stream = BUF_MAX(1u << 20);
    fuzz_check(stream_writer_new(&to, 1, NOW, 0, &w, &s->stream) == 0, "a writer");
    s->header = s->stream.size - STREAM_PREFIX_SIZE;
    fuzz_check(stream_seal(w, s->content, CONTENT, true, sealed, &made) == 0, "chunks");
    fuzz_check(buf_append(&s->stream, sealed, made) == 0, "memory");
    free(sealed);
    EVP_PKEY_free(key);
    return s;
}

static void read_stream(const Sample *s, const uint8_t *data, size_t size)
{
    _cleanup_(package_freep) Package *p = NULL;
    _cleanup_(stream_reader_freep) StreamReader *r = NULL;
    size_t header = 0, kid = 0, made = 0;

    if (size < STREAM_PREAMBLE_SIZE || stream_header_size(data, &header) != 0 ||
        size < header + STREAM_PREFIX_SIZE)
        return;
    if (stream_header_parse(data, header, s->kids, 1, &p, &kid) != 0 ||
        package_check_sender(p, NULL, NULL) != 0)
        return;
    if (stream_reader_new(data, header, p, s->session->keys, data + header, &r) != 0)
        return;
    size_t at = header + STREAM_PREFIX_SIZE;
    uint8_t *out = calloc(1, size + 1);
    fuzz_check(out != NULL, "memory");
    if (stream_open(r, data + at, size - at, true, out, &made) == 0)
        fuzz_must(made == CONTENT && bytes_equal(out, s->content, CONTENT), "only the content comes out");
    fuzz_must(!stream_reader_verified(r), "an anonymous stream is nobody's");
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Sample *sample;
    size_t cut;

    if (!sample)
        sample = sample_new();
    read_stream(sample, data, size);

    uint8_t *copy = malloc(sample->stream.size);
    fuzz_check(copy != NULL, "memory");
    memcpy(copy, sample->stream.data, sample->stream.size);
    cut = sample->stream.size;
    for (; size >= 3; data += 3, size -= 3) {
        size_t at = ((size_t)data[0] << 8 | data[1]) % sample->stream.size;

        copy[at] ^= data[2];
    }
    if (size > 0)
        cut -= data[0];
    read_stream(sample, copy, cut);
    free(copy);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/package-internal.h"
#include "libhmsg/wire/stream-internal.h"

#define MAGIC_SIZE (sizeof(STREAM_MAGIC) - 1)

struct StreamReader {
    StreamKeys keys;
    RsaKey *sender; /* when there is a trailer to verify */
    Sha256 *hash;
    uint8_t header_sha256[SHA256_SIZE];
    size_t trailer_size;
    bool single; /* signed, and for one recipient: nobody else has its key */
    bool range;
    /* stream_open_begin: */
    uint64_t chunk;
    bool started, last_begun;
    /* stream_open_end: */
    bool trailer_verified;
    bool ended;
    int failed; /* the first error; there is no going on */
};

StreamReader *stream_reader_free(StreamReader *r)
{
    if (!r)
        return NULL;
    stream_keys_done(&r->keys);
    (void)rsa_key_free(r->sender);
    (void)sha256_free(r->hash);
    bytes_wipe(r, sizeof(*r));
    free(r);
    return NULL;
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static size_t trailer_size(const uint8_t *preamble)
{
    return get_u32(preamble + MAGIC_SIZE + 4);
}

int stream_header_size(const uint8_t preamble[static STREAM_PREAMBLE_SIZE], size_t *ret)
{
    if (!bytes_equal(preamble, STREAM_MAGIC, MAGIC_SIZE))
        return HMSG_ERROR_BAD_PACKAGE;
    size_t packages = get_u32(preamble + MAGIC_SIZE);
    if (packages == 0)
        return HMSG_ERROR_BAD_PACKAGE;
    if (packages > STREAM_PACKAGES_SIZE_MAX || trailer_size(preamble) > STREAM_TRAILER_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    *ret = STREAM_PREAMBLE_SIZE + packages;
    return 0;
}

bool stream_header_has_trailer(const uint8_t preamble[static STREAM_PREAMBLE_SIZE])
{
    return trailer_size(preamble) > 0;
}

/* header is whole, and of the size that it says. */
static int check_size(const void *header, size_t n)
{
    size_t size = 0;
    if (n < STREAM_PREAMBLE_SIZE)
        return HMSG_ERROR_BAD_PACKAGE;
    int r = stream_header_size(header, &size);
    return r == 0 && size != n ? HMSG_ERROR_BAD_PACKAGE : r;
}

int stream_header_parse(const void *header, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                        Package **ret, size_t *ret_kid)
{
    _cleanup_(package_freep) Package *p = NULL;
    size_t count = 0, kid = 0;
    int r = check_size(header, n);
    if (r != 0)
        return r;
    r = package_find_counted((const char *)header + STREAM_PREAMBLE_SIZE, n - STREAM_PREAMBLE_SIZE,
                             PACKAGE_STREAM, kids, n_kids, &p, &kid, &count);
    if (r != 0)
        return r;
    bool needs_trailer = p->has_sender && p->recipients > 1;
    if (p->recipients != count || (trailer_size(header) > 0 && !needs_trailer))
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = TAKE_PTR(p);
    *ret_kid = kid;
    return 0;
}

static int open_file_key(const Package *p, const Secret *keys, Secret **ret)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(FILE_KEY_SIZE);
    int r = package_open(p, keys, &plaintext);
    if (r == HMSG_ERROR_TOO_LARGE || (r == 0 && plaintext.size != FILE_KEY_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return r == 0 ? secret_new_copy(plaintext.data, plaintext.size, ret) : r;
}

int stream_reader_new(const void *header, size_t n, const Package *p, const Secret *keys,
                      const uint8_t prefix[static STREAM_PREFIX_SIZE], StreamReader **ret)
{
    _cleanup_(secret_freep) Secret *file_key = NULL;
    _cleanup_(stream_reader_freep) StreamReader *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    int r = check_size(header, n);
    if (r == 0 && p->kind != PACKAGE_STREAM)
        r = -EINVAL;
    if (r == 0)
        r = open_file_key(p, keys, &file_key);
    if (r == 0)
        r = crypto_sha256(header, n, s->header_sha256);
    if (r == 0)
        r = stream_keys_derive(file_key, prefix, s->header_sha256, false, &s->keys);
    if (r == 0 && !bytes_equal(prefix + STREAM_SALT_SIZE, s->keys.commitment, STREAM_COMMITMENT_SIZE))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    s->single = p->has_sender && p->recipients == 1;
    s->trailer_size = trailer_size(header);
    if (r == 0 && s->trailer_size > 0) {
        r = package_sender_key(p, &s->sender);
        if (r == 0)
            r = sha256_new(&s->hash);
        if (r == 0)
            r = sha256_update(s->hash, prefix, STREAM_PREFIX_SIZE);
    }
    if (r == 0)
        *ret = TAKE_PTR(s);
    return r;
}

size_t stream_reader_keep(const StreamReader *r)
{
    return STREAM_TAG_SIZE + r->trailer_size;
}

size_t stream_reader_ready(const StreamReader *r, size_t have, bool end)
{
    if (end)
        return have;
    size_t keep = stream_reader_keep(r);
    return have < keep ? 0 : (have - keep) / STREAM_SEALED_CHUNK_SIZE * STREAM_SEALED_CHUNK_SIZE;
}

int stream_open_begin(StreamReader *s, size_t n, bool end, StreamPart *ret)
{
    if (s->last_begun || (!end && n % STREAM_SEALED_CHUNK_SIZE != 0))
        return -EINVAL;
    s->started = true;
    if (end && n < stream_reader_keep(s))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    size_t size = end ? n - s->trailer_size : n;
    uint64_t chunks = size / STREAM_SEALED_CHUNK_SIZE + (end ? 1 : 0);
    if (chunks > STREAM_CHUNKS_MAX - s->chunk)
        return HMSG_ERROR_TOO_LARGE;
    *ret = (StreamPart){.chunk = s->chunk, .size = size, .last = end};
    s->chunk += chunks;
    s->last_begun = end;
    return 0;
}

static int open_chunk(const StreamReader *s, unsigned lane, uint64_t chunk, const uint8_t *in, size_t n,
                      uint8_t *out)
{
    uint8_t nonce[STREAM_NONCE_SIZE];
    stream_nonce(&s->keys, chunk, nonce);
    return gcm_open(s->keys.gcm[lane], nonce, in, n, out);
}

int stream_open_part(const StreamReader *s, unsigned lane, const StreamPart *part, const void *in, void *out,
                     size_t *ret_size)
{
    const uint8_t *from = in;
    uint8_t *to = out;
    uint64_t chunk = part->chunk;
    size_t left = part->size;
    int r = 0;
    for (; r == 0 && left >= STREAM_SEALED_CHUNK_SIZE; left -= STREAM_SEALED_CHUNK_SIZE) {
        r = open_chunk(s, lane, chunk++, from, STREAM_SEALED_CHUNK_SIZE, to);
        from += STREAM_SEALED_CHUNK_SIZE;
        to += STREAM_CHUNK_SIZE;
    }
    if (r == 0 && part->last) {
        r = left < STREAM_TAG_SIZE ? HMSG_ERROR_AUTHENTICATION_FAILED
                                   : open_chunk(s, lane, chunk, from, left, to);
        if (r == 0)
            to += left - STREAM_TAG_SIZE;
    }
    if (r == 0)
        *ret_size = (size_t)(to - (uint8_t *)out);
    return r;
}

static int check_trailer(StreamReader *s, const char *text)
{
    uint8_t ciphertext_sha256[SHA256_SIZE];
    int r = sha256_final(s->hash, ciphertext_sha256);
    if (r == 0)
        r = stream_trailer_check(text, s->trailer_size, s->sender, s->header_sha256, ciphertext_sha256);
    s->trailer_verified = r == 0;
    return r;
}

int stream_open_end(StreamReader *s, const StreamPart *part, const void *in, int r)
{
    if (s->failed)
        return s->failed;
    if (r == 0 && s->hash)
        r = sha256_update(s->hash, in, part->size);
    if (r == 0 && part->last && s->trailer_size > 0)
        r = check_trailer(s, (const char *)in + part->size);
    s->failed = r;
    s->ended = r == 0 && part->last;
    return r;
}

int stream_open(StreamReader *s, const void *in, size_t n, bool end, void *out, size_t *ret_size)
{
    StreamPart part = {0};
    size_t size = 0;
    if (s->failed)
        return s->failed;
    int r = stream_open_begin(s, n, end, &part);
    if (r == -EINVAL)
        return r;
    if (r == 0)
        r = stream_open_part(s, 0, &part, in, out, &size);
    r = stream_open_end(s, &part, in, r);
    if (r == 0)
        *ret_size = size;
    return r;
}

int stream_reader_seek(StreamReader *r, uint64_t total, uint64_t offset, uint64_t length, StreamSpan *ret)
{
    if (r->started || r->range || length == 0)
        return -EINVAL;
    if (total < r->trailer_size + STREAM_TAG_SIZE)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    uint64_t body = total - r->trailer_size;
    uint64_t rest = body % STREAM_SEALED_CHUNK_SIZE;
    if (rest < STREAM_TAG_SIZE) /* the last chunk has fewer bytes than others, and a tag */
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    uint64_t whole = body / STREAM_SEALED_CHUNK_SIZE * STREAM_CHUNK_SIZE; /* content before the last chunk */
    uint64_t size = whole + rest - STREAM_TAG_SIZE;
    StreamSpan span = {.behind = offset > size};
    if (span.behind)
        offset = size;
    span.size = length < size - offset ? length : size - offset;
    span.to_end = offset + span.size == size || offset + span.size > whole;
    uint64_t chunk = offset / STREAM_CHUNK_SIZE;
    span.skip = (size_t)(offset % STREAM_CHUNK_SIZE);
    span.at = chunk * STREAM_SEALED_CHUNK_SIZE;
    if (span.to_end)
        span.n = body - span.at;
    else
        span.n = ((span.skip + span.size - 1) / STREAM_CHUNK_SIZE + 1) * STREAM_SEALED_CHUNK_SIZE;
    r->chunk = chunk;
    r->range = true;
    r->trailer_size = 0; /* it is over the whole */
    r->hash = sha256_free(r->hash);
    *ret = span;
    return 0;
}

bool stream_reader_verified(const StreamReader *r)
{
    return !r->failed && (r->ended || r->range) && (r->single || r->trailer_verified);
}

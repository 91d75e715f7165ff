/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/package-internal.h"
#include "libhmsg/wire/stream-internal.h"

struct StreamWriter {
    StreamKeys keys;
    RsaKey *sender;
    Sha256 *hash; /* of the ciphertext, when there will be a trailer */
    uint8_t header_sha256[SHA256_SIZE];
    size_t trailer_size;
    uint64_t chunk;  /* stream_seal_begin: the next one */
    bool last_begun; /* the same */
    bool ended;      /* stream_seal_end */
};

StreamWriter *stream_writer_free(StreamWriter *w)
{
    if (!w)
        return NULL;
    stream_keys_done(&w->keys);
    (void)rsa_key_free(w->sender);
    (void)sha256_free(w->hash);
    bytes_wipe(w, sizeof(*w));
    free(w);
    return NULL;
}

/* One object for one recipient, else an array. */
static int write_packages(const StreamRecipient *recipients, size_t n, int64_t ts, int64_t exp,
                          const Secret *file_key, Buf *ret)
{
    int r = n > 1 ? buf_append_string(ret, "[") : 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (i > 0)
            r = buf_append_string(ret, ",");
        if (r == 0)
            r = package_write(recipients[i].session, PACKAGE_STREAM, n, recipients[i].seq, ts, exp,
                              secret_bytes(file_key), FILE_KEY_SIZE, ret);
    }
    if (r == 0 && n > 1)
        r = buf_append_string(ret, "]");
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int write_head(StreamWriter *w, const StreamRecipient *recipients, size_t n, int64_t ts, int64_t exp,
                      Buf *ret)
{
    _cleanup_(secret_freep) Secret *file_key = NULL;
    _cleanup_(buf_done) Buf packages = BUF_MAX(STREAM_PACKAGES_SIZE_MAX);
    uint8_t salt[STREAM_SALT_SIZE];
    int r = secret_new_random(FILE_KEY_SIZE, &file_key);
    if (r == 0)
        r = write_packages(recipients, n, ts, exp, file_key, &packages);
    if (r == 0)
        r = buf_append_string(ret, STREAM_MAGIC);
    if (r == 0)
        r = buf_append_u32(ret, (uint32_t)packages.size);
    if (r == 0)
        r = buf_append_u32(ret, (uint32_t)w->trailer_size);
    if (r == 0)
        r = buf_append(ret, packages.data, packages.size);
    if (r == 0)
        r = crypto_sha256(ret->data, ret->size, w->header_sha256);
    if (r == 0)
        r = crypto_random(salt, sizeof(salt));
    if (r == 0)
        r = stream_keys_derive(file_key, salt, w->header_sha256, true, &w->keys);
    if (r == 0)
        r = buf_append(ret, salt, sizeof(salt));
    if (r == 0)
        r = buf_append(ret, w->keys.commitment, STREAM_COMMITMENT_SIZE);
    if (r == 0 && w->hash)
        r = sha256_update(w->hash, ret->data + ret->size - STREAM_PREFIX_SIZE, STREAM_PREFIX_SIZE);
    return r;
}

int stream_writer_new(const StreamRecipient *recipients, size_t n, int64_t ts, int64_t exp,
                      StreamWriter **ret, Buf *ret_head)
{
    if (n == 0)
        return -EINVAL;
    if (n > RECIPIENTS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    RsaKey *sender = recipients[0].session->sender;
    for (size_t i = 1; i < n; i++) {
        const RsaKey *other = recipients[i].session->sender;
        if (!sender != !other || (sender && !rsa_key_equal(sender, other)))
            return -EINVAL;
    }
    _cleanup_(buf_done) Buf head =
        BUF_MAX(STREAM_PREAMBLE_SIZE + STREAM_PACKAGES_SIZE_MAX + STREAM_PREFIX_SIZE);
    _cleanup_(stream_writer_freep) StreamWriter *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    int r = 0;
    /* Any one of several recipients has the key of the stream; only a signature tells the sender from them.
     */
    if (n > 1 && sender) {
        w->sender = rsa_key_ref(sender);
        r = stream_trailer_size(sender, &w->trailer_size);
        if (r == 0)
            r = sha256_new(&w->hash);
    }
    if (r == 0)
        r = write_head(w, recipients, n, ts, exp, &head);
    if (r == 0)
        r = buf_append(ret_head, head.data, head.size);
    if (r == 0)
        *ret = TAKE_PTR(w);
    return r;
}

int stream_seal_begin(StreamWriter *w, size_t n, bool last, StreamPart *ret)
{
    if (w->last_begun || (!last && n % STREAM_CHUNK_SIZE != 0))
        return -EINVAL;
    uint64_t chunks = n / STREAM_CHUNK_SIZE + (last ? 1 : 0);
    if (chunks > STREAM_CHUNKS_MAX - w->chunk)
        return HMSG_ERROR_TOO_LARGE;
    *ret = (StreamPart){.chunk = w->chunk, .size = n, .last = last};
    w->chunk += chunks;
    w->last_begun = last;
    return 0;
}

static int seal_chunk(const StreamWriter *w, unsigned lane, uint64_t chunk, const uint8_t *in, size_t n,
                      uint8_t *out)
{
    uint8_t nonce[STREAM_NONCE_SIZE];
    stream_nonce(&w->keys, chunk, nonce);
    return gcm_seal(w->keys.gcm[lane], nonce, in, n, out);
}

int stream_seal_part(const StreamWriter *w, unsigned lane, const StreamPart *part, const void *in, void *out,
                     size_t *ret_size)
{
    const uint8_t *from = in;
    uint8_t *to = out;
    uint64_t chunk = part->chunk;
    size_t left = part->size;
    int r = 0;
    for (; r == 0 && left >= STREAM_CHUNK_SIZE; left -= STREAM_CHUNK_SIZE) {
        r = seal_chunk(w, lane, chunk++, from, STREAM_CHUNK_SIZE, to);
        from += STREAM_CHUNK_SIZE;
        to += STREAM_SEALED_CHUNK_SIZE;
    }
    if (r == 0 && part->last) {
        r = seal_chunk(w, lane, chunk, from, left, to);
        to += left + STREAM_TAG_SIZE;
    }
    if (r == 0)
        *ret_size = (size_t)(to - (uint8_t *)out);
    return r;
}

int stream_seal_end(StreamWriter *w, const StreamPart *part, const void *out, size_t n)
{
    int r = w->hash ? sha256_update(w->hash, out, n) : 0;
    if (r == 0)
        w->ended = part->last;
    return r;
}

int stream_seal(StreamWriter *w, const void *in, size_t n, bool last, void *out, size_t *ret_size)
{
    StreamPart part;
    size_t size = 0;
    int r = stream_seal_begin(w, n, last, &part);
    if (r == 0)
        r = stream_seal_part(w, 0, &part, in, out, &size);
    if (r == 0)
        r = stream_seal_end(w, &part, out, size);
    if (r == 0)
        *ret_size = size;
    return r;
}

bool stream_writer_needs_trailer(const StreamWriter *w)
{
    return w->sender != NULL;
}

int stream_writer_prepare(StreamWriter *w, JwsDraft *ret)
{
    uint8_t ciphertext_sha256[SHA256_SIZE];
    if (!w->sender || !w->ended)
        return -EINVAL;
    int r = sha256_final(w->hash, ciphertext_sha256);
    return r == 0 ? stream_trailer_prepare(w->sender, w->header_sha256, ciphertext_sha256, ret) : r;
}

int stream_writer_finish(StreamWriter *w, const JwsDraft *d, const void *signature, size_t n, Buf *ret)
{
    if (!w->sender || !w->ended)
        return -EINVAL;
    int r = rsa_key_verify_ps256(w->sender, d->digest, signature, n);
    size_t before = ret->size;
    if (r == 0)
        r = jws_finish(d, signature, n, ret);
    /* The header has said its size already. */
    return r == 0 && ret->size - before != w->trailer_size ? -EINVAL : r;
}

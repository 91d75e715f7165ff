/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/sealed-body.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define NONCE_BYTES 12u

struct BodyWriter {
    Gcm *gcm;
    int fd;
    uint64_t chunk; /* number of the next */
    size_t used;    /* of plain */
    uint8_t plain[BODY_CHUNK_SIZE], sealed[BODY_SEALED_CHUNK_SIZE];
};

struct BodyReader {
    Gcm *gcm;
    int fd;
    BodySource source; /* instead of fd */
    uint64_t size;
    uint64_t chunk; /* number of the one in plain; UINT64_MAX: none */
    uint8_t plain[BODY_CHUNK_SIZE], sealed[BODY_SEALED_CHUNK_SIZE];
};

static void chunk_nonce(uint64_t chunk, uint8_t ret[static NONCE_BYTES])
{
    memset(ret, 0, NONCE_BYTES);
    for (unsigned i = 0; i < 8; i++)
        ret[NONCE_BYTES - 1 - i] = (uint8_t)(chunk >> (8 * i));
}

static size_t chunk_size(uint64_t size, uint64_t chunk)
{
    uint64_t left = size - chunk * BODY_CHUNK_SIZE;
    return left < BODY_CHUNK_SIZE ? (size_t)left : BODY_CHUNK_SIZE;
}

/* What a Buf promises about the byte behind it. */
static void end_text(Buf *b)
{
    if (b->data)
        b->data[b->size] = 0;
}

int body_seal(const uint8_t key[static BODY_KEY_SIZE], const void *in, size_t size, Buf *ret)
{
    const uint8_t *from = in;
    int r = buf_reserve(ret, (size_t)body_sealed_size(size));
    for (uint64_t chunk = 0; r == 0 && chunk * BODY_CHUNK_SIZE < size; chunk++) {
        uint8_t nonce[NONCE_BYTES];
        size_t n = chunk_size(size, chunk);
        chunk_nonce(chunk, nonce);
        r = crypto_gcm_seal(key, nonce, NULL, 0, from + chunk * BODY_CHUNK_SIZE, n, ret->data + ret->size);
        if (r == 0)
            ret->size += n + BODY_TAG_SIZE;
    }
    if (r == 0)
        end_text(ret);
    return r;
}

int body_open(const uint8_t key[static BODY_KEY_SIZE], const void *in, size_t n, size_t size, Buf *ret)
{
    const uint8_t *from = in;
    if (n != body_sealed_size(size))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    size_t before = ret->size;
    int r = buf_reserve(ret, size);
    for (uint64_t chunk = 0; r == 0 && ret->size - before < size; chunk++) {
        uint8_t nonce[NONCE_BYTES];
        size_t part = chunk_size(size, chunk);
        chunk_nonce(chunk, nonce);
        r = crypto_gcm_open(key, nonce, NULL, 0, from + chunk * BODY_SEALED_CHUNK_SIZE, part + BODY_TAG_SIZE,
                            ret->data + ret->size);
        if (r == 0)
            ret->size += part;
    }
    if (r != 0)
        buf_truncate(ret, before);
    else
        end_text(ret);
    return r;
}

int body_writer_new(const uint8_t key[static BODY_KEY_SIZE], int fd, BodyWriter **ret)
{
    _cleanup_(body_writer_freep) BodyWriter *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->fd = fd;
    int r = gcm_new(key, true, &w->gcm);
    if (r == 0)
        *ret = TAKE_PTR(w);
    return r;
}

static int write_chunk(BodyWriter *w)
{
    uint8_t nonce[NONCE_BYTES];
    chunk_nonce(w->chunk, nonce);
    int r = gcm_seal(w->gcm, nonce, w->plain, w->used, w->sealed);
    if (r == 0)
        r = file_write_fd(w->fd, w->sealed, w->used + BODY_TAG_SIZE);
    w->chunk++; /* also when it failed: no nonce serves twice */
    w->used = 0;
    return r;
}

int body_writer_append(BodyWriter *w, const void *data, size_t n)
{
    const uint8_t *from = data;
    int r = 0;
    while (r == 0 && n > 0) {
        size_t part = n < BODY_CHUNK_SIZE - w->used ? n : BODY_CHUNK_SIZE - w->used;
        memcpy(w->plain + w->used, from, part);
        w->used += part;
        from += part;
        n -= part;
        if (w->used == BODY_CHUNK_SIZE)
            r = write_chunk(w);
    }
    return r;
}

int body_writer_finish(BodyWriter *w)
{
    return w->used > 0 ? write_chunk(w) : 0;
}

BodyWriter *body_writer_free(BodyWriter *w)
{
    if (!w)
        return NULL;
    (void)gcm_free(w->gcm);
    bytes_wipe(w->plain, sizeof(w->plain));
    free(w);
    return NULL;
}

int body_reader_new(const uint8_t key[static BODY_KEY_SIZE], int fd, uint64_t size, BodyReader **ret)
{
    _cleanup_(body_reader_freep) BodyReader *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->fd = -1;
    r->size = size;
    r->chunk = UINT64_MAX;
    int e = gcm_new(key, false, &r->gcm);
    if (e != 0)
        return e;
    r->fd = fd;
    *ret = TAKE_PTR(r);
    return 0;
}

int body_reader_new_from(const uint8_t key[static BODY_KEY_SIZE], const BodySource *source, uint64_t size,
                         BodyReader **ret)
{
    int e = body_reader_new(key, -1, size, ret);
    if (e == 0)
        (*ret)->source = *source;
    return e;
}

/* n bytes of the sealed form. */
static int read_file(int fd, uint64_t offset, uint8_t *to, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t k = pread(fd, to + have, n - have, (off_t)(offset + have));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return k < 0 ? -errno : -EBADMSG;
        have += (size_t)k;
    }
    return 0;
}

static int read_chunk(BodyReader *r, uint64_t chunk)
{
    uint8_t nonce[NONCE_BYTES];
    size_t want = chunk_size(r->size, chunk) + BODY_TAG_SIZE;
    uint64_t at = chunk * BODY_SEALED_CHUNK_SIZE;
    r->chunk = UINT64_MAX;
    int e = r->source.read ? r->source.read(r->source.userdata, at, r->sealed, want)
                           : read_file(r->fd, at, r->sealed, want);
    if (e != 0)
        return e;
    chunk_nonce(chunk, nonce);
    e = gcm_open(r->gcm, nonce, r->sealed, want, r->plain);
    if (e != 0)
        return e < 0 ? e : -EBADMSG;
    r->chunk = chunk;
    return 0;
}

ssize_t body_reader_read(BodyReader *r, uint64_t offset, void *to, size_t n)
{
    if (offset >= r->size || n == 0)
        return 0;
    uint64_t chunk = offset / BODY_CHUNK_SIZE;
    size_t at = (size_t)(offset % BODY_CHUNK_SIZE), have = chunk_size(r->size, chunk) - at;
    int e = r->chunk == chunk ? 0 : read_chunk(r, chunk);
    if (e != 0)
        return e;
    if (n > have)
        n = have;
    memcpy(to, r->plain + at, n);
    return (ssize_t)n;
}

BodyReader *body_reader_free(BodyReader *r)
{
    if (!r)
        return NULL;
    (void)gcm_free(r->gcm);
    (void)fd_close(r->fd);
    if (r->source.done)
        r->source.done(r->source.userdata);
    bytes_wipe(r->plain, sizeof(r->plain));
    free(r);
    return NULL;
}

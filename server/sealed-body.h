/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bodies at rest: chunks of BODY_CHUNK_SIZE, the last one may be shorter, each AES-256-GCM with its number as
 * nonce and the tag behind it. The key is random and serves one body. Where the body ends is for the caller
 * to know: it is sealed with the key. */

#include <sys/types.h>

#include "libhmsg/wire/crypto.h"

#define BODY_KEY_SIZE 32u
#define BODY_CHUNK_SIZE 16384u
#define BODY_TAG_SIZE 16u
#define BODY_SEALED_CHUNK_SIZE (BODY_CHUNK_SIZE + BODY_TAG_SIZE)

/* Of the sealed form of n bytes. */
static inline uint64_t body_sealed_size(uint64_t n)
{
    return n + (n + BODY_CHUNK_SIZE - 1) / BODY_CHUNK_SIZE * BODY_TAG_SIZE;
}

/* In memory; append to ret. open: HMSG_ERROR_AUTHENTICATION_FAILED unless in is a body of size bytes. */
int body_seal(const uint8_t key[static BODY_KEY_SIZE], const void *in, size_t size, Buf *ret);
int body_open(const uint8_t key[static BODY_KEY_SIZE], const void *in, size_t n, size_t size, Buf *ret);

/* Into a file of the caller's. What is appended is there after body_writer_finish. */
typedef struct BodyWriter BodyWriter;
int body_writer_new(const uint8_t key[static BODY_KEY_SIZE], int fd, BodyWriter **ret);
int body_writer_append(BodyWriter *w, const void *data, size_t n);
int body_writer_finish(BodyWriter *w);
BodyWriter *body_writer_free(BodyWriter *w);
DEFINE_CLEANUP(BodyWriter *, body_writer_free)

/* Of a file with a body of size bytes; takes fd when it succeeds. */
typedef struct BodyReader BodyReader;
int body_reader_new(const uint8_t key[static BODY_KEY_SIZE], int fd, uint64_t size, BodyReader **ret);
/* The same of what read gives: n bytes of the sealed form from offset, all of them (else -EBADMSG or another
 * error). userdata is freed with done, unless this fails. */
typedef struct BodySource {
    int (*read)(void *userdata, uint64_t offset, void *to, size_t n);
    void (*done)(void *userdata);
    void *userdata;
} BodySource;
int body_reader_new_from(const uint8_t key[static BODY_KEY_SIZE], const BodySource *source, uint64_t size,
                         BodyReader **ret);
/* At least 1 and at most n bytes of the body from offset; fast when offsets grow. 0 at its end. -EBADMSG: the
 * file is not what was written. */
ssize_t body_reader_read(BodyReader *r, uint64_t offset, void *to, size_t n);
BodyReader *body_reader_free(BodyReader *r);
DEFINE_CLEANUP(BodyReader *, body_reader_free)

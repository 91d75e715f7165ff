/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/wire: what writing and reading a stream share. */

#include "libhmsg/wire/stream.h"

#define STREAM_NONCE_SIZE 12u

typedef struct StreamKeys {
    Gcm *gcm[STREAM_LANES];           /* the same key: a context is for one thread at a time */
    uint8_t nonce[STREAM_NONCE_SIZE]; /* base nonce */
    uint8_t commitment[STREAM_COMMITMENT_SIZE];
} StreamKeys;

/* C2SP chunked-encryption: HKDF-Expand with SHA-512 over salt and context, the SHA-256 of the header. */
int stream_keys_derive(const Secret *file_key, const uint8_t salt[static STREAM_SALT_SIZE],
                       const uint8_t context[static SHA256_SIZE], bool seal, StreamKeys *ret);
void stream_keys_done(StreamKeys *k);
/* Base nonce XOR chunk number. */
void stream_nonce(const StreamKeys *k, uint64_t chunk, uint8_t ret[static STREAM_NONCE_SIZE]);

/* The JWS behind a stream for several: who sent it says what header and ciphertext are. */
int stream_trailer_prepare(const RsaKey *sender, const uint8_t header_sha256[static SHA256_SIZE],
                           const uint8_t ciphertext_sha256[static SHA256_SIZE], JwsDraft *ret);
int stream_trailer_check(const char *text, size_t n, const RsaKey *sender,
                         const uint8_t header_sha256[static SHA256_SIZE],
                         const uint8_t ciphertext_sha256[static SHA256_SIZE]);
/* Its size, known before anything is signed. */
int stream_trailer_size(const RsaKey *sender, size_t *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Cryptography, thin over EVP. Algorithms and contexts are fetched once per thread. All functions return the
 * convention of error.h: -EIO when OpenSSL fails for a reason that is not the input, and
 * HMSG_ERROR_AUTHENTICATION_FAILED when a signature, tag or padding is not right. */

#include "libhmsg/base/buf.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/limits.h"

int crypto_sha256(const void *data, size_t n, uint8_t ret[static SHA256_SIZE]);

/* SHA-256 in pieces that come one after the other. */
typedef struct Sha256 Sha256;
int sha256_new(Sha256 **ret);
int sha256_update(Sha256 *h, const void *data, size_t n);
int sha256_final(Sha256 *h, uint8_t ret[static SHA256_SIZE]); /* afterwards h begins anew */
Sha256 *sha256_free(Sha256 *h);
DEFINE_CLEANUP(Sha256 *, sha256_free)

typedef struct Chunk {
    const void *data;
    size_t size;
} Chunk;

/* SHA-256 over the concatenation of chunks. */
int crypto_sha256_chunks(const Chunk *chunks, size_t n_chunks, uint8_t ret[static SHA256_SIZE]);

/* HMAC over the concatenation of chunks (RFC 2104). */
int crypto_hmac_sha256(const void *key, size_t key_size, const Chunk *chunks, size_t n_chunks,
                       uint8_t ret[static SHA256_SIZE]);
int crypto_hmac_sha512(const void *key, size_t key_size, const Chunk *chunks, size_t n_chunks,
                       uint8_t ret[static SHA512_SIZE]);

/* HKDF with SHA-256 (RFC 5869), extract and expand. */
int crypto_hkdf_sha256(const void *key, size_t key_size, const void *salt, size_t salt_size, const void *info,
                       size_t info_size, void *ret, size_t size);
/* HKDF with SHA-512: all of it, and the expand step alone. */
int crypto_hkdf_sha512(const void *key, size_t key_size, const void *salt, size_t salt_size, const void *info,
                       size_t info_size, void *ret, size_t size);
int crypto_hkdf_expand_sha512(const void *prk, size_t prk_size, const void *info, size_t info_size, void *ret,
                              size_t size);

/* A256CBC-HS512 (RFC 7518 section 5.2): key is MAC key 32, then AES key 32. Appends to ret. */
int crypto_cbc_hs512_seal(const uint8_t key[static 64], const uint8_t iv[static 16], const void *aad,
                          size_t aad_size, const void *plaintext, size_t n, Buf *ret,
                          uint8_t ret_tag[static 32]);
/* Only the tag, in constant time. */
int crypto_cbc_hs512_verify(const uint8_t key[static 64], const uint8_t iv[static 16], const void *aad,
                            size_t aad_size, const void *ciphertext, size_t n, const uint8_t tag[static 32]);
/* Verifies the tag before anything is decrypted. */
int crypto_cbc_hs512_open(const uint8_t key[static 64], const uint8_t iv[static 16], const void *aad,
                          size_t aad_size, const void *ciphertext, size_t n, const uint8_t tag[static 32],
                          Buf *ret);

/* AES-256-CBC with PKCS#7 padding, without a MAC: for the seed form only. Appends to ret. */
int crypto_cbc_encrypt(const uint8_t key[static 32], const uint8_t iv[static 16], const void *plaintext,
                       size_t n, Buf *ret);
int crypto_cbc_decrypt(const uint8_t key[static 32], const uint8_t iv[static 16], const void *ciphertext,
                       size_t n, Buf *ret);

/* AES-256-GCM with a 96-bit IV and a 128-bit tag behind the ciphertext: out holds n + 16 (seal) or n - 16
 * (open). n of open counts the tag. Nothing in out is valid when open fails. in == out is allowed. */
int crypto_gcm_seal(const uint8_t key[static 32], const uint8_t iv[static 12], const void *aad,
                    size_t aad_size, const void *in, size_t n, void *out);
int crypto_gcm_open(const uint8_t key[static 32], const uint8_t iv[static 12], const void *aad,
                    size_t aad_size, const void *in, size_t n, void *out);

/* The same for many messages under one key: one cipher context, keyed once. */
typedef struct Gcm Gcm;
int gcm_new(const uint8_t key[static 32], bool seal, Gcm **ret);
int gcm_seal(Gcm *g, const uint8_t iv[static 12], const void *in, size_t n, void *out);
int gcm_open(Gcm *g, const uint8_t iv[static 12], const void *in, size_t n, void *out);
Gcm *gcm_free(Gcm *g);
DEFINE_CLEANUP(Gcm *, gcm_free)

/* Random bytes (RAND_bytes). */
int crypto_random(void *ret, size_t n);

/* X25519 (RFC 7748). HMSG_ERROR_AUTHENTICATION_FAILED: the peer's key gives the all-zero secret. */
int x25519_generate(Secret **ret_private, uint8_t ret_public[static X25519_SIZE]);
int x25519_derive(const Secret *private_key, const uint8_t peer[static X25519_SIZE], Secret **ret);

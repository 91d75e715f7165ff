/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/crypto.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/crypto-context.h"

int crypto_sha256_chunks(const Chunk *chunks, size_t n_chunks, uint8_t ret[static SHA256_SIZE])
{
    CryptoContext *c = crypto_context();
    if (!c)
        return -ENOMEM;
    bool ok = EVP_DigestInit_ex2(c->md, c->sha256, NULL) == 1;
    for (size_t i = 0; ok && i < n_chunks; i++)
        ok = EVP_DigestUpdate(c->md, chunks[i].data, chunks[i].size) == 1;
    return ok && EVP_DigestFinal_ex(c->md, ret, NULL) == 1 ? 0 : -EIO;
}

int crypto_sha256(const void *data, size_t n, uint8_t ret[static SHA256_SIZE])
{
    const Chunk chunk = {data, n};
    return crypto_sha256_chunks(&chunk, 1, ret);
}

struct Sha256 {
    EVP_MD_CTX *md;
};

int sha256_new(Sha256 **ret)
{
    CryptoContext *c = crypto_context();
    _cleanup_(sha256_freep) Sha256 *h = calloc(1, sizeof(*h));
    if (!c || !h)
        return -ENOMEM;
    h->md = EVP_MD_CTX_new();
    if (!h->md || EVP_DigestInit_ex2(h->md, c->sha256, NULL) != 1)
        return -ENOMEM;
    *ret = TAKE_PTR(h);
    return 0;
}

int sha256_update(Sha256 *h, const void *data, size_t n)
{
    return EVP_DigestUpdate(h->md, data, n) == 1 ? 0 : -EIO;
}

int sha256_final(Sha256 *h, uint8_t ret[static SHA256_SIZE])
{
    if (EVP_DigestFinal_ex(h->md, ret, NULL) != 1 || EVP_DigestInit_ex2(h->md, NULL, NULL) != 1)
        return -EIO;
    return 0;
}

Sha256 *sha256_free(Sha256 *h)
{
    if (h)
        EVP_MD_CTX_free(h->md);
    free(h);
    return NULL;
}

static int hmac(EVP_MAC_CTX *ctx, const void *key, size_t key_size, const Chunk *chunks, size_t n_chunks,
                uint8_t *ret, size_t size)
{
    static const uint8_t zero[32];
    /* OpenSSL takes a NULL key for "keep the one before". */
    bool ok = EVP_MAC_init(ctx, key_size > 0 ? key : (const void *)zero, key_size, NULL) == 1;
    for (size_t i = 0; ok && i < n_chunks; i++)
        ok = chunks[i].size == 0 || EVP_MAC_update(ctx, chunks[i].data, chunks[i].size) == 1;
    size_t written = 0;
    ok = ok && EVP_MAC_final(ctx, ret, &written, size) == 1 && written == size;
    /* The context lives on; the key must not. */
    ok = EVP_MAC_init(ctx, zero, sizeof(zero), NULL) == 1 && ok;
    return ok ? 0 : -EIO;
}

int crypto_hmac_sha256(const void *key, size_t key_size, const Chunk *chunks, size_t n_chunks,
                       uint8_t ret[static SHA256_SIZE])
{
    CryptoContext *c = crypto_context();
    return c ? hmac(c->hmac_sha256, key, key_size, chunks, n_chunks, ret, SHA256_SIZE) : -ENOMEM;
}

int crypto_hmac_sha512(const void *key, size_t key_size, const Chunk *chunks, size_t n_chunks,
                       uint8_t ret[static SHA512_SIZE])
{
    CryptoContext *c = crypto_context();
    return c ? hmac(c->hmac_sha512, key, key_size, chunks, n_chunks, ret, SHA512_SIZE) : -ENOMEM;
}

typedef struct Hkdf {
    char digest[8];
    int mode;
    const void *key, *salt, *info;
    size_t key_size, salt_size, info_size;
} Hkdf;

static OSSL_PARAM octets(const char *name, const void *data, size_t n)
{
    /* OSSL_PARAM has no const; the KDF only reads. */
    union {
        const void *in;
        void *out;
    } u = {.in = data ? data : ""};
    return OSSL_PARAM_construct_octet_string(name, u.out, n);
}

static int hkdf(Hkdf *h, void *ret, size_t size)
{
    CryptoContext *c = crypto_context();
    EVP_KDF_CTX *ctx = c ? EVP_KDF_CTX_new(c->hkdf) : NULL;
    if (!ctx)
        return -ENOMEM;
    OSSL_PARAM params[6] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, h->digest, 0),
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &h->mode),
        octets(OSSL_KDF_PARAM_KEY, h->key, h->key_size),
    };
    size_t n = 3;
    if (h->salt_size > 0)
        params[n++] = octets(OSSL_KDF_PARAM_SALT, h->salt, h->salt_size);
    if (h->info_size > 0)
        params[n++] = octets(OSSL_KDF_PARAM_INFO, h->info, h->info_size);
    params[n] = OSSL_PARAM_construct_end();
    int r = EVP_KDF_derive(ctx, ret, size, params) == 1 ? 0 : -EIO;
    EVP_KDF_CTX_free(ctx);
    return r;
}

int crypto_hkdf_sha256(const void *key, size_t key_size, const void *salt, size_t salt_size, const void *info,
                       size_t info_size, void *ret, size_t size)
{
    Hkdf h = {"SHA256", EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND, key, salt, info, key_size, salt_size,
              info_size};
    return hkdf(&h, ret, size);
}

int crypto_hkdf_sha512(const void *key, size_t key_size, const void *salt, size_t salt_size, const void *info,
                       size_t info_size, void *ret, size_t size)
{
    Hkdf h = {"SHA512", EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND, key, salt, info, key_size, salt_size,
              info_size};
    return hkdf(&h, ret, size);
}

int crypto_hkdf_expand_sha512(const void *prk, size_t prk_size, const void *info, size_t info_size, void *ret,
                              size_t size)
{
    Hkdf h = {"SHA512", EVP_KDF_HKDF_MODE_EXPAND_ONLY, prk, NULL, info, prk_size, 0, info_size};
    return hkdf(&h, ret, size);
}

int crypto_random(void *ret, size_t n)
{
    return n <= INT32_MAX && RAND_bytes(ret, (int)n) == 1 ? 0 : -EIO;
}

int x25519_generate(Secret **ret_private, uint8_t ret_public[static X25519_SIZE])
{
    _cleanup_(secret_freep) Secret *s = NULL;
    int r = secret_new_random(X25519_SIZE, &s);
    if (r != 0)
        return r;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret_bytes(s), X25519_SIZE);
    size_t size = X25519_SIZE;
    bool ok = key && EVP_PKEY_get_raw_public_key(key, ret_public, &size) == 1 && size == X25519_SIZE;
    EVP_PKEY_free(key);
    if (!ok)
        return -EIO;
    *ret_private = TAKE_PTR(s);
    return 0;
}

int x25519_derive(const Secret *private_key, const uint8_t peer[static X25519_SIZE], Secret **ret)
{
    _cleanup_(secret_freep) Secret *s = NULL;
    int r = secret_new(X25519_SIZE, &s);
    if (r != 0)
        return r;
    EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret_bytes(private_key),
                                                 secret_size(private_key));
    EVP_PKEY *other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, X25519_SIZE);
    EVP_PKEY_CTX *ctx = own ? EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL) : NULL;
    size_t size = X25519_SIZE;
    r = -EIO;
    if (ctx && other && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, other) == 1)
        r = EVP_PKEY_derive(ctx, secret_data(s), &size) == 1 && size == X25519_SIZE
                ? 0
                : HMSG_ERROR_AUTHENTICATION_FAILED;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(other);
    EVP_PKEY_free(own);
    if (r == 0)
        *ret = TAKE_PTR(s);
    return r;
}

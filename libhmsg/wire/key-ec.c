/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/key.h"

#define P256_SPKI_SIZE 91u  /* with the point uncompressed */
#define P256_POINT_SIZE 64u /* x, y: the end of the SPKI */
#define ES256_DER_SIZE_MAX 80u

struct EcKey {
    atomic_uint references;
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *signer; /* set up to sign, to be copied; NULL unless we made the key */
    uint8_t *spki;
    size_t spki_size;
    uint8_t thumbprint[KID_SIZE];
};

EcKey *ec_key_ref(EcKey *k)
{
    if (k)
        atomic_fetch_add(&k->references, 1);
    return k;
}

EcKey *ec_key_free(EcKey *k)
{
    if (!k || atomic_fetch_sub(&k->references, 1) != 1)
        return NULL;
    EVP_PKEY_CTX_free(k->signer);
    EVP_PKEY_free(k->pkey);
    OPENSSL_free(k->spki);
    free(k);
    return NULL;
}

static int thumbprint(const uint8_t *point, uint8_t ret[static KID_SIZE])
{
    char x[HASH_TEXT_SIZE], y[HASH_TEXT_SIZE];
    base64url_encode(point, 32, x);
    base64url_encode(point + 32, 32, y);
    _cleanup_(buf_done) Buf text = BUF_MAX(256);
    int r = buf_printf(&text, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
    return r == 0 ? crypto_sha256(text.data, text.size, ret) : r;
}

int ec_key_from_evp(EVP_PKEY *pkey, EcKey **ret)
{
    char group[32];
    if (!EVP_PKEY_is_a(pkey, "EC") || EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1 ||
        strcmp(group, "prime256v1") != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    _cleanup_(ec_key_freep) EcKey *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    atomic_init(&k->references, 1);
    if (EVP_PKEY_up_ref(pkey) != 1)
        return -EIO;
    k->pkey = pkey;
    int size = i2d_PUBKEY(pkey, &k->spki);
    if (size <= 0)
        return -ENOMEM;
    k->spki_size = (size_t)size;
    if (k->spki_size != P256_SPKI_SIZE)
        return HMSG_ERROR_BAD_PACKAGE;
    int r = thumbprint(k->spki + P256_SPKI_SIZE - P256_POINT_SIZE, k->thumbprint);
    if (r != 0)
        return r;
    *ret = TAKE_PTR(k);
    return 0;
}

int ec_key_from_spki(const void *der, size_t n, EcKey **ret)
{
    if (n != P256_SPKI_SIZE)
        return HMSG_ERROR_BAD_PACKAGE;
    const uint8_t *p = der;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)n);
    if (!pkey)
        return HMSG_ERROR_BAD_PACKAGE;
    _cleanup_(ec_key_freep) EcKey *k = NULL;
    int r = ec_key_from_evp(pkey, &k);
    EVP_PKEY_free(pkey);
    if (r != 0)
        return r;
    if (k->spki_size != n || !bytes_equal(k->spki, der, n))
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = TAKE_PTR(k);
    return 0;
}

static EVP_PKEY_CTX *signer_new(const EcKey *k)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
    if (ctx && EVP_PKEY_sign_init(ctx) != 1) {
        EVP_PKEY_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

int ec_key_generate(EcKey **ret)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    if (!pkey)
        return -EIO;
    _cleanup_(ec_key_freep) EcKey *k = NULL;
    int r = ec_key_from_evp(pkey, &k);
    EVP_PKEY_free(pkey);
    if (r != 0)
        return r;
    k->signer = signer_new(k);
    if (!k->signer)
        return -EIO;
    *ret = TAKE_PTR(k);
    return 0;
}

const uint8_t *ec_key_spki(const EcKey *k, size_t *ret_size)
{
    *ret_size = k->spki_size;
    return k->spki;
}

const uint8_t *ec_key_thumbprint(const EcKey *k)
{
    return k->thumbprint;
}

EVP_PKEY *ec_key_evp(const EcKey *k)
{
    return k->pkey;
}

int ec_key_sign_es256(const EcKey *k, const uint8_t digest[static SHA256_SIZE],
                      uint8_t ret[static ES256_SIGNATURE_SIZE])
{
    uint8_t der[ES256_DER_SIZE_MAX];
    size_t size = sizeof(der);
    /* A copy saves a sixth of a signature: what a new one looks up takes that long. */
    EVP_PKEY_CTX *ctx = k->signer ? EVP_PKEY_CTX_dup(k->signer) : signer_new(k);
    bool ok = ctx && EVP_PKEY_sign(ctx, der, &size, digest, SHA256_SIZE) == 1;
    EVP_PKEY_CTX_free(ctx);
    const uint8_t *p = der;
    ECDSA_SIG *signature = ok ? d2i_ECDSA_SIG(NULL, &p, (long)size) : NULL;
    ok = signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), ret, 32) == 32 &&
         BN_bn2binpad(ECDSA_SIG_get0_s(signature), ret + 32, 32) == 32;
    ECDSA_SIG_free(signature);
    return ok ? 0 : -EIO;
}

/* The DER that OpenSSL wants; its size, 0 without memory. */
static size_t signature_to_der(const uint8_t *raw, uint8_t ret[static ES256_DER_SIZE_MAX])
{
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, 32, NULL), *s = BN_bin2bn(raw + 32, 32, NULL);
    if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(signature);
        return 0;
    }
    uint8_t *p = ret; /* i2d moves it on */
    int size = i2d_ECDSA_SIG(signature, &p);
    ECDSA_SIG_free(signature);
    return size > 0 ? (size_t)size : 0;
}

int ec_key_verify_es256(const EcKey *k, const uint8_t digest[static SHA256_SIZE], const void *signature,
                        size_t n)
{
    if (n != ES256_SIGNATURE_SIZE)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    uint8_t der[ES256_DER_SIZE_MAX];
    size_t size = signature_to_der(signature, der);
    if (size == 0)
        return -ENOMEM;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
    bool ok =
        ctx && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_verify(ctx, der, size, digest, SHA256_SIZE) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok ? 0 : HMSG_ERROR_AUTHENTICATION_FAILED;
}

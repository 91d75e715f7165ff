/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/crypto-context.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdlib.h>

#include "libhmsg/base/macro.h"

/* lint: global: fetching algorithms costs more than using them, so each thread keeps its own */
static pthread_once_t context_once = PTHREAD_ONCE_INIT;
/* lint: global: the same */
static pthread_key_t context_key;
/* lint: global: the same */
static int context_key_result;

static CryptoContext *context_free(CryptoContext *c)
{
    if (!c)
        return NULL;
    EVP_CIPHER_CTX_free(c->cipher);
    EVP_MAC_CTX_free(c->hmac_sha512);
    EVP_MAC_CTX_free(c->hmac_sha256);
    EVP_MD_CTX_free(c->md);
    EVP_KDF_free(c->hkdf);
    EVP_CIPHER_free(c->gcm);
    EVP_CIPHER_free(c->cbc);
    EVP_MD_free(c->sha256);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(CryptoContext *, context_free)

static void context_destroy(void *p)
{
    (void)context_free(p);
}

static void context_setup(void)
{
    context_key_result = pthread_key_create(&context_key, context_destroy);
}

static EVP_MAC_CTX *hmac_context(char *digest)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac); /* the context has its own reference */
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    if (ctx && EVP_MAC_CTX_set_params(ctx, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static CryptoContext *context_new(void)
{
    _cleanup_(context_freep) CryptoContext *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    char sha256[] = "SHA256", sha512[] = "SHA512";
    c->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    c->cbc = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    c->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    c->hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    c->md = EVP_MD_CTX_new();
    c->hmac_sha256 = hmac_context(sha256);
    c->hmac_sha512 = hmac_context(sha512);
    c->cipher = EVP_CIPHER_CTX_new();
    if (!c->sha256 || !c->cbc || !c->gcm || !c->hkdf || !c->md || !c->hmac_sha256 || !c->hmac_sha512 ||
        !c->cipher)
        return NULL;
    return TAKE_PTR(c);
}

CryptoContext *crypto_context(void)
{
    if (pthread_once(&context_once, context_setup) != 0 || context_key_result != 0)
        return NULL;
    CryptoContext *c = pthread_getspecific(context_key);
    if (c)
        return c;
    c = context_new();
    if (c && pthread_setspecific(context_key, c) != 0)
        return context_free(c);
    return c;
}

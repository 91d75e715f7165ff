/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/oaep.h"
#include "server/token-internal.h"

#define SCHEME "pkcs11:"

bool token_is_uri(const char *text)
{
    return strncmp(text, SCHEME, strlen(SCHEME)) == 0;
}

int token_open(const char *uri, const Secret *pin, Token **ret)
{
    Token *t = calloc(1, sizeof(*t));
    int r = t && pthread_mutex_init(&t->lock, NULL) == 0 ? 0 : -ENOMEM;

    if (r != 0) {
        free(t);
        return r;
    }
    p11_kit_be_quiet();
    r = token_parse_uri(uri, &t->uri);
    if (r == 0 && pin)
        r = secret_new_copy(secret_bytes(pin), secret_size(pin), &t->pin);
    if (r == 0)
        r = token_connect(t);
    if (r == 0)
        *ret = t;
    else
        (void)token_free(t);
    return r;
}

Token *token_free(Token *t)
{
    if (!t)
        return NULL;
    token_disconnect(t);
    p11_kit_uri_free(t->uri);
    (void)secret_free(t->pin);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
    return NULL;
}

/* May all be well with a new session? */
static bool is_lost(CK_RV rv)
{
    switch (rv) {
    case CKR_CRYPTOKI_NOT_INITIALIZED:
    case CKR_DEVICE_ERROR:
    case CKR_DEVICE_REMOVED:
    case CKR_KEY_HANDLE_INVALID:
    case CKR_OBJECT_HANDLE_INVALID:
    case CKR_SESSION_CLOSED:
    case CKR_SESSION_HANDLE_INVALID:
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_USER_NOT_LOGGED_IN:
        return true;
    default:
        return false;
    }
}

/* The same key again, or none. */
static int connect_again(Token *t)
{
    const size_t size = t->size;
    RsaKey *public = NULL;
    int r;

    token_disconnect(t);
    r = token_connect(t);
    if (r == 0)
        r = token_look_up(t, &public);
    (void)rsa_key_free(public);
    if (r == 0 && t->size != size)
        r = -EIO;
    if (r != 0)
        token_disconnect(t);
    return r;
}

typedef struct Command {
    const char *name;
    CK_RV (*run)(Token *t, const void *in, size_t n, void *out, CK_ULONG *out_size);
} Command;

/* With the lock. */
static int run(Token *t, const Command *c, const void *in, size_t n, void *out, CK_ULONG *out_size)
{
    const CK_ULONG max = *out_size;
    CK_RV rv = CKR_SESSION_CLOSED;
    int r;

    if (t->session)
        rv = c->run(t, in, n, out, out_size);
    if (is_lost(rv)) {
        r = connect_again(t);
        if (r != 0)
            return r;
        *out_size = max;
        rv = c->run(t, in, n, out, out_size);
    }
    return token_result(c->name, rv);
}

static CK_RV sign(Token *t, const void *in, size_t n, void *out, CK_ULONG *out_size)
{
    CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA256, CKG_MGF1_SHA256, SHA256_SIZE};
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_PSS, &pss, sizeof(pss)};
    CK_RV rv = t->module->C_SignInit(t->session, &mechanism, t->key);

    return rv == CKR_OK ? t->module->C_Sign(t->session, (unsigned char *)(uintptr_t)in, n, out, out_size)
                        : rv;
}

int token_sign(Token *t, const uint8_t digest[static SHA256_SIZE], Buf *ret)
{
    static const Command command = {"C_Sign", sign};
    uint8_t signature[RSA_SIZE_MAX];
    CK_ULONG n = sizeof(signature);
    int r;

    (void)pthread_mutex_lock(&t->lock);
    r = t->found ? run(t, &command, digest, SHA256_SIZE, signature, &n) : HMSG_ERROR_NOT_FOUND;
    (void)pthread_mutex_unlock(&t->lock);
    if (r == 0 && n > sizeof(signature))
        r = -EIO;
    return r == 0 ? buf_append(ret, signature, n) : r;
}

static bool is_refused(CK_RV rv)
{
    return rv == CKR_ARGUMENTS_BAD || rv == CKR_MECHANISM_INVALID || rv == CKR_MECHANISM_PARAM_INVALID;
}

static CK_RV decrypt(Token *t, const void *in, size_t n, void *out, CK_ULONG *out_size)
{
    CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0};
    CK_MECHANISM whole = {CKM_RSA_PKCS_OAEP, &oaep, sizeof(oaep)}, raw = {CKM_RSA_X_509, NULL, 0};
    CK_RV rv = CKR_MECHANISM_INVALID;

    if (!t->no_sha256)
        rv = t->module->C_DecryptInit(t->session, &whole, t->key);
    if (is_refused(rv)) {
        t->no_sha256 = true;
        rv = t->module->C_DecryptInit(t->session, &raw, t->key);
    }
    return rv == CKR_OK ? t->module->C_Decrypt(t->session, (unsigned char *)(uintptr_t)in, n, out, out_size)
                        : rv;
}

/* Tokens say in many ways that it does not decrypt. */
static CK_RV try_to_decrypt(Token *t, const void *in, size_t n, void *out, CK_ULONG *out_size)
{
    CK_RV rv = decrypt(t, in, n, out, out_size);

    switch (rv) {
    case CKR_DATA_INVALID:
    case CKR_DATA_LEN_RANGE:
    case CKR_ENCRYPTED_DATA_INVALID:
    case CKR_ENCRYPTED_DATA_LEN_RANGE:
    case CKR_FUNCTION_FAILED:
    case CKR_GENERAL_ERROR:
        *out_size = 0;
        return CKR_OK;
    default:
        return rv;
    }
}

/* What the RSA operation alone gave: its leading zeros may be left out. */
static int decode(const Token *t, const Secret *out, size_t n, Secret **ret)
{
    _cleanup_(secret_freep) Secret *encoded = NULL;
    int r = secret_new(t->size, &encoded);

    if (r != 0)
        return r;
    memcpy(secret_data(encoded) + t->size - n, secret_bytes(out), n);
    return oaep_decode(encoded, ret);
}

int token_decrypt(Token *t, const void *ciphertext, size_t n, Secret **ret)
{
    static const Command command = {"C_Decrypt", try_to_decrypt};
    _cleanup_(secret_freep) Secret *out = NULL;
    CK_ULONG size = RSA_SIZE_MAX;
    int r = secret_new(RSA_SIZE_MAX, &out);

    if (r != 0)
        return r;
    if (n != t->size)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    (void)pthread_mutex_lock(&t->lock);
    r = t->found ? run(t, &command, ciphertext, n, secret_data(out), &size) : HMSG_ERROR_NOT_FOUND;
    if (r == 0 && (size == 0 || size > t->size))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    if (r == 0)
        r = t->no_sha256 ? decode(t, out, size, ret) : secret_new_copy(secret_bytes(out), size, ret);
    (void)pthread_mutex_unlock(&t->lock);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The driver of keys in our own memory: those that a file has, and new ones. */

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "libhmsg/base/error.h"
#include "server/relay-key-internal.h"

static int software_sign(void *held, const uint8_t digest[static SHA256_SIZE], Buf *ret)
{
    return rsa_private_sign_ps256(held, digest, ret);
}

static int software_unwrap(void *held, const void *wrapped, size_t n, Secret **ret)
{
    return rsa_private_oaep_decrypt(held, wrapped, n, ret);
}

static void software_free(void *held)
{
    EVP_PKEY_free(held);
}

static const KeyDriver driver = {software_sign, software_unwrap, software_free};

struct evp_pkey_st *relay_key_software(const RelayKey *k)
{
    return relay_key_held(k, &driver);
}

int relay_key_from_evp(EVP_PKEY *pkey, RelayKey **ret)
{
    RsaKey *public = NULL;
    int r = rsa_key_from_evp(pkey, &public);

    if (r == 0 && EVP_PKEY_up_ref(pkey) != 1)
        r = -EIO;
    if (r == 0)
        r = relay_key_new(&driver, pkey, public, public, ret);
    (void)rsa_key_free(public);
    return r;
}

int relay_key_generate(unsigned bits, RelayKey **ret)
{
    EVP_PKEY *pkey;
    int r;

    if (bits != RSA_BITS_MIN && bits != RELAY_KEY_BITS_DEFAULT && bits != RSA_BITS_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    pkey = EVP_RSA_gen(bits);
    if (!pkey)
        return -EIO;
    r = relay_key_from_evp(pkey, ret);
    EVP_PKEY_free(pkey);
    return r;
}

/* The cipher does not tell that a file is damaged: what was a number is another one, and the pin with it. */
static bool is_whole(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool good = ctx && EVP_PKEY_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    return good;
}

int relay_key_from_pkcs8(const struct pkcs8_priv_key_info_st *info, RelayKey **ret)
{
    EVP_PKEY *pkey = EVP_PKCS82PKEY(info);
    _cleanup_(relay_key_freep) RelayKey *k = NULL;
    int r;

    if (!pkey)
        return HMSG_ERROR_BAD_PACKAGE;
    r = EVP_PKEY_is_a(pkey, "RSA") ? relay_key_from_evp(pkey, &k) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0 && !is_whole(pkey))
        r = -EBADMSG;
    EVP_PKEY_free(pkey);
    if (r == 0)
        *ret = TAKE_PTR(k);
    return r;
}

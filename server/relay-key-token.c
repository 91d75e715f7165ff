/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The driver of keys in a PKCS#11 token. */

#include "libhmsg/base/error.h"
#include "server/relay-key-internal.h"
#include "server/token.h"

static int held_sign(void *held, const uint8_t digest[static SHA256_SIZE], Buf *ret)
{
    return token_sign(held, digest, ret);
}

static int held_unwrap(void *held, const void *wrapped, size_t n, Secret **ret)
{
    return token_decrypt(held, wrapped, n, ret);
}

static void held_free(void *held)
{
    (void)token_free(held);
}

static const KeyDriver driver = {held_sign, held_unwrap, held_free};

static int finish(Token *t, RsaKey *public, RelayKey **ret)
{
    int r = relay_key_new(&driver, t, public, public, ret);

    (void)rsa_key_free(public);
    return r;
}

int relay_key_token_open(const char *uri, const Secret *pin, Buf *ret_uri, RelayKey **ret)
{
    _cleanup_(token_freep) Token *t = NULL;
    RsaKey *public = NULL;
    int r = token_open(uri, pin, &t);

    if (r == 0)
        r = token_find_key(t, &public);
    if (r == 0 && ret_uri)
        r = token_key_uri(t, ret_uri);
    if (r != 0)
        (void)rsa_key_free(public);
    return r == 0 ? finish(TAKE_PTR(t), public, ret) : r;
}

int relay_key_token_make(const char *uri, const Secret *pin, unsigned bits, RelayKey **ret)
{
    _cleanup_(token_freep) Token *t = NULL;
    RsaKey *public = NULL;
    int r = token_open(uri, pin, &t);

    if (r == 0)
        r = token_make_key(t, bits, &public);
    return r == 0 ? finish(TAKE_PTR(t), public, ret) : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "server/relay-key.h"

/* Who holds the private key and does what only it can. held is the driver's; calls may come from several
 * threads at once. */
typedef struct KeyDriver {
    /* RSASSA-PSS, SHA-256; appends the signature. */
    int (*sign)(void *held, const uint8_t digest[static SHA256_SIZE], Buf *ret);
    /* RSAES-OAEP, SHA-256. HMSG_ERROR_AUTHENTICATION_FAILED: it does not decrypt. */
    int (*unwrap)(void *held, const void *wrapped, size_t n, Secret **ret);
    void (*free)(void *held);
} KeyDriver;

/* Takes held, of which free is called in the end, now when this fails. identity: the key that clients pin;
 * keeper: the one that unwraps, the same or another; takes references of its own to both. */
int relay_key_new(const KeyDriver *driver, void *held, RsaKey *identity, RsaKey *keeper, RelayKey **ret);
/* What the driver holds, when it is this one; else NULL. */
void *relay_key_held(const RelayKey *k, const KeyDriver *driver);

/* A private key in our own memory. Takes a reference of its own. HMSG_ERROR_BAD_PACKAGE: not RSA of 2048,
 * 3072 or 4096 bits. */
int relay_key_from_evp(struct evp_pkey_st *pkey, RelayKey **ret);
struct pkcs8_priv_key_info_st; /* PKCS8_PRIV_KEY_INFO */
/* The same, for what was read: -EBADMSG when its numbers do not fit together. */
int relay_key_from_pkcs8(const struct pkcs8_priv_key_info_st *info, RelayKey **ret);
/* The private key, borrowed; NULL: it is not in our memory, so there is none to be saved or copied. */
struct evp_pkey_st *relay_key_software(const RelayKey *k);

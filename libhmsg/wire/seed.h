/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The plain form of packages (docs/protocol.md): read and written on request alone. */

#include "libhmsg/base/buf.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/key.h"

/* The plain form {sender_public_key, encrypted_aes_key, iv, ciphertext[, hmac]} in standard base64. */
typedef struct Seed {
    Buf sender_spki; /* DER; says nothing about who sent it */
    Buf encrypted_key;
    uint8_t iv[16];
    Buf ciphertext;
    bool has_mac;
    uint8_t mac[SHA256_SIZE];
} Seed;
int seed_parse(const char *text, size_t n, Seed **ret);
Seed *seed_free(Seed *s);
DEFINE_CLEANUP(Seed *, seed_free)
/* key: the 32 bytes out of OAEP, or NULL when that failed. Without a MAC: HMSG_ERROR_AUTHENTICATION_FAILED
 * unless allow_unauthenticated. */
int seed_open(const Seed *s, const Secret *key, bool allow_unauthenticated, Buf *ret);
int seed_build(const RsaKey *recipient, const RsaKey *sender, const void *plaintext, size_t n, Buf *ret);

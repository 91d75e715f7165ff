/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/wire: the fetched algorithms and reusable contexts of this thread. Fetching by name
 * costs more than the operations on a small package. A context that held a key is keyed anew with zeros or
 * reset after use. NULL when OpenSSL has no memory or lacks an algorithm. Freed when the thread ends. */

#include <openssl/evp.h>
#include <openssl/kdf.h>

typedef struct CryptoContext {
    EVP_MD *sha256;
    EVP_CIPHER *cbc, *gcm;
    EVP_KDF *hkdf;
    EVP_MD_CTX *md;
    EVP_MAC_CTX *hmac_sha256, *hmac_sha512;
    EVP_CIPHER_CTX *cipher;
} CryptoContext;

CryptoContext *crypto_context(void);

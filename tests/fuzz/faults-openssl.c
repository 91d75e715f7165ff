/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* For faults.c: calls of OpenSSL that fail in their turn, as with a provider that is broken or out of memory.
 * What was not computed must not count as verified, nor come out. */

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "tests/fuzz/fuzz.h"

/* These return 1, or 0 when they fail. */
#define CALL(name, parameters, arguments)                                                                    \
    int real_##name parameters __asm__("__real_" #name);                                                     \
    int our_##name parameters __asm__("__wrap_" #name);                                                      \
    int our_##name parameters                                                                                \
    {                                                                                                        \
        return fuzz_fails() ? 0 : real_##name arguments;                                                     \
    }

CALL(RAND_bytes, (unsigned char *data, int n), (data, n))

CALL(EVP_CipherInit_ex,
     (EVP_CIPHER_CTX * c, const EVP_CIPHER *cipher, ENGINE *engine, const unsigned char *key,
      const unsigned char *iv, int encrypts),
     (c, cipher, engine, key, iv, encrypts))
CALL(EVP_CIPHER_CTX_ctrl, (EVP_CIPHER_CTX * c, int type, int n, void *data), (c, type, n, data))
CALL(EVP_EncryptInit_ex2,
     (EVP_CIPHER_CTX * c, const EVP_CIPHER *cipher, const unsigned char *key, const unsigned char *iv,
      const OSSL_PARAM *parameters),
     (c, cipher, key, iv, parameters))
CALL(EVP_EncryptUpdate, (EVP_CIPHER_CTX * c, unsigned char *out, int *n, const unsigned char *in, int size),
     (c, out, n, in, size))
CALL(EVP_EncryptFinal_ex, (EVP_CIPHER_CTX * c, unsigned char *out, int *n), (c, out, n))
CALL(EVP_DecryptInit_ex2,
     (EVP_CIPHER_CTX * c, const EVP_CIPHER *cipher, const unsigned char *key, const unsigned char *iv,
      const OSSL_PARAM *parameters),
     (c, cipher, key, iv, parameters))
CALL(EVP_DecryptUpdate, (EVP_CIPHER_CTX * c, unsigned char *out, int *n, const unsigned char *in, int size),
     (c, out, n, in, size))
CALL(EVP_DecryptFinal_ex, (EVP_CIPHER_CTX * c, unsigned char *out, int *n), (c, out, n))

CALL(EVP_Digest,
     (const void *data, size_t n, unsigned char *out, unsigned *size, const EVP_MD *md, ENGINE *engine),
     (data, n, out, size, md, engine))
CALL(EVP_DigestInit_ex2, (EVP_MD_CTX * c, const EVP_MD *md, const OSSL_PARAM *parameters),
     (c, md, parameters))
CALL(EVP_DigestUpdate, (EVP_MD_CTX * c, const void *data, size_t n), (c, data, n))
CALL(EVP_DigestFinal_ex, (EVP_MD_CTX * c, unsigned char *out, unsigned *n), (c, out, n))
CALL(EVP_MAC_init, (EVP_MAC_CTX * c, const unsigned char *key, size_t n, const OSSL_PARAM *parameters),
     (c, key, n, parameters))
CALL(EVP_MAC_update, (EVP_MAC_CTX * c, const unsigned char *data, size_t n), (c, data, n))
CALL(EVP_MAC_final, (EVP_MAC_CTX * c, unsigned char *out, size_t *n, size_t size), (c, out, n, size))
CALL(EVP_KDF_derive, (EVP_KDF_CTX * c, unsigned char *out, size_t n, const OSSL_PARAM *parameters),
     (c, out, n, parameters))

CALL(EVP_PKEY_verify_init, (EVP_PKEY_CTX * c), (c))
CALL(EVP_PKEY_verify,
     (EVP_PKEY_CTX * c, const unsigned char *signature, size_t size, const unsigned char *data, size_t n),
     (c, signature, size, data, n))
CALL(EVP_PKEY_CTX_set_rsa_padding, (EVP_PKEY_CTX * c, int padding), (c, padding))
CALL(EVP_PKEY_CTX_set_rsa_pss_saltlen, (EVP_PKEY_CTX * c, int n), (c, n))
CALL(EVP_PKEY_CTX_set_rsa_mgf1_md, (EVP_PKEY_CTX * c, const EVP_MD *md), (c, md))
CALL(EVP_PKEY_CTX_set_signature_md, (EVP_PKEY_CTX * c, const EVP_MD *md), (c, md))

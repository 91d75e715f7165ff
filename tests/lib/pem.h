/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keys as other programs write them. */

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

/* What was written to it, to be freed; frees bio. */
static inline char *test_bio_text(BIO *bio)
{
    char *data = NULL;
    long n = BIO_get_mem_data(bio, &data);
    char *text = g_strndup(data, (gsize)n);

    BIO_free(bio);
    return text;
}

/* PKCS#8; password NULL: not encrypted. To be freed. */
static inline char *test_private_pem(EVP_PKEY *key, const char *password)
{
    BIO *bio = BIO_new(BIO_s_mem());

    g_assert_true(PEM_write_bio_PKCS8PrivateKey(bio, key, password ? EVP_aes_256_cbc() : NULL, password,
                                                password ? (int)strlen(password) : 0, NULL, NULL) == 1);
    return test_bio_text(bio);
}

/* SPKI; to be freed. */
static inline char *test_public_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());

    g_assert_true(PEM_write_bio_PUBKEY(bio, key) == 1);
    return test_bio_text(bio);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What others encrypt by RSA-OAEP with SHA-1, and hmsg never does: to the key of an SPKI of 2048 bits. */

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdint.h>

#define TEST_OAEP_SIZE 256u

static inline void test_oaep_sha1_encrypt(const uint8_t *spki, size_t spki_size, const void *data, size_t n,
                                          uint8_t ret[static TEST_OAEP_SIZE])
{
    size_t size = TEST_OAEP_SIZE;
    EVP_PKEY *public = d2i_PUBKEY(NULL, &spki, (long)spki_size);

    g_assert_nonnull(public);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, public, NULL);
    g_assert_cmpint(EVP_PKEY_encrypt_init(ctx), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha1()), ==, 1);
    g_assert_cmpint(EVP_PKEY_encrypt(ctx, ret, &size, data, n), ==, 1);
    g_assert_cmpuint(size, ==, TEST_OAEP_SIZE);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(public);
}

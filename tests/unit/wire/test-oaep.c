/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/key.h"
#include "libhmsg/wire/oaep.h"

typedef struct Keys {
    EVP_PKEY *private;
    RsaKey *public;
} Keys;

static void set_up(Keys *k, gconstpointer data)
{
    k->private = EVP_RSA_gen(2048);
    g_assert_cmpint(rsa_key_from_evp(k->private, &k->public), ==, 0);
}

static void tear_down(Keys *k, gconstpointer data)
{
    EVP_PKEY_free(k->private);
    (void)rsa_key_free(k->public);
}

/* The RSA operation alone. */
static Secret *raw(const Keys *k, const void *ciphertext, size_t n)
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k->private, NULL);
    Secret *encoded = NULL;
    size_t size = n;

    g_assert_cmpint(secret_new(n, &encoded), ==, 0);
    g_assert_cmpint(EVP_PKEY_decrypt_init(c), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(c, RSA_NO_PADDING), ==, 1);
    g_assert_cmpint(EVP_PKEY_decrypt(c, secret_data(encoded), &size, ciphertext, n), ==, 1);
    g_assert_cmpuint(size, ==, n);
    EVP_PKEY_CTX_free(c);
    return encoded;
}

static Secret *encode(const Keys *k, size_t n)
{
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(512);
    guint8 plain[256];

    for (size_t i = 0; i < n; i++)
        plain[i] = (guint8)i; /* zeros and ones among them */
    g_assert_cmpint(rsa_key_oaep_encrypt(k->public, plain, n, &wrapped), ==, 0);
    return raw(k, wrapped.data, wrapped.size);
}

/* What rsa_key_oaep_encrypt has put in, of each size. */
static void test_round(Keys *k, gconstpointer data)
{
    for (size_t n = 1; n <= 256 - 66; n++) {
        _cleanup_(secret_freep) Secret *encoded = encode(k, n), *got = NULL;

        g_assert_cmpint(oaep_decode(encoded, &got), ==, 0);
        g_assert_cmpuint(secret_size(got), ==, n);
        for (size_t i = 0; i < n; i++)
            g_assert_cmpuint(secret_bytes(got)[i], ==, i);
    }
}

/* Each bit counts. */
static void test_damaged(Keys *k, gconstpointer data)
{
    _cleanup_(secret_freep) Secret *encoded = encode(k, 32), *got = NULL, *shorter = NULL;

    for (size_t i = 0; i < secret_size(encoded) * 8; i++) {
        secret_data(encoded)[i / 8] ^= (guint8)(1u << i % 8);
        g_assert_cmpint(oaep_decode(encoded, &got), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        secret_data(encoded)[i / 8] ^= (guint8)(1u << i % 8);
    }
    g_assert_cmpint(oaep_decode(encoded, &got), ==, 0);
    g_assert_cmpint(secret_new(65, &shorter), ==, 0);
    g_assert_cmpint(oaep_decode(shorter, &got), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* The label of another, or another padding. */
static void test_others(Keys *k, gconstpointer data)
{
    static const struct {
        int padding;
        const EVP_MD *(*md)(void);
        const char *label;
    } kinds[] = {{RSA_PKCS1_OAEP_PADDING, EVP_sha256, "x"},
                 {RSA_PKCS1_OAEP_PADDING, EVP_sha1, NULL},
                 {RSA_PKCS1_PADDING, NULL, NULL}};

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k->private, NULL);
        _cleanup_(secret_freep) Secret *encoded = NULL, *got = NULL;
        guint8 out[256];
        size_t n = sizeof(out);

        g_assert_cmpint(EVP_PKEY_encrypt_init(c), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(c, kinds[i].padding), ==, 1);
        if (kinds[i].md)
            g_assert_cmpint(EVP_PKEY_CTX_set_rsa_oaep_md(c, kinds[i].md()), ==, 1);
        if (kinds[i].label)
            g_assert_cmpint(EVP_PKEY_CTX_set0_rsa_oaep_label(c, OPENSSL_strdup(kinds[i].label),
                                                             (int)strlen(kinds[i].label)),
                            ==, 1);
        g_assert_cmpint(EVP_PKEY_encrypt(c, out, &n, (const guint8 *)"secret", 6), ==, 1);
        EVP_PKEY_CTX_free(c);
        encoded = raw(k, out, n);
        g_assert_cmpint(oaep_decode(encoded, &got), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    }
}

/* No message at all. */
static void test_empty(Keys *k, gconstpointer data)
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k->private, NULL);
    _cleanup_(secret_freep) Secret *encoded = NULL, *got = NULL;
    guint8 out[256];
    size_t n = sizeof(out);

    g_assert_cmpint(EVP_PKEY_encrypt_init(c), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING), ==, 1);
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha256()), ==, 1);
    g_assert_cmpint(EVP_PKEY_encrypt(c, out, &n, (const guint8 *)"", 0), ==, 1);
    EVP_PKEY_CTX_free(c);
    encoded = raw(k, out, n);
    g_assert_cmpint(oaep_decode(encoded, &got), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/wire/oaep/round", Keys, NULL, set_up, test_round, tear_down);
    g_test_add("/wire/oaep/damaged", Keys, NULL, set_up, test_damaged, tear_down);
    g_test_add("/wire/oaep/others", Keys, NULL, set_up, test_others, tear_down);
    g_test_add("/wire/oaep/empty", Keys, NULL, set_up, test_empty, tear_down);
    return g_test_run();
}

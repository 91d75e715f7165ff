/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "agent/key-cache.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/key.h"
#include "tests/lib/person.h"

static void test_read(void)
{
    _cleanup_(key_cache_freep) KeyCache *c = NULL;
    _cleanup_(buf_done) Buf pem = BUF_MAX(4096);
    EVP_PKEY *pair = EVP_RSA_gen(2048);
    char kid[HASH_TEXT_SIZE];
    RsaKey *key = NULL;
    SealKey first, found;
    size_t size = 0;

    g_assert_cmpint(key_cache_new(&c), ==, 0);
    g_assert_cmpint(rsa_key_from_evp(pair, &key), ==, 0);
    g_assert_cmpint(rsa_key_to_pem(key, &pem), ==, 0);
    base64url_encode(rsa_key_thumbprint(key), KID_SIZE, kid);
    const uint8_t *spki = rsa_key_spki(key, &size);
    g_assert_cmpint(key_cache_read(c, pem.data, pem.size, &first), ==, 0);
    g_assert_cmpstr(first.kid, ==, kid);
    g_assert_cmpmem(first.spki, first.spki_size, spki, size);
    g_assert_cmpint(key_cache_read(c, pem.data, pem.size, &found), ==, 0);
    g_assert_true(found.spki == first.spki); /* out of the cache */
    /* other bytes, though of the same key: read anew */
    g_assert_cmpint(buf_append_string(&pem, "\n"), ==, 0);
    g_assert_cmpint(key_cache_read(c, pem.data, pem.size, &found), ==, 0);
    g_assert_true(found.spki != first.spki);
    g_assert_cmpstr(found.kid, ==, kid);
    /* what is no key does not get in, however often */
    for (unsigned i = 0; i < 2; i++)
        g_assert_cmpint(key_cache_read(c, pem.data, pem.size / 2, &found), ==, HMSG_ERROR_BAD_PACKAGE);
    /* as many others push the first one out, which is read again */
    for (unsigned i = 0; i < KEY_CACHE_MAX; i++) {
        g_assert_cmpint(buf_append_string(&pem, "\n"), ==, 0);
        g_assert_cmpint(key_cache_read(c, pem.data, pem.size, &found), ==, 0);
        g_assert_cmpstr(found.kid, ==, kid);
    }
    /* a certificate is read each time, for it expires */
    g_autoptr(GByteArray) cert = test_certificate_new(pair, -60, 3600, NULL, true);
    g_assert_cmpint(key_cache_read(c, cert->data, cert->len, &first), ==, 0);
    g_assert_true(first.issuer_serial_size > 0);
    g_assert_cmpstr(first.kid, ==, kid);
    g_assert_cmpint(key_cache_read(c, cert->data, cert->len, &found), ==, 0);
    g_assert_true(found.spki != first.spki);
    rsa_key_free(key);
    EVP_PKEY_free(pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/key-cache/read", test_read);
    return g_test_run();
}

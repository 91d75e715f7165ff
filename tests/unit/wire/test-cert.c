/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/cert.h"

#include <openssl/pem.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/der.h"
#include "tests/lib/person.h"

#define DAY 86400

static void test_read(void)
{
    g_autoptr(TestPerson) bob = test_person_new();
    g_autoptr(GByteArray) der =
        test_certificate_new(bob->decrypt_private, -DAY, DAY, "keyEncipherment", true);
    _cleanup_(cert_freep) Cert *c = NULL, *again = NULL, *none = NULL;
    const uint8_t *p = der->data;

    g_assert_true(cert_is(der->data, der->len));
    g_assert_cmpint(cert_read(der->data, der->len, &c), ==, 0);
    g_assert_true(rsa_key_equal(c->key, bob->decrypt));
    g_assert_cmpuint(c->key_id_size, ==, 20);
    g_assert_null(cert_refusal(c, clock_realtime()));
    Der d = der_of(c->issuer_serial.data, c->issuer_serial.size), both = der_take(&d, DER_SEQUENCE);
    (void)der_take(&both, DER_SEQUENCE);
    Der serial = der_take(&both, DER_INTEGER);
    g_assert_true(der_done(&d) && der_done(&both) && der_equal(&serial, "\x30\x39", 2));

    X509 *x = d2i_X509(NULL, &p, (long)der->len);
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    g_assert_cmpint(PEM_write_bio_X509(bio, x), ==, 1);
    size_t n = (size_t)BIO_get_mem_data(bio, &pem);
    g_assert_true(cert_is(pem, n));
    g_assert_cmpint(cert_read(pem, n, &again), ==, 0);
    g_assert_true(rsa_key_equal(again->key, bob->decrypt));
    g_assert_cmpint(cert_read(pem, n - 30, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    BIO_free(bio);
    X509_free(x);

    for (size_t i = 0; i < der->len; i++)
        g_assert_cmpint(cert_read(der->data, i, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    g_byte_array_append(der, (const uint8_t *)"", 1);
    g_assert_cmpint(cert_read(der->data, der->len, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    g_autofree char *huge = g_malloc0(KEY_FILE_SIZE_MAX + 1);
    g_assert_cmpint(cert_read(huge, KEY_FILE_SIZE_MAX + 1, &none), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_false(cert_is("{", 1) || cert_is("", 0) || cert_is("-----BEGIN PUBLIC KEY-----", 26));
}

static void expect(EVP_PKEY *key, long from, long to, const char *usage, const char *refusal)
{
    g_autoptr(GByteArray) der = test_certificate_new(key, from, to, usage, false);
    _cleanup_(cert_freep) Cert *c = NULL;

    g_assert_cmpint(cert_read(der->data, der->len, &c), ==, 0);
    g_assert_cmpuint(c->key_id_size, ==, 0);
    g_assert_cmpstr(cert_refusal(c, clock_realtime()), ==, refusal);
}

static void test_refusal(void)
{
    g_autoptr(TestPerson) bob = test_person_new();
    EVP_PKEY *key = bob->decrypt_private, *ec = EVP_EC_gen("P-256"), *small = test_rsa_new(1024);

    expect(key, -DAY, DAY, NULL, NULL);
    expect(key, -DAY, DAY, "digitalSignature,keyEncipherment", NULL);
    expect(key, DAY, 2 * DAY, NULL, "The certificate is not valid yet");
    expect(key, -2 * DAY, -DAY, NULL, "The certificate has expired");
    expect(key, -DAY, DAY, "digitalSignature",
           "The certificate's key is not for encryption (its key usage has no keyEncipherment)");
    for (int i = 0; i < 2; i++)
        expect(i == 0 ? ec : small, -DAY, DAY, NULL,
               "The certificate has no RSA key of 2048, 3072 or 4096 bits with the exponent 65537");
    EVP_PKEY_free(ec);
    EVP_PKEY_free(small);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cert/read", test_read);
    g_test_add_func("/cert/refusal", test_refusal);
    return g_test_run();
}

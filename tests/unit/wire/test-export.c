/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/export.h"

#include <glib.h>
#include <openssl/ec.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

#define LATER 4000000000

static TestPerson *person;

static void test_identity(void)
{
    g_autofree char *statement = test_person_statement(person, "alice@relay.example");
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(key_file_freep) KeyFile *k = NULL;

    g_assert_cmpint(export_write(statement, strlen(statement), &text), ==, 0);
    g_assert_cmpint(key_file_read(text.data, text.size, LATER, &k), ==, 0);
    g_assert_cmpint(k->kind, ==, KEY_FILE_IDENTITY);
    g_assert_true(rsa_key_equal(k->decrypt, person->decrypt));
    g_assert_true(rsa_key_equal(k->sign, person->sign));
    g_assert_cmpstr(k->identity.address, ==, "alice@relay.example");
    g_assert_cmpstr(buf_text(&k->statement), ==, statement);

    KeyFile *none = NULL;
    for (size_t n = 0; n < text.size - 1; n++)
        g_assert_cmpint(key_file_read(text.data, n, LATER, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t kept = text.data[i];

        text.data[i] = kept == 'A' ? 'B' : 'A';
        int r = key_file_read(text.data, text.size, LATER, &none);
        g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED ||
                      i == text.size - 1);
        text.data[i] = kept;
    }
}

static void test_bare_keys(void)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX), jwk = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(key_file_freep) KeyFile *p = NULL, *j = NULL;

    g_assert_cmpint(rsa_key_to_pem(person->decrypt, &pem), ==, 0);
    g_assert_cmpint(key_file_read(pem.data, pem.size, LATER, &p), ==, 0);
    g_assert_cmpint(p->kind, ==, KEY_FILE_PEM);
    g_assert_null(p->sign);
    g_assert_cmpint(rsa_key_to_jwk(person->decrypt, false, &jwk), ==, 0);
    g_assert_cmpint(key_file_read(jwk.data, jwk.size, LATER, &j), ==, 0);
    g_assert_cmpint(j->kind, ==, KEY_FILE_JWK);
    g_assert_true(rsa_key_equal(p->decrypt, j->decrypt));
}

static void test_certificates(void)
{
    static const char expired[] = "The certificate has expired";
    int64_t now = clock_realtime();
    g_autoptr(GByteArray) good = test_certificate_new(person->decrypt_private, -60, 3600, NULL, true);
    g_autoptr(GByteArray) signs =
        test_certificate_new(person->decrypt_private, -60, 3600, "digitalSignature", true);
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    g_autoptr(GByteArray) other = test_certificate_new(ec, -60, 3600, NULL, true);
    _cleanup_(key_file_freep) KeyFile *k = NULL, *none = NULL;

    g_assert_cmpint(key_file_read(good->data, good->len, now, &k), ==, 0);
    g_assert_cmpint(k->kind, ==, KEY_FILE_CERTIFICATE);
    g_assert_true(rsa_key_equal(k->decrypt, person->decrypt) && !k->sign && k->issuer_serial.size > 0);
    g_assert_null(key_file_refusal(good->data, good->len, now));
    g_assert_cmpint(key_file_read(good->data, good->len, now + 7200, &none), ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpstr(key_file_refusal(good->data, good->len, now + 7200), ==, expired);
    g_assert_cmpint(key_file_read(signs->data, signs->len, now, &none), ==, HMSG_ERROR_UNTRUSTED);
    g_assert_nonnull(key_file_refusal(signs->data, signs->len, now));
    g_assert_cmpint(key_file_read(other->data, other->len, now, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_nonnull(key_file_refusal(other->data, other->len, now));
    g_assert_cmpint(key_file_read(good->data, good->len - 1, now, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_null(key_file_refusal(good->data, good->len - 1, now));
    EVP_PKEY_free(ec);
}

static void test_garbage(void)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "x",
                                      "{",
                                      "{}",
                                      "[]",
                                      "-----BEGIN PUBLIC KEY-----",
                                      "{\"identity\":1}",
                                      "{\"hmsg\":2,\"identity\":\"x\"}",
                                      "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"};
    KeyFile *none = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(key_file_read(bad[i], strlen(bad[i]), LATER, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    g_autofree char *huge = g_strnfill(KEY_FILE_SIZE_MAX + 1, '{');
    g_assert_cmpint(key_file_read(huge, KEY_FILE_SIZE_MAX + 1, LATER, &none), ==, HMSG_ERROR_TOO_LARGE);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    person = test_person_new();
    g_test_add_func("/export/identity", test_identity);
    g_test_add_func("/export/bare-keys", test_bare_keys);
    g_test_add_func("/export/certificates", test_certificates);
    g_test_add_func("/export/garbage", test_garbage);
    status = g_test_run();
    test_person_free(person);
    return status;
}

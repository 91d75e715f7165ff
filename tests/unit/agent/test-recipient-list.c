/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "agent/key-cache.h"
#include "agent/recipient-list.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/export.h"
#include "libhmsg/wire/key.h"
#include "libhmsg/wire/limits.h"
#include "tests/lib/person.h"

static BusBytesList keys_of(const Buf *pem, size_t n)
{
    BusBytesList keys = {.n = n};

    for (size_t i = 0; i < n; i++)
        keys.items[i] = (BusBytes){pem->data, pem->size};
    return keys;
}

static void test_keys(void)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);
    static const BusStrings nobody = {.n = 0};
    EVP_PKEY *pair = EVP_RSA_gen(2048);
    char kid[HASH_TEXT_SIZE];
    Manager m = {0};
    RecipientList *l = NULL;
    RsaKey *key = NULL;
    size_t n = 0, size = 0;

    g_assert_cmpint(key_cache_new(&m.key_cache), ==, 0);
    g_assert_cmpint(rsa_key_from_evp(pair, &key), ==, 0);
    g_assert_cmpint(rsa_key_to_pem(key, &pem), ==, 0);
    base64url_encode(rsa_key_thumbprint(key), KID_SIZE, kid);
    BusBytesList keys = keys_of(&pem, 2);
    g_assert_cmpint(recipient_list_new(&m, &nobody, &keys, NULL, NULL, &l), ==, 0);
    g_assert_cmpint(recipient_list_start(l), ==, 0);
    const SealKey *found = recipient_list_keys(l, true, &n);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpstr(found[1].kid, ==, kid);
    const uint8_t *spki = rsa_key_spki(key, &size);
    g_assert_cmpmem(found[0].spki, found[0].spki_size, spki, size);
    recipient_list_free(l);

    keys = keys_of(&pem, 0);
    g_assert_cmpint(recipient_list_new(&m, &nobody, &keys, NULL, NULL, &l), ==, HMSG_ERROR_INVALID_ARGS);
    keys = keys_of(&pem, RECIPIENTS_MAX + 1);
    g_assert_cmpint(recipient_list_new(&m, &nobody, &keys, NULL, NULL, &l), ==, HMSG_ERROR_TOO_LARGE);
    buf_truncate(&pem, pem.size - 40);
    keys = keys_of(&pem, 1);
    g_assert_cmpint(recipient_list_new(&m, &nobody, &keys, NULL, NULL, &l), ==, HMSG_ERROR_BAD_PACKAGE);
    key_cache_free(m.key_cache);
    rsa_key_free(key);
    EVP_PKEY_free(pair);
}

/* A certificate's issuer and serial number come along; and why one is refused. */
static void test_certificates(void)
{
    static const BusStrings nobody = {.n = 0};
    EVP_PKEY *pair = EVP_RSA_gen(2048);
    g_autoptr(GByteArray) good = test_certificate_new(pair, -60, 3600, NULL, true);
    g_autoptr(GByteArray) expired = test_certificate_new(pair, -60, -30, NULL, true);
    BusBytesList keys = {.items = {{good->data, good->len}, {good->data, good->len}}, .n = 2};
    Manager m = {0};
    RecipientList *l = NULL;
    size_t n = 0;

    g_assert_cmpint(key_cache_new(&m.key_cache), ==, 0);
    g_assert_cmpint(recipient_list_new(&m, &nobody, &keys, NULL, NULL, &l), ==, 0);
    g_assert_cmpint(recipient_list_start(l), ==, 0);
    const SealKey *found = recipient_list_keys(l, true, &n);
    g_assert_true(n == 2 && found[1].issuer_serial_size > 0);
    g_assert_cmpmem(found[0].issuer_serial, found[0].issuer_serial_size, found[1].issuer_serial,
                    found[1].issuer_serial_size);
    g_assert_null(recipient_list_refusal(&keys));
    recipient_list_free(l);

    keys.items[1] = (BusBytes){expired->data, expired->len};
    g_assert_cmpint(recipient_list_new(&m, &nobody, &keys, NULL, NULL, &l), ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpstr(recipient_list_refusal(&keys), ==, "The certificate has expired");
    key_cache_free(m.key_cache);
    EVP_PKEY_free(pair);
}

/* An exported identity that names recovery keys: they come behind those that were asked for, once, if wanted.
 */
static void test_recovery(void)
{
    g_autoptr(TestPerson) alice = test_person_new();
    g_autoptr(TestPerson) offline = test_person_new();
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {0};
    _cleanup_(buf_done) Buf exported = BUF_MAX(KEY_FILE_SIZE_MAX);
    static const BusStrings nobody = {.n = 0};
    Manager m = {0};
    size_t n = 0;

    g_assert_cmpint(recovery_keys_add(&recovery, offline->decrypt, offline->sign), ==, 0);
    g_autofree char *statement = test_person_statement_with(alice, "", 1, NULL, &recovery);
    g_assert_cmpint(export_write(statement, strlen(statement), &exported), ==, 0);
    const BusBytesList twice = keys_of(&exported, 2), full = keys_of(&exported, RECIPIENTS_MAX);
    g_assert_cmpint(key_cache_new(&m.key_cache), ==, 0);
    for (unsigned i = 0; i < 2; i++) { /* read, and out of the cache */
        RecipientList *l = NULL;

        g_assert_cmpint(recipient_list_new(&m, &nobody, &twice, NULL, NULL, &l), ==, 0);
        g_assert_cmpint(recipient_list_start(l), ==, 0);
        const SealKey *found = recipient_list_keys(l, true, &n);
        g_assert_cmpuint(n, ==, 3);
        g_assert_cmpstr(found[1].kid, ==, alice->kid);
        g_assert_cmpstr(found[2].kid, ==, offline->kid);
        (void)recipient_list_keys(l, false, &n);
        g_assert_cmpuint(n, ==, 2);
        recipient_list_free(l);
    }
    RecipientList *none = NULL;
    g_assert_cmpint(recipient_list_new(&m, &nobody, &full, NULL, NULL, &none), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_null(none);
    key_cache_free(m.key_cache);
}

static void test_names(void)
{
    static const BusStrings names = {.items = {"bob@relay"}, .n = 1};
    static const BusBytesList none = {.n = 0};
    Manager m = {0}; /* has no contacts yet */
    RecipientList *l = NULL;

    g_assert_cmpint(recipient_list_new(&m, &names, &none, NULL, NULL, &l), ==, 0);
    g_assert_cmpint(recipient_list_start(l), ==, HMSG_ERROR_NOT_FOUND);
    recipient_list_free(l);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/recipient-list/keys", test_keys);
    g_test_add_func("/recipient-list/certificates", test_certificates);
    g_test_add_func("/recipient-list/recovery", test_recovery);
    g_test_add_func("/recipient-list/names", test_names);
    return g_test_run();
}

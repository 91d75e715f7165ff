/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CMS by the real agent, with a TPM. */

#include "libhmsg/wire/cms.h"
#include "tests/dbus/cipher-calls.h"
#include "tests/lib/person.h"

/* The name of the error, to be freed; NULL: it was encrypted to that certificate. */
static char *encrypt_error(TestAgent *a, const GByteArray *cert, char **ret_text)
{
    GVariant *keys[] = {cipher_bytes(cert->data, cert->len)};
    GVariantDict options;
    char *name = NULL;

    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "format", "s", "cms");
    g_variant_dict_insert_value(&options, "recipient_keys",
                                g_variant_new_array(G_VARIANT_TYPE("ay"), keys, 1));
    g_autoptr(GVariant) reply = cipher_call(
        a, "Encrypt",
        g_variant_new("(as@ay@a{sv})", NULL, cipher_bytes(TEXT, strlen(TEXT)), g_variant_dict_end(&options)),
        NULL, &name, ret_text);
    g_assert_true((reply != NULL) == (name == NULL));
    return name;
}

static void test_own(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) pem = encrypt(a, "format", g_variant_new_string("cms"));
    g_autoptr(GByteArray) der = encrypt(a, "format", g_variant_new_string("cms-der"));
    g_assert_true(g_str_has_prefix((const char *)pem->data, "-----BEGIN CMS-----\n"));
    GByteArray *const both[] = {pem, der};
    for (size_t i = 0; i < G_N_ELEMENTS(both); i++) {
        expect_error(a, both[i], NULL, ERROR("Untrusted"));
        g_autoptr(GVariant) info = decrypt(a, both[i], "allow_unknown");
        g_assert_cmpstr(format_of(info), ==, "cms");
        g_assert_true(flag(info, "verified") && flag(info, "trusted") && flag(info, "authenticated"));
        g_assert_false(flag(info, "cached") || flag(info, "replayed"));
    }
    der->data[der->len - 1] ^= 1;
    expect_error(a, der, "allow_unknown", ERROR("AuthenticationFailed"));
    g_autofree char *why = NULL;
    g_autoptr(GByteArray) none = g_byte_array_new();
    g_byte_array_append(none, (const guint8 *)"\x30\x80", 2);
    g_autofree char *name = decrypt_error(a, none, "allow_unknown", &why);
    g_assert_cmpstr(name, ==, ERROR("BadPackage"));
    g_assert_nonnull(strstr(why, "DER"));
    agent_stop(a);
}

static void test_certificates(TestAgent *a, gconstpointer data)
{
    g_autoptr(TestPerson) bob = test_person_new();
    g_autoptr(GByteArray) good = test_certificate_new(bob->decrypt_private, -60, 3600, NULL, true);
    g_autoptr(GByteArray) old = test_certificate_new(bob->decrypt_private, -7200, -3600, NULL, true);
    g_autofree char *text = NULL;

    start(a);
    agent_expect_named(encrypt_error(a, good, NULL), NULL);
    agent_expect_named(encrypt_error(a, old, &text), ERROR("Untrusted"));
    g_assert_cmpstr(text, ==, "The certificate has expired");
    agent_stop(a);
}

int main(int argc, char **argv)
{
    static const CipherTest tests[] = {
        {"/cipher-cms/own", test_own},
        {"/cipher-cms/certificates", test_certificates},
    };

    return cipher_tests_run(argc, argv, tests, G_N_ELEMENTS(tests));
}

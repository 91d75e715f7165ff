/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWE by the real agent, with a TPM. */

#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "libhmsg/wire/key.h"
#include "tests/dbus/cipher-calls.h"

static void test_jwe(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) p = encrypt(a, NULL, NULL);
    g_autoptr(GByteArray) jwe = convert(a, p, NULL);
    g_autoptr(GByteArray) back = convert(a, jwe, "hmsg");
    g_autoptr(GByteArray) written = encrypt(a, "format", g_variant_new_string("jwe"));
    g_assert_cmpmem(back->data, back->len, p->data, p->len);

    /* the sender is as well known, and the session is the same */
    g_autoptr(GVariant) first = decrypt(a, jwe, NULL);
    g_assert_true(flag(first, "verified") && !flag(first, "cached") && !flag(first, "replayed"));
    g_assert_cmpstr(format_of(first), ==, "jwe");
    g_autoptr(GVariant) second = decrypt(a, written, NULL);
    g_assert_true(flag(second, "verified") && flag(second, "cached") && !flag(second, "replayed"));
    g_assert_cmpstr(format_of(second), ==, "jwe");
    g_autoptr(GVariant) again = decrypt(a, p, NULL);
    g_assert_true(flag(again, "verified") && flag(again, "cached") && flag(again, "replayed"));
    g_assert_cmpstr(format_of(again), ==, "hmsg");

    char *tag = g_strstr_len((char *)jwe->data, jwe->len, "\"tag\":\"");
    g_assert_nonnull(tag);
    tag[7] = tag[7] == 'A' ? 'B' : 'A';
    expect_error(a, jwe, NULL, ERROR("AuthenticationFailed"));
    tag[1] = 'T';
    expect_error(a, jwe, NULL, ERROR("BadPackage"));
    agent_stop(a);
}

/* One content key for two, of whom one is us. */
static GByteArray *encrypt_shared(TestAgent *a)
{
    g_autoptr(GByteArray) key = cipher_public_key(a);
    EVP_PKEY *private = EVP_RSA_gen(2048);
    RsaKey *public = NULL;
    Buf pem = BUF_MAX(4096);
    GVariantDict options;

    g_assert_cmpint(rsa_key_from_evp(private, &public), ==, 0);
    g_assert_cmpint(rsa_key_to_pem(public, &pem), ==, 0);
    GVariant *keys[] = {cipher_bytes(pem.data, pem.size), cipher_bytes(key->data, key->len)};
    g_variant_dict_init(&options, NULL);
    g_variant_dict_insert(&options, "format", "s", "jwe");
    g_variant_dict_insert_value(&options, "recipient_keys",
                                g_variant_new_array(G_VARIANT_TYPE("ay"), keys, 2));
    g_autoptr(GVariant) reply = cipher_call(
        a, "Encrypt",
        g_variant_new("(as@ay@a{sv})", NULL, cipher_bytes(TEXT, strlen(TEXT)), g_variant_dict_end(&options)),
        NULL, NULL, NULL);
    g_autoptr(GVariant) packages = g_variant_get_child_value(reply, 0);
    g_assert_cmpuint(g_variant_n_children(packages), ==, 1);
    g_autoptr(GVariant) package = g_variant_get_child_value(packages, 0);
    buf_done(&pem);
    rsa_key_free(public);
    EVP_PKEY_free(private);
    return cipher_array(package);
}

/* In a real TPM: for several, signed; and in one line, which says nothing of a sender. */
static void test_jwe_message(TestAgent *a, gconstpointer data)
{
    start(a);
    g_autoptr(GByteArray) several = encrypt_shared(a);
    g_autoptr(GVariant) first = decrypt(a, several, NULL);
    g_assert_true(flag(first, "verified") && flag(first, "trusted") && !flag(first, "cached"));
    g_assert_cmpstr(format_of(first), ==, "jwe");
    g_autoptr(GByteArray) line = encrypt(a, "format", g_variant_new_string("jwe-compact"));
    expect_error(a, line, NULL, ERROR("Untrusted"));
    g_autoptr(GVariant) second = decrypt(a, line, "allow_unknown");
    g_assert_true(!flag(second, "verified") && flag(second, "authenticated"));
    g_assert_cmpstr(format_of(second), ==, "jwe");
    char *content = g_strstr_len((char *)several->data, several->len, "\"ciphertext\":\"");
    g_assert_nonnull(content);
    content[14] = content[14] == 'A' ? 'B' : 'A';
    expect_error(a, several, "allow_unknown", ERROR("AuthenticationFailed"));
    line->data[line->len - 10] = line->data[line->len - 10] == 'A' ? 'B' : 'A';
    expect_error(a, line, "allow_unknown", ERROR("AuthenticationFailed"));

    g_autoptr(GByteArray) old = g_byte_array_new();
    static const char text[] = "eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMjU2R0NNIn0...."; /* RSA1_5 */
    g_byte_array_append(old, (const guint8 *)text, sizeof(text) - 1);
    g_autofree char *why = NULL, *name = decrypt_error(a, old, "allow_unknown", &why);
    g_assert_cmpstr(name, ==, ERROR("BadPackage"));
    g_assert_nonnull(strstr(why, "RSA1_5"));
    agent_stop(a);
}

int main(int argc, char **argv)
{
    static const CipherTest tests[] = {
        {"/cipher-jwe/package", test_jwe},
        {"/cipher-jwe/message", test_jwe_message},
    };

    return cipher_tests_run(argc, argv, tests, G_N_ELEMENTS(tests));
}

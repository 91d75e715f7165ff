/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Vectors of others that concern keys and JWE; test-crypto.c has those of single algorithms, tests/unit/tpm
 * those that a TPM decrypts. */

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/jwe-message.h"
#include "libhmsg/wire/jws.h"
#include "tests/lib/vectors.h"

typedef struct Oaep {
    int (*decrypt)(EVP_PKEY *pkey, const void *ciphertext, size_t n, Secret **ret);
    const char *other; /* not what decrypt is for; NULL: it is */
} Oaep;

static VectorResult oaep(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    const Oaep *o = userdata;
    const char *other = o->other;
    size_t der_size = 0, ct_size = 0, msg_size = 0;
    g_autofree uint8_t *der = test_vectors_hex(group, "privateKeyPkcs8", &der_size),
                       *ct = test_vectors_hex(test, "ct", &ct_size),
                       *msg = test_vectors_hex(test, "msg", &msg_size);
    const char *label = json_string_value(json_object_get(test, "label"));
    const uint8_t *at = der;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)der_size);
    _cleanup_(secret_freep) Secret *plaintext = NULL;

    g_assert_nonnull(key);
    int r = o->decrypt(key, ct, ct_size, &plaintext);
    EVP_PKEY_free(key);
    g_assert_true(r == 0 || r == HMSG_ERROR_AUTHENTICATION_FAILED);
    if (other || (label && *label) || msg_size == 0) {
        if (r == 0)
            return VECTOR_ACCEPTED;
        if (strcmp(test_vectors_text(test, "result"), "invalid") == 0)
            return VECTOR_REFUSED;
        *ret_why = other           ? other
                   : msg_size == 0 ? "refused: its plaintext is empty, which is no key"
                                   : "refused: its label is not empty";
        return VECTOR_BY_POLICY;
    }
    if (r == 0)
        g_assert_cmpmem(secret_bytes(plaintext), secret_size(plaintext), msg, msg_size);
    return r == 0 ? VECTOR_ACCEPTED : VECTOR_REFUSED;
}

static void test_oaep(void)
{
    Oaep sha256 = {rsa_private_oaep_decrypt, NULL},
         sha1 = {rsa_private_oaep_decrypt, "refused: RSA-OAEP with SHA-1"},
         mgf1 = {rsa_private_oaep_decrypt, "refused: RSA-OAEP with MGF1 of SHA-1"},
         pkcs1 = {rsa_private_oaep_decrypt, "refused: PKCS #1 v1.5"};

    test_vectors_run("wycheproof/rsa_oaep_2048_sha256_mgf1sha256_test.json", oaep, &sha256);
    test_vectors_run("wycheproof/rsa_oaep_2048_sha1_mgf1sha1_test.json", oaep, &sha1);
    test_vectors_run("wycheproof/rsa_oaep_2048_sha256_mgf1sha1_test.json", oaep, &mgf1);
    test_vectors_run("wycheproof/rsa_pkcs1_2048_test.json", oaep, &pkcs1);
}

/* What only a key in software opens, on request. */
static void test_oaep_sha1(void)
{
    Oaep sha1 = {rsa_private_oaep_sha1_decrypt, NULL},
         sha256 = {rsa_private_oaep_sha1_decrypt, "refused: RSA-OAEP with SHA-256"},
         mgf1 = {rsa_private_oaep_sha1_decrypt, "refused: RSA-OAEP with SHA-256 and MGF1 of SHA-1"},
         pkcs1 = {rsa_private_oaep_sha1_decrypt, "refused: PKCS #1 v1.5"};

    test_vectors_run("wycheproof/rsa_oaep_2048_sha1_mgf1sha1_test.json", oaep, &sha1);
    test_vectors_run("wycheproof/rsa_oaep_2048_sha256_mgf1sha256_test.json", oaep, &sha256);
    test_vectors_run("wycheproof/rsa_oaep_2048_sha256_mgf1sha1_test.json", oaep, &mgf1);
    test_vectors_run("wycheproof/rsa_pkcs1_2048_test.json", oaep, &pkcs1);
}

/* None of these JWS is a statement of ours, and none of these keys says what ours say. */
static VectorResult jwk(const json_t *group, const json_t *test, void *userdata, const char **ret_why)
{
    const char *jws = test_vectors_text(test, "jws");
    const json_t *keys = json_object_get(json_object_get(group, "public"), "keys"), *key = NULL;
    bool rsa = false;
    size_t i = 0;

    if (!keys)
        keys = json_object_get(json_object_get(group, "private"), "keys");
    for (JwsType type = 0; type < JWS_TYPE_MAX_; type++)
        for (JwsAlg alg = JWS_PS256; alg <= JWS_ES256; alg++) {
            _cleanup_(jws_done) Jws j = {};

            g_assert_cmpint(jws_parse(jws, strlen(jws), alg, type, &j), >, 0);
        }
    json_array_foreach (keys, i, key) {
        _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX);
        _cleanup_(rsa_key_freep) RsaKey *k = NULL;

        rsa |= json_expect_text(key, "kty", "RSA") == 0;
        g_assert_cmpint(json_write(key, &text), ==, 0);
        g_assert_cmpint(rsa_key_from_jwk(buf_text(&text), text.size, true, &k), ==, HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpint(rsa_key_from_jwk(buf_text(&text), text.size, false, &k), ==, HMSG_ERROR_BAD_PACKAGE);
    }
    if (strcmp(test_vectors_text(test, "result"), "invalid") == 0)
        return VECTOR_REFUSED;
    *ret_why = rsa ? "refused: RS256 is neither PS256 nor ES256" : "refused: keys are RSA";
    return VECTOR_BY_POLICY;
}

static void test_jwk(void)
{
    test_vectors_run("wycheproof/json_web_key_test.json", jwk, NULL);
}

/* The key of a group of that file with nothing but its numbers, so that these alone decide. */
static int bare_key(const json_t *group, RsaKey **ret)
{
    const json_t *key = json_array_get(json_object_get(json_object_get(group, "public"), "keys"), 0);
    _cleanup_(json_decrefp) json_t *bare = json_object();
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX), n = BUF_MAX(RSA_SIZE_MAX + 1);
    size_t zeros = 0;

    g_assert_cmpint(json_put_text(bare, "kty", "RSA"), ==, 0);
    g_assert_cmpint(json_get_buf(key, "n", &n), ==, 0);
    while (zeros < n.size && n.data[zeros] == 0) /* a mistake of the file's */
        zeros++;
    g_assert_cmpint(json_put_bytes(bare, "n", n.data + zeros, n.size - zeros), ==, 0);
    g_assert_cmpint(json_put_text(bare, "e", test_vectors_text(key, "e")), ==, 0);
    g_assert_cmpint(json_write(bare, &text), ==, 0);
    return rsa_key_from_jwk(buf_text(&text), text.size, true, ret);
}

static void test_jwk_numbers(void)
{
    static const struct {
        const char *comment; /* of the test */
        int expected;
    } cases[] = {
        {"rejectsWrongUse", 0}, /* a good key, which the file gives another use */
        {"rejects1024bitRsaKey", HMSG_ERROR_BAD_PACKAGE},
        {"rejectsPublicExponent1", HMSG_ERROR_BAD_PACKAGE},
        {"rejectsKeyWithRocaVulnerability", HMSG_ERROR_BAD_PACKAGE}, /* of 2049 bits as well */
    };
    _cleanup_(json_decrefp) json_t *root = test_vectors_load("wycheproof/json_web_key_test.json");
    const json_t *group = NULL;
    size_t found = 0, k = 0;

    if (!root)
        return;
    json_array_foreach (json_object_get(root, "testGroups"), k, group)
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
            const json_t *test = json_array_get(json_object_get(group, "tests"), 0);
            _cleanup_(rsa_key_freep) RsaKey *key = NULL;

            if (strcmp(test_vectors_text(test, "comment"), cases[i].comment) != 0)
                continue;
            g_test_message("%s", cases[i].comment);
            g_assert_cmpint(bare_key(group, &key), ==, cases[i].expected);
            found++;
        }
    g_assert_cmpuint(found, ==, G_N_ELEMENTS(cases));
}

/* One text of an example: refused, for the reason that is expected. */
static void refuses(const char *name, const json_t *output, const char *words)
{
    static const uint8_t kids[1][KID_SIZE];
    char *dumped = json_is_string(output) ? NULL : json_dumps(output, JSON_COMPACT);
    const char *text = dumped ? dumped : json_string_value(output), *why = NULL;
    _cleanup_(jwe_freep) Jwe *j = NULL;

    g_assert_cmpint(wire_format_detect(text, strlen(text)), ==, FORMAT_JWE);
    int r = jwe_parse(text, strlen(text), kids, 1, &j, &why);
    g_test_message("%s: %s", name, why ? why : error_message(r));
    g_assert_cmpint(r, ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_nonnull(why);
    if (!strstr(why, words))
        g_error("not for \"%s\"", words);
    free(dumped);
}

/* Of the JOSE cookbook (RFC 7520) not one example has an algorithm that we take. */
static void test_cookbook(void)
{
    static const struct {
        const char *name, *words;
    } cases[] = {
        {"5_1.key_encryption_using_rsa_v15_and_aes-hmac-sha2", "RSA1_5"},
        {"5_2.key_encryption_using_rsa-oaep_with_aes-gcm", "RSA-OAEP uses SHA-1"},
        {"5_3.key_wrap_using_pbes2-aes-keywrap_with-aes-cbc-hmac-sha2", "not RSA-OAEP-256"},
        {"5_4.key_agreement_with_key_wrapping_using_ecdh-es_and_aes-keywrap_with_aes-gcm", "ECDH-ES"},
        {"5_5.key_agreement_using_ecdh-es_with_aes-cbc-hmac-sha2", ""}, /* no encrypted_key */
        {"5_6.direct_encryption_using_aes-gcm", ""},
        {"5_7.key_wrap_using_aes-gcm_keywrap_with_aes-cbc-hmac-sha2", "not RSA-OAEP-256"},
        {"5_8.key_wrap_using_aes-keywrap_with_aes-gcm", "not RSA-OAEP-256"},
        {"5_9.compressed_content", ""},
        {"5_10.including_additional_authentication_data", "not RSA-OAEP-256"},
        {"5_11.protecting_specific_header_fields", "outside the protected header"},
        {"5_12.protecting_content_only", "no protected header"},
        {"5_13.encrypting_to_multiple_recipients", "outside the protected header"},
    };
    unsigned refused = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("jose-cookbook/jwe/%s.json", cases[i].name);
        _cleanup_(json_decrefp) json_t *root = test_vectors_load(path);
        const char *form = NULL;
        json_t *output = NULL;

        if (!root)
            return;
        json_object_foreach (json_object_get(root, "output"), form, output) {
            refuses(cases[i].name, output, cases[i].words);
            refused++;
        }
    }
    g_test_message("JOSE cookbook: %u texts refused by policy", refused);
}

/* Its content, once the key is known: A256GCM over the header as it stands. */
static void test_cookbook_content(void)
{
    _cleanup_(json_decrefp) json_t *root =
        test_vectors_load("jose-cookbook/jwe/5_2.key_encryption_using_rsa-oaep_with_aes-gcm.json");
    _cleanup_(buf_done) Buf key = BUF_MAX(32), iv = BUF_MAX(12), sealed = BUF_MAX(4096);
    uint8_t out[4096];

    if (!root)
        return;
    const json_t *flat = json_object_get(json_object_get(root, "output"), "json_flat");
    const char *aad = test_vectors_text(flat, "protected"),
               *plaintext = test_vectors_text(json_object_get(root, "input"), "plaintext");
    g_assert_cmpint(json_get_buf(json_object_get(root, "generated"), "cek", &key), ==, 0);
    g_assert_cmpint(json_get_buf(flat, "iv", &iv), ==, 0);
    g_assert_cmpint(json_get_buf(flat, "ciphertext", &sealed), ==, 0);
    g_assert_cmpint(json_get_buf(flat, "tag", &sealed), ==, 0);
    g_assert_cmpuint(key.size, ==, 32);
    g_assert_cmpint(crypto_gcm_open(key.data, iv.data, aad, strlen(aad), sealed.data, sealed.size, out), ==,
                    0);
    g_assert_cmpmem(out, sealed.size - 16, plaintext, strlen(plaintext));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vectors/oaep", test_oaep);
    g_test_add_func("/vectors/oaep-sha1", test_oaep_sha1);
    g_test_add_func("/vectors/jwk", test_jwk);
    g_test_add_func("/vectors/jwk-numbers", test_jwk_numbers);
    g_test_add_func("/vectors/jose-cookbook", test_cookbook);
    g_test_add_func("/vectors/jose-cookbook/content", test_cookbook_content);
    return g_test_run();
}

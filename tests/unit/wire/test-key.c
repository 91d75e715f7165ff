/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/key.h"

#include <glib.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

static TestPerson *person;

/* RFC 7638 section 3.1: the example key and its thumbprint. */
static void test_thumbprint(void)
{
    static const char jwk[] =
        "{\"kty\":\"RSA\",\"n\":"
        "\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1"
        "L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
        "FDW2QvzqY36"
        "8QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"
        "bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPks"
        "INHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw\",\"e\":\"AQAB\"}";
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    char text[HASH_TEXT_SIZE];

    g_assert_cmpint(rsa_key_from_jwk(jwk, strlen(jwk), false, &key), ==, 0);
    base64url_encode(rsa_key_thumbprint(key), KID_SIZE, text);
    g_assert_cmpstr(text, ==, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    g_assert_cmpuint(rsa_key_bits(key), ==, 2048);
}

static void test_texts(void)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX), jwk = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(buf_done) Buf spaced = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(rsa_key_freep) RsaKey *from_pem = NULL, *from_jwk = NULL, *from_spki = NULL,
                                    *from_spaced = NULL;
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(person->decrypt, &n);

    g_assert_cmpint(rsa_key_to_pem(person->decrypt, &pem), ==, 0);
    g_assert_cmpint(rsa_key_from_pem(buf_text(&pem), pem.size, &from_pem), ==, 0);
    g_assert_true(rsa_key_equal(from_pem, person->decrypt));
    g_assert_cmpint(rsa_key_to_jwk(person->decrypt, false, &jwk), ==, 0);
    g_assert_cmpint(rsa_key_from_jwk(buf_text(&jwk), jwk.size, false, &from_jwk), ==, 0);
    g_assert_true(rsa_key_equal(from_jwk, person->decrypt));
    g_assert_cmpint(rsa_key_from_spki(spki, n, &from_spki), ==, 0);
    g_assert_true(rsa_key_equal(from_spki, person->decrypt));
    g_assert_false(rsa_key_equal(person->sign, person->decrypt));
    g_assert_cmpint(buf_printf(&spaced, "\n \t%s\r\n\n", buf_text(&pem)), ==, 0);
    g_assert_cmpint(rsa_key_from_pem(buf_text(&spaced), spaced.size, &from_spaced), ==, 0);
}

/* RFC 4253 section 6.6, read back by hand. */
static void test_openssh(void)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(KEY_FILE_SIZE_MAX), blob = BUF_MAX(KEY_FILE_SIZE_MAX);
    static const uint8_t head[] = "\0\0\0\7ssh-rsa\0\0\0\3\1\0\1\0\0\1\1"; /* e, then 257 bytes of n */
    BIGNUM *n = NULL;
    uint8_t modulus[256];

    g_assert_cmpint(rsa_key_to_openssh(person->decrypt, &text), ==, 0);
    g_auto(GStrv) words = g_strsplit(buf_text(&text), " ", 0);
    g_assert_cmpuint(g_strv_length(words), ==, 3);
    g_assert_cmpstr(words[0], ==, "ssh-rsa");
    g_autofree char *comment = g_strdup_printf("hmsg:%s\n", person->kid);
    g_assert_cmpstr(words[2], ==, comment);
    g_assert_cmpint(base64_decode(words[1], strlen(words[1]), &blob), ==, 0);
    g_assert_cmpuint(blob.size, ==, sizeof(head) - 1 + 257);
    g_assert_cmpmem(blob.data, sizeof(head) - 1, head, sizeof(head) - 1);
    g_assert_cmpuint(blob.data[sizeof(head) - 1], ==, 0);
    g_assert_cmpint(EVP_PKEY_get_bn_param(person->decrypt_private, "n", &n), ==, 1);
    g_assert_cmpint(BN_bn2binpad(n, modulus, sizeof(modulus)), ==, sizeof(modulus));
    g_assert_cmpmem(blob.data + sizeof(head), sizeof(modulus), modulus, sizeof(modulus));
    BN_free(n);
}

static void refuse_jwk(const char *text)
{
    RsaKey *key = NULL;

    if (rsa_key_from_jwk(text, strlen(text), false, &key) != HMSG_ERROR_BAD_PACKAGE)
        g_error("accepted: %s", text);
}

static void test_jwk_refused(void)
{
    _cleanup_(buf_done) Buf jwk = BUF_MAX(KEY_FILE_SIZE_MAX);
    RsaKey *key = NULL;

    g_assert_cmpint(rsa_key_to_jwk(person->decrypt, false, &jwk), ==, 0);
    const char *n = strstr(buf_text(&jwk), "\"n\":");
    static const char *const formats[] = {
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"d\":\"AQ\",%s",
        "{\"kty\":\"RSA\",\"e\":\"Aw\",%s",
        "{\"kty\":\"RSA\",\"e\":\"AAEAAQ\",%s",
        "{\"kty\":\"EC\",\"e\":\"AQAB\",%s",
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"use\":\"sig\",%s",
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"alg\":\"RSA1_5\",%s",
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"alg\":\"RSA-OAEP\",%s",
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"key_ops\":[\"sign\"],%s",
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"key_ops\":\"x\",%s",
        "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"kty\":\"RSA\",%s",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        g_autofree char *text = g_strdup_printf(formats[i], n);
#pragma GCC diagnostic pop
        refuse_jwk(text);
    }
    refuse_jwk("{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"AQAB\"}");
    refuse_jwk("{\"kty\":\"RSA\",\"e\":\"AQAB\"}");
    g_assert_cmpint(rsa_key_from_jwk(buf_text(&jwk), jwk.size, true, &key), ==, HMSG_ERROR_BAD_PACKAGE);
}

static void test_sizes(void)
{
    static const struct {
        unsigned bits;
        int r;
    } cases[] = {{1024, HMSG_ERROR_BAD_PACKAGE},
                 {2047, HMSG_ERROR_BAD_PACKAGE},
                 {2056, HMSG_ERROR_BAD_PACKAGE},
                 {3072, 0}};

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        _cleanup_(rsa_key_freep) RsaKey *key = NULL;
        EVP_PKEY *private = test_rsa_new(cases[i].bits);

        g_assert_cmpint(rsa_key_from_evp(private, &key), ==, cases[i].r);
        EVP_PKEY_free(private);
    }
}

/* The JWK of a modulus. */
static int read_modulus(const BIGNUM *n)
{
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    uint8_t bytes[RSA_SIZE_MAX];
    char text[BASE64URL_SIZE(RSA_SIZE_MAX) + 1];

    base64url_encode(bytes, (size_t)BN_bn2bin(n, bytes), text);
    g_autofree char *jwk = g_strdup_printf("{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"%s\"}", text);
    return rsa_key_from_jwk(jwk, strlen(jwk), true, &key);
}

/* A modulus of the form of CVE-2017-15361: a power of 65537 modulo the product of the primes up to 701. */
static void test_weak(void)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *product = BN_new(), *power = BN_new(), *exponent = BN_new(), *n = BN_new();

    g_assert_true(BN_set_word(product, 2) && BN_set_word(power, 65537) && BN_set_word(exponent, 123456789));
    for (unsigned p = 3; p <= 701; p += 2) {
        unsigned i = 3;

        while (i < p && p % i != 0)
            i += 2;
        if (i == p)
            g_assert_true(BN_mul_word(product, p));
    }
    g_assert_true(BN_mod_exp(power, power, exponent, product, ctx));
    g_assert_true(BN_set_word(n, 3) && BN_lshift(n, n, 2046) && BN_div(n, NULL, n, product, ctx));
    g_assert_true(BN_mul(n, n, product, ctx) && BN_add(n, n, power));
    g_assert_cmpint(BN_num_bits(n), ==, 2048);
    g_assert_cmpint(read_modulus(n), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_true(BN_add_word(n, 2));
    g_assert_cmpint(read_modulus(n), ==, 0);
    BN_free(product);
    BN_free(power);
    BN_free(exponent);
    BN_free(n);
    BN_CTX_free(ctx);
}

/* Every byte of an SPKI flipped: either refused, or another key. */
static void test_spki_flipped(void)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(person->decrypt, &n);
    g_autofree uint8_t *copy = g_memdup2(spki, n);
    RsaKey *key = NULL;

    for (size_t i = 0; i < n; i++) {
        copy[i] ^= 0x55;
        int r = rsa_key_from_spki(copy, n, &key);
        g_assert_true(r == 0 || r == HMSG_ERROR_BAD_PACKAGE);
        if (r == 0) {
            g_assert_false(rsa_key_equal(key, person->decrypt));
            key = rsa_key_free(key);
        }
        copy[i] ^= 0x55;
        g_assert_cmpint(rsa_key_from_spki(copy, i, &key), ==, HMSG_ERROR_BAD_PACKAGE);
    }
    g_autofree uint8_t *longer = g_malloc0(n + 1);
    memcpy(longer, spki, n);
    g_assert_cmpint(rsa_key_from_spki(longer, n + 1, &key), ==, HMSG_ERROR_BAD_PACKAGE);
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    g_assert_cmpint(rsa_key_from_evp(ec, &key), ==, HMSG_ERROR_BAD_PACKAGE);
    EVP_PKEY_free(ec);
}

static void test_oaep(void)
{
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *plain = NULL, *none = NULL;

    g_assert_cmpint(rsa_key_oaep_encrypt(person->decrypt, "hello", 5, &ciphertext), ==, 0);
    g_assert_cmpuint(ciphertext.size, ==, 256);
    g_assert_cmpint(rsa_private_oaep_decrypt(person->decrypt_private, ciphertext.data, 256, &plain), ==, 0);
    g_assert_cmpmem(secret_bytes(plain), secret_size(plain), "hello", 5);
    g_assert_cmpint(rsa_private_oaep_decrypt(person->sign_private, ciphertext.data, 256, &none), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    ciphertext.data[100] ^= 1;
    g_assert_cmpint(rsa_private_oaep_decrypt(person->decrypt_private, ciphertext.data, 256, &none), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_ps256(void)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    uint8_t digest[SHA256_SIZE] = {1};

    g_assert_cmpint(rsa_private_sign_ps256(person->sign_private, digest, &signature), ==, 0);
    g_assert_cmpint(rsa_key_verify_ps256(person->sign, digest, signature.data, signature.size), ==, 0);
    g_assert_cmpint(rsa_key_verify_ps256(person->decrypt, digest, signature.data, signature.size), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rsa_key_verify_ps256(person->sign, digest, signature.data, signature.size - 1), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    digest[0] = 2;
    g_assert_cmpint(rsa_key_verify_ps256(person->sign, digest, signature.data, signature.size), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

static void test_ec(void)
{
    _cleanup_(ec_key_freep) EcKey *key = NULL, *public = NULL, *other = NULL, *none = NULL;
    uint8_t digest[SHA256_SIZE] = {1}, signature[ES256_SIGNATURE_SIZE];
    size_t n = 0;

    g_assert_cmpint(ec_key_generate(&key), ==, 0);
    g_assert_cmpint(ec_key_generate(&other), ==, 0);
    const uint8_t *spki = ec_key_spki(key, &n);
    g_assert_cmpint(ec_key_from_spki(spki, n, &public), ==, 0);
    g_assert_cmpmem(ec_key_thumbprint(key), KID_SIZE, ec_key_thumbprint(public), KID_SIZE);
    g_assert_cmpint(ec_key_sign_es256(key, digest, signature), ==, 0);
    g_assert_cmpint(ec_key_verify_es256(public, digest, signature, sizeof(signature)), ==, 0);
    g_assert_cmpint(ec_key_verify_es256(other, digest, signature, sizeof(signature)), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(ec_key_verify_es256(public, digest, signature, sizeof(signature) - 1), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    signature[5] ^= 1;
    g_assert_cmpint(ec_key_verify_es256(public, digest, signature, sizeof(signature)), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    memset(signature, 0, sizeof(signature));
    g_assert_cmpint(ec_key_verify_es256(public, digest, signature, sizeof(signature)), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(ec_key_from_spki(spki, n - 1, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    spki = rsa_key_spki(person->sign, &n);
    g_assert_cmpint(ec_key_from_spki(spki, n, &none), ==, HMSG_ERROR_BAD_PACKAGE);
}

static void test_fingerprint(void)
{
    uint8_t zero[SHA256_SIZE] = {0}, one[SHA256_SIZE] = {0}, all[SHA256_SIZE], a[SHA256_SIZE], b[SHA256_SIZE];
    char text[FINGERPRINT_TEXT_SIZE];

    fingerprint_text(zero, text);
    g_assert_cmpstr(text, ==, "00000 00000 00000 00000 00000 00000 00000 00000 00000 00000 00000 00000");
    one[31] = 1;
    one[30] = 1; /* 257 */
    fingerprint_text(one, text);
    g_assert_cmpstr(text, ==, "00000 00000 00000 00000 00000 00000 00000 00000 00000 00000 00000 00257");
    memset(all, 0xff, sizeof(all)); /* 2^256 - 1 modulo 10^60 */
    fingerprint_text(all, text);
    g_assert_cmpstr(text, ==, "42357 09850 08687 90785 32699 84665 64056 40394 57584 00791 31296 39935");
    g_assert_cmpint(fingerprint_make(person->decrypt, person->sign, a), ==, 0);
    g_assert_cmpint(fingerprint_make(person->sign, person->decrypt, b), ==, 0);
    g_assert_false(bytes_equal(a, b, sizeof(a)));
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    person = test_person_new();
    g_test_add_func("/key/thumbprint", test_thumbprint);
    g_test_add_func("/key/texts", test_texts);
    g_test_add_func("/key/openssh", test_openssh);
    g_test_add_func("/key/jwk-refused", test_jwk_refused);
    g_test_add_func("/key/sizes", test_sizes);
    g_test_add_func("/key/weak", test_weak);
    g_test_add_func("/key/spki-flipped", test_spki_flipped);
    g_test_add_func("/key/oaep", test_oaep);
    g_test_add_func("/key/ps256", test_ps256);
    g_test_add_func("/key/ec", test_ec);
    g_test_add_func("/key/fingerprint", test_fingerprint);
    status = g_test_run();
    test_person_free(person);
    return status;
}

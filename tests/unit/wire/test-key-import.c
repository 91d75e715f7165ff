/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/key-import.h"

#include <glib.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "tests/lib/pem.h"

#define PASSWORD "the password of the file"

typedef struct Result {
    RsaKey *public;
    Secret *prime;
    char why[KEY_IMPORT_WHY_SIZE];
} Result;

static void result_clear(Result *r)
{
    rsa_key_free(r->public);
    secret_free(r->prime);
    *r = (Result){.public = NULL};
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Result, result_clear)

static EVP_PKEY *rsa(unsigned bits, unsigned long exponent)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *e = BN_new();
    EVP_PKEY *key = NULL;

    g_assert_true(BN_set_word(e, exponent) == 1 && EVP_PKEY_keygen_init(ctx) == 1);
    g_assert_true(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) == 1);
    g_assert_true(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) == 1 && EVP_PKEY_generate(ctx, &key) == 1);
    BN_free(e);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static int import(const char *text, const char *password, Result *ret)
{
    _cleanup_(secret_freep) Secret *pem = NULL, *secret = NULL;

    g_assert_cmpint(secret_new_copy(text, strlen(text), &pem), ==, 0);
    if (password)
        g_assert_cmpint(secret_new_copy(password, strlen(password), &secret), ==, 0);
    result_clear(ret);
    int r = key_import(pem, secret, &ret->public, &ret->prime, ret->why);
    g_assert_true((r == 0) == (ret->public != NULL) && (r == 0) == (ret->prime != NULL));
    return r;
}

static void expect_refused(const char *text, int r, const char *why)
{
    g_auto(Result) result = {0};

    g_assert_cmpint(import(text, NULL, &result), ==, r);
    if (!strstr(result.why, why))
        g_error("\"%s\" does not say \"%s\"", result.why, why);
}

static void expect_good(EVP_PKEY *key, const char *text, const char *password)
{
    g_auto(Result) result = {0};
    BIGNUM *p = NULL, *q = NULL, *got;

    g_assert_cmpint(import(text, password, &result), ==, 0);
    g_assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR1, &p) == 1);
    g_assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR2, &q) == 1);
    g_assert_cmpuint(secret_size(result.prime), ==, KEY_IMPORT_PRIME_SIZE);
    got = BN_bin2bn(secret_bytes(result.prime), (int)KEY_IMPORT_PRIME_SIZE, NULL);
    g_assert_true(BN_cmp(got, p) == 0 || BN_cmp(got, q) == 0);
    BN_free(p);
    BN_free(q);
    BN_free(got);
}

static void test_forms(void)
{
    EVP_PKEY *key = rsa(2048, 65537);
    g_autofree char *plain = test_private_pem(key, NULL), *encrypted = test_private_pem(key, PASSWORD);
    g_auto(Result) result = {0};
    BIO *bio = BIO_new(BIO_s_mem());

    expect_good(key, plain, NULL);
    expect_good(key, plain, PASSWORD); /* which it does not need */
    expect_good(key, encrypted, PASSWORD);
    g_assert_cmpint(import(encrypted, "another one", &result), ==, HMSG_ERROR_LOCKED);
    g_assert_nonnull(strstr(result.why, "wrong"));
    expect_refused(encrypted, HMSG_ERROR_LOCKED, "its password is needed");
    g_assert_true(PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    g_autofree char *old = test_bio_text(bio);
    g_assert_true(g_str_has_prefix(old, "-----BEGIN RSA PRIVATE KEY-----"));
    expect_good(key, old, NULL);
    EVP_PKEY_free(key);
}

static void test_kinds(void)
{
    static const unsigned sizes[] = {1024, 3072};

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        EVP_PKEY *key = rsa(sizes[i], 65537);
        g_autofree char *text = test_private_pem(key, NULL), *why = g_strdup_printf("has %u bits", sizes[i]);

        expect_refused(text, HMSG_ERROR_INVALID_ARGS, why);
        EVP_PKEY_free(key);
    }
    EVP_PKEY *exponent = rsa(2048, 3), *curve = EVP_EC_gen("P-256");
    g_autofree char *text = test_private_pem(exponent, NULL), *ec = test_private_pem(curve, NULL);
    expect_refused(text, HMSG_ERROR_INVALID_ARGS, "exponent");
    expect_refused(ec, HMSG_ERROR_INVALID_ARGS, "Only RSA");
    EVP_PKEY_free(exponent);
    EVP_PKEY_free(curve);
}

static EVP_PKEY *key_of(const BIGNUM *p, const BIGNUM *q, BN_CTX *ctx)
{
    BIGNUM *n = BN_new(), *d, *e = BN_new(), *phi = BN_new(), *p1 = BN_dup(p), *q1 = BN_dup(q);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *made = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;

    g_assert_true(BN_set_word(e, 65537) == 1 && BN_mul(n, p, q, ctx) == 1 && BN_sub_word(p1, 1) == 1);
    g_assert_true(BN_sub_word(q1, 1) == 1 && BN_mul(phi, p1, q1, ctx) == 1);
    d = BN_mod_inverse(NULL, e, phi, ctx);
    g_assert_true(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
                  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, e) == 1 &&
                  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_D, d) == 1 &&
                  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_FACTOR1, p) == 1 &&
                  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_FACTOR2, q) == 1);
    BIGNUM *dp = BN_new(), *dq = BN_new(), *qi = BN_mod_inverse(NULL, q, p, ctx);
    g_assert_true(BN_mod(dp, d, p1, ctx) == 1 && BN_mod(dq, d, q1, ctx) == 1);
    g_assert_true(OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp) == 1 &&
                  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq) == 1 &&
                  OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, qi) == 1);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    g_assert_true(EVP_PKEY_fromdata_init(made) == 1 &&
                  EVP_PKEY_fromdata(made, &key, EVP_PKEY_KEYPAIR, params) == 1);
    BIGNUM *all[] = {n, d, e, phi, p1, q1, dp, dq, qi};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        BN_free(all[i]);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(b);
    EVP_PKEY_CTX_free(made);
    return key;
}

/* 65537^a modulo the product of the primes up to 701, and a multiple of that: CVE-2017-15361. */
static BIGNUM *weak_prime(BN_CTX *ctx)
{
    BIGNUM *product = BN_new(), *a = BN_new(), *k = BN_new(), *base = BN_new(), *p = BN_new();

    BN_one(product);
    for (unsigned n = 2; n <= 701; n++) {
        bool prime = true;
        for (unsigned i = 2; i * i <= n && prime; i++)
            prime = n % i != 0;
        g_assert_true(!prime || BN_mul_word(product, n) == 1);
    }
    BN_set_word(base, 65537);
    do {
        g_assert_true(BN_rand(a, 256, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1);
        g_assert_true(BN_rand(k, 1024 - BN_num_bits(product), BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY) == 1);
        g_assert_true(BN_mod_exp(p, base, a, product, ctx) == 1 && BN_mul(k, k, product, ctx) == 1);
        g_assert_true(BN_add(p, p, k) == 1);
    } while (BN_num_bits(p) != 1024 || !BN_is_bit_set(p, 1022) || BN_check_prime(p, ctx, NULL) != 1);
    BN_free(product);
    BN_free(a);
    BN_free(k);
    BN_free(base);
    return p;
}

static void test_weak(void)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *p = weak_prime(ctx), *q = weak_prime(ctx);
    EVP_PKEY *key = key_of(p, q, ctx);
    g_autofree char *text = test_private_pem(key, NULL);

    expect_refused(text, HMSG_ERROR_INVALID_ARGS, "CVE-2017-15361");
    EVP_PKEY_free(key);
    BN_free(p);
    BN_free(q);
    BN_CTX_free(ctx);
}

/* The modulus of one key, the rest of another. */
static void test_mixed(void)
{
    EVP_PKEY *one = rsa(2048, 65537), *two = rsa(2048, 65537), *mixed = NULL;
    OSSL_PARAM *params = NULL, *other = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *to, *from;

    g_assert_true(EVP_PKEY_todata(one, EVP_PKEY_KEYPAIR, &params) == 1);
    g_assert_true(EVP_PKEY_todata(two, EVP_PKEY_KEYPAIR, &other) == 1);
    to = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_RSA_N);
    from = OSSL_PARAM_locate(other, OSSL_PKEY_PARAM_RSA_N);
    g_assert_true(to && from && to->data_size == from->data_size);
    memcpy(to->data, from->data, to->data_size);
    g_assert_true(EVP_PKEY_fromdata_init(ctx) == 1 &&
                  EVP_PKEY_fromdata(ctx, &mixed, EVP_PKEY_KEYPAIR, params) == 1);
    g_autofree char *text = test_private_pem(mixed, NULL);
    expect_refused(text, HMSG_ERROR_INVALID_ARGS, "do not fit together");
    OSSL_PARAM_free(params);
    OSSL_PARAM_free(other);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(mixed);
    EVP_PKEY_free(one);
    EVP_PKEY_free(two);
}

static char *pem_with_rounds(EVP_PKEY *key, int rounds)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_SIG *sig = PKCS8_encrypt(-1, EVP_aes_256_cbc(), PASSWORD, -1, NULL, 0, rounds, info);
    BIO *bio = BIO_new(BIO_s_mem());

    g_assert_true(sig && PEM_write_bio_PKCS8(bio, sig) == 1);
    X509_SIG_free(sig);
    PKCS8_PRIV_KEY_INFO_free(info);
    return test_bio_text(bio);
}

/* A file of others could have us compute for hours. */
static void test_rounds(void)
{
    EVP_PKEY *key = rsa(2048, 65537);
    g_autofree char *few = pem_with_rounds(key, 100000), *many = pem_with_rounds(key, 10000001);

    expect_good(key, few, PASSWORD);
    expect_refused(many, HMSG_ERROR_INVALID_ARGS, "10000000 rounds");
    EVP_PKEY_free(key);
}

static char *pem_with_scrypt(EVP_PKEY *key, uint64_t n, uint64_t r, uint64_t p)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_ALGOR *algorithm = PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), NULL, 0, NULL, 16384, 8, 1);
    X509_SIG *sig = PKCS8_set0_pbe(PASSWORD, -1, info, algorithm);
    PBE2PARAM *pbe = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
    SCRYPT_PARAMS *scrypt = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(SCRYPT_PARAMS), pbe->keyfunc->parameter);
    BIO *bio = BIO_new(BIO_s_mem());

    g_assert_true(ASN1_INTEGER_set_uint64(scrypt->costParameter, n) == 1 &&
                  ASN1_INTEGER_set_uint64(scrypt->blockSize, r) == 1 &&
                  ASN1_INTEGER_set_uint64(scrypt->parallelizationParameter, p) == 1);
    g_assert_nonnull(
        ASN1_TYPE_pack_sequence(ASN1_ITEM_rptr(SCRYPT_PARAMS), scrypt, &pbe->keyfunc->parameter));
    g_assert_nonnull(ASN1_TYPE_pack_sequence(ASN1_ITEM_rptr(PBE2PARAM), pbe, &algorithm->parameter));
    g_assert_true(PEM_write_bio_PKCS8(bio, sig) == 1);
    SCRYPT_PARAMS_free(scrypt);
    PBE2PARAM_free(pbe);
    X509_SIG_free(sig);
    PKCS8_PRIV_KEY_INFO_free(info);
    return test_bio_text(bio);
}

static void test_scrypt(void)
{
    EVP_PKEY *key = rsa(2048, 65537);
    g_autofree char *good = pem_with_scrypt(key, 16384, 8, 1), *large = pem_with_scrypt(key, 16384, 8, 65),
                    *over = pem_with_scrypt(key, UINT64_C(1) << 62, 8, 1),
                    *none = pem_with_scrypt(key, 16384, 8, 0);

    expect_good(key, good, PASSWORD);
    expect_refused(large, HMSG_ERROR_INVALID_ARGS, "N r p = 8388608");
    expect_refused(over, HMSG_ERROR_INVALID_ARGS, "N r p = 8388608");
    expect_refused(none, HMSG_ERROR_INVALID_ARGS, "N r p = 8388608");
    EVP_PKEY_free(key);
}

/* The second one would be read in place of the first. */
static void test_two(void)
{
    EVP_PKEY *key = rsa(2048, 65537);
    g_autofree char *many = pem_with_rounds(key, 10000001),
                    *two = g_strconcat("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", many,
                                       NULL);

    expect_refused(two, HMSG_ERROR_INVALID_ARGS, "nothing else");
    EVP_PKEY_free(key);
}

static void test_garbage(void)
{
    EVP_PKEY *key = rsa(2048, 65537);
    g_autofree char *text = test_private_pem(key, NULL);
    g_auto(Result) result = {0};

    expect_refused("no key", HMSG_ERROR_INVALID_ARGS, "not one private key in PEM");
    expect_refused("-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----\n",
                   HMSG_ERROR_INVALID_ARGS, "in a TPM already");
    expect_refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", HMSG_ERROR_INVALID_ARGS,
                   "damaged");
    expect_refused("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                   HMSG_ERROR_INVALID_ARGS, "damaged");
    for (size_t n = 1; n < strlen(text) - 30; n += 97) {
        g_autofree char *cut = g_strndup(text, n);
        expect_refused(cut, HMSG_ERROR_INVALID_ARGS, "");
    }
    for (size_t i = 30; i + 30 < strlen(text); i += 61) { /* any answer but a key that does not work */
        g_autofree char *changed = g_strdup(text);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        int r = import(changed, NULL, &result);
        g_assert_true(r == 0 || r == HMSG_ERROR_INVALID_ARGS);
    }
    EVP_PKEY_free(key);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wire/key-import/forms", test_forms);
    g_test_add_func("/wire/key-import/kinds", test_kinds);
    g_test_add_func("/wire/key-import/weak", test_weak);
    g_test_add_func("/wire/key-import/mixed", test_mixed);
    g_test_add_func("/wire/key-import/rounds", test_rounds);
    g_test_add_func("/wire/key-import/scrypt", test_scrypt);
    g_test_add_func("/wire/key-import/two", test_two);
    g_test_add_func("/wire/key-import/garbage", test_garbage);
    return g_test_run();
}

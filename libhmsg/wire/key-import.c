/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/key-import.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/pem.h"

#define KEY_BITS 2048
#define EXPONENT 65537u
#define DER_MAX 12288u
#define MARK "-----BEGIN "

static int refuse(char why[static KEY_IMPORT_WHY_SIZE], int r, const char *text)
{
    (void)snprintf(why, KEY_IMPORT_WHY_SIZE, "%s", text);
    return r;
}

typedef struct Asked {
    const Secret *password;
    bool asked;
} Asked;

static int give_password(char *buf, int size, int writing, void *userdata)
{
    Asked *a = userdata;

    a->asked = true;
    if (!a->password || size < 0 || secret_size(a->password) > (size_t)size)
        return -1;
    memcpy(buf, secret_bytes(a->password), secret_size(a->password));
    return (int)secret_size(a->password);
}

static bool is_bounded_pbkdf2(const ASN1_TYPE *parameters)
{
    PBKDF2PARAM *p = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), parameters);
    int64_t iterations = 0;
    bool good = p && ASN1_INTEGER_get_int64(&iterations, p->iter) == 1 && iterations > 0 &&
                iterations <= KEY_IMPORT_ITERATIONS_MAX;

    PBKDF2PARAM_free(p);
    return good;
}

static bool take_factor(const ASN1_INTEGER *from, uint64_t *product)
{
    uint64_t factor = 0;

    if (ASN1_INTEGER_get_uint64(&factor, from) != 1 || factor == 0 ||
        factor > KEY_IMPORT_SCRYPT_MAX / *product)
        return false;
    *product *= factor;
    return true;
}

/* Of its memory OpenSSL has a bound of its own, of its time it has none. */
static bool is_bounded_scrypt(const ASN1_TYPE *parameters)
{
    SCRYPT_PARAMS *p = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(SCRYPT_PARAMS), parameters);
    uint64_t product = 1;
    bool good = p && take_factor(p->costParameter, &product) && take_factor(p->blockSize, &product) &&
                take_factor(p->parallelizationParameter, &product);

    SCRYPT_PARAMS_free(p);
    return good;
}

/* What a file may have us compute before its password is known to be wrong. */
static bool is_bounded(const X509_ALGOR *algorithm)
{
    PBE2PARAM *pbe = OBJ_obj2nid(algorithm->algorithm) == NID_pbes2
                         ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter)
                         : NULL;
    int function = pbe ? OBJ_obj2nid(pbe->keyfunc->algorithm) : NID_undef;
    bool good = (function == NID_id_pbkdf2 && is_bounded_pbkdf2(pbe->keyfunc->parameter)) ||
                (function == NID_id_scrypt && is_bounded_scrypt(pbe->keyfunc->parameter));

    PBE2PARAM_free(pbe);
    return good;
}

static int check_encryption(const char *text, size_t n)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(DER_MAX);
    const X509_ALGOR *algorithm = NULL;
    const ASN1_OCTET_STRING *data = NULL;
    int r = pem_read(text, n, "ENCRYPTED PRIVATE KEY", &der);

    if (r != 0)
        return r;
    const uint8_t *p = der.data;
    X509_SIG *whole = d2i_X509_SIG(NULL, &p, (long)der.size);
    if (whole)
        X509_SIG_get0(whole, &algorithm, &data);
    bool good = whole && is_bounded(algorithm);
    X509_SIG_free(whole);
    return good ? 0 : HMSG_ERROR_INVALID_ARGS;
}

/* OpenSSL would pass over a first block for one that nobody has looked at. */
static bool is_one_block(const char *text, size_t n)
{
    const char *first = memmem(text, n, MARK, strlen(MARK));

    return first && !memmem(first + 1, n - (size_t)(first + 1 - text), MARK, strlen(MARK));
}

static int check_text(const char *text, size_t n, char why[static KEY_IMPORT_WHY_SIZE])
{
    if (!is_one_block(text, n))
        return refuse(why, HMSG_ERROR_INVALID_ARGS, "This is not one private key in PEM, and nothing else");
    if (pem_is(text, n, "TSS2 PRIVATE KEY"))
        return refuse(why, HMSG_ERROR_INVALID_ARGS,
                      "This key is in a TPM already; such keys cannot be taken over");
    if (pem_is(text, n, "ENCRYPTED PRIVATE KEY"))
        return check_encryption(text, n) == 0
                   ? 0
                   : refuse(why, HMSG_ERROR_INVALID_ARGS,
                            "The key is damaged, or encrypted with something else than PBKDF2 of at most "
                            "10000000 rounds or scrypt of at most N r p = 8388608");
    if (pem_is(text, n, "PRIVATE KEY") || pem_is(text, n, "RSA PRIVATE KEY"))
        return 0;
    return refuse(why, HMSG_ERROR_INVALID_ARGS, "This is not one private key in PEM, and nothing else");
}

static int parse(const Secret *pem, const Secret *password, EVP_PKEY **ret,
                 char why[static KEY_IMPORT_WHY_SIZE])
{
    BIO *bio = BIO_new_mem_buf(secret_bytes(pem), (int)secret_size(pem));
    Asked asked = {.password = password};

    if (!bio)
        return -ENOMEM;
    *ret = PEM_read_bio_PrivateKey(bio, NULL, give_password, &asked);
    BIO_free(bio);
    if (*ret)
        return 0;
    if (asked.asked)
        return refuse(why, HMSG_ERROR_LOCKED,
                      password ? "The password of the key is wrong"
                               : "The key is encrypted: its password is needed");
    return refuse(why, HMSG_ERROR_INVALID_ARGS, "The private key is damaged");
}

/* Whatever may be left of a key's numbers: e, and a third prime. */
static int check_numbers(EVP_PKEY *pkey, char why[static KEY_IMPORT_WHY_SIZE])
{
    BIGNUM *e = NULL, *third = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    int r = 0;

    if (!ctx)
        r = -ENOMEM;
    else if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1 || !BN_is_word(e, EXPONENT))
        r = refuse(why, HMSG_ERROR_INVALID_ARGS, "The exponent of the key is not 65537");
    else if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1)
        r = refuse(why, HMSG_ERROR_INVALID_ARGS, "The key has more than two primes");
    else if (EVP_PKEY_check(ctx) != 1)
        r = refuse(why, HMSG_ERROR_INVALID_ARGS, "The numbers of the key do not fit together");
    BN_free(e);
    BN_clear_free(third);
    EVP_PKEY_CTX_free(ctx);
    return r;
}

static int check_key(EVP_PKEY *pkey, RsaKey **ret, char why[static KEY_IMPORT_WHY_SIZE])
{
    int r;

    if (!EVP_PKEY_is_a(pkey, "RSA"))
        return refuse(why, HMSG_ERROR_INVALID_ARGS, "Only RSA keys of 2048 bits can be taken over");
    if (EVP_PKEY_get_bits(pkey) != KEY_BITS) {
        (void)snprintf(why, KEY_IMPORT_WHY_SIZE,
                       "The key has %d bits; only RSA keys of 2048 bits can be taken over",
                       EVP_PKEY_get_bits(pkey));
        return HMSG_ERROR_INVALID_ARGS;
    }
    r = check_numbers(pkey, why);
    if (r == 0)
        r = rsa_key_from_evp(pkey, ret);
    return r == HMSG_ERROR_BAD_PACKAGE
               ? refuse(why, HMSG_ERROR_INVALID_ARGS,
                        "The key was made in a way that can be factored (CVE-2017-15361)")
               : r;
}

/* Numbers are in the order of this machine; the prime goes nowhere but into the secret. */
static int take_prime(EVP_PKEY *pkey, Secret **ret)
{
    _cleanup_(secret_freep) Secret *prime = NULL;
    const uint16_t one = 1;
    int r = secret_new(KEY_IMPORT_PRIME_SIZE, &prime);

    if (r < 0)
        return r;
    uint8_t *p = secret_data(prime);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_FACTOR1, p, KEY_IMPORT_PRIME_SIZE),
                           OSSL_PARAM_construct_end()};
    if (EVP_PKEY_get_params(pkey, params) != 1 || params[0].return_size != KEY_IMPORT_PRIME_SIZE)
        return HMSG_ERROR_INVALID_ARGS;
    for (size_t i = 0; *(const uint8_t *)&one == 1 && i < KEY_IMPORT_PRIME_SIZE / 2; i++) {
        uint8_t byte = p[i];
        p[i] = p[KEY_IMPORT_PRIME_SIZE - 1 - i];
        p[KEY_IMPORT_PRIME_SIZE - 1 - i] = byte;
    }
    if (p[0] < 0x80)
        return HMSG_ERROR_INVALID_ARGS;
    *ret = TAKE_PTR(prime);
    return 0;
}

/* To be freed in any case. */
static int read_key(const Secret *pem, const Secret *password, EVP_PKEY **ret, RsaKey **ret_public,
                    char why[static KEY_IMPORT_WHY_SIZE])
{
    int r;

    why[0] = 0;
    if (secret_size(pem) > KEY_IMPORT_SIZE_MAX)
        return refuse(why, HMSG_ERROR_INVALID_ARGS, "This is too large for a private key");
    r = check_text((const char *)secret_bytes(pem), secret_size(pem), why);
    if (r == 0)
        r = parse(pem, password, ret, why);
    return r == 0 ? check_key(*ret, ret_public, why) : r;
}

int key_import(const Secret *pem, const Secret *password, RsaKey **ret_public, Secret **ret_prime,
               char ret_why[static KEY_IMPORT_WHY_SIZE])
{
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    EVP_PKEY *pkey = NULL;
    int r = read_key(pem, password, &pkey, &public, ret_why);

    if (r == 0)
        r = take_prime(pkey, ret_prime);
    if (r == HMSG_ERROR_INVALID_ARGS && !*ret_why)
        r = refuse(ret_why, r, "The primes of the key have different sizes");
    EVP_PKEY_free(pkey);
    if (r == 0)
        *ret_public = TAKE_PTR(public);
    return r;
}

int key_import_sign(const Secret *pem, const Secret *password, const uint8_t digest[static SHA256_SIZE],
                    RsaKey **ret_public, Buf *ret_signature, char ret_why[static KEY_IMPORT_WHY_SIZE])
{
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    EVP_PKEY *pkey = NULL;
    int r = read_key(pem, password, &pkey, &public, ret_why);

    if (r == 0)
        r = rsa_private_sign_ps256(pkey, digest, ret_signature);
    EVP_PKEY_free(pkey);
    if (r == 0)
        *ret_public = TAKE_PTR(public);
    return r;
}

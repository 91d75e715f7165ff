/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/software.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/tpm/keyfile-internal.h"
#include "libhmsg/wire/der.h"
#include "libhmsg/wire/key.h"
#include "libhmsg/wire/pem.h"

#define PRIVATE_LABEL "ENCRYPTED PRIVATE KEY"
#define PUBLIC_LABEL "PUBLIC KEY"
#define PUBLIC_BEGIN "-----BEGIN " PUBLIC_LABEL "-----"
#define BLOCK_SIZE 16u
#define EXPONENT_SIZE 5u     /* of an SPKI, at its end */
#define PLAIN_SIZE_MAX 1300u /* PrivateKeyInfo of RSA-2048 has up to 1219 bytes */

/* All before the encrypted octets, but for the two lengths that are not known yet. */
static const uint8_t head[] = {
    0x30, 0x82, 0,    0,                                                          /* SEQUENCE, its length */
    0x30, 0x57, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d, /* PBES2 */
    0x30, 0x4a, 0x30, 0x29, 0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b, /* scrypt */
    0x30, 0x1c, 0x04, 0x10, 0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, 0,
    0,                                                                            /* salt */
    0x02, 0x02, 0x40, 0x00, 0x02, 0x01, 0x08, 0x02, 0x01, 0x08,                   /* N, r, p */
    0x30, 0x1d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a, /* AES-256-CBC */
    0x04, 0x10, 0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, /* IV
                                                                                                        */
    0x04, 0x82, 0,    0, /* OCTET STRING, its length */
};
#define OUTER_AT 2u
#define SALT_AT 36u
#define IV_AT 77u
#define INNER_AT 95u
#define OUTER_HEAD 4u
_Static_assert(sizeof(head) == INNER_AT + 2, "the offsets are those of the bytes");
_Static_assert(1u << SOFTWARE_COST == 0x4000 && SOFTWARE_R == 8 && SOFTWARE_P == 8, "and so is the cost");

static void put_size(uint8_t *p, size_t n)
{
    p[0] = (uint8_t)(n >> 8);
    p[1] = (uint8_t)n;
}

static void make_head(size_t n, const uint8_t *salt, const uint8_t *iv, uint8_t ret[static sizeof(head)])
{
    memcpy(ret, head, sizeof(head));
    put_size(ret + OUTER_AT, sizeof(head) - OUTER_HEAD + n);
    put_size(ret + INNER_AT, n);
    memcpy(ret + SALT_AT, salt, SOFTWARE_SALT_SIZE);
    memcpy(ret + IV_AT, iv, BLOCK_SIZE);
}

bool software_fits(const void *encrypted, size_t n)
{
    const uint8_t *p = encrypted;
    uint8_t expected[sizeof(head)];

    /* lengths of two bytes each are the shortest form for what is in between */
    if (n < sizeof(head) + 0x100 || n > SOFTWARE_SIZE_MAX || (n - sizeof(head)) % BLOCK_SIZE != 0)
        return false;
    make_head(n - sizeof(head), p + SALT_AT, p + IV_AT, expected);
    return memcmp(p, expected, sizeof(head)) == 0; /* public */
}

const uint8_t *software_salt(const TpmKeyFile *k)
{
    size_t n;

    return tpm_keyfile_private(k, &n) + SALT_AT;
}

int software_to_pem(const TpmKeyFile *k, Buf *ret)
{
    size_t size, spki_size;
    const uint8_t *encrypted = tpm_keyfile_private(k, &size), *spki = tpm_keyfile_spki(k, &spki_size);
    int r = pem_append(ret, PRIVATE_LABEL, encrypted, size);

    return r == 0 ? pem_append(ret, PUBLIC_LABEL, spki, spki_size) : r;
}

int software_from_pem(const char *text, size_t n, TpmKeyUse use, TpmKeyFile **ret)
{
    _cleanup_(buf_done) Buf encrypted = BUF_MAX(SOFTWARE_SIZE_MAX);
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX);
    const char *second = memmem(text, n, PUBLIC_BEGIN, strlen(PUBLIC_BEGIN));
    int r;

    if (!second || n > TPM_KEYFILE_PEM_MAX)
        return -EBADMSG;
    r = pem_read(text, (size_t)(second - text), PRIVATE_LABEL, &encrypted);
    if (r == 0)
        r = pem_read(second, n - (size_t)(second - text), PUBLIC_LABEL, &spki);
    if (r == 0)
        r = tpm_keyfile_from_software(use, spki.data, spki.size, encrypted.data, encrypted.size, ret);
    return r > 0 ? -EBADMSG : r;
}

/* *ret_n: the size of out, which has room for a block more than in. */
static int crypt_cbc(const Secret *key, const uint8_t *iv, bool encrypt, const uint8_t *in, size_t n,
                     uint8_t *out, size_t *ret_n)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int a = 0, b = 0;
    bool ready =
        ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_cbc(), NULL, secret_bytes(key), iv, encrypt ? 1 : 0) == 1 &&
        EVP_CipherUpdate(ctx, out, &a, in, (int)n) == 1;
    bool ok = ready && EVP_CipherFinal_ex(ctx, out + a, &b) == 1;

    EVP_CIPHER_CTX_free(ctx);
    if (!ready)
        return -ENOMEM;
    *ret_n = (size_t)a + (size_t)b;
    return ok ? 0 : HMSG_ERROR_LOCKED;
}

static int seal(const TpmKeyUse use, const uint8_t *spki, size_t spki_size, const uint8_t *plain, size_t n,
                const uint8_t *salt, const Secret *key, TpmKeyFile **ret)
{
    uint8_t encrypted[SOFTWARE_SIZE_MAX], iv[BLOCK_SIZE];
    size_t size = 0;
    int r;

    if (secret_size(key) != SOFTWARE_KEY_SIZE || n > PLAIN_SIZE_MAX)
        return -EINVAL;
    if (RAND_bytes(iv, sizeof(iv)) != 1)
        return -EIO;
    r = crypt_cbc(key, iv, true, plain, n, encrypted + sizeof(head), &size);
    if (r != 0)
        return -EIO;
    make_head(size, salt, iv, encrypted);
    return tpm_keyfile_from_software(use, spki, spki_size, encrypted, sizeof(head) + size, ret);
}
_Static_assert(sizeof(head) + PLAIN_SIZE_MAX + BLOCK_SIZE <= SOFTWARE_SIZE_MAX, "there is room");

/* What stands in RSAPrivateKey (RFC 8017, section A.1.2), in this order. */
static const char *const numbers[] = {
    OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
    OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
    OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
    OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};
#define NUMBERS ELEMENTSOF(numbers)

static const uint8_t algorithm[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                    0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
static const uint8_t version[] = {DER_INTEGER, 1, 0};

static void numbers_free(BIGNUM *all[static NUMBERS])
{
    for (size_t i = 0; i < NUMBERS; i++)
        BN_clear_free(all[i]);
}

/* OpenSSL's own readers and writers of private keys leave copies in memory that they do not wipe. */
static int get_number(const EVP_PKEY *pkey, const char *name, BIGNUM **ret)
{
    _cleanup_(secret_freep) Secret *native = NULL;
    OSSL_PARAM params[2] = {OSSL_PARAM_END, OSSL_PARAM_END};
    int r = secret_new(TPM_RSA_SIZE, &native);

    if (r < 0)
        return r;
    params[0] = OSSL_PARAM_construct_BN(name, secret_data(native), TPM_RSA_SIZE);
    *ret = BN_secure_new();
    return *ret && EVP_PKEY_get_params(pkey, params) == 1 &&
                   BN_native2bn(secret_bytes(native), TPM_RSA_SIZE, *ret)
               ? 0
               : -ENOMEM;
}

/* Writes before what is at *at; there is room for all. */
static void put_before(uint8_t *plain, size_t *at, const void *data, size_t n)
{
    *at -= n;
    memcpy(plain + *at, data, n);
}

static void put_head_before(uint8_t *plain, size_t *at, uint8_t tag, size_t n)
{
    uint8_t long_form[] = {tag, 0x82, (uint8_t)(n >> 8), (uint8_t)n}, byte_form[] = {tag, 0x81, (uint8_t)n},
            short_form[] = {tag, (uint8_t)n};

    if (n >= 0x100)
        put_before(plain, at, long_form, sizeof(long_form));
    else if (n >= 0x80)
        put_before(plain, at, byte_form, sizeof(byte_form));
    else
        put_before(plain, at, short_form, sizeof(short_form));
}

static void put_number_before(uint8_t *plain, size_t *at, const BIGNUM *n)
{
    size_t size = (size_t)BN_num_bits(n) / 8 + 1; /* with a zero in front where the sign would be */

    *at -= size;
    (void)BN_bn2binpad(n, plain + *at, (int)size);
    put_head_before(plain, at, DER_INTEGER, size);
}

/* PrivateKeyInfo, at the end of *ret, from *ret_at on. */
static int write_plain(const EVP_PKEY *pkey, Secret **ret, size_t *ret_at)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    BIGNUM *all[NUMBERS] = {NULL};
    size_t at = PLAIN_SIZE_MAX;
    int r = secret_new(PLAIN_SIZE_MAX, &plain);

    for (size_t i = 0; i < NUMBERS && r == 0; i++)
        r = get_number(pkey, numbers[i], &all[i]);
    for (size_t i = NUMBERS; i > 0 && r == 0; i--)
        put_number_before(secret_data(plain), &at, all[i - 1]);
    numbers_free(all);
    if (r < 0)
        return r;
    put_before(secret_data(plain), &at, version, sizeof(version));
    put_head_before(secret_data(plain), &at, DER_SEQUENCE, PLAIN_SIZE_MAX - at);
    put_head_before(secret_data(plain), &at, DER_OCTET_STRING, PLAIN_SIZE_MAX - at);
    put_before(secret_data(plain), &at, algorithm, sizeof(algorithm));
    put_before(secret_data(plain), &at, version, sizeof(version));
    put_head_before(secret_data(plain), &at, DER_SEQUENCE, PLAIN_SIZE_MAX - at);
    *ret_at = at;
    *ret = TAKE_PTR(plain);
    return 0;
}

int software_generate(TpmKeyUse use, const uint8_t salt[static SOFTWARE_SALT_SIZE], const Secret *key,
                      TpmKeyFile **ret)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    EVP_PKEY *pkey = EVP_RSA_gen(TPM_RSA_SIZE * 8);
    unsigned char *spki = NULL;
    int spki_size = pkey ? i2d_PUBKEY(pkey, &spki) : -1;
    size_t at = 0;
    int r = spki_size > 0 ? write_plain(pkey, &plain, &at) : -ENOMEM;

    EVP_PKEY_free(pkey);
    if (r == 0)
        r = seal(use, spki, (size_t)spki_size, secret_bytes(plain) + at, PLAIN_SIZE_MAX - at, salt, key, ret);
    OPENSSL_free(spki);
    return r;
}

/* PrivateKeyInfo. */
static int open_plain(const TpmKeyFile *k, const Secret *key, Secret **ret, size_t *ret_n)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    size_t n;
    const uint8_t *p = tpm_keyfile_private(k, &n);
    int r;

    if (secret_size(key) != SOFTWARE_KEY_SIZE)
        return -EINVAL;
    r = secret_new(n - sizeof(head) + BLOCK_SIZE, &plain);
    if (r == 0)
        r = crypt_cbc(key, p + IV_AT, false, p + sizeof(head), n - sizeof(head), secret_data(plain), ret_n);
    if (r == 0)
        *ret = TAKE_PTR(plain);
    return r;
}

static int take_number(Der *d, BIGNUM **ret)
{
    Der n = der_take(d, DER_INTEGER);

    if (n.bad || n.size == 0 || n.size > TPM_RSA_SIZE + 1 || n.data[0] >= 0x80)
        return HMSG_ERROR_LOCKED;
    *ret = BN_secure_new();
    return *ret && BN_bin2bn(n.data, (int)n.size, *ret) ? 0 : -ENOMEM;
}

/* A wrong key is found by the padding or, once in 256 times, by what it makes. */
static int read_plain(const uint8_t *plain, size_t n, BIGNUM *ret[static NUMBERS])
{
    Der all = der_of(plain, n), info = der_take(&all, DER_SEQUENCE);
    bool known = der_take_small(&info) == 0;
    Der kind = der_take_whole(&info, DER_SEQUENCE), octets = der_take(&info, DER_OCTET_STRING);
    Der key = der_take(&octets, DER_SEQUENCE);
    int r = 0;

    known = der_take_small(&key) == 0 && known && der_equal(&kind, algorithm, sizeof(algorithm));
    for (size_t i = 0; i < NUMBERS && r == 0 && known; i++)
        r = take_number(&key, &ret[i]);
    if (r == 0 && !(known && der_done(&key) && der_done(&octets) && der_done(&info) && der_done(&all)))
        r = HMSG_ERROR_LOCKED;
    return r;
}

static int check_public(const TpmKeyFile *k, const BIGNUM *modulus, const BIGNUM *exponent)
{
    size_t size;
    const uint8_t *spki = tpm_keyfile_spki(k, &size);
    uint8_t bytes[TPM_RSA_SIZE];

    /* the modulus stands before the five bytes of the exponent */
    return BN_is_word(exponent, RSA_F4) && BN_bn2binpad(modulus, bytes, sizeof(bytes)) == sizeof(bytes) &&
                   memcmp(bytes, spki + size - EXPONENT_SIZE - sizeof(bytes), sizeof(bytes)) == 0 /* public */
               ? 0
               : -EBADMSG;
}

static int make_key(BIGNUM *const all[static NUMBERS], EVP_PKEY **ret)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    bool ok = ctx && builder;

    for (size_t i = 0; i < NUMBERS && ok; i++)
        ok = OSSL_PARAM_BLD_push_BN(builder, numbers[i], all[i]) == 1;
    ok = ok && (params = OSSL_PARAM_BLD_to_param(builder)) && EVP_PKEY_fromdata_init(ctx) == 1 &&
         EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_KEYPAIR, params) == 1;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(ctx);
    return ok ? 0 : -ENOMEM;
}

static int open_key(const TpmKeyFile *k, const Secret *key, EVP_PKEY **ret)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    BIGNUM *all[NUMBERS] = {NULL};
    size_t n = 0;
    int r = open_plain(k, key, &plain, &n);

    if (r == 0)
        r = read_plain(secret_bytes(plain), n, all);
    if (r == 0)
        r = check_public(k, all[0], all[1]);
    if (r == 0)
        r = make_key(all, ret);
    numbers_free(all);
    return r;
}

int software_encrypt_again(const TpmKeyFile *k, const Secret *key,
                           const uint8_t salt[static SOFTWARE_SALT_SIZE], const Secret *next,
                           TpmKeyFile **ret)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    EVP_PKEY *pkey = NULL;
    size_t n = 0, spki_size;
    const uint8_t *spki = tpm_keyfile_spki(k, &spki_size);
    int r = open_key(k, key, &pkey);

    EVP_PKEY_free(pkey);
    if (r == 0)
        r = open_plain(k, key, &plain, &n);
    return r == 0 ? seal(tpm_keyfile_use(k), spki, spki_size, secret_bytes(plain), n, salt, next, ret) : r;
}

int software_decrypt(const TpmKeyFile *k, const Secret *key, const void *ciphertext, size_t n, Secret **ret)
{
    EVP_PKEY *pkey = NULL;
    int r = open_key(k, key, &pkey);

    if (r == 0)
        r = rsa_private_oaep_decrypt(pkey, ciphertext, n, ret);
    EVP_PKEY_free(pkey);
    return r;
}

int software_decrypt_oaep_sha1(const TpmKeyFile *k, const Secret *key, const void *ciphertext, size_t n,
                               Secret **ret)
{
    EVP_PKEY *pkey = NULL;
    int r = open_key(k, key, &pkey);

    if (r == 0)
        r = rsa_private_oaep_sha1_decrypt(pkey, ciphertext, n, ret);
    EVP_PKEY_free(pkey);
    return r;
}

int software_sign(const TpmKeyFile *k, const Secret *key, const uint8_t digest[static 32],
                  uint8_t ret[static TPM_RSA_SIZE])
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    EVP_PKEY *pkey = NULL;
    int r = open_key(k, key, &pkey);

    if (r == 0)
        r = rsa_private_sign_ps256(pkey, digest, &signature);
    EVP_PKEY_free(pkey);
    if (r == 0 && signature.size != TPM_RSA_SIZE)
        r = -EIO;
    if (r == 0)
        memcpy(ret, signature.data, TPM_RSA_SIZE);
    return r;
}

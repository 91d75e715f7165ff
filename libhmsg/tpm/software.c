/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/software.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/tpm/keyfile-internal.h"
#include "libhmsg/wire/key.h"
#include "libhmsg/wire/pem.h"

#define PRIVATE_LABEL "ENCRYPTED PRIVATE KEY"
#define PUBLIC_LABEL "PUBLIC KEY"
#define PUBLIC_BEGIN "-----BEGIN " PUBLIC_LABEL "-----"
#define BLOCK_SIZE 16u
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

static int write_plain(const EVP_PKEY *pkey, Secret **ret, size_t *ret_n)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    int n = info ? i2d_PKCS8_PRIV_KEY_INFO(info, NULL) : -1, r = -ENOMEM;

    if (n > 0 && (r = secret_new((size_t)n, &plain)) == 0) {
        unsigned char *p = secret_data(plain);

        r = i2d_PKCS8_PRIV_KEY_INFO(info, &p) == n ? 0 : -ENOMEM;
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    if (r != 0)
        return r;
    *ret_n = (size_t)n;
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
    size_t n = 0;
    int r = spki_size > 0 ? write_plain(pkey, &plain, &n) : -ENOMEM;

    EVP_PKEY_free(pkey);
    if (r == 0)
        r = seal(use, spki, (size_t)spki_size, secret_bytes(plain), n, salt, key, ret);
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

/* A wrong key is found by the padding or, once in 256 times, by what it makes. */
static int read_plain(const uint8_t *plain, size_t n, EVP_PKEY **ret)
{
    const unsigned char *p = plain;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)n);
    EVP_PKEY *pkey = info && p == plain + n ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    if (!pkey)
        return HMSG_ERROR_LOCKED;
    *ret = pkey;
    return 0;
}

static int check_public(const TpmKeyFile *k, const EVP_PKEY *pkey)
{
    size_t size;
    const uint8_t *expected = tpm_keyfile_spki(k, &size);
    unsigned char *spki = NULL;
    int n = i2d_PUBKEY(pkey, &spki);
    int r = n > 0 && (size_t)n == size && memcmp(spki, expected, size) == 0 ? 0 : -EBADMSG; /* public */

    OPENSSL_free(spki);
    return r;
}

static int open_key(const TpmKeyFile *k, const Secret *key, EVP_PKEY **ret)
{
    _cleanup_(secret_freep) Secret *plain = NULL;
    EVP_PKEY *pkey = NULL;
    size_t n = 0;
    int r = open_plain(k, key, &plain, &n);

    if (r == 0)
        r = read_plain(secret_bytes(plain), n, &pkey);
    if (r == 0)
        r = check_public(k, pkey);
    if (r != 0) {
        EVP_PKEY_free(pkey);
        return r;
    }
    *ret = pkey;
    return 0;
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/key.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdatomic.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

#define RSA_EXPONENT 65537u
#define JWK_TEXT_MAX 1024u
#define ROCA_PRIME_MAX 701u

struct RsaKey {
    atomic_uint references;
    EVP_PKEY *pkey;
    unsigned bits;
    uint8_t *spki;
    size_t spki_size;
    uint8_t thumbprint[KID_SIZE];
};

RsaKey *rsa_key_ref(RsaKey *k)
{
    if (k)
        atomic_fetch_add(&k->references, 1);
    return k;
}

RsaKey *rsa_key_free(RsaKey *k)
{
    if (!k || atomic_fetch_sub(&k->references, 1) != 1)
        return NULL;
    EVP_PKEY_free(k->pkey);
    OPENSSL_free(k->spki);
    free(k);
    return NULL;
}

/* RFC 7638: the members in this order, nothing between them. */
static int thumbprint(const BIGNUM *n, uint8_t ret[static KID_SIZE])
{
    uint8_t modulus[RSA_SIZE_MAX];
    int size = BN_bn2bin(n, modulus);
    _cleanup_(buf_done) Buf text = BUF_MAX(JWK_TEXT_MAX);
    int r = buf_append_string(&text, "{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":\"");
    if (r == 0)
        r = base64url_append(&text, modulus, (size_t)size);
    if (r == 0)
        r = buf_append_string(&text, "\"}");
    return r == 0 ? crypto_sha256(text.data, text.size, ret) : r;
}

static bool is_prime(unsigned n)
{
    for (unsigned i = 2; i * i <= n; i++)
        if (n % i == 0)
            return false;
    return true;
}

/* Some TPMs and cards made keys whose primes, and so their moduli, are powers of 65537 modulo the product of
 * the first primes: they can be factored (CVE-2017-15361). For keys of 2048 bits and more these are at least
 * the primes up to 701; that a good modulus is such a power by chance has odds of one to 2^167. */
static int is_weak(const BIGNUM *n, bool *ret)
{
    bool weak = true;
    for (unsigned p = 3; p <= ROCA_PRIME_MAX && weak; p += 2) {
        if (!is_prime(p))
            continue;
        BN_ULONG remainder = BN_mod_word(n, p);
        unsigned power = 1, count = 0;
        if (remainder == (BN_ULONG)-1)
            return -ENOMEM;
        while (power != remainder && count++ < p)
            power = power * (RSA_EXPONENT % p) % p;
        weak = power == remainder;
    }
    *ret = weak;
    return 0;
}

static int check_numbers(RsaKey *k)
{
    bool weak = false;
    BIGNUM *n = NULL, *e = NULL;
    int r = HMSG_ERROR_BAD_PACKAGE;
    if (!EVP_PKEY_is_a(k->pkey, "RSA") || EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
        EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
        goto done;
    int bits = BN_num_bits(n);
    if ((bits != 2048 && bits != 3072 && bits != 4096) || !BN_is_odd(n) || !BN_is_word(e, RSA_EXPONENT))
        goto done;
    k->bits = (unsigned)bits;
    r = is_weak(n, &weak);
    if (r == 0)
        r = weak ? HMSG_ERROR_BAD_PACKAGE : thumbprint(n, k->thumbprint);
done:
    BN_free(n);
    BN_free(e);
    return r;
}

int rsa_key_from_spki(const void *der, size_t n, RsaKey **ret)
{
    if (n == 0 || n > SPKI_SIZE_MAX)
        return HMSG_ERROR_BAD_PACKAGE;
    _cleanup_(rsa_key_freep) RsaKey *k = calloc(1, sizeof(*k));
    if (!k)
        return -ENOMEM;
    atomic_init(&k->references, 1);
    const uint8_t *p = der;
    k->pkey = d2i_PUBKEY(NULL, &p, (long)n);
    if (!k->pkey)
        return HMSG_ERROR_BAD_PACKAGE;
    int r = check_numbers(k);
    if (r != 0)
        return r;
    /* One key has one text: what we would write is what was read. */
    int size = i2d_PUBKEY(k->pkey, &k->spki);
    if (size <= 0)
        return -ENOMEM;
    k->spki_size = (size_t)size;
    if (k->spki_size != n || !bytes_equal(k->spki, der, n))
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = TAKE_PTR(k);
    return 0;
}

/* rsa_key_size bytes: check_numbers has seen to it that the first is not 0. */
static int read_modulus(const RsaKey *k, uint8_t ret[static RSA_SIZE_MAX])
{
    BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1)
        return -ENOMEM;
    (void)BN_bn2bin(n, ret);
    BN_free(n);
    return 0;
}

int rsa_key_to_jwk(const RsaKey *k, bool for_signing, Buf *ret)
{
    char kid[HASH_TEXT_SIZE];
    uint8_t modulus[RSA_SIZE_MAX];
    if (read_modulus(k, modulus) != 0)
        return -ENOMEM;
    base64url_encode(k->thumbprint, KID_SIZE, kid);
    int r = buf_printf(
        ret, "{\"kty\":\"RSA\",\"kid\":\"%s\",\"use\":\"%s\",\"alg\":\"%s\",\"e\":\"AQAB\",\"n\":\"", kid,
        for_signing ? "sig" : "enc", for_signing ? "PS256" : "RSA-OAEP-256");
    if (r == 0)
        r = base64url_append(ret, modulus, rsa_key_size(k));
    return r == 0 ? buf_append_string(ret, "\"}\n") : r;
}

/* RFC 4251 section 5: a length of four bytes, most significant first, then the bytes. */
static int append_ssh_string(Buf *b, const void *data, size_t n)
{
    const uint8_t length[] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    int r = buf_append(b, length, sizeof(length));
    return r == 0 ? buf_append(b, data, n) : r;
}

int rsa_key_to_openssh(const RsaKey *k, Buf *ret)
{
    static const uint8_t exponent[] = {1, 0, 1}; /* RSA_EXPONENT */
    _cleanup_(buf_done) Buf blob = BUF_MAX(RSA_SIZE_MAX + 64);
    char kid[HASH_TEXT_SIZE];
    uint8_t modulus[1 + RSA_SIZE_MAX] = {0}; /* an mpint whose highest bit is set has a 0 before it */
    if (read_modulus(k, modulus + 1) != 0)
        return -ENOMEM;
    base64url_encode(k->thumbprint, KID_SIZE, kid);
    int r = append_ssh_string(&blob, "ssh-rsa", 7);
    if (r == 0)
        r = append_ssh_string(&blob, exponent, sizeof(exponent));
    if (r == 0)
        r = append_ssh_string(&blob, modulus, 1 + rsa_key_size(k));
    if (r == 0)
        r = buf_append_string(ret, "ssh-rsa ");
    if (r == 0)
        r = base64_append(ret, blob.data, blob.size);
    return r == 0 ? buf_printf(ret, " hmsg:%s\n", kid) : r;
}

int rsa_key_from_evp(EVP_PKEY *pkey, RsaKey **ret)
{
    uint8_t *der = NULL;
    int size = i2d_PUBKEY(pkey, &der);
    if (size <= 0)
        return HMSG_ERROR_BAD_PACKAGE;
    int r = rsa_key_from_spki(der, (size_t)size, ret);
    OPENSSL_free(der);
    return r;
}

const uint8_t *rsa_key_spki(const RsaKey *k, size_t *ret_size)
{
    *ret_size = k->spki_size;
    return k->spki;
}

unsigned rsa_key_bits(const RsaKey *k)
{
    return k->bits;
}

size_t rsa_key_size(const RsaKey *k)
{
    return k->bits / 8;
}

const uint8_t *rsa_key_thumbprint(const RsaKey *k)
{
    return k->thumbprint;
}

bool rsa_key_equal(const RsaKey *a, const RsaKey *b)
{
    return a->spki_size == b->spki_size && bytes_equal(a->spki, b->spki, a->spki_size);
}

int rsa_key_pin(const RsaKey *k, uint8_t ret[static PIN_SIZE])
{
    return crypto_sha256(k->spki, k->spki_size, ret);
}

static bool set_oaep(EVP_PKEY_CTX *ctx, const EVP_MD *md)
{
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) == 1 && EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1;
}

int rsa_key_oaep_encrypt(const RsaKey *k, const void *plaintext, size_t n, Buf *ret)
{
    int r = buf_reserve(ret, rsa_key_size(k));
    if (r < 0)
        return r;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
    size_t size = rsa_key_size(k);
    bool ok = ctx && EVP_PKEY_encrypt_init(ctx) == 1 && set_oaep(ctx, EVP_sha256()) &&
              EVP_PKEY_encrypt(ctx, ret->data + ret->size, &size, plaintext, n) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (ok)
        ret->size += size;
    ret->data[ret->size] = 0;
    return ok ? 0 : -EIO;
}

static bool set_pss(EVP_PKEY_CTX *ctx, int salt)
{
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt) == 1;
}

static bool verify_with_salt(const RsaKey *k, const uint8_t *digest, const void *signature, size_t n,
                             int salt)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
    bool ok = ctx && EVP_PKEY_verify_init(ctx) == 1 && set_pss(ctx, salt) &&
              EVP_PKEY_verify(ctx, signature, n, digest, SHA256_SIZE) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

unsigned rsa_key_largest_salt(const RsaKey *k)
{
    return (unsigned)rsa_key_size(k) - SHA256_SIZE - 2;
}

int rsa_key_verify_ps256_salt(const RsaKey *k, const uint8_t digest[static SHA256_SIZE],
                              const void *signature, size_t n, unsigned *ret_salt)
{
    const unsigned salts[] = {SHA256_SIZE, rsa_key_largest_salt(k)};
    if (n != rsa_key_size(k))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    for (size_t i = 0; i < ELEMENTSOF(salts); i++)
        if (verify_with_salt(k, digest, signature, n, (int)salts[i])) {
            *ret_salt = salts[i];
            return 0;
        }
    return HMSG_ERROR_AUTHENTICATION_FAILED;
}

int rsa_key_verify_ps256(const RsaKey *k, const uint8_t digest[static SHA256_SIZE], const void *signature,
                         size_t n)
{
    unsigned salt = 0;
    return rsa_key_verify_ps256_salt(k, digest, signature, n, &salt);
}

int rsa_private_sign_ps256(EVP_PKEY *pkey, const uint8_t digest[static SHA256_SIZE], Buf *ret)
{
    int r = buf_reserve(ret, RSA_SIZE_MAX);
    if (r < 0)
        return r;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    size_t size = RSA_SIZE_MAX;
    bool ok = ctx && EVP_PKEY_sign_init(ctx) == 1 && set_pss(ctx, SHA256_SIZE) &&
              EVP_PKEY_sign(ctx, ret->data + ret->size, &size, digest, SHA256_SIZE) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (ok)
        ret->size += size;
    ret->data[ret->size] = 0;
    return ok ? 0 : -EIO;
}

static int oaep_decrypt(EVP_PKEY *pkey, const EVP_MD *md, const void *ciphertext, size_t n, Secret **ret)
{
    _cleanup_(secret_freep) Secret *room = NULL;
    int r = secret_new(RSA_SIZE_MAX, &room);
    if (r != 0)
        return r;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    size_t size = RSA_SIZE_MAX;
    bool ready = ctx && EVP_PKEY_decrypt_init(ctx) == 1 && set_oaep(ctx, md);
    bool ok = ready && EVP_PKEY_decrypt(ctx, secret_data(room), &size, ciphertext, n) == 1 && size > 0;
    EVP_PKEY_CTX_free(ctx);
    if (!ready)
        return -EIO;
    return ok ? secret_new_copy(secret_bytes(room), size, ret) : HMSG_ERROR_AUTHENTICATION_FAILED;
}

int rsa_private_oaep_decrypt(EVP_PKEY *pkey, const void *ciphertext, size_t n, Secret **ret)
{
    return oaep_decrypt(pkey, EVP_sha256(), ciphertext, n, ret);
}

int rsa_private_oaep_sha1_decrypt(EVP_PKEY *pkey, const void *ciphertext, size_t n, Secret **ret)
{
    return oaep_decrypt(pkey, EVP_sha1(), ciphertext, n, ret);
}

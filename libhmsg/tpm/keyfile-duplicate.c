/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/keyfile-internal.h"

#define COORDINATE_SIZE 32u /* of P-256 */
#define POINT_SIZE (1 + 2 * COORDINATE_SIZE)
#define POINT_UNCOMPRESSED 4u
#define AES_KEY_SIZE 16u /* the storage key is one of AES-128 */
#define KDF_INPUT_MAX 256u

typedef struct Point {
    uint8_t form, x[COORDINATE_SIZE], y[COORDINATE_SIZE];
} Point;
_Static_assert(sizeof(Point) == POINT_SIZE, "as SEC 1, section 2.3.3 has it");

static int place_coordinate(const TPM2B_ECC_PARAMETER *from, uint8_t ret[static COORDINATE_SIZE])
{
    if (from->size > COORDINATE_SIZE)
        return -EBADMSG;
    memset(ret, 0, COORDINATE_SIZE);
    memcpy(ret + COORDINATE_SIZE - from->size, from->buffer, from->size);
    return 0;
}

static int key_of_point(const Point *point, EVP_PKEY **ret)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    char group[] = "P-256";
    Point copy = *point;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, &copy, sizeof(copy)),
        OSSL_PARAM_construct_end(),
    };
    bool good = ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
                EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) == 1;

    EVP_PKEY_CTX_free(ctx);
    return good ? 0 : -EBADMSG;
}

static int agree(EVP_PKEY *own, EVP_PKEY *peer, Secret *ret)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    size_t size = secret_size(ret);
    bool good = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1 &&
                EVP_PKEY_derive(ctx, secret_data(ret), &size) == 1 && size == secret_size(ret);

    EVP_PKEY_CTX_free(ctx);
    return good ? 0 : -EBADMSG;
}

/* A new key, its point and the x coordinate of its product with the parent's. */
static int exchange(const Point *parent, Point *ret_point, Secret *ret_z)
{
    EVP_PKEY *own = EVP_EC_gen("P-256"), *peer = NULL;
    size_t size = 0;
    int r = own ? key_of_point(parent, &peer) : -ENOMEM;

    if (r == 0 && (EVP_PKEY_get_octet_string_param(own, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY,
                                                   (uint8_t *)ret_point, sizeof(*ret_point), &size) != 1 ||
                   size != sizeof(*ret_point) || ret_point->form != POINT_UNCOMPRESSED))
        r = -ENOMEM;
    if (r == 0)
        r = agree(own, peer, ret_z);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(own);
    return r;
}

/* KDFe (TPM 2.0 Part 1, section 11.4.10.3) for one block of SHA-256. */
static int kdf_e(const Secret *z, const char *label, const Point *u, const Point *v, Secret *ret)
{
    _cleanup_(secret_freep) Secret *input = NULL;
    uint32_t counter = htobe32(1);
    size_t label_size = strlen(label) + 1, at = sizeof(counter);
    int r = secret_new(at + secret_size(z) + label_size + 2 * COORDINATE_SIZE, &input);

    if (r < 0)
        return r;
    memcpy(secret_data(input), &counter, sizeof(counter));
    memcpy(secret_data(input) + at, secret_bytes(z), secret_size(z));
    at += secret_size(z);
    memcpy(secret_data(input) + at, label, label_size);
    at += label_size;
    memcpy(secret_data(input) + at, u->x, COORDINATE_SIZE);
    memcpy(secret_data(input) + at + COORDINATE_SIZE, v->x, COORDINATE_SIZE);
    return EVP_Q_digest(NULL, "SHA256", NULL, secret_bytes(input), secret_size(input), secret_data(ret),
                        NULL) == 1
               ? 0
               : -ENOMEM;
}

static int hmac(const Secret *key, const void *data, size_t n, uint8_t ret[static TPM_DIGEST_SIZE])
{
    size_t size = 0;

    return EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret_bytes(key), secret_size(key), data, n, ret,
                     TPM_DIGEST_SIZE, &size)
               ? 0
               : -ENOMEM;
}

/* KDFa (TPM 2.0 Part 1, section 11.4.10.2) for up to one block of HMAC-SHA-256. */
static int kdf_a(const Secret *seed, const char *label, const uint8_t *context, size_t n, Secret *ret)
{
    _cleanup_(buf_done) Buf input = BUF_MAX(KDF_INPUT_MAX);
    uint32_t counter = htobe32(1), bits = htobe32((uint32_t)secret_size(ret) * 8);
    uint8_t block[TPM_DIGEST_SIZE];
    int r = buf_append(&input, &counter, sizeof(counter));

    if (r == 0)
        r = buf_append(&input, label, strlen(label) + 1);
    if (r == 0)
        r = buf_append(&input, context, n);
    if (r == 0)
        r = buf_append(&input, &bits, sizeof(bits));
    if (r == 0)
        r = hmac(seed, input.data, input.size, block);
    if (r == 0)
        memcpy(secret_data(ret), block, secret_size(ret));
    bytes_wipe(block, sizeof(block));
    return r;
}

static int encrypt(const Secret *key, const Secret *plaintext, uint8_t *ret)
{
    static const uint8_t iv[16];
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-CFB", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0, size = (int)secret_size(plaintext);
    bool good = cipher && ctx && EVP_EncryptInit_ex2(ctx, cipher, secret_bytes(key), iv, NULL) == 1 &&
                EVP_EncryptUpdate(ctx, ret, &n, secret_bytes(plaintext), size) == 1 && n == size;

    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return good ? 0 : -ENOMEM;
}

/* The outer wrapper (TPM 2.0 Part 1, section 23.3.2.4): TPM2B_DIGEST over what is encrypted and the Name,
 * then what is encrypted. */
static int wrap(const Secret *seed, const uint8_t name[static TPM_NAME_SIZE], const Secret *sensitive,
                TPM2B_PRIVATE *ret)
{
    _cleanup_(secret_freep) Secret *storage = NULL, *integrity = NULL;
    _cleanup_(buf_done) Buf covered = BUF_MAX(sizeof(ret->buffer));
    uint8_t *encrypted = ret->buffer + 2 + TPM_DIGEST_SIZE;
    size_t n = secret_size(sensitive);
    int r;

    if (2 + TPM_DIGEST_SIZE + n > sizeof(ret->buffer))
        return -EINVAL;
    r = secret_new(AES_KEY_SIZE, &storage);
    if (r == 0)
        r = secret_new(TPM_DIGEST_SIZE, &integrity);
    if (r == 0)
        r = kdf_a(seed, "STORAGE", name, TPM_NAME_SIZE, storage);
    if (r == 0)
        r = kdf_a(seed, "INTEGRITY", NULL, 0, integrity);
    if (r == 0)
        r = encrypt(storage, sensitive, encrypted);
    if (r == 0)
        r = buf_append(&covered, encrypted, n);
    if (r == 0)
        r = buf_append(&covered, name, TPM_NAME_SIZE);
    if (r == 0)
        r = hmac(integrity, covered.data, covered.size, ret->buffer + 2);
    ret->buffer[0] = 0;
    ret->buffer[1] = TPM_DIGEST_SIZE;
    ret->size = (uint16_t)(2 + TPM_DIGEST_SIZE + n);
    return r;
}

static int seed_to_tpm(const Point *point, TPM2B_ENCRYPTED_SECRET *ret)
{
    TPMS_ECC_POINT p = {.x.size = COORDINATE_SIZE, .y.size = COORDINATE_SIZE};
    size_t size = 0;

    memcpy(p.x.buffer, point->x, COORDINATE_SIZE);
    memcpy(p.y.buffer, point->y, COORDINATE_SIZE);
    if (Tss2_MU_TPMS_ECC_POINT_Marshal(&p, ret->secret, sizeof(ret->secret), &size) != TSS2_RC_SUCCESS)
        return -ENOMEM;
    ret->size = (uint16_t)size;
    return 0;
}

int tpm_duplicate(const TPM2B_PUBLIC *parent, const uint8_t name[static TPM_NAME_SIZE],
                  const Secret *sensitive, TPM2B_PRIVATE *ret, TPM2B_ENCRYPTED_SECRET *ret_seed)
{
    _cleanup_(secret_freep) Secret *z = NULL, *seed = NULL;
    const TPMS_ECC_POINT *p = &parent->publicArea.unique.ecc;
    Point theirs = {.form = POINT_UNCOMPRESSED}, ours = {0};
    int r = place_coordinate(&p->x, theirs.x);

    if (r == 0)
        r = place_coordinate(&p->y, theirs.y);
    if (r == 0)
        r = secret_new(COORDINATE_SIZE, &z);
    if (r == 0)
        r = secret_new(TPM_DIGEST_SIZE, &seed);
    if (r == 0)
        r = exchange(&theirs, &ours, z);
    if (r == 0)
        r = kdf_e(z, "DUPLICATE", &ours, &theirs, seed);
    if (r == 0)
        r = wrap(seed, name, sensitive, ret);
    return r == 0 ? seed_to_tpm(&ours, ret_seed) : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/crypto-context.h"
#include "libhmsg/wire/crypto.h"

#define CBC_BLOCK 16u
#define GCM_TAG 16
#define GCM_IV 12

int crypto_cbc_encrypt(const uint8_t key[static 32], const uint8_t iv[static 16], const void *plaintext,
                       size_t n, Buf *ret)
{
    CryptoContext *c = crypto_context();
    if (!c)
        return -ENOMEM;
    if (n > INT_MAX - CBC_BLOCK)
        return -EMSGSIZE;
    int r = buf_reserve(ret, n + CBC_BLOCK);
    if (r < 0)
        return r;
    int first = 0, last = 0;
    uint8_t *out = ret->data + ret->size;
    bool ok = EVP_EncryptInit_ex2(c->cipher, c->cbc, key, iv, NULL) == 1 &&
              (n == 0 || EVP_EncryptUpdate(c->cipher, out, &first, plaintext, (int)n) == 1) &&
              EVP_EncryptFinal_ex(c->cipher, out + first, &last) == 1;
    EVP_CIPHER_CTX_reset(c->cipher);
    if (ok)
        ret->size += (size_t)first + (size_t)last;
    ret->data[ret->size] = 0;
    return ok ? 0 : -EIO;
}

int crypto_cbc_decrypt(const uint8_t key[static 32], const uint8_t iv[static 16], const void *ciphertext,
                       size_t n, Buf *ret)
{
    CryptoContext *c = crypto_context();
    if (!c)
        return -ENOMEM;
    if (n > INT_MAX - CBC_BLOCK)
        return -EMSGSIZE;
    if (n == 0 || n % CBC_BLOCK != 0)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    /* Apart from ret: what fails must leave nothing there, and EVP wants a block more than it writes. */
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(n + CBC_BLOCK);
    int r = buf_reserve(&plaintext, n + CBC_BLOCK);
    if (r < 0)
        return r;
    int first = 0, last = 0;
    bool ready = EVP_DecryptInit_ex2(c->cipher, c->cbc, key, iv, NULL) == 1;
    bool ok = ready && EVP_DecryptUpdate(c->cipher, plaintext.data, &first, ciphertext, (int)n) == 1 &&
              EVP_DecryptFinal_ex(c->cipher, plaintext.data + first, &last) == 1;
    EVP_CIPHER_CTX_reset(c->cipher);
    plaintext.size = n; /* so that all of it is wiped */
    if (!ready)
        return -EIO;
    if (!ok)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return buf_append(ret, plaintext.data, (size_t)first + (size_t)last);
}

/* RFC 7518 section 5.2.2.1: HMAC-SHA-512 over AAD, IV, ciphertext and the bit length of the AAD, cut in half.
 */
static int cbc_hs512_tag(const uint8_t *mac_key, const uint8_t *iv, const void *aad, size_t aad_size,
                         const void *ciphertext, size_t n, uint8_t ret[static 32])
{
    uint8_t bits[8], full[SHA512_SIZE];
    uint64_t length = (uint64_t)aad_size * 8;
    for (size_t i = 0; i < sizeof(bits); i++)
        bits[i] = (uint8_t)(length >> (56 - 8 * i));
    const Chunk chunks[] = {{aad, aad_size}, {iv, 16}, {ciphertext, n}, {bits, sizeof(bits)}};
    int r = crypto_hmac_sha512(mac_key, 32, chunks, ELEMENTSOF(chunks), full);
    if (r == 0)
        memcpy(ret, full, 32);
    bytes_wipe(full, sizeof(full));
    return r;
}

int crypto_cbc_hs512_seal(const uint8_t key[static 64], const uint8_t iv[static 16], const void *aad,
                          size_t aad_size, const void *plaintext, size_t n, Buf *ret,
                          uint8_t ret_tag[static 32])
{
    size_t before = ret->size;
    int r = crypto_cbc_encrypt(key + 32, iv, plaintext, n, ret);
    if (r != 0)
        return r;
    r = cbc_hs512_tag(key, iv, aad, aad_size, ret->data + before, ret->size - before, ret_tag);
    if (r != 0)
        buf_truncate(ret, before);
    return r;
}

int crypto_cbc_hs512_verify(const uint8_t key[static 64], const uint8_t iv[static 16], const void *aad,
                            size_t aad_size, const void *ciphertext, size_t n, const uint8_t tag[static 32])
{
    uint8_t expected[32];
    int r = cbc_hs512_tag(key, iv, aad, aad_size, ciphertext, n, expected);
    if (r == 0 && !bytes_equal(expected, tag, sizeof(expected)))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    bytes_wipe(expected, sizeof(expected));
    return r;
}

int crypto_cbc_hs512_open(const uint8_t key[static 64], const uint8_t iv[static 16], const void *aad,
                          size_t aad_size, const void *ciphertext, size_t n, const uint8_t tag[static 32],
                          Buf *ret)
{
    int r = crypto_cbc_hs512_verify(key, iv, aad, aad_size, ciphertext, n, tag);
    return r != 0 ? r : crypto_cbc_decrypt(key + 32, iv, ciphertext, n, ret);
}

struct Gcm {
    EVP_CIPHER_CTX *ctx;
};

int gcm_new(const uint8_t key[static 32], bool seal, Gcm **ret)
{
    CryptoContext *c = crypto_context();
    _cleanup_(gcm_freep) Gcm *g = calloc(1, sizeof(*g));
    if (!c || !g)
        return -ENOMEM;
    g->ctx = EVP_CIPHER_CTX_new();
    if (!g->ctx)
        return -ENOMEM;
    if (EVP_CipherInit_ex(g->ctx, c->gcm, NULL, key, NULL, seal ? 1 : 0) != 1)
        return -EIO;
    *ret = TAKE_PTR(g);
    return 0;
}

Gcm *gcm_free(Gcm *g)
{
    if (g)
        EVP_CIPHER_CTX_free(g->ctx);
    free(g);
    return NULL;
}

static int seal_with(EVP_CIPHER_CTX *ctx, const uint8_t *iv, const void *aad, size_t aad_size, const void *in,
                     size_t n, uint8_t *out)
{
    if (n > INT_MAX - GCM_TAG || aad_size > INT_MAX)
        return -EMSGSIZE;
    int size = 0, rest = 0;
    if (EVP_EncryptInit_ex2(ctx, NULL, NULL, iv, NULL) != 1)
        return -EIO;
    if (aad_size > 0 && EVP_EncryptUpdate(ctx, NULL, &size, aad, (int)aad_size) != 1)
        return -EIO;
    size = 0;
    if (n > 0 && EVP_EncryptUpdate(ctx, out, &size, in, (int)n) != 1)
        return -EIO;
    if (EVP_EncryptFinal_ex(ctx, out + size, &rest) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, out + n) != 1)
        return -EIO;
    return 0;
}

static int open_with(EVP_CIPHER_CTX *ctx, const uint8_t *iv, const void *aad, size_t aad_size,
                     const uint8_t *in, size_t n, uint8_t *out)
{
    if (n > INT_MAX || aad_size > INT_MAX)
        return -EMSGSIZE;
    if (n < GCM_TAG)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    n -= GCM_TAG;
    int size = 0, rest = 0;
    uint8_t tag[GCM_TAG], none[1] = {0};
    memcpy(tag, in + n, GCM_TAG);
    if (EVP_DecryptInit_ex2(ctx, NULL, NULL, iv, NULL) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG, tag) != 1)
        return -EIO;
    if (aad_size > 0 && EVP_DecryptUpdate(ctx, NULL, &size, aad, (int)aad_size) != 1)
        return -EIO;
    size = 0;
    if (n > 0 && EVP_DecryptUpdate(ctx, out, &size, in, (int)n) != 1)
        return -EIO;
    if (EVP_DecryptFinal_ex(ctx, n > 0 ? out + size : none, &rest) != 1) {
        bytes_wipe(out, n);
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    }
    return 0;
}

int gcm_seal(Gcm *g, const uint8_t iv[static 12], const void *in, size_t n, void *out)
{
    return seal_with(g->ctx, iv, NULL, 0, in, n, out);
}

int gcm_open(Gcm *g, const uint8_t iv[static 12], const void *in, size_t n, void *out)
{
    return open_with(g->ctx, iv, NULL, 0, in, n, out);
}

int crypto_gcm_seal(const uint8_t key[static 32], const uint8_t iv[static 12], const void *aad,
                    size_t aad_size, const void *in, size_t n, void *out)
{
    CryptoContext *c = crypto_context();
    if (!c)
        return -ENOMEM;
    int r = EVP_EncryptInit_ex2(c->cipher, c->gcm, key, NULL, NULL) == 1
                ? seal_with(c->cipher, iv, aad, aad_size, in, n, out)
                : -EIO;
    EVP_CIPHER_CTX_reset(c->cipher);
    return r;
}

int crypto_gcm_open(const uint8_t key[static 32], const uint8_t iv[static 12], const void *aad,
                    size_t aad_size, const void *in, size_t n, void *out)
{
    CryptoContext *c = crypto_context();
    if (!c)
        return -ENOMEM;
    int r = EVP_DecryptInit_ex2(c->cipher, c->gcm, key, NULL, NULL) == 1
                ? open_with(c->cipher, iv, aad, aad_size, in, n, out)
                : -EIO;
    EVP_CIPHER_CTX_reset(c->cipher);
    return r;
}

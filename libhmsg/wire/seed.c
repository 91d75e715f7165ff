/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/seed.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/package-internal.h"

#define SEED_KEY_SIZE 32u
#define SEED_MAC_LABEL "hmsg seed mac"

Seed *seed_free(Seed *s)
{
    if (!s)
        return NULL;
    buf_done(&s->sender_spki);
    buf_done(&s->encrypted_key);
    buf_done(&s->ciphertext);
    free(s);
    return NULL;
}

static int get_base64(const json_t *j, const char *name, Buf *ret)
{
    const char *text = NULL;
    size_t n = 0;
    int r = json_get_text(j, name, SEED_SIZE_MAX, &text, &n);
    if (r != 0)
        return r;
    r = base64_decode(text, n, ret);
    if (r == -EBADMSG)
        return HMSG_ERROR_BAD_PACKAGE;
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int get_exact(const json_t *j, const char *name, uint8_t *ret, size_t size)
{
    _cleanup_(buf_done) Buf b = BUF_MAX(size);
    int r = get_base64(j, name, &b);
    if (r == HMSG_ERROR_TOO_LARGE || (r == 0 && b.size != size))
        return HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        memcpy(ret, b.data, size);
    return r;
}

int seed_parse(const char *text, size_t n, Seed **ret)
{
    static const char *const names[] = {
        "sender_public_key", "encrypted_aes_key", "iv", "ciphertext", "hmac", NULL};
    if (n > SEED_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(seed_freep) Seed *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->sender_spki = BUF_MAX(SPKI_SIZE_MAX);
    s->encrypted_key = BUF_MAX(RSA_SIZE_MAX);
    s->ciphertext = BUF_MAX(CIPHERTEXT_SIZE_MAX);
    int r = json_parse_object(text, n, &j);
    if (r == 0)
        r = json_check_names(j, names);
    if (r == 0)
        r = get_base64(j, "sender_public_key", &s->sender_spki);
    if (r == 0)
        r = get_base64(j, "encrypted_aes_key", &s->encrypted_key);
    if (r == 0)
        r = get_exact(j, "iv", s->iv, sizeof(s->iv));
    if (r == 0)
        r = get_base64(j, "ciphertext", &s->ciphertext);
    s->has_mac = json_has(j, "hmac");
    if (r == 0 && s->has_mac)
        r = get_exact(j, "hmac", s->mac, sizeof(s->mac));
    if (r != 0)
        return r;
    if (s->encrypted_key.size < RSA_BITS_MIN / 8 || s->ciphertext.size == 0 ||
        s->ciphertext.size % AES_BLOCK != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    *ret = TAKE_PTR(s);
    return 0;
}

static int seed_mac(const Secret *key, const uint8_t *iv, const Buf *ciphertext,
                    uint8_t ret[static SHA256_SIZE])
{
    _cleanup_(secret_freep) Secret *mac_key = NULL;
    int r = secret_new(SHA256_SIZE, &mac_key);
    if (r == 0)
        r = crypto_hkdf_sha256(secret_bytes(key), secret_size(key), NULL, 0, SEED_MAC_LABEL,
                               sizeof(SEED_MAC_LABEL) - 1, secret_data(mac_key), SHA256_SIZE);
    if (r != 0)
        return r;
    const Chunk chunks[] = {{iv, AES_BLOCK}, {ciphertext->data, ciphertext->size}};
    return crypto_hmac_sha256(secret_bytes(mac_key), SHA256_SIZE, chunks, ELEMENTSOF(chunks), ret);
}

int seed_open(const Seed *s, const Secret *key, bool allow_unauthenticated, Buf *ret)
{
    _cleanup_(secret_freep) Secret *random = NULL;
    int r = 0;
    if (!s->has_mac && !allow_unauthenticated)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    bool usable = key && secret_size(key) == SEED_KEY_SIZE;
    if (!usable) {
        r = secret_new_random(SEED_KEY_SIZE, &random);
        if (r != 0)
            return r;
        key = random;
    }
    uint8_t mac[SHA256_SIZE];
    r = seed_mac(key, s->iv, &s->ciphertext, mac);
    if (r != 0)
        return r;
    bool right = !s->has_mac || bytes_equal(mac, s->mac, sizeof(mac));
    bytes_wipe(mac, sizeof(mac));
    /* Without a MAC random keys could give a plaintext now and then. */
    if (!right || !usable)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    r = crypto_cbc_decrypt(secret_bytes(key), s->iv, s->ciphertext.data, s->ciphertext.size, ret);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int put(Buf *b, const char *before, const void *data, size_t n)
{
    int r = buf_append_string(b, before);
    return r == 0 ? base64_append(b, data, n) : r;
}

int seed_build(const RsaKey *recipient, const RsaKey *sender, const void *plaintext, size_t n, Buf *ret)
{
    if (n > PLAINTEXT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(buf_done) Buf encrypted_key = BUF_MAX(RSA_SIZE_MAX), ciphertext = BUF_MAX(CIPHERTEXT_SIZE_MAX);
    uint8_t iv[AES_BLOCK], mac[SHA256_SIZE];
    size_t spki_size = 0;
    const uint8_t *spki = rsa_key_spki(sender, &spki_size);
    int r = secret_new_random(SEED_KEY_SIZE, &key);
    if (r == 0)
        r = crypto_random(iv, sizeof(iv));
    if (r == 0)
        r = rsa_key_oaep_encrypt(recipient, secret_bytes(key), SEED_KEY_SIZE, &encrypted_key);
    if (r == 0)
        r = crypto_cbc_encrypt(secret_bytes(key), iv, plaintext, n, &ciphertext);
    if (r == 0)
        r = seed_mac(key, iv, &ciphertext, mac);
    size_t before = ret->size;
    if (r == 0)
        r = put(ret, "{\"sender_public_key\":\"", spki, spki_size);
    if (r == 0)
        r = put(ret, "\",\"encrypted_aes_key\":\"", encrypted_key.data, encrypted_key.size);
    if (r == 0)
        r = put(ret, "\",\"iv\":\"", iv, sizeof(iv));
    if (r == 0)
        r = put(ret, "\",\"ciphertext\":\"", ciphertext.data, ciphertext.size);
    if (r == 0)
        r = put(ret, "\",\"hmac\":\"", mac, sizeof(mac));
    if (r == 0)
        r = buf_append_string(ret, "\"}");
    if (r != 0)
        buf_truncate(ret, before);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

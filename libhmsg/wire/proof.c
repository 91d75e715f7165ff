/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/proof.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"

#define POP_LABEL "hmsg/1 pop"
#define ACK_LABEL "hmsg/1 ack"
#define LABEL_SIZE (sizeof(POP_LABEL) - 1)
#define POP_SIZE (LABEL_SIZE + PIN_SIZE + POP_SECRET_SIZE)

_Static_assert(sizeof(POP_LABEL) == sizeof(ACK_LABEL), "labels have one size");

int pop_make(const RsaKey *decrypt, const uint8_t pin[static PIN_SIZE], Secret **ret_secret,
             Buf *ret_challenge)
{
    _cleanup_(secret_freep) Secret *secret = NULL, *plaintext = NULL;
    int r = secret_new_random(POP_SECRET_SIZE, &secret);
    if (r == 0)
        r = secret_new(POP_SIZE, &plaintext);
    if (r != 0)
        return r;
    uint8_t *p = secret_data(plaintext);
    memcpy(p, POP_LABEL, LABEL_SIZE);
    memcpy(p + LABEL_SIZE, pin, PIN_SIZE);
    memcpy(p + LABEL_SIZE + PIN_SIZE, secret_bytes(secret), POP_SECRET_SIZE);
    r = rsa_key_oaep_encrypt(decrypt, p, POP_SIZE, ret_challenge);
    if (r == 0)
        *ret_secret = TAKE_PTR(secret);
    return r;
}

int pop_open(const Secret *plaintext, const uint8_t pin[static PIN_SIZE], Secret **ret_secret)
{
    const uint8_t *p = secret_bytes(plaintext);
    if (secret_size(plaintext) != POP_SIZE || !bytes_equal(p, POP_LABEL, LABEL_SIZE) ||
        !bytes_equal(p + LABEL_SIZE, pin, PIN_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return secret_new_copy(p + LABEL_SIZE + PIN_SIZE, POP_SECRET_SIZE, ret_secret);
}

int pop_answer(const Secret *secret, const char *request, size_t n, uint8_t ret[static SHA256_SIZE])
{
    const Chunk chunk = {request, n};
    return crypto_hmac_sha256(secret_bytes(secret), secret_size(secret), &chunk, 1, ret);
}

int ack_key_derive(const Secret *own, const uint8_t peer[static X25519_SIZE],
                   const uint8_t nonce[static NONCE_SIZE], const uint8_t pin[static PIN_SIZE],
                   const uint8_t skid[static KID_SIZE], Secret **ret)
{
    _cleanup_(secret_freep) Secret *shared = NULL, *key = NULL;
    uint8_t info[LABEL_SIZE + PIN_SIZE + KID_SIZE];
    memcpy(info, ACK_LABEL, LABEL_SIZE);
    memcpy(info + LABEL_SIZE, pin, PIN_SIZE);
    memcpy(info + LABEL_SIZE + PIN_SIZE, skid, KID_SIZE);
    int r = x25519_derive(own, peer, &shared);
    if (r == 0)
        r = secret_new(ACK_KEY_SIZE, &key);
    if (r == 0)
        r = crypto_hkdf_sha256(secret_bytes(shared), secret_size(shared), nonce, NONCE_SIZE, info,
                               sizeof(info), secret_data(key), ACK_KEY_SIZE);
    if (r == 0)
        *ret = TAKE_PTR(key);
    return r;
}

int ack_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], const void *ids, size_t n,
            uint8_t ret[static SHA256_SIZE])
{
    if (n > ACKNOWLEDGE_IDS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    const Chunk chunks[] = {{ACK_LABEL, LABEL_SIZE}, {pin, PIN_SIZE}, {ids, n * ID_SIZE}};
    return crypto_hmac_sha256(secret_bytes(key), secret_size(key), chunks, ELEMENTSOF(chunks), ret);
}

int message_id(const uint8_t kid[static KID_SIZE], const void *body, size_t n, uint8_t ret[static ID_SIZE])
{
    _cleanup_(sha256_freep) Sha256 *h = NULL;
    int r = sha256_new(&h);
    if (r == 0)
        r = sha256_update(h, kid, KID_SIZE);
    if (r == 0)
        r = sha256_update(h, body, n);
    return r == 0 ? sha256_final(h, ret) : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/oaep.h"

#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/crypto.h"

#define COUNTER_SIZE 4u

/* target ^= MGF1(seed, n) (RFC 8017 appendix B.2.1) */
static int mask(const uint8_t *seed, size_t seed_size, uint8_t *target, size_t n)
{
    _cleanup_(secret_freep) Secret *block = NULL, *hash = NULL;
    int r = secret_new(seed_size + COUNTER_SIZE, &block);
    if (r == 0)
        r = secret_new(SHA256_SIZE, &hash);
    if (r != 0)
        return r;
    memcpy(secret_data(block), seed, seed_size);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (i % SHA256_SIZE == 0) {
            secret_data(block)[seed_size + COUNTER_SIZE - 1] = (uint8_t)(i / SHA256_SIZE);
            r = crypto_sha256(secret_bytes(block), secret_size(block), secret_data(hash));
        }
        target[i] ^= secret_bytes(hash)[i % SHA256_SIZE];
    }
    return r;
}

/* All bits when a byte is 0, else none. */
static unsigned is_zero(unsigned byte)
{
    return 0u - (((byte & 0xff) - 1u) >> 31);
}

/* DB = lHash || PS (zeros) || 01 || M: where M begins; in the same time for all. */
static unsigned find_message(const uint8_t *db, size_t n, unsigned *bad)
{
    unsigned found = 0, at = 0;
    for (size_t i = SHA256_SIZE; i < n; i++) {
        const unsigned zero = is_zero(db[i]), one = is_zero(db[i] ^ 1u);
        *bad |= ~found & ~zero & ~one;
        at |= ~found & one & (unsigned)(i + 1);
        found |= one;
    }
    *bad |= ~found;
    return at;
}

int oaep_decode(const Secret *encoded, Secret **ret)
{
    const size_t size = secret_size(encoded);
    _cleanup_(secret_freep) Secret *work = NULL;
    uint8_t label[SHA256_SIZE];
    if (size < 2 * SHA256_SIZE + 2 || size / SHA256_SIZE > UINT8_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    int r = secret_new_copy(secret_bytes(encoded), size, &work);
    if (r == 0)
        r = crypto_sha256("", 0, label);
    if (r != 0)
        return r;
    uint8_t *seed = secret_data(work) + 1, *db = seed + SHA256_SIZE;
    const size_t n = size - 1 - SHA256_SIZE;
    r = mask(db, n, seed, SHA256_SIZE);
    if (r == 0)
        r = mask(seed, SHA256_SIZE, db, n);
    if (r != 0)
        return r;
    unsigned bad = secret_bytes(work)[0];
    for (size_t i = 0; i < SHA256_SIZE; i++)
        bad |= (unsigned)(db[i] ^ label[i]);
    const unsigned at = find_message(db, n, &bad);
    if (bad != 0 || at == n)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return secret_new_copy(db + at, n - at, ret);
}

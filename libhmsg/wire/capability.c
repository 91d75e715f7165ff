/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/capability.h"

#define HASH_LABEL "hmsg/1 capability"
#define GRANT_LABEL "hmsg/1 grant"
#define REVOKE_LABEL "hmsg/1 revoke"
#define LABEL(text)                                                                                          \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }

static void put_number(uint64_t n, uint8_t ret[static 8])
{
    for (unsigned i = 0; i < 8; i++)
        ret[i] = (uint8_t)(n >> (56 - 8 * i));
}

int capability_hash(const uint8_t code[static CAPABILITY_SIZE], uint8_t ret[static SHA256_SIZE])
{
    const Chunk chunks[] = {LABEL(HASH_LABEL), {code, CAPABILITY_SIZE}};
    return crypto_sha256_chunks(chunks, ELEMENTSOF(chunks), ret);
}

int capability_grant_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], const CapabilityGrant *g,
                         uint8_t ret[static SHA256_SIZE])
{
    uint8_t numbers[16];
    put_number(g->uses, numbers);
    put_number((uint64_t)g->expires, numbers + 8);
    const Chunk chunks[] = {
        LABEL(GRANT_LABEL), {pin, PIN_SIZE}, {g->hash, SHA256_SIZE}, {numbers, sizeof(numbers)}};
    return crypto_hmac_sha256(secret_bytes(key), secret_size(key), chunks, ELEMENTSOF(chunks), ret);
}

int capability_revoke_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], uint64_t number,
                          uint8_t ret[static SHA256_SIZE])
{
    uint8_t bytes[8];
    put_number(number, bytes);
    const Chunk chunks[] = {LABEL(REVOKE_LABEL), {pin, PIN_SIZE}, {bytes, sizeof(bytes)}};
    return crypto_hmac_sha256(secret_bytes(key), secret_size(key), chunks, ELEMENTSOF(chunks), ret);
}

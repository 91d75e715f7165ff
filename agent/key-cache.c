/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/contacts.h"
#include "agent/key-cache.h"
#include "libhmsg/wire/crypto.h"

typedef struct Slot {
    bool used;
    uint8_t sha256[SHA256_SIZE];
    char kid[HASH_TEXT_SIZE];
    uint8_t spki[SPKI_SIZE_MAX];
    size_t spki_size;
    uint8_t issuer_serial[ISSUER_SERIAL_SIZE_MAX];
    size_t issuer_serial_size;
    RecoveryKeys recovery;
} Slot;

struct KeyCache {
    Slot slots[KEY_CACHE_MAX];
    unsigned next; /* the oldest */
};

int key_cache_new(KeyCache **ret)
{
    KeyCache *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    *ret = c;
    return 0;
}

KeyCache *key_cache_free(KeyCache *c)
{
    for (size_t i = 0; c && i < KEY_CACHE_MAX; i++)
        recovery_keys_done(&c->slots[i].recovery);
    free(c);
    return NULL;
}

static void point(const Slot *s, SealKey *ret)
{
    *ret = (SealKey){.kid = s->kid,
                     .spki = s->spki,
                     .spki_size = s->spki_size,
                     .issuer_serial = s->issuer_serial,
                     .issuer_serial_size = s->issuer_serial_size,
                     .recovery = &s->recovery};
}

int key_cache_read(KeyCache *c, const void *data, size_t size, SealKey *ret)
{
    _cleanup_(recipient_freep) Recipient *p = NULL;
    uint8_t sha256[SHA256_SIZE];
    Slot *s;
    int r;

    r = crypto_sha256(data, size, sha256);
    if (r != 0)
        return r;
    for (s = c->slots; s < c->slots + KEY_CACHE_MAX; s++)
        if (s->used && bytes_equal(s->sha256, sha256, SHA256_SIZE)) {
            point(s, ret);
            return 0;
        }
    r = recipient_from_key(data, size, &p);
    if (r != 0)
        return r;
    if (strlen(p->kid) != sizeof(s->kid) - 1 || p->decrypt_spki.size > sizeof(s->spki) ||
        p->issuer_serial.size > sizeof(s->issuer_serial))
        return -EINVAL;
    s = &c->slots[c->next];
    c->next = (c->next + 1) % KEY_CACHE_MAX;
    s->used = p->issuer_serial.size == 0; /* a certificate expires: it is read each time */
    memcpy(s->sha256, sha256, SHA256_SIZE);
    memcpy(s->kid, p->kid, sizeof(s->kid));
    memcpy(s->spki, p->decrypt_spki.data, p->decrypt_spki.size);
    s->spki_size = p->decrypt_spki.size;
    s->issuer_serial_size = p->issuer_serial.size;
    if (p->issuer_serial.size > 0)
        memcpy(s->issuer_serial, p->issuer_serial.data, p->issuer_serial.size);
    recovery_keys_done(&s->recovery);
    recovery_keys_copy(&p->recovery, &s->recovery);
    point(s, ret);
    return 0;
}

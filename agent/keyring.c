/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <keyutils.h>
#include <openssl/rand.h>
#include <string.h>
#include <utlist.h>

#include "agent/keyring.h"
#include "agent/wrap.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"

#define RING_PERMISSIONS (KEY_POS_VIEW | KEY_POS_READ | KEY_POS_WRITE | KEY_POS_SEARCH)
#define KEY_PERMISSIONS (KEY_POS_VIEW | KEY_POS_READ | KEY_POS_WRITE | KEY_POS_SEARCH | KEY_POS_SETATTR)

#define NAME_BYTES 8u
/* A wrapped key that is used takes the place of a hot one only when that one has rested this long: else a
 * round of many sessions would move a key at each use. */
#define HOT_REST_USEC (10u * 1000000u)

struct KeyringEntry {
    KeyringEntry *prev, *next; /* in the list of hot entries, the least recently used first */
    uint64_t id;
    uint64_t expires;   /* CLOCK_BOOTTIME */
    uint64_t last_used; /* CLOCK_BOOTTIME */
    key_serial_t key;   /* while hot; else 0 */
    Wrapped *wrapped;   /* while wrapped; neither: gone */
    bool kept;          /* in no list, and never wrapped */
};

struct Keyring {
    key_serial_t ring;
    key_serial_t kek;
    WrapPool *pool;
    KeyringEntry *hot;
    unsigned n_hot;
    uint64_t next_id;
};

/* A key of ours alone. It is made empty of secrets and filled when nobody else may see it: a new key is
 * visible to its user until its permissions are set. */
static int key_add(key_serial_t ring, const uint8_t *data, size_t size, key_serial_t *ret)
{
    static const uint8_t nothing[KEYRING_KEY_SIZE];
    char name[2 * NAME_BYTES + 1];
    uint8_t random[NAME_BYTES];
    key_serial_t key;
    int r;

    if (size > sizeof(nothing))
        return -EINVAL;
    if (RAND_bytes(random, sizeof(random)) != 1)
        return -EIO;
    hex_encode(random, sizeof(random), name);
    key = add_key("user", name, nothing, size, ring);
    if (key < 0)
        return -errno;
    if (keyctl_setperm(key, KEY_PERMISSIONS) < 0 || keyctl_update(key, data, size) < 0) {
        r = -errno;
        (void)keyctl_invalidate(key);
        return r;
    }
    *ret = key;
    return 0;
}

static int kek_new(Keyring *k)
{
    _cleanup_(secret_freep) Secret *kek = NULL;
    int r;

    r = secret_new_random(WRAP_KEK_SIZE, &kek);
    if (r < 0)
        return r;
    return key_add(k->ring, secret_bytes(kek), secret_size(kek), &k->kek);
}

static int kek_get(Keyring *k, Secret **ret)
{
    _cleanup_(secret_freep) Secret *kek = NULL;
    int r;

    r = secret_new(WRAP_KEK_SIZE, &kek);
    if (r < 0)
        return r;
    if (keyctl_read(k->kek, (char *)secret_data(kek), WRAP_KEK_SIZE) != (long)WRAP_KEK_SIZE)
        return -ENOKEY;
    *ret = TAKE_PTR(kek);
    return 0;
}

int keyring_new(Keyring **ret)
{
    _cleanup_(keyring_freep) Keyring *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    r = wrap_pool_new(&k->pool);
    if (r < 0)
        return r;
    k->ring = keyctl_get_keyring_ID(KEY_SPEC_PROCESS_KEYRING, 1);
    if (k->ring < 0)
        return -errno;
    if (keyctl_setperm(k->ring, RING_PERMISSIONS) < 0)
        return -errno;
    r = kek_new(k);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(k);
    return 0;
}

Keyring *keyring_free(Keyring *k)
{
    if (!k)
        return NULL;
    if (k->ring > 0)
        (void)keyctl_clear(k->ring);
    if (k->kek > 0)
        (void)keyctl_invalidate(k->kek);
    wrap_pool_free(k->pool);
    free(k);
    return NULL;
}

static void hot_remove(Keyring *k, KeyringEntry *e)
{
    DL_DELETE(k->hot, e);
    k->n_hot--;
    e->key = 0;
}

static unsigned seconds_left(const KeyringEntry *e)
{
    uint64_t now = clock_boottime();
    uint64_t seconds = e->expires > now ? (e->expires - now) / 1000000u + 1 : 1;

    return seconds > UINT32_MAX / 2 ? UINT32_MAX / 2 : (unsigned)seconds;
}

static int entry_wrap(Keyring *k, KeyringEntry *e, const uint8_t *key)
{
    _cleanup_(secret_freep) Secret *kek = NULL;
    int r;

    r = kek_get(k, &kek);
    if (r < 0)
        return r;
    return wrap_seal(k->pool, kek, e->id, key, &e->wrapped);
}

/* Wraps the least recently used hot key and hands out its place in the kernel: updating a key costs no quota,
 * while an invalidated one is given back only some time later. */
static int hot_take_place(Keyring *k, key_serial_t *ret)
{
    _cleanup_(secret_freep) Secret *key = NULL;
    KeyringEntry *oldest = k->hot;
    key_serial_t place = oldest->key;
    int r;

    r = secret_new(KEYRING_KEY_SIZE, &key);
    if (r < 0)
        return r;
    if (keyctl_read(place, (char *)secret_data(key), KEYRING_KEY_SIZE) != (long)KEYRING_KEY_SIZE) {
        hot_remove(k, oldest); /* timed out: it is gone, and so is its place */
        return -ENOKEY;
    }
    r = entry_wrap(k, oldest, secret_bytes(key));
    if (r < 0)
        return r;
    hot_remove(k, oldest);
    *ret = place;
    return 0;
}

/* 0: it is hot now. 1: no room in the kernel. */
static int entry_heat(Keyring *k, KeyringEntry *e, const uint8_t *key)
{
    key_serial_t place = 0;
    int r;

    if (k->n_hot >= KEYRING_HOT_MAX) {
        r = hot_take_place(k, &place);
        if (r < 0)
            return r == -ENOKEY ? 1 : r;
        if (keyctl_update(place, key, KEYRING_KEY_SIZE) < 0) {
            (void)keyctl_invalidate(place);
            return 1;
        }
    } else {
        r = key_add(k->ring, key, KEYRING_KEY_SIZE, &place);
        if (r == -EDQUOT)
            return 1;
        if (r < 0)
            return r;
    }
    (void)keyctl_set_timeout(place, seconds_left(e));
    e->key = place;
    DL_APPEND(k->hot, e);
    k->n_hot++;
    return 0;
}

int keyring_put(Keyring *k, const uint8_t key[static KEYRING_KEY_SIZE], uint64_t lifetime, KeyringEntry **ret)
{
    KeyringEntry *e = calloc(1, sizeof(*e));
    int r;

    if (!e)
        return -ENOMEM;
    e->id = ++k->next_id;
    e->last_used = clock_boottime();
    e->expires = e->last_used + lifetime * 1000000u;
    r = entry_heat(k, e, key);
    if (r > 0)
        r = entry_wrap(k, e, key);
    if (r < 0) {
        free(e);
        return r;
    }
    *ret = e;
    return 0;
}

int keyring_keep(Keyring *k, const uint8_t key[static KEYRING_KEY_SIZE], KeyringEntry **ret)
{
    KeyringEntry *e = calloc(1, sizeof(*e));
    int r;

    if (!e)
        return -ENOMEM;
    e->expires = UINT64_MAX;
    e->kept = true;
    r = key_add(k->ring, key, KEYRING_KEY_SIZE, &e->key);
    if (r < 0) {
        free(e);
        return r;
    }
    *ret = e;
    return 0;
}

static int get_hot(Keyring *k, KeyringEntry *e, Secret *ret)
{
    if (keyctl_read(e->key, (char *)secret_data(ret), KEYRING_KEY_SIZE) != (long)KEYRING_KEY_SIZE) {
        if (!e->kept)
            hot_remove(k, e);
        return -ENOKEY;
    }
    if (e->next) { /* not the most recently used already */
        DL_DELETE(k->hot, e);
        DL_APPEND(k->hot, e);
    }
    return 0;
}

static int get_wrapped(Keyring *k, KeyringEntry *e, uint64_t now, Secret *ret)
{
    _cleanup_(secret_freep) Secret *kek = NULL;

    if (!e->wrapped || kek_get(k, &kek) < 0 || wrap_open(k->pool, kek, e->id, e->wrapped, ret) < 0)
        return -ENOKEY;
    if (k->n_hot < KEYRING_HOT_MAX || k->hot->last_used + HOT_REST_USEC < now)
        if (entry_heat(k, e, secret_bytes(ret)) == 0)
            e->wrapped = wrap_drop(k->pool, e->wrapped);
    return 0;
}

int keyring_get(Keyring *k, KeyringEntry *e, Secret *ret)
{
    uint64_t now = clock_boottime();
    int r;

    if (secret_size(ret) != KEYRING_KEY_SIZE)
        return -EINVAL;
    if (now >= e->expires)
        return -ENOKEY;
    r = e->key > 0 ? get_hot(k, e, ret) : get_wrapped(k, e, now, ret);
    if (r == 0)
        e->last_used = now;
    return r;
}

KeyringEntry *keyring_drop(Keyring *k, KeyringEntry *e)
{
    if (!e)
        return NULL;
    if (e->key > 0) {
        (void)keyctl_invalidate(e->key);
        if (!e->kept)
            hot_remove(k, e);
    }
    wrap_drop(k->pool, e->wrapped);
    free(e);
    return NULL;
}

int keyring_lock(Keyring *k)
{
    while (k->hot) {
        (void)keyctl_invalidate(k->hot->key);
        hot_remove(k, k->hot);
    }
    /* what is wrapped is lost with the key-encryption key */
    if (k->kek > 0)
        (void)keyctl_invalidate(k->kek);
    k->kek = 0;
    return kek_new(k);
}

bool keyring_entry_is_hot(const KeyringEntry *e)
{
    return e->key > 0;
}

unsigned keyring_count_hot(const Keyring *k)
{
    return k->n_hot;
}

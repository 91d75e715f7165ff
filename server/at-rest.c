/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/at-rest.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"

#define NONCE_BYTES 12u
#define PLACE_SIZE (1u + 8u + 8u + AT_REST_INDEX_SIZE)
#define RELOAD_PAUSE 1000000u /* microseconds: what is damaged must not load the roots each time */
#define ROOTS_MAX 8u          /* the one of now, and those that are being replaced */

typedef struct Root {
    int64_t number;
    Secret *key;
} Root;

struct AtRest {
    atomic_uint refs;
    Secret *index;
    pthread_mutex_t lock; /* over roots */
    Root roots[ROOTS_MAX];
    size_t n_roots;
    pthread_mutex_t reloading; /* over what follows */
    int (*reload)(void *userdata);
    void (*done)(void *userdata);
    void *userdata;
    uint64_t reloaded;
};

int store_keeper_open(const StoreKeeper *k, const void *wrapped, size_t n, Secret **ret)
{
    _cleanup_(secret_freep) Secret *key = NULL;
    int r = n <= AT_REST_KEPT_SIZE_MAX ? k->unwrap(k->userdata, wrapped, n, &key) : -EBADMSG;
    if (r != 0)
        return r;
    if (secret_size(key) != AT_REST_KEY_SIZE)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    *ret = TAKE_PTR(key);
    return 0;
}

int store_keeper_make(const StoreKeeper *k, Secret **ret, Buf *ret_wrapped)
{
    _cleanup_(secret_freep) Secret *key = NULL, *again = NULL;
    _cleanup_(buf_done) Buf wrapped = BUF_MAX(AT_REST_KEPT_SIZE_MAX);
    int r = secret_new_random(AT_REST_KEY_SIZE, &key);
    if (r == 0)
        r = k->wrap(k->userdata, key, &wrapped);
    if (r == 0)
        r = store_keeper_open(k, wrapped.data, wrapped.size, &again);
    if (r == 0 && !secret_equal(key, again))
        r = -EIO;
    if (r == 0)
        r = buf_append(ret_wrapped, wrapped.data, wrapped.size);
    if (r == 0)
        *ret = TAKE_PTR(key);
    return r;
}

int at_rest_new(AtRest **ret)
{
    AtRest *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    atomic_init(&a->refs, 1);
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_mutex_init(&a->reloading, NULL);
    *ret = a;
    return 0;
}

AtRest *at_rest_ref(AtRest *a)
{
    (void)atomic_fetch_add(&a->refs, 1);
    return a;
}

AtRest *at_rest_unref(AtRest *a)
{
    if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
        return NULL;
    for (size_t i = 0; i < a->n_roots; i++)
        (void)secret_free(a->roots[i].key);
    (void)secret_free(a->index);
    if (a->done)
        a->done(a->userdata);
    (void)pthread_mutex_destroy(&a->reloading);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
    return NULL;
}

void at_rest_set_reload(AtRest *a, int (*reload)(void *userdata), void (*done)(void *userdata),
                        void *userdata)
{
    a->reload = reload;
    a->done = done;
    a->userdata = userdata;
}

void at_rest_set_index_key(AtRest *a, Secret *key)
{
    (void)secret_free(a->index);
    a->index = key;
}

/* With the lock. */
static Root *find_root(AtRest *a, int64_t number)
{
    for (size_t i = a->n_roots; i-- > 0;)
        if (a->roots[i].number == number)
            return &a->roots[i];
    return NULL;
}

int at_rest_add_root(AtRest *a, int64_t number, Secret *key)
{
    int r = 0;
    (void)pthread_mutex_lock(&a->lock);
    Root *root = find_root(a, number);
    if (!root && a->n_roots < ROOTS_MAX) {
        root = &a->roots[a->n_roots++];
        *root = (Root){.number = number};
    }
    if (root) {
        (void)secret_free(root->key);
        root->key = key;
    } else {
        (void)secret_free(key);
        r = -EBUSY;
    }
    (void)pthread_mutex_unlock(&a->lock);
    return r;
}

void at_rest_forget_roots(AtRest *a, int64_t number)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->n_roots; i++)
        if (a->roots[i].number < number)
            (void)secret_free(a->roots[i].key);
        else
            a->roots[n++] = a->roots[i];
    a->n_roots = n;
    (void)pthread_mutex_unlock(&a->lock);
}

int at_rest_index(const AtRest *a, IndexKind kind, const Chunk *parts, size_t n_parts,
                  uint8_t ret[static AT_REST_INDEX_SIZE])
{
    const uint8_t byte = (uint8_t)kind;
    Chunk all[1 + AT_REST_INDEX_PARTS_MAX] = {{&byte, 1}};
    uint8_t mac[SHA256_SIZE];
    if (n_parts > AT_REST_INDEX_PARTS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < n_parts; i++)
        all[1 + i] = parts[i];
    int r = crypto_hmac_sha256(secret_bytes(a->index), secret_size(a->index), all, 1 + n_parts, mac);
    if (r == 0)
        memcpy(ret, mac, AT_REST_INDEX_SIZE);
    return r;
}

static uint8_t *put_number(uint8_t *to, int64_t n)
{
    for (unsigned i = 0; i < 8; i++)
        to[i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
    return to + 8;
}

static void write_place(const AtRestPlace *p, uint8_t ret[static PLACE_SIZE])
{
    uint8_t *at = ret;
    *at++ = (uint8_t)p->table;
    at = put_number(at, p->row);
    at = put_number(at, p->part);
    if (p->index)
        memcpy(at, p->index, AT_REST_INDEX_SIZE);
    else
        memset(at, 0, AT_REST_INDEX_SIZE);
}

int at_rest_seal(const Secret *key, const AtRestPlace *place, const void *in, size_t n, uint8_t *ret)
{
    uint8_t aad[PLACE_SIZE];
    write_place(place, aad);
    int r = crypto_random(ret, NONCE_BYTES);
    return r == 0 ? crypto_gcm_seal(secret_bytes(key), ret, aad, sizeof(aad), in, n, ret + NONCE_BYTES) : r;
}

int at_rest_open(const Secret *key, const AtRestPlace *place, const void *in, size_t n, uint8_t *ret)
{
    const uint8_t *nonce = in;
    uint8_t aad[PLACE_SIZE];
    if (n < AT_REST_EXTRA)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    write_place(place, aad);
    return crypto_gcm_open(secret_bytes(key), nonce, aad, sizeof(aad), nonce + NONCE_BYTES, n - NONCE_BYTES,
                           ret);
}

static int wrap(AtRest *a, int64_t root, const AtRestPlace *place, const Secret *key, uint8_t *ret)
{
    (void)pthread_mutex_lock(&a->lock);
    const Root *found = find_root(a, root);
    int r = found ? at_rest_seal(found->key, place, secret_bytes(key), AT_REST_KEY_SIZE, ret) : -ESTALE;
    (void)pthread_mutex_unlock(&a->lock);
    return r;
}

static int unwrap(AtRest *a, int64_t root, const AtRestPlace *place, const uint8_t *wrapped, Secret *ret)
{
    (void)pthread_mutex_lock(&a->lock);
    const Root *found = find_root(a, root);
    int r =
        found ? at_rest_open(found->key, place, wrapped, AT_REST_WRAPPED_SIZE, secret_data(ret)) : -ESTALE;
    (void)pthread_mutex_unlock(&a->lock);
    return r;
}

/* Whether it is worth another try. */
static bool reload(AtRest *a, int r)
{
    bool again = false;
    if (!a->reload || (r != -ESTALE && r != HMSG_ERROR_AUTHENTICATION_FAILED))
        return false;
    (void)pthread_mutex_lock(&a->reloading);
    uint64_t now = clock_boottime();
    if (r == -ESTALE || now >= a->reloaded + RELOAD_PAUSE) {
        again = a->reload(a->userdata) == 0;
        a->reloaded = now;
    }
    (void)pthread_mutex_unlock(&a->reloading);
    return again;
}

int at_rest_wrap(AtRest *a, int64_t root, const AtRestPlace *place, const Secret *key,
                 uint8_t ret[static AT_REST_WRAPPED_SIZE])
{
    int r = wrap(a, root, place, key, ret);
    return reload(a, r) ? wrap(a, root, place, key, ret) : r;
}

int at_rest_unwrap(AtRest *a, int64_t root, const AtRestPlace *place,
                   const uint8_t wrapped[static AT_REST_WRAPPED_SIZE], Secret *ret)
{
    int r = unwrap(a, root, place, wrapped, ret);
    return reload(a, r) ? unwrap(a, root, place, wrapped, ret) : r;
}

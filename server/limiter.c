/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/limiter.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "libhmsg/wire/crypto.h"
#include "server/peers.h"

#define SETS 2048u
#define WAYS 4u
/* Bytes of an address that name a client, and those that name the network of strangers: what one of them can
 * easily have all of. */
#define ADDRESS_V4_SIZE 4u
#define ADDRESS_V6_SIZE 8u
#define NETWORK_V4_SIZE 3u
#define NETWORK_V6_SIZE 6u

typedef struct Entry {
    uint64_t tag, due;
} Entry;

struct Limiter {
    pthread_mutex_t lock;
    LimitRate rates[LIMIT_KIND_MAX_];
    uint8_t key[SHA256_SIZE]; /* so that nobody can choose whom to collide with */
    Entry sets[SETS][WAYS];
};

int limiter_new(const LimitRate rates[static LIMIT_KIND_MAX_], Limiter **ret)
{
    Limiter *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    int r = crypto_random(l->key, sizeof(l->key));
    if (r != 0) {
        free(l);
        return r;
    }
    (void)pthread_mutex_init(&l->lock, NULL);
    memcpy(l->rates, rates, sizeof(l->rates));
    *ret = l;
    return 0;
}

Limiter *limiter_free(Limiter *l)
{
    if (l) {
        (void)pthread_mutex_destroy(&l->lock);
        free(l);
    }
    return NULL;
}

void limiter_set(Limiter *l, const LimitRate rates[static LIMIT_KIND_MAX_])
{
    (void)pthread_mutex_lock(&l->lock);
    memcpy(l->rates, rates, sizeof(l->rates));
    (void)pthread_mutex_unlock(&l->lock);
}

static Entry *find(Limiter *l, uint64_t tag)
{
    Entry *set = l->sets[tag % SETS], *least = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].tag == tag)
            return &set[i];
        if (set[i].due < least->due)
            least = &set[i];
    }
    *least = (Entry){.tag = tag};
    return least;
}

static bool take(Entry *e, const LimitRate *rate, uint64_t now, unsigned *ret_retry)
{
    uint64_t wait = 0;
    if (rate_take(rate, &e->due, now, &wait))
        return true;
    *ret_retry = (unsigned)(wait / 1000000u) + 1;
    return false;
}

bool limiter_take(Limiter *l, LimitKind kind, const void *client, size_t n, uint64_t now, unsigned *ret_retry)
{
    const uint8_t which = (uint8_t)kind;
    const Chunk chunks[] = {{&which, 1}, {client, n}};
    uint8_t hash[SHA256_SIZE];
    uint64_t tag = 0;
    if (crypto_hmac_sha256(l->key, sizeof(l->key), chunks, ELEMENTSOF(chunks), hash) != 0)
        return true;
    memcpy(&tag, hash, sizeof(tag));
    (void)pthread_mutex_lock(&l->lock);
    const LimitRate *rate = &l->rates[kind];
    bool ok = rate->per_minute == 0 || take(find(l, tag), rate, now, ret_retry);
    (void)pthread_mutex_unlock(&l->lock);
    return ok;
}

bool limiter_take_address(Limiter *l, LimitKind kind, const struct sockaddr_storage *address, uint64_t now,
                          unsigned *ret_retry)
{
    const bool network = kind == LIMIT_STRANGERS || kind == LIMIT_GUESTS;
    uint8_t prefix[PEER_PREFIX_SIZE];
    size_t n = peer_prefix(address, network ? NETWORK_V4_SIZE : ADDRESS_V4_SIZE,
                           network ? NETWORK_V6_SIZE : ADDRESS_V6_SIZE, prefix);
    return limiter_take(l, kind, prefix, n, now, ret_retry);
}

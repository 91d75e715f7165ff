/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/peers.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#include "libhmsg/wire/crypto.h"

#define SETS 4096u
#define IPV4_SIZE 4u

typedef struct Peer Peer;
struct Peer {
    Peer *next;
    uint8_t prefix[PEER_PREFIX_SIZE];
    size_t n; /* of the prefix: tells IPv4 from IPv6 */
    unsigned count;
};

struct Peers {
    pthread_mutex_t lock;
    unsigned max;
    uint8_t key[SHA256_SIZE]; /* so that nobody can choose whom to collide with */
    Peer *sets[SETS];         /* no more entries than there are connections */
};

size_t peer_prefix(const struct sockaddr_storage *address, size_t v4, size_t v6,
                   uint8_t ret[static PEER_PREFIX_SIZE])
{
    union {
        struct sockaddr_storage any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } u = {.any = *address};
    const uint8_t *from = NULL;
    size_t n = 0;
    if (address->ss_family == AF_INET) {
        from = (const uint8_t *)&u.v4.sin_addr;
        n = v4 < IPV4_SIZE ? v4 : IPV4_SIZE;
    } else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&u.v6.sin6_addr)) {
        from = &u.v6.sin6_addr.s6_addr[sizeof(u.v6.sin6_addr) - IPV4_SIZE];
        n = v4 < IPV4_SIZE ? v4 : IPV4_SIZE;
    } else if (address->ss_family == AF_INET6) {
        from = u.v6.sin6_addr.s6_addr;
        n = v6 < PEER_PREFIX_SIZE ? v6 : PEER_PREFIX_SIZE;
    }
    if (n > 0)
        memcpy(ret, from, n);
    return n;
}

int peers_new(unsigned max, Peers **ret)
{
    Peers *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    int r = crypto_random(p->key, sizeof(p->key));
    if (r != 0) {
        free(p);
        return r;
    }
    (void)pthread_mutex_init(&p->lock, NULL);
    p->max = max;
    *ret = p;
    return 0;
}

Peers *peers_free(Peers *p)
{
    if (!p)
        return NULL;
    for (size_t i = 0; i < SETS; i++)
        while (p->sets[i]) {
            Peer *x = p->sets[i];
            p->sets[i] = x->next;
            free(x);
        }
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    return NULL;
}

/* Where the entry of this prefix is, or would be; NULL: not known. */
static Peer **find(Peers *p, const uint8_t *prefix, size_t n)
{
    const Chunk chunk = {prefix, n};
    uint8_t hash[SHA256_SIZE];
    uint32_t set = 0;
    if (crypto_hmac_sha256(p->key, sizeof(p->key), &chunk, 1, hash) != 0)
        return NULL;
    memcpy(&set, hash, sizeof(set));
    Peer **at = &p->sets[set % SETS];
    while (*at && ((*at)->n != n || memcmp((*at)->prefix, prefix, n) != 0)) /* public */
        at = &(*at)->next;
    return at;
}

/* With the lock. */
static bool enter(Peers *p, const uint8_t *prefix, size_t n)
{
    Peer **at = find(p, prefix, n);
    if (!at)
        return false;
    if (!*at) {
        *at = calloc(1, sizeof(**at));
        if (!*at)
            return false;
        memcpy((*at)->prefix, prefix, n);
        (*at)->n = n;
    }
    if ((*at)->count >= p->max)
        return false;
    (*at)->count++;
    return true;
}

bool peers_enter(Peers *p, const struct sockaddr_storage *address)
{
    uint8_t prefix[PEER_PREFIX_SIZE];
    size_t n = peer_prefix(address, IPV4_SIZE, PEER_PREFIX_SIZE, prefix);
    if (n == 0 || p->max == 0)
        return true;
    (void)pthread_mutex_lock(&p->lock);
    bool ok = enter(p, prefix, n);
    (void)pthread_mutex_unlock(&p->lock);
    return ok;
}

void peers_leave(Peers *p, const struct sockaddr_storage *address)
{
    uint8_t prefix[PEER_PREFIX_SIZE];
    size_t n = peer_prefix(address, IPV4_SIZE, PEER_PREFIX_SIZE, prefix);
    if (n == 0 || p->max == 0)
        return;
    (void)pthread_mutex_lock(&p->lock);
    Peer **at = find(p, prefix, n), *x = at ? *at : NULL;
    if (x && --x->count == 0) {
        *at = x->next;
        free(x);
    }
    (void)pthread_mutex_unlock(&p->lock);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/crypto.h"
#include "server/client.h"

void client_nonce_done(ClientNonce *n)
{
    n->pop = secret_free(n->pop);
    bytes_wipe(n, sizeof(*n));
}

static void remove_at(Client *c, size_t i)
{
    memmove(&c->nonces[i], &c->nonces[i + 1], (c->n_nonces - i - 1) * sizeof(c->nonces[0]));
    c->n_nonces--;
    memset(&c->nonces[c->n_nonces], 0, sizeof(c->nonces[0]));
    if (c->n_nonces > 0)
        return;
    free(c->nonces);
    c->nonces = NULL;
}

static void drop_at(Client *c, size_t i)
{
    client_nonce_done(&c->nonces[i]);
    remove_at(c, i);
}

static void drop_challenges(Client *c)
{
    for (size_t i = c->n_nonces; i > 0; i--)
        if (c->nonces[i - 1].pop)
            drop_at(c, i - 1);
}

int client_nonce_new(Client *c, Secret *pop, const uint8_t *kid, uint8_t ret[static NONCE_SIZE])
{
    ClientNonce n = {.pop = pop, .expires = clock_boottime() + (uint64_t)NONCE_LIFETIME * 1000000};
    int r;

    r = crypto_random(n.nonce, sizeof(n.nonce));
    if (r == 0 && pop)
        drop_challenges(c);
    if (r == 0 && !c->nonces) {
        c->nonces = calloc(CLIENT_NONCES_MAX, sizeof(*c->nonces));
        r = c->nonces ? 0 : -ENOMEM;
    }
    if (r != 0) {
        client_nonce_done(&n);
        return r;
    }
    if (pop && kid)
        memcpy(n.kid, kid, sizeof(n.kid));
    if (c->n_nonces == CLIENT_NONCES_MAX)
        drop_at(c, 0);
    c->nonces[c->n_nonces++] = n;
    memcpy(ret, n.nonce, NONCE_SIZE);
    return 0;
}

bool client_nonce_take(Client *c, const uint8_t nonce[static NONCE_SIZE], ClientNonce *ret)
{
    for (size_t i = 0; i < c->n_nonces; i++) {
        ClientNonce n = c->nonces[i];

        if (!bytes_equal(n.nonce, nonce, NONCE_SIZE))
            continue;
        remove_at(c, i);
        if (n.expires < clock_boottime()) {
            client_nonce_done(&n);
            return false;
        }
        *ret = n;
        return true;
    }
    return false;
}

void client_login(Client *c, const uint8_t skid[static KID_SIZE], const uint8_t kid[static KID_SIZE],
                  bool guest, Secret *ack_key)
{
    (void)secret_free(c->ack_key);
    c->ack_key = ack_key;
    memcpy(c->skid, skid, KID_SIZE);
    memcpy(c->kid, kid, KID_SIZE);
    c->guest = guest;
    c->logged_in = true;
}

void client_logout(Client *c)
{
    c->ack_key = secret_free(c->ack_key);
    memset(c->skid, 0, sizeof(c->skid));
    memset(c->kid, 0, sizeof(c->kid));
    c->logged_in = c->guest = false;
    c->user = 0;
}

void client_done(Client *c)
{
    while (c->n_nonces > 0)
        drop_at(c, c->n_nonces - 1);
    client_logout(c);
    bytes_wipe(c, sizeof(*c));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the relay remembers of one TLS connection. Used only on the loop of that connection. */

#include <sys/socket.h>

#include "libhmsg/base/secret.h"
#include "libhmsg/wire/limits.h"

#define CLIENT_NONCES_MAX 8u /* outstanding; a ninth takes the place of the oldest */
/* Of these one at most is of a challenge: its secret takes locked memory, which all connections share. */

typedef struct ClientNonce {
    uint8_t nonce[NONCE_SIZE];
    uint64_t expires;      /* CLOCK_BOOTTIME, microseconds */
    uint8_t kid[KID_SIZE]; /* with pop: thumbprint of the decrypt key that was challenged */
    Secret *pop;           /* secret of a challenge; NULL for a plain nonce */
} ClientNonce;

typedef struct Client {
    uint8_t exporter[EXPORTER_SIZE]; /* RFC 9266 */
    struct sockaddr_storage peer;
    socklen_t peer_size;

    ClientNonce *nonces; /* the oldest first; NULL when there are none, as mostly */
    size_t n_nonces;

    bool logged_in;
    bool guest;             /* no mailbox */
    uint8_t skid[KID_SIZE]; /* who is logged in */
    uint8_t kid[KID_SIZE];  /* the decrypt key of the same user: names the mailbox */
    Secret *ack_key;        /* of the last login */
    int64_t user;           /* for the handlers: row of the user in their store; 0: none */
} Client;

/* Makes a nonce. pop is taken over (NULL for a plain nonce), kid is copied when there is a pop; an earlier
 * challenge is given up then. */
int client_nonce_new(Client *c, Secret *pop, const uint8_t *kid, uint8_t ret[static NONCE_SIZE]);
/* Takes a nonce out, so that it serves once; false: none of ours, used or too old. The caller gives *ret to
 * client_nonce_done. */
bool client_nonce_take(Client *c, const uint8_t nonce[static NONCE_SIZE], ClientNonce *ret);
void client_nonce_done(ClientNonce *n);

/* ack_key is taken over. */
void client_login(Client *c, const uint8_t skid[static KID_SIZE], const uint8_t kid[static KID_SIZE],
                  bool guest, Secret *ack_key);
void client_logout(Client *c);
void client_done(Client *c);

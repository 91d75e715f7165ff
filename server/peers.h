/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How many connections each address has now. Used by any thread. IPv6 clients are told apart by the first 64
 * bits only, as whoever has one such address has them all. */

#include <sys/socket.h>

#include "libhmsg/base/buf.h"

#define PEER_PREFIX_SIZE 8u /* bytes of an IPv6 address that name a client */

/* The part of an address that names a client, at most v4 and v6 bytes of it (v6 ≤ PEER_PREFIX_SIZE), as IPv4
 * where it is mapped; its length. 0: no internet address. */
size_t peer_prefix(const struct sockaddr_storage *address, size_t v4, size_t v6,
                   uint8_t ret[static PEER_PREFIX_SIZE]);

typedef struct Peers Peers;

/* max: connections of one address; 0: as many as come. */
int peers_new(unsigned max, Peers **ret);
Peers *peers_free(Peers *p);
DEFINE_CLEANUP(Peers *, peers_free)

/* One more connection; true is undone by peers_leave. False: too many, or no memory. */
bool peers_enter(Peers *p, const struct sockaddr_storage *address);
void peers_leave(Peers *p, const struct sockaddr_storage *address);

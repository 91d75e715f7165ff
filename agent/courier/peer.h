/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A relay with its one connection, and what belongs to that: it goes when the connection ends. */

#include "agent/courier/connection.h"
#include "agent/courier/courier.h"
#include "agent/courier/listen.h"

/* The peer of the relay with this name ("host:port#PIN"). With login, one that is logged in. Negative with
 * *error set: not of the form, LoginRequired, too many. */
int peer_get(Courier *c, const char *name, bool login, Peer **ret, sd_bus_error *error);
/* Closes its connection without a signal, when there is one. */
int peer_forget(Courier *c, const char *name, sd_bus_error *error);
void peers_free(Courier *c);

Connection *peer_connection(Peer *p);
Courier *peer_courier(Peer *p);
const char *peer_name(const Peer *p);

void peer_set_logged_in(Peer *p, bool yes);
void peer_set_gave_nonce(Peer *p);

/* Of listen.c; owned by the peer. */
Listener **peer_listener(Peer *p);

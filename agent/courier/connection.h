/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One TLS connection to a relay, and never a second one: what belongs to a connection (nonces, logins, the
 * exporter) belongs to this object. It connects with the first request; all requests are HTTP/2 streams side
 * by side on it. Nothing is sent before the relay's certificates were checked against the pin. */

#include <systemd/sd-event.h>

#include "agent/courier/request.h"
#include "libhmsg/wire/address.h"

/* The connection has ended, or could not be made; all its requests are done. Called from the event loop,
 * never out of another function of this file; the callee frees the connection. */
typedef void (*connection_ended_t)(void *userdata, const Problem *why);

/* An index for SSL_get_ex_data by which connections hear of the end of their SSL: one for the whole process.
 * Negative: -ENOMEM. */
int connection_tls_index_new(void);

/* any_pin: whatever key the relay has will do, if its certificates are of the form. Otherwise a relay without
 * pin is one that has not the pinned key. */
int connection_new(sd_event *event, int tls_index, const Relay *relay, bool any_pin, connection_ended_t ended,
                   void *userdata, Connection **ret);
/* Requests under way are done with Unreachable. ended is not called. Not to be called out of a request's
 * functions. */
Connection *connection_free(Connection *c);
DEFINE_CLEANUP(Connection *, connection_free)

/* Takes q over when it returns 0. -EPIPE: the connection has ended. */
int connection_send(Connection *c, Request *q);

/* Ends it soon, from the event loop. The first reason counts. */
void connection_end(Connection *c, const Problem *why);
bool connection_has_ended(const Connection *c);
/* Does at once what would come from the event loop, when it has ended. Not out of a request's functions. */
void connection_settle(Connection *c);

/* tls-exporter (RFC 9266). -ENOTCONN: there is no connection (any more). */
int connection_exporter(const Connection *c, uint8_t ret[static EXPORTER_SIZE]);
/* The pin that the relay has; NULL: not known yet. PIN_SIZE bytes. */
const uint8_t *connection_pin(const Connection *c);

/* For request.c: bytes came or went. */
void connection_moved(Connection *c);
/* For request.c: none did for CALL_SECONDS. */
bool connection_stands_still(const Connection *c);

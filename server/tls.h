/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The TLS side of the relay: 1.3 only, ALPN "h2" only, no tickets, no early data, a certificate that is
 * replaced while serving. */

#include "server/certificate.h"

struct ssl_st; /* SSL */

typedef struct Tls Tls;

/* key must outlive it. host as in Relay. Signs the first certificate: not for event loops. */
int tls_new(const RelayKey *key, const char *host, int64_t now, Tls **ret);
Tls *tls_free(Tls *t);
DEFINE_CLEANUP(Tls *, tls_free)

/* Makes and signs a new certificate, for connections from now on. any thread, but for event loops */
int tls_renew(Tls *t, int64_t now);
/* When the current one was made, Unix seconds. */
int64_t tls_renewed(Tls *t);

/* A server's side of a connection on fd, to be freed with SSL_free. any thread */
int tls_accept(Tls *t, int fd, struct ssl_st **ret);
/* tls-exporter (RFC 9266) of a connection whose handshake is done; false also when it did not choose h2. */
bool tls_finished(struct ssl_st *ssl, uint8_t ret_exporter[static EXPORTER_SIZE]);

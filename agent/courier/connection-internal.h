/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared by connection.c, connection-socket.c and connection-tls.c. */

#include <openssl/ssl.h>

#include "agent/courier/connection.h"

typedef struct Socket Socket;

struct Connection {
    sd_event *event;
    sd_event_source *timer; /* curl's */
    sd_event_source *end;   /* deferred */
    CURLM *multi;
    Socket *sockets;
    Request *requests;
    connection_ended_t ended;
    void *userdata;
    bool has_ended;
    Problem why;
    uint64_t moved; /* clock_boottime() */
    char origin[sizeof("https://") + sizeof(((Relay *)NULL)->host) + sizeof(":65535")];

    /* connection-tls.c */
    int tls_index;
    SSL *ssl;         /* curl's; NULL before it is good and after its end */
    bool established; /* there was one: there will be no other */
    bool any_pin;
    bool has_pin;
    bool has_seen;
    uint8_t pin[PIN_SIZE];
    uint8_t seen[PIN_SIZE]; /* of the key that the relay has */
};

/* Options of curl that have to do with TLS; false: no memory. */
bool connection_tls_prepare(Connection *c, CURL *easy);

/* Options of curl that have to do with sockets. */
bool connection_socket_prepare(Connection *c, CURL *easy);
bool connection_socket_prepare_multi(Connection *c);
void connection_socket_free(Connection *c);

/* Looks what curl has finished; after each call that may have made it finish something. */
void connection_look(Connection *c);

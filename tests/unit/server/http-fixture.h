/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A server with routes of the test's own in this process, and two kinds of client for it: libcurl, and TLS
 * alone for what no decent client does. */

#include <glib.h>
#include <openssl/ssl.h>

#include "server/http-server.h"

typedef struct Fixture {
    RelayKey *key;
    Tls *tls;
    HttpOptions options;
    HttpServer *server;
    int port;
} Fixture;

typedef struct Answer {
    long status;
    GString *headers, *body;
} Answer;

/* options: routes, and what differs from two loops and 100 connections. */
void fixture_start(Fixture *f, const HttpOptions *options);
void fixture_stop(Fixture *f);

/* One request on a connection of its own; method NULL: GET. length -1: the body's. */
void fixture_fetch(const Fixture *f, const char *method, const char *path, const char *type, const char *body,
                   gssize length, Answer *ret);
void answer_clear(Answer *a);
/* Expects a problem document of this name. */
void fixture_expect_problem(const Fixture *f, const char *method, const char *path, const char *type,
                            const char *body, gssize length, int status, const char *name);

int fixture_connect(const Fixture *f); /* -1: refused */
/* A TLS client on a connection of its own. alpn: as on the wire, may be NULL. NULL: the handshake failed. */
SSL *fixture_tls(const Fixture *f, int max_version, const char *alpn);
void fixture_tls_free(SSL *ssl);
/* Reads until the server closes. */
void fixture_tls_await_end(SSL *ssl);

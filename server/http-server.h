/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The HTTP/2 server: its threads, each with an event loop, and its limits. */

#include "server/http.h"
#include "server/tls.h"

#define HTTP_LISTEN_MAX 8u           /* sockets that it accepts from */
#define HTTP_LOOPS_MAX 64u           /* threads */
#define HTTP_STREAMS_MAX 64u         /* requests at a time on one connection */
#define HTTP_HEADERS_SIZE_MAX 16384u /* header list, RFC 9113 section 6.5.2 */
#define HTTP_HEADERS_MAX 64u         /* fields */
#define HTTP_BODY_RATE_MIN 1024u     /* bytes per second; what is slower is given up */
#define HTTP_MEMORY_MAX (512u << 20) /* bytes of bodies, in and out, of all requests; then 503 */

/* Seconds. 0 stands for the default. */
typedef struct HttpTimeouts {
    unsigned handshake; /* 10: from the connection to the client's settings */
    unsigned idle;      /* 300: without a stream */
    unsigned body;      /* 30: in each, HTTP_BODY_RATE_MIN must come of a header and body, or its end */
    unsigned stall;     /* 60: in each, as much of an answer must be taken; of events, anything */
    unsigned keepalive; /* 30: between comments on event streams */
    unsigned grace;     /* 10: for answers that are under way when the server ends */
} HttpTimeouts;

typedef struct HttpOptions {
    const HttpRoute *routes;
    size_t n_routes;
    void *context;                /* for http_request_context */
    unsigned loops;               /* 1..HTTP_LOOPS_MAX */
    unsigned connections;         /* at a time, of all loops */
    unsigned address_connections; /* of one address; 0: no limit of its own */
    HttpTimeouts timeouts;
    uint64_t memory; /* 0: HTTP_MEMORY_MAX */
} HttpOptions;

typedef struct HttpServer HttpServer;

/* Starts to serve the listening sockets, which it takes over when it succeeds. tls must outlive it; o and
 * its routes are not copied. */
int http_server_new(const int *fds, size_t n_fds, Tls *tls, const HttpOptions *o, HttpServer **ret);
/* Accepts no more, lets requests end within the time of grace, tells clients to go (GOAWAY), waits for the
 * threads. */
void http_server_stop(HttpServer *s);
/* Stops, then calls what is still posted. Whatever answers from other threads must have ended. */
HttpServer *http_server_free(HttpServer *s);
DEFINE_CLEANUP(HttpServer *, http_server_free)

#define HTTP_STATUS_MAX 600u

typedef struct HttpCounts {
    unsigned connections;              /* open now */
    uint64_t refused;                  /* connections, since the start */
    uint64_t memory;                   /* bytes of bodies under way */
    uint64_t answers[HTTP_STATUS_MAX]; /* by status, since the start */
} HttpCounts;

void http_server_counts(HttpServer *s, HttpCounts *ret); /* any thread */
unsigned http_server_connections(HttpServer *s);         /* open now; any thread */
/* For how many microseconds one of the threads has not looked around, which each does once a second: it
 * hangs, or has ended. now: CLOCK_BOOTTIME; any thread. */
uint64_t http_server_silence(HttpServer *s, uint64_t now);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to http-*.c. Objects of a connection are touched by its loop alone, except for reference counts,
 * HttpRequest.answered and what the locks of HttpLoop and HttpEvents are for. */

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <systemd/sd-event.h>

#include "server/http-server.h"
#include "server/peers.h"
#include "server/route.h"

struct ssl_st;

#define HTTP_RECORD_SIZE 16384u /* of a TLS record, and of what is sent at a time */

typedef struct HttpLoop HttpLoop;
typedef struct HttpConnection HttpConnection;

/* Something to be done on a loop: embedded in what it is about, which run hands on or frees. */
typedef struct HttpPost HttpPost;
struct HttpPost {
    HttpPost *next;
    void (*run)(HttpPost *p);
};

struct HttpServer {
    const HttpOptions *options;
    HttpTimeouts timeouts;
    Tls *tls;
    int fds[HTTP_LISTEN_MAX];
    size_t n_fds;
    atomic_uint connections;
    Peers *peers; /* of the connections */
    atomic_uint_fast64_t refused;
    atomic_uint_fast64_t answers[HTTP_STATUS_MAX];
    atomic_uint_fast64_t complained; /* when a refusal was logged, CLOCK_BOOTTIME */
    atomic_uint_fast64_t memory;     /* of bodies */
    uint64_t memory_max;
    HttpLoop *loops[HTTP_LOOPS_MAX];
    unsigned n_loops;
    unsigned next; /* of the loop that accepts: who gets the next connection */
    bool stopped;
};

struct HttpLoop {
    HttpServer *server;
    unsigned index;
    pthread_t thread;
    bool started;
    sd_event *event;
    sd_event_source *accepts[HTTP_LISTEN_MAX];
    sd_event_source *sweep;
    atomic_uint_fast64_t swept; /* when it last looked around, CLOCK_BOOTTIME */
    int wake_fd;
    pthread_mutex_t lock; /* over posts and sleeping */
    HttpPost *posts, **posts_end;
    bool sleeping;
    HttpConnection *connections;
    HttpConnection *dirty; /* have something to send */
    bool accepting;        /* false for a while when descriptors are short */
    bool draining;
    uint64_t drain_end;
    HttpPost drain;
    Buf out;
    uint8_t in[HTTP_RECORD_SIZE];
};

struct HttpConnection {
    HttpLoop *loop;
    HttpConnection *next, *previous, *next_dirty;
    bool dirty;
    int fd;
    struct ssl_st *ssl;
    sd_event_source *io;
    uint32_t wanted;          /* events of io */
    bool greeted;             /* the client's settings have come */
    bool broken;              /* to be closed */
    nghttp2_session *session; /* NULL during the handshake */
    Buf out;                  /* what the socket did not take yet */
    HttpRequest *requests;
    uint64_t since;      /* of the handshake; then of being idle */
    uint64_t sent;       /* when the socket last took something */
    uint64_t resets_due; /* when the streams that failed would have failed at the steady rate */
    Client client;
};

/* How fast something goes: since when, and how many bytes were through then. */
typedef struct HttpPace {
    uint64_t since, done;
} HttpPace;

/* The answer, in place so that answering cannot run out of memory. */
typedef struct HttpAnswer {
    unsigned status;
    const char *content_type;
    unsigned retry_after;
    Buf body;
    HttpSource source; /* instead of body, when it can read */
    uint64_t size, offset;
    uint64_t charged; /* to the server's memory */
    HttpEvents *events;
    bool failed; /* reset the stream instead */
    char allow[ALLOW_SIZE];
} HttpAnswer;

struct HttpRequest {
    atomic_uint references;
    HttpLoop *loop;
    HttpConnection *connection; /* NULL when the stream is closed */
    HttpRequest *next, *previous;
    int32_t stream;
    const HttpRoute *route;
    char method[8];
    Target target;
    bool bad, complete; /* complete: the body */
    Buf headers;        /* name, 0, value, 0, … */
    size_t headers_size;
    unsigned n_headers;
    int64_t length;
    uint64_t body_max, received, discarded;
    Buf body;
    uint64_t charged; /* of received, to the server's memory */
    HttpPace in, out; /* of the request and of the answer */
    void *data;
    void (*free_data)(void *data);
    atomic_bool answered, closed;
    bool sending; /* answer belongs to the loop now */
    HttpAnswer answer;
    HttpPost post; /* of the answer; holds a reference */
};

/* http-accept.c: the connection of this peer is over. */
void http_accept_leave(HttpServer *s, const struct sockaddr_storage *peer);

/* http-loop.c */
int http_loop_new(HttpServer *s, unsigned index, HttpLoop **ret);
int http_loop_start(HttpLoop *l);
void http_loop_post(HttpLoop *l, HttpPost *p); /* any thread */
void http_loop_drain(HttpLoop *l);             /* any thread: end when the connections have */
void http_loop_join(HttpLoop *l);
HttpLoop *http_loop_free(HttpLoop *l); /* runs what is posted */

/* http-accept.c */
int http_accept_start(HttpLoop *l);
void http_accept_resume(HttpLoop *l);
void http_accept_stop(HttpLoop *l);

/* http-connection.c */
/* Takes fd, also when it fails; counts in server->connections. */
void http_connection_open(HttpLoop *l, int fd, const struct sockaddr_storage *peer, socklen_t peer_size);
void http_connection_close(HttpConnection *c);
void http_connection_touch(HttpConnection *c); /* has something to send: http_connection_flush comes */
void http_connection_flush(HttpConnection *c); /* may close it */
void http_connection_sweep(HttpConnection *c, uint64_t now); /* time-outs; may close it */
void http_connection_goaway(HttpConnection *c);

/* http-session.c: what nghttp2 tells */
int http_session_new(HttpConnection *c);

/* http-request.c */
int http_request_new(HttpConnection *c, int32_t stream, HttpRequest **ret);
int http_request_add_header(HttpRequest *r, const char *name, size_t name_size, const char *value,
                            size_t value_size);
void http_request_headers_done(HttpRequest *r);
void http_request_data_in(HttpRequest *r, const void *data, size_t n);
void http_request_body_done(HttpRequest *r);
void http_request_detach(HttpRequest *r); /* the stream is closed; drops the connection's reference */
/* Takes n bytes of the server's memory for bodies, as far as there are; any thread. */
bool http_memory_take(HttpServer *s, uint64_t n);
void http_memory_give(HttpServer *s, uint64_t n);

/* http-answer.c */
void http_answer_done(HttpAnswer *a);
/* The stream is closed: so are the events on it. */
void http_answer_closed(HttpRequest *r);
/* A problem with the Allow header field (RFC 9110 section 15.5.6). */
void http_answer_not_allowed(HttpRequest *r, const char *allow);
/* Takes a reference of e; false: there is an answer already, which drops it. */
bool http_answer_stream(HttpRequest *r, HttpEvents *e);

/* http-events.c */
ssize_t http_events_read(HttpEvents *e, uint8_t *to, size_t n, uint32_t *flags);
void http_events_close(HttpEvents *e);
/* Keeps it alive; true: its client takes nothing any more. Times in microseconds. */
bool http_events_sweep(HttpEvents *e, uint64_t now, uint64_t keepalive, uint64_t stall);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The relay's HTTP/2 server as its handlers see it. Each connection belongs to one loop, a thread; all
 * callbacks of a request run there and must not block for long. A handler answers at once, or keeps a
 * reference and answers later, from any thread. Functions marked "any thread" may be called from everywhere,
 * the others only in callbacks of the request. */

#include <jansson.h>
#include <sys/types.h>

#include "server/client.h"
#include "server/problem.h"

#define HTTP_VALUES_MAX 4u                 /* variables of one path pattern */
#define HTTP_EVENTS_SIZE_MAX (64u * 1024u) /* bytes that wait on one event stream */

typedef struct HttpRequest HttpRequest;

/* Each returns 0, a negative errno (answered 500 and logged) or a positive Problem, which is then the answer,
 * unless there was one already. */
typedef struct HttpRoute {
    const char *method;
    const char *pattern; /* "/v1/names/{name}": a variable is one whole segment, never empty */
    bool login;          /* 401 unless the connection is logged in */
    bool json;           /* a body must be application/json, else 415 */
    /* Largest body; a longer one is answered 413, before it is read when the request tells its length. */
    uint64_t body_max;
    /* The header is there, the body not yet: refuse early, raise the limit, choose to stream. May be NULL. */
    int (*begin)(HttpRequest *r);
    /* With this each piece of the body comes here; without it the whole is kept for http_request_body. */
    int (*data)(HttpRequest *r, const void *data, size_t n);
    /* The body is complete. Not called when the request was answered before. */
    int (*end)(HttpRequest *r);
} HttpRoute;

/* any thread */
HttpRequest *http_request_ref(HttpRequest *r);
HttpRequest *http_request_unref(HttpRequest *r);
DEFINE_CLEANUP(HttpRequest *, http_request_unref)

/* What the server was made with (HttpOptions.context). any thread */
void *http_request_context(const HttpRequest *r);
/* 0..n_loops - 1: for things of which each loop has its own. any thread */
unsigned http_request_loop(const HttpRequest *r);

/* The connection's state. NULL when the client has left meanwhile, which only code that runs later than the
 * callbacks of the route (http_request_post) can meet. */
Client *http_request_client(HttpRequest *r);
/* Has an answer been given, or the stream been closed? */
bool http_request_finished(const HttpRequest *r);

const char *http_request_method(const HttpRequest *r);
const char *http_request_path(const HttpRequest *r); /* as it was sent, without the query */
/* The index-th variable of the pattern, percent-decoded. */
const char *http_request_value(const HttpRequest *r, unsigned index);
/* The value of a query parameter, percent-decoded; NULL: none. A name that comes twice gives 400 by itself.
 */
const char *http_request_query(const HttpRequest *r, const char *name);
/* A header field in lower case; NULL: none. */
const char *http_request_header(const HttpRequest *r, const char *name);
/* The announced length of the body; -1: not told. */
int64_t http_request_length(const HttpRequest *r);

/* In begin: another limit than the route's. */
void http_request_set_body_max(HttpRequest *r, uint64_t max);
/* In end: the body, when the route has no data callback. Owned by r. */
const Buf *http_request_body(const HttpRequest *r);
/* The same as a strict JSON object with these members at most (NULL-terminated), a new reference; an empty
 * body is {}. PROBLEM_BAD_REQUEST otherwise. */
int http_request_json(const HttpRequest *r, const char *const *names, json_t **ret);

/* Something that the handlers keep with the request; freed with it (by whoever drops the last reference). */
void http_request_set_data(HttpRequest *r, void *data, void (*free_data)(void *data));
void *http_request_data(const HttpRequest *r);

/* Calls f(r, userdata) on the loop of r, exactly once, even if the client has left or the server ends (then
 * from http_free). Keeps r until then. Returns -ENOMEM only when nothing will be called. any thread */
int http_request_post(HttpRequest *r, void (*f)(HttpRequest *r, void *userdata), void *userdata);

/* Answers, each from any thread. The first one counts, others are dropped. What goes wrong in them is not the
 * caller's concern: the stream is then reset. */
void http_answer_empty(HttpRequest *r, unsigned status);
/* Takes the contents of body, which is then empty. */
void http_answer_buf(HttpRequest *r, unsigned status, const char *content_type, Buf *body);
void http_answer_json(HttpRequest *r, unsigned status, const json_t *body);
/* A body that is read in pieces, on the loop: at most n bytes from offset, which only grows. 0 or less: it
 * cannot be answered as promised. free is called once, on any thread. */
typedef struct HttpSource {
    ssize_t (*read)(void *userdata, uint64_t offset, void *to, size_t n);
    void (*free)(void *userdata);
    void *userdata;
} HttpSource;
/* size bytes of source, which it takes. */
void http_answer_source(HttpRequest *r, unsigned status, const char *content_type, const HttpSource *source,
                        uint64_t size);
/* retry_after in seconds (0: the default where one is needed); detail may be NULL. */
void http_answer_problem(HttpRequest *r, Problem p, const char *detail, unsigned retry_after);
/* For a negative errno, an HmsgError of a library: problem_from_error; a negative one is logged. */
void http_answer_error(HttpRequest *r, int error);

/* Server-sent events. The stream stays open until the client leaves or http_events_end. A comment line every
 * 30 s keeps it alive. */
typedef struct HttpEvents HttpEvents;

/* In a callback of r. more (may be NULL): all that was pushed has been sent, so there is room; closed (may be
 * NULL): called once, the last call. Both on the loop. *ret is a reference of the caller's. */
int http_answer_events(HttpRequest *r, void (*more)(HttpEvents *e, void *userdata),
                       void (*closed)(HttpEvents *e, void *userdata), void *userdata, HttpEvents **ret);
/* data is one line. -ENOBUFS: HTTP_EVENTS_SIZE_MAX bytes are waiting; nothing was added, more will be called.
 * -EPIPE: the stream is closed, or ends since the memory for all bodies is used up. any thread */
int http_events_push(HttpEvents *e, const char *event, const char *data);
void http_events_end(HttpEvents *e); /* any thread */
HttpRequest *http_events_request(HttpEvents *e);
HttpEvents *http_events_ref(HttpEvents *e);   /* any thread */
HttpEvents *http_events_unref(HttpEvents *e); /* any thread */
DEFINE_CLEANUP(HttpEvents *, http_events_unref)

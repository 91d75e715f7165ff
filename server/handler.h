/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the handlers share; for them alone. Their functions return what HttpRoute wants: 0, a negative errno
 * or a Problem. */

#include <stdatomic.h>

#include "libhmsg/wire/capability.h"
#include "server/handlers.h"
#include "server/hub.h"
#include "server/limiter.h"
#include "server/steady.h"
#include "server/store.h"
#include "server/sweeper.h"
#include "server/transfers.h"
#include "server/watcher.h"

#define OCTETS "application/octet-stream"

/* Lives until the last request that uses it is done. */
struct Handlers {
    atomic_uint refs;
    const Options *options;
    RelayKey *key;
    Store *store;
    StoreReader **readers; /* one for each loop */
    unsigned n_readers;
    StoreReader *watch; /* of handlers_counts and _ready */
    atomic_bool guests; /* these three of the options can change */
    atomic_uint registration;
    atomic_uint_fast64_t message_lifetime;
    Hub *hub;
    atomic_uint_fast64_t accepted, accepted_bytes, delivered; /* HandlersTotals */
    Limiter *limiter;
    Steady *steady; /* by which messages end */
    Transfers *transfers;
    Sweeper *sweeper;
    Watcher *watcher; /* NULL: the store is of this relay alone */
};
Handlers *handlers_ref(Handlers *h);
void handlers_unref(Handlers *h);

static inline Handlers *handlers_of(const HttpRequest *r)
{
    return http_request_context(r);
}
StoreReader *handlers_reader(const HttpRequest *r);

/* A library's result as a handler's: errors become problems where there is a fitting one. */
int handler_result(int r);

/* The index-th variable of the path as 32 bytes of base64url. PROBLEM_BAD_REQUEST. */
int handler_hash(const HttpRequest *r, unsigned index, uint8_t ret[static KID_SIZE]);

/* Answers 429 (and returns PROBLEM_TOO_MANY_REQUESTS) when the client's address did this too often. */
int handler_limit(HttpRequest *r, LimitKind kind);

/* The current online key; PROBLEM_UNAVAILABLE when there is none, or its time is over. */
int handler_online(const HttpRequest *r, OnlineKey **ret);
/* Adds the binding of an identity, signed now, and the relay's statement: "binding", "relay". */
int handler_put_binding(const OnlineKey *online, const StoreIdentity *i, json_t *j);
/* Adds "relay". */
int handler_put_relay(const OnlineKey *online, json_t *j);

/* What ties the statement text to this connection: its nonce, which is used up by this. PROBLEM_REFUSED: not
 * a nonce of this connection. The caller gives *ret_nonce to client_nonce_done. */
int handler_binding(HttpRequest *r, const char *text, size_t n, JwsType type, RequestBinding *ret,
                    ClientNonce *ret_nonce);

/* A change of the store that is answered when it is on disk. */
typedef struct HandlerWrite HandlerWrite;
struct HandlerWrite {
    StoreWrite write;
    HttpRequest *request;
    Handlers *handlers;
    /* On the store's thread, when it went well; may be NULL. */
    void (*stored)(HandlerWrite *w);
    /* On the loop: answers, or returns an error or a problem, which then is the answer. */
    int (*finish)(HandlerWrite *w);
    void (*free)(HandlerWrite *w);
};
/* Takes w, whatever it returns. */
int handler_write_start(HandlerWrite *w, HttpRequest *r);

/* What somebody sends who wants to enter keys here. */
typedef struct Application {
    json_t *body;                             /* owns the texts */
    const char *statement, *request, *invite; /* invite may be NULL */
    size_t statement_size, request_size;
    uint8_t answer[SHA256_SIZE];
    IdentityStatement identity; /* the statement, parsed */
} Application;
void application_done(Application *a);
/* names: the members that the body may have. The statement is signed by the key in it; the rest is not yet
 * checked. */
int application_read(HttpRequest *r, const char *const *names, Application *ret);
/* The request is signed by the statement's sign key, for this statement on this connection, and whoever sent
 * it can decrypt. What it asks for is the caller's to see. */
int application_check(HttpRequest *r, const Application *a, RegisterRequest *ret);
/* As it will be stored, under name. */
int application_identity(const Application *a, const char *name, StoreIdentity *ret);

/* A mailbox of one's own, which guests do not have: PROBLEM_NOT_FOUND. */
int handler_own_mailbox(HttpRequest *r, const Client **ret);
/* Is the member "mac" this? PROBLEM_BAD_REQUEST, PROBLEM_REFUSED. */
int handler_check_mac(const json_t *j, const uint8_t expected[static SHA256_SIZE]);

/* Seconds that the relay keeps a message at most. */
int64_t handler_lifetime(const HttpRequest *r);

/* The capability that a submission names goes into put. *ret_good: the sender is a guest, and it is good now.
 */
int handler_capability(HttpRequest *r, StoreWrite *put, bool *ret_good);

/* The callbacks of the routes. */
int handle_relay(HttpRequest *r);
int handle_nonce(HttpRequest *r);
int handle_challenge(HttpRequest *r);
int handle_register(HttpRequest *r);
int handle_unregister(HttpRequest *r);
int handle_rotate(HttpRequest *r);
int handle_name(HttpRequest *r);
int handle_key(HttpRequest *r);
int handle_login(HttpRequest *r);
int handle_submit_begin(HttpRequest *r);
int handle_submit_data(HttpRequest *r, const void *data, size_t n);
int handle_submit_end(HttpRequest *r);
int handle_list(HttpRequest *r);
int handle_fetch(HttpRequest *r);
int handle_acknowledge(HttpRequest *r);
int handle_status(HttpRequest *r);
int handle_events(HttpRequest *r);
int handle_grant(HttpRequest *r);
int handle_revoke(HttpRequest *r);
int handle_capabilities(HttpRequest *r);
int handle_settings(HttpRequest *r);
int handle_set_settings(HttpRequest *r);

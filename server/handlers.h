/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The handlers of the relay's API (docs/relay-api.yaml) and the store behind them. */

#include "server/admin.h"
#include "server/at-rest.h"
#include "server/http.h"
#include "server/options.h"
#include "server/relay-key.h"
#include "server/store.h"

typedef struct Handlers Handlers;

/* The relay's identity key as the keeper of its store; key must outlive it. */
StoreKeeper handlers_keeper(RelayKey *key);

/* Opens the store in o->data. n_loops: threads that call handlers (http_request_loop). known: a former time
 * of the wall clock, for steady_new. o and key must outlive it. -EBUSY: another relay has the store.
 * HMSG_ERROR_AUTHENTICATION_FAILED: it is another key's. */
int handlers_new(const Options *o, RelayKey *key, unsigned n_loops, int64_t known, Handlers **ret);
/* The server calls these with Handlers as http_request_context. */
const HttpRoute *handlers_routes(size_t *ret_n);
/* On one thread, not one of the loops': what the store holds; whether it can be read at all, and
 * has room (-ENOSPC); the free bytes of its disk, UINT64_MAX when they are not the relay's to know. */
int handlers_counts(Handlers *h, StoreCounts *ret);
int handlers_ready(Handlers *h);
uint64_t handlers_space(const Handlers *h);
/* Since the start, by this relay; any thread. */
typedef struct HandlersTotals {
    uint64_t accepted, accepted_bytes; /* messages that are new here */
    uint64_t delivered;                /* acknowledged by their owners */
    uint64_t expired;
} HandlersTotals;
HandlersTotals handlers_totals(Handlers *h);
int64_t handlers_time(Handlers *h);    /* any thread: by which messages end, steady.h */
bool handlers_clock_held(Handlers *h); /* any thread: that is not the wall clock now */
/* For administrators, of the relay that serves; good until handlers_free, and has no reader. */
void handlers_admin_init(Handlers *h, Admin *ret);
/* Any thread: takes over what o says of registration, guests, rates and the lifetime of messages. */
void handlers_reload(Handlers *h, const Options *o);
/* Ends the store's threads, after the loops have ended: what waits is finished and posted to its requests.
 * The first does that much alone, so that an Admin which waits for the store is answered too. */
void handlers_stop(Handlers *h); /* may be NULL */
Handlers *handlers_free(Handlers *h);
DEFINE_CLEANUP(Handlers *, handlers_free)

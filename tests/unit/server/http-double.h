/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stands for the HTTP server (server/http.h) in tests of the handlers: one loop, which is the test's thread,
 * and connections without a network. Requests go through the real table of routes. */

#include <glib.h>

#include "server/http.h"

typedef struct DoubleConnection {
    Client client;
    const HttpRoute *routes;
    size_t n_routes;
    void *context;
} DoubleConnection;

DoubleConnection *double_connect(const HttpRoute *routes, size_t n_routes, void *context);
void double_close(DoubleConnection *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DoubleConnection, double_close)

/* What came back. */
typedef struct DoubleAnswer {
    unsigned status, retry;
    char *type;
    GByteArray *body; /* of files too */
    json_t *json;     /* when it is JSON */
} DoubleAnswer;
void double_answer_free(DoubleAnswer *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DoubleAnswer, double_answer_free)

/* One request, until it is answered. headers: "name: value", NULL-terminated; NULL: none. piece: the body
 * comes in pieces of this size (0: in one); told: whether its length is told. */
typedef struct DoubleCall {
    const char *method, *target;
    const char *const *headers;
    const void *body;
    size_t size, piece;
    bool untold;
} DoubleCall;
DoubleAnswer *double_call(DoubleConnection *c, const DoubleCall *call);
/* With a JSON body (stolen; NULL: none). */
DoubleAnswer *double_json(DoubleConnection *c, const char *method, const char *target, json_t *body);

/* Begins a request for events; the connection must stay. room: how many events fit until double_events_take.
 */
typedef struct DoubleEvents DoubleEvents;
DoubleEvents *double_events(DoubleConnection *c, const char *target, unsigned room);
/* The next event as "name data", waits for it. g_free. NULL: the stream has ended. */
char *double_events_take(DoubleEvents *e);
void double_events_close(DoubleEvents *e); /* the client leaves */

/* Calls what was posted. */
void double_run(void);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How the relay is, for whoever looks after it: /healthz, /readyz and /metrics of its monitor. No id, address
 * or name is told. Used on one thread. */

#include "server/handlers.h"
#include "server/http-server.h"

#define HEALTH_SILENCE_MAX 60000000u /* microseconds, of http_server_silence */

typedef struct Health {
    HttpServer *server;
    Handlers *handlers;
    RelayKey *key;
    int64_t key_made;     /* Unix seconds */
    bool key_overdue;     /* for its change */
    int64_t announced;    /* the next one, since; 0: none */
    uint64_t silence_max; /* 0: HEALTH_SILENCE_MAX */
} Health;

/* A MonitorAnswer; userdata is a Health. /healthz: 200 while all of its threads go round, else 503. /readyz:
 * 200 when it can take messages and prove it, else 503. /metrics: the text format of Prometheus, version
 * 0.0.4.
 */
unsigned health_answer(void *userdata, const char *path, Buf *body);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Hears from other relays that share the store, and tells the hub: a thread that reads their news some times
 * a second. */

#include "server/hub.h"

#define WATCH_INTERVAL_MS 200u

typedef struct Watcher Watcher;

/* A reader of its own. *ret NULL: the store is nobody else's. */
int watcher_start(Store *store, Hub *hub, unsigned interval_ms, Watcher **ret);
Watcher *watcher_stop(Watcher *w);

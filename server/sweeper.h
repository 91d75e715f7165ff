/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A thread that lets messages expire, now and then, and tells their senders; and has keys changed when they
 * are due. */

#include "server/hub.h"
#include "server/steady.h"
#include "server/store.h"

#define SWEEP_INTERVAL_MS 60000u

typedef struct Sweeper Sweeper;

/* store, hub and steady must outlive it; messages end by the last. Sweeps at once, then every interval.
 * key_age: StoreWrite.rekey.age_max. */
int sweeper_start(Store *store, Hub *hub, Steady *steady, unsigned interval_ms, uint64_t key_age,
                  Sweeper **ret);
uint64_t sweeper_expired(Sweeper *s); /* messages, since the start; any thread */
Sweeper *sweeper_stop(Sweeper *s);
DEFINE_CLEANUP(Sweeper *, sweeper_stop)

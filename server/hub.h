/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who waits for events, on all loops. What a mailbox holds is read from the store by each stream at its own
 * pace; the hub only wakes them. States of messages are handed on. */

#include "server/http.h"
#include "server/store.h"

#define HUB_STREAMS_MAX 16u /* open event streams of one user */

typedef struct Hub Hub;

int hub_new(Hub **ret);
Hub *hub_free(Hub *h); /* no stream may be left */
DEFINE_CLEANUP(Hub *, hub_free)

/* A place in the hub. wake is called on the loop of the stream's request, at least once after each hub_mail,
 * and not after hub_leave. */
typedef struct HubStream HubStream;

/* kid NULL: has no mailbox. Takes a reference of events. PROBLEM_TOO_MANY_REQUESTS: HUB_STREAMS_MAX. Call it
 * on the loop, as hub_leave. */
int hub_join(Hub *h, HttpEvents *events, const uint8_t skid[static KID_SIZE], const uint8_t *kid,
             void (*wake)(void *userdata), void *userdata, HubStream **ret);
HubStream *hub_leave(HubStream *s);
/* Whether this user has all streams that he may have. */
bool hub_full(Hub *h, const uint8_t skid[static KID_SIZE]);

/* The same keys as the news of other relays name them (store_index); kid as in hub_join. On the loop. */
void hub_know(HubStream *s, const uint8_t skid[static KID_SIZE], const uint8_t *kid);
/* Any thread. */
void hub_news(Hub *h, const StoreNews *news);

/* Any thread: there is mail; messages changed; the user is gone. */
void hub_mail(Hub *h, const uint8_t kid[static KID_SIZE]);
void hub_changes(Hub *h, const StoreChange *changes, size_t n);
void hub_end(Hub *h, const uint8_t skid[static KID_SIZE]);

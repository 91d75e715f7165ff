/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A call of a client that is answered later. When the client leaves (its unique name vanishes or its channel
 * closes) the cancel function runs once and must stop the work and free the request; nothing is answered
 * then. A request that is freed unanswered answers Cancelled to a client that is still there. */

#include "agent/manager.h"

typedef struct Request Request;

typedef void (*request_cancel_t)(void *userdata);

/* References call. cancel may be NULL: the work goes on without its client, the answer is dropped. */
int request_new(Access *a, sd_bus_message *call, request_cancel_t cancel, void *userdata, Request **ret);
Request *request_free(Request *r);
DEFINE_CLEANUP(Request *, request_free)

sd_bus_message *request_message(Request *r);

/* A reply to append to; send it with request_send. */
int request_reply_new(Request *r, sd_bus_message **ret);
int request_send(Request *r, sd_bus_message *reply);
/* Both at once. */
int request_reply(Request *r, const char *types, ...);
/* error: HmsgError or -errno; detail NULL or "": error_message(error). */
int request_fail(Request *r, int error, const char *detail);

/* Queues a call behind all that its connection has read, as if it had just come. 0 or a negative errno. */
int call_again(sd_bus_message *call);
/* Gives the call to its method anew, as if it had just come; counts as answered unless it fails. */
int request_again(Request *r);

/* Unicast Progress, when the call's client named a job. */
int request_progress(Request *r, const char *job, uint64_t done, uint64_t total);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A call of the agent that is answered later, by one exchange with a relay. */

#include "agent/courier/courier.h"
#include "agent/courier/peer.h"
#include "libhmsg/wire/json.h"

/* Reads the answer (NULL when none was wanted) and fills the reply. Negative errno, or BAD_PACKAGE: not of
 * the documented form. */
typedef int call_read_t(Call *c, const Request *q, const json_t *answer, sd_bus_message *reply);
typedef call_read_t *call_finish_t;
/* Those that look at nothing of the connection; here for the tests alone. */
call_read_t answer_to_acknowledge, answer_to_capabilities, answer_to_grant, answer_to_list, answer_to_lookup,
    answer_to_register, answer_to_relay, answer_to_settings, answer_to_status, answer_to_submit;

#define MEDIA_JSON "application/json"

/* 0 or negative of what sd_bus_message_append and the like return. */
static inline int appended(int r)
{
    return r < 0 ? r : 0;
}

struct Call {
    Call *prev, *next;                 /* private */
    Call *waiting_prev, *waiting_next; /* of listen.c */
    Courier *courier;
    Peer *peer; /* NULL: of a probe */
    Probe *probe;
    sd_bus_message *message;
    call_finish_t finish;
    const char **ids; /* of Acknowledge, owned by message but for the array */
    size_t n_ids;
};

/* login: the relay must have been logged in to. Negative with *error set. */
int call_new(Courier *courier, sd_bus_message *m, const char *relay, bool login, Call **ret,
             sd_bus_error *error);
/* Without a relay: too many calls are Busy. */
int call_new_bare(Courier *courier, sd_bus_message *m, Call **ret, sd_bus_error *error);
Call *call_free(Call *c);
DEFINE_CLEANUP(Call *, call_free)
void calls_free(Courier *courier);

/* Sends q and answers the call when it is done: by finish, whose reply is sent, or with the problem. Takes
 * call and request over, in any case. 1, or negative with *error set. */
int call_send(Call *call, Request *q, call_finish_t finish, sd_bus_error *error);
/* The same on another connection than the peer's. */
int call_send_on(Call *call, Connection *connection, Request *q, call_finish_t finish, sd_bus_error *error);
/* Makes call and request at once, for an exchange of JSON. body is taken, in any case; NULL: none, or (for
 * POST) no memory. */
int call_json(Courier *courier, sd_bus_message *m, const char *relay, bool login, const char *method,
              json_t *body, call_finish_t finish, sd_bus_error *error, const char *path, ...) _printf_(9, 10);

/* Answer. The call is freed. */
void call_fail(Call *c, const Problem *problem);
void call_reply_empty(Call *c);

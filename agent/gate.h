/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a program may decrypt and sign: as the user's rules say, or the user, who is asked on the screen
 * and whose answer holds until the identity is locked. What kind of program a client is the launcher finds
 * out, which is outside of our sandbox; calls wait meanwhile, and come anew when it is known. */

#include "agent/manager.h"

typedef struct Client Client;
typedef struct GateLook GateLook;

/* -EINVAL: agent.conf [access] is wrong, as the log tells. */
int gate_new(Manager *m, Gate **ret);
Gate *gate_free(Gate *g); /* the clients must be gone */
DEFINE_CLEANUP(Gate *, gate_free)

/* permission: encrypt, decrypt, sign or manage. counted: it has been before. 0: the client may; 1: it waits,
 * and the call comes anew or is answered; else a negative errno with *error set. */
int gate_check(Gate *g, Client *c, sd_bus_message *call, const char *permission, bool counted,
               sd_bus_error *error);
/* The same, when it only must be known what program the client is. */
int gate_know(Gate *g, Client *c, sd_bus_message *call, sd_bus_error *error);

/* For each call that comes, first: calls of a client keep their order while some of them wait. 0: go on; 1:
 * it comes anew, behind those; or a negative errno. */
int gate_keep_order(Client *c, sd_bus_message *call);

/* A call that has passed is queued to come anew: it is not counted in the log again. gate_take_passed: is it
 * such a one, that comes now? */
int gate_pass(Client *c, sd_bus_message *call);
bool gate_take_passed(Client *c, sd_bus_message *call);

void gate_client_leaves(Client *c);
/* Answers of the user that are remembered for this program (id as app_id) are forgotten: there is a new rule.
 */
void gate_forget(Gate *g, const char *app);

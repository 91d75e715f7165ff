/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Of access.c, request.c and the gate: the clients and their calls that wait. */

#include <systemd/sd-bus.h>
#include <uthash.h>

#include "agent/access.h"
#include "agent/app.h"
#include "agent/gate.h"
#include "agent/request.h"

#define REQUESTS_PER_CLIENT_MAX 256u /* calls not yet answered */

struct Client {
    UT_hash_handle hh;
    char *name;      /* unique name; NULL for a channel */
    sd_bus *channel; /* not owned; NULL for a name */
    uid_t uid;
    pid_t pid;
    char *context;                /* of SELinux; NULL: none */
    App app;                      /* kind APP_NOT_ASKED until somebody wants to know */
    GateLook *look;               /* while that is being found out */
    struct GateReturn *returning; /* calls that waited for it, and are queued to come anew */
    struct GateReturn *passed; /* calls that were let pass, and are queued to come anew for another reason */
    Request *requests;
    unsigned n_requests;
};

/* All of the client's: what happens when it leaves. */
void requests_cancel(Client *c);

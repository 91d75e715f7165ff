/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Does what an administrator asks for, on the store; of the relay that serves, or of one that is stopped. */

#include <jansson.h>

#include "libhmsg/wire/address.h"
#include "server/admin-request.h"
#include "server/store.h"

#define ADMIN_PATIENCE 20000u /* ms: Admin.patience of a relay that serves */

typedef struct Admin {
    Store *store;
    StoreReader *reader;
    const Relay *relay;                                /* that addresses are of */
    void (*gone)(void *userdata, const uint8_t *skid); /* a client was deleted, on any thread; may be NULL */
    void *userdata;
    unsigned patience; /* ms until a change that the store has not answered is left to it; 0: for ever */
} Admin;

/* Gets each fact, which stays admin_run's; non-zero ends it. */
typedef int (*admin_emit_t)(void *userdata, json_t *fact);

/* HMSG_ERROR_NOT_FOUND: no such client or invitation; HMSG_ERROR_INVALID_ARGS: no address of this relay, and
 * no thumbprint; HMSG_ERROR_QUOTA_EXCEEDED: too many invitations; -ETIMEDOUT: patience is over, and the store
 * may do it still, until it is stopped, up to when gone must be good. Waits for the store: not on a loop. */
int admin_run(const Admin *a, const AdminRequest *q, admin_emit_t emit, void *userdata);
/* What to tell people about a result of it that is an error. Never NULL. */
const char *admin_problem(int r);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "agent/access.h"
#include "agent/request.h"
#include "agent/unlocker.h"
#include "libhmsg/base/error.h"

/* A call that waits for the user. */
typedef struct UnlockCall {
    Manager *m;
    Request *request;
    UnlockWait *wait;
} UnlockCall;

static UnlockCall *unlock_call_free(UnlockCall *c)
{
    if (!c)
        return NULL;
    unlock_wait_free(c->wait);
    request_free(c->request);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(UnlockCall *, unlock_call_free)

static void on_client_left(void *userdata)
{
    unlock_call_free(userdata);
}

static void on_unlocked(int r, const char *detail, void *userdata)
{
    _cleanup_(unlock_call_freep) UnlockCall *c = userdata;

    if (r == 0) {
        access_passed(c->m->access, request_message(c->request));
        r = request_again(c->request);
    }
    if (r != 0)
        (void)request_fail(c->request, r, detail);
}

bool unlock_first(Manager *m, sd_bus_message *message)
{
    UnlockCall *c;

    if (identity_check(m->identity) != HMSG_ERROR_LOCKED ||
        sd_bus_message_get_allow_interactive_authorization(message) <= 0)
        return false;
    c = calloc(1, sizeof(*c));
    if (!c)
        return false;
    c->m = m;
    if (unlocker_wait(m->unlocker, false, on_unlocked, c, &c->wait) == 0 &&
        request_new(m->access, message, on_client_left, c, &c->request) == 0)
        return true;
    unlock_call_free(c);
    return false;
}

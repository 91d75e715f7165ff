/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What becomes of messages that a relay has accepted. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/outbox-internal.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

static bool state_of(const char *name, OutboxState *ret)
{
    if (strcmp(name, "delivered") == 0)
        *ret = OUTBOX_DELIVERED;
    else if (strcmp(name, "expired") == 0)
        *ret = OUTBOX_EXPIRED;
    else
        return false;
    return true;
}

void outbox_status_told(Outbox *o, const char *relay, const char *message, const char *state)
{
    OutboxState told;
    OutboxRow row;
    Delivery *d;

    if (!state_of(state, &told) || outbox_store_find(o->store, relay, message, &row) != 0)
        return;
    if (row.state == OUTBOX_ACCEPTED) {
        (void)outbox_set_state(o, &row, told, "");
        return;
    }
    /* quicker than the answer to the submission: that has the receipt */
    DL_FOREACH (o->deliveries, d)
        if (d->row.serial == row.serial)
            d->told = told;
}

static void poll_end(Poll *p)
{
    DL_DELETE(p->owner->polls, p);
    (void)relays_request_free(p->request);
    free(p);
}

static void poll_next(Poll *p);

static void on_state(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Poll *p = userdata;
    Outbox *o = p->owner;

    if (r == 0)
        outbox_status_told(o, p->relay, p->row.message, result->state);
    /* what the relay knows nothing of any more ends by its expiry */
    if (r != 0 && r != HMSG_ERROR_NOT_FOUND) {
        poll_end(p); /* goes on with the next connection */
        return;
    }
    p->request = relays_request_free(p->request);
    poll_next(p);
}

static void poll_next(Poll *p)
{
    Outbox *o = p->owner;
    int r;

    r = outbox_store_next_at(o->store, p->relay, OUTBOX_ACCEPTED, p->row.serial, &p->row);
    if (r == HMSG_ERROR_NOT_FOUND && p->again) {
        p->again = false;
        r = outbox_store_next_at(o->store, p->relay, OUTBOX_ACCEPTED, 0, &p->row);
    }
    if (r == 0)
        r = relays_status(o->m->relays, p->relay, p->row.message, on_state, p, &p->request);
    if (r != 0)
        poll_end(p);
}

void outbox_status_start(Outbox *o, const char *relay)
{
    Poll *p;

    DL_FOREACH (o->polls, p)
        if (strcmp(p->relay, relay) == 0) {
            p->again = true;
            return;
        }
    p = calloc(1, sizeof(*p));
    if (!p)
        return;
    p->owner = o;
    (void)snprintf(p->relay, sizeof(p->relay), "%s", relay);
    DL_APPEND(o->polls, p);
    poll_next(p);
}

void outbox_status_stop(Outbox *o)
{
    while (o->polls)
        poll_end(o->polls);
}

void outbox_status_keep(Outbox *o, const char *relay)
{
    OutboxRow row;
    int r;

    r = outbox_store_next_at(o->store, relay, OUTBOX_ACCEPTED, 0, &row);
    if (r != 0 && r != HMSG_ERROR_NOT_FOUND)
        return;
    if (relays_keep(o->m->relays, relay, r == 0) != 0)
        log_error("No connection can be kept to a relay");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/mailbox-internal.h"
#include "libhmsg/base/error.h"

static void finish(MailboxRequest *q)
{
    Mailbox *b = q->owner;
    MailboxSync result = {.fetched = (unsigned)(b->fetched - q->fetched_before)};
    const char *const *ours;
    int r = 0;

    result.relays = (unsigned)relays_ours(b->m->relays, &ours);
    for (unsigned i = 0; i < result.relays; i++) {
        const MailboxRelay *l = mailbox_relay(b, ours[i]);

        if (!l || l->list_result != 0)
            result.unreachable++;
        if (l && l->list_result == HMSG_ERROR_LOCKED)
            r = HMSG_ERROR_LOCKED;
    }
    if (r == 0 && result.relays > 0 && result.unreachable == result.relays)
        r = HMSG_ERROR_RELAY_UNAVAILABLE;
    if (result.unreachable < result.relays)
        r = 0;
    mailbox_request_detach(q);
    q->sync_done(r,
                 r == HMSG_ERROR_RELAY_UNAVAILABLE ? "None of our relays can be reached" : error_message(r),
                 r == 0 ? &result : NULL, q->userdata);
}

static bool anything_under_way(Mailbox *b)
{
    const char *const *ours;
    size_t n = relays_ours(b->m->relays, &ours);

    for (size_t i = 0; i < n; i++)
        if (mailbox_busy(b, ours[i]))
            return true;
    return false;
}

void mailbox_sync_check(Mailbox *b)
{
    MailboxRequest *q, *next;

    if (anything_under_way(b))
        return;
    /* callbacks free the request they are called for, no other */
    DL_FOREACH_SAFE (b->requests, q, next)
        if (q->sync_done && !q->later)
            finish(q);
}

static int on_begin(sd_event_source *source, void *userdata)
{
    MailboxRequest *q = userdata;
    Mailbox *b = q->owner;
    const char *const *ours;
    size_t n;

    q->later = sd_event_source_disable_unref(q->later);
    relays_hurry(b->m->relays);
    n = relays_ours(b->m->relays, &ours);
    for (size_t i = 0; i < n; i++) {
        MailboxRelay *l = mailbox_relay(b, ours[i]);

        if (l)
            mailbox_list(l);
    }
    mailbox_sync_check(b);
    return 0;
}

int mailbox_sync(Mailbox *b, mailbox_sync_t done, void *userdata, MailboxRequest **ret)
{
    MailboxRequest *q;
    int r;

    r = mailbox_request_alloc(b, &q);
    if (r < 0)
        return r;
    q->sync_done = done;
    q->userdata = userdata;
    q->fetched_before = b->fetched;
    r = sd_event_add_defer(b->m->event, &q->later, on_begin, q);
    if (r < 0) {
        (void)mailbox_request_free(q);
        return r;
    }
    *ret = q;
    return 0;
}

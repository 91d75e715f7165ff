/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/mailbox-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define USEC UINT64_C(1000000)

static void pump(Mailbox *b);

MailboxRelay *mailbox_relay(Mailbox *b, const char *relay)
{
    MailboxRelay *l;

    DL_FOREACH (b->relays, l)
        if (strcmp(l->relay, relay) == 0)
            return l;
    l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->owner = b;
    (void)snprintf(l->relay, sizeof(l->relay), "%s", relay);
    DL_APPEND(b->relays, l);
    return l;
}

bool mailbox_busy(const Mailbox *b, const char *relay)
{
    const Intake *k;
    const MailboxRelay *l;

    DL_FOREACH (b->relays, l)
        if (strcmp(l->relay, relay) == 0 && l->list)
            return true;
    DL_FOREACH (b->queue, k)
        if (k->row.serial == 0 && strcmp(k->row.relay, relay) == 0)
            return true;
    return false;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    Mailbox *b = userdata;
    MailboxRelay *l;

    b->timer = sd_event_source_disable_unref(b->timer);
    b->keep_failed = false;
    b->rechecking = true;
    b->rechecked = 0;
    b->keep_wanted = true;
    DL_FOREACH (b->relays, l)
        if (l->behind && relays_is_listening(b->m->relays, l->relay))
            mailbox_list(l);
    if (inbox_expire(b->inbox, clock_realtime()) < 0)
        log_error("The record of messages seen cannot be cleaned");
    pump(b);
    return 0;
}

void mailbox_try_later(Mailbox *b)
{
    if (b->timer)
        return;
    if (sd_event_add_time_relative(b->m->event, &b->timer, CLOCK_BOOTTIME, MAILBOX_RETRY_SECONDS * USEC, USEC,
                                   on_timer, b) < 0)
        log_error("No timer for the mailbox");
}

static void on_acknowledged(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    MailboxRelay *l = userdata;
    Mailbox *b = l->owner;

    l->acknowledge = relays_request_free(l->acknowledge);
    if (r == 0)
        r = inbox_acknowledged(b->inbox, result->ids);
    if (r != 0) {
        /* the next connection begins with it */
        log_info("Messages could not be acknowledged: %s", *detail ? detail : error_message(r));
        return;
    }
    if (*result->ids)
        mailbox_acknowledge(b, l->relay);
}

void mailbox_acknowledge(Mailbox *b, const char *relay)
{
    _cleanup_(freep) char(*ids)[HASH_TEXT_SIZE] = NULL;
    _cleanup_(freep) const char **list = NULL;
    MailboxRelay *l = mailbox_relay(b, relay);
    size_t n = 0;
    int r;

    if (!l || l->acknowledge)
        return;
    ids = calloc(ACKNOWLEDGE_IDS_MAX, sizeof(*ids));
    list = calloc(ACKNOWLEDGE_IDS_MAX, sizeof(*list));
    if (!ids || !list)
        return;
    r = inbox_due(b->inbox, relay, ids, ACKNOWLEDGE_IDS_MAX, &n);
    for (size_t i = 0; i < n; i++)
        list[i] = ids[i];
    if (r == 0 && n > 0)
        r = relays_acknowledge(b->m->relays, relay, list, n, on_acknowledged, l, &l->acknowledge);
    if (r != 0)
        log_error("Messages cannot be acknowledged: %s", error_message(r));
}

/* Marks the intakes of rows that are checked anew, which nobody fetched. */
static bool is_recheck(const Intake *k)
{
    return k->userdata != NULL;
}

static void note_fault(Mailbox *b, const Intake *k, int r, const char *detail)
{
    char text[sizeof(((MailboxRelay *)NULL)->fault)];
    MailboxRelay *l = mailbox_relay(b, k->row.relay);

    if (r == -ENOSPC || r == -EDQUOT || r == HMSG_ERROR_STORAGE_FULL)
        (void)snprintf(text, sizeof(text), "There is no space here for a message of %" PRIu64 " bytes",
                       k->row.size);
    else
        (void)snprintf(text, sizeof(text), "A message could not be fetched: %.150s", detail);
    if (!l || !l->behind) /* once, not for each that waits */
        log_info("%s", text);
    if (l) {
        l->behind = true;
        (void)snprintf(l->fault, sizeof(l->fault), "%s", text);
    }
    mailbox_try_later(b);
}

const char *mailbox_fault(const Mailbox *b, const char *relay)
{
    const MailboxRelay *l;

    DL_FOREACH (b->relays, l)
        if (strcmp(l->relay, relay) == 0)
            return l->fault;
    return "";
}

static void on_settled(Intake *k, int r, const char *detail)
{
    Mailbox *b = k->owner;
    bool fresh = k->row.serial == 0;
    char relay[RELAY_TEXT_SIZE];

    (void)snprintf(relay, sizeof(relay), "%s", k->row.relay);
    DL_DELETE(b->queue, k);
    b->n_queue--;
    b->n_active--;
    if (r == 0 && !is_recheck(k))
        b->fetched++;
    /* also what was not: it may have been the last that a former key was kept for */
    b->keep_wanted = true;
    if (r == 0 && k->row.state == INBOX_UNCHECKED)
        mailbox_try_later(b);
    if (r != 0 && fresh && r != HMSG_ERROR_NOT_FOUND)
        note_fault(b, k, r, detail);
    (void)intake_free(k);
    mailbox_acknowledge(b, relay);
    pump(b);
}

static bool is_queued(const Mailbox *b, const char *id)
{
    const Intake *k;

    DL_FOREACH (b->queue, k)
        if (strcmp(k->row.id, id) == 0)
            return true;
    return false;
}

static int append(Mailbox *b, const InboxRow *row, void *userdata)
{
    Intake *k;
    int r;

    r = intake_new(b, on_settled, userdata, &k);
    if (r < 0)
        return r;
    k->row = *row;
    DL_APPEND(b->queue, k);
    b->n_queue++;
    return 0;
}

/* Rows that were stored as they came, one after the other. */
static void append_unchecked(Mailbox *b)
{
    InboxRow row;
    int r = 0;

    while (r == 0 && b->rechecking && b->n_queue < MAILBOX_ACTIVE_MAX) {
        r = inbox_next(b->inbox, INBOX_UNCHECKED, b->rechecked, &row);
        if (r != 0) {
            b->rechecking = false;
            break;
        }
        b->rechecked = row.serial;
        if (!is_queued(b, row.id))
            r = append(b, &row, b);
    }
}

static Intake *next_waiting(const Mailbox *b)
{
    Intake *k;

    DL_FOREACH (b->queue, k)
        if (!k->active)
            return k;
    return NULL;
}

static void list_behind(Mailbox *b)
{
    MailboxRelay *l;

    DL_FOREACH (b->relays, l)
        if (l->behind && !b->timer && relays_is_listening(b->m->relays, l->relay))
            mailbox_list(l);
}

static void pump(Mailbox *b)
{
    Intake *k;

    /* what ends at once comes back here, and is seen by the loop below */
    if (b->pumping)
        return;
    b->pumping = true;
    if (identity_check(b->m->identity) == 0)
        append_unchecked(b);
    while (b->n_active < MAILBOX_ACTIVE_MAX && (k = next_waiting(b))) {
        k->active = true;
        b->n_active++;
        if (is_recheck(k))
            intake_check(k);
        else
            intake_fetch(k);
        if (identity_check(b->m->identity) == 0)
            append_unchecked(b);
    }
    b->pumping = false;
    if (!b->queue)
        list_behind(b);
    if (b->keep_wanted)
        mailbox_keep(b);
    mailbox_sync_check(b);
}

void mailbox_enqueue(Mailbox *b, const char *relay, const RelaysMessage *message)
{
    InboxRow row = {.size = message->size, .received = clock_realtime()};
    MailboxRelay *l = mailbox_relay(b, relay);
    bool known = false;
    int r;

    if (!l || strlen(message->id) != HASH_TEXT_SIZE - 1 || strlen(message->submitter) != HASH_TEXT_SIZE - 1 ||
        is_queued(b, message->id))
        return;
    r = inbox_knows(b->inbox, message->id, &known);
    if (r == 0 && known) {
        mailbox_acknowledge(b, relay);
        return;
    }
    if (r != 0 || b->n_queue >= MAILBOX_QUEUE_MAX) {
        l->behind = true;
        return;
    }
    (void)snprintf(row.id, sizeof(row.id), "%s", message->id);
    (void)snprintf(row.submitter, sizeof(row.submitter), "%s", message->submitter);
    (void)snprintf(row.relay, sizeof(row.relay), "%s", relay);
    if (append(b, &row, NULL) < 0)
        l->behind = true;
}

static void on_listed(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    MailboxRelay *l = userdata;
    Mailbox *b = l->owner;
    uint64_t before = l->listed;

    l->list = relays_request_free(l->list);
    l->list_result = r;
    for (size_t i = 0; r == 0 && i < result->n; i++) {
        mailbox_enqueue(b, l->relay, &result->messages[i]);
        if (result->messages[i].seq > l->listed)
            l->listed = result->messages[i].seq;
    }
    /* what has no place in the queue is listed again later; a page that leads no further is the last */
    if (r == 0 && result->more && l->listed > before && !l->behind &&
        relays_list(b->m->relays, l->relay, l->listed, on_listed, l, &l->list) != 0)
        l->behind = true;
    pump(b);
}

void mailbox_list(MailboxRelay *l)
{
    if (l->list)
        return;
    l->behind = false;
    l->fault[0] = 0;
    l->listed = 0;
    l->list_result = relays_list(l->owner->m->relays, l->relay, 0, on_listed, l, &l->list);
}

/* The relay tells of each message that waits by itself. */
static void on_listening(const char *relay, void *userdata)
{
    mailbox_acknowledge(userdata, relay);
}

static void on_mail(const char *relay, const RelaysMessage *message, void *userdata)
{
    Mailbox *b = userdata;

    mailbox_enqueue(b, relay, message);
    pump(b);
}

void mailbox_identity_changed(Mailbox *b)
{
    b->rechecking = true;
    b->rechecked = 0;
    b->keep_wanted = true;
    b->keep_failed = false;
    pump(b);
}

/* What cannot be known is needed. */
static bool is_needed(const char *kid, void *userdata)
{
    Mailbox *b = userdata;
    bool needed = true;

    return inbox_needs(b->inbox, kid, &needed) != 0 || needed;
}

/* What was left undone when the agent ended needs no relay. */
static int on_start(sd_event_source *source, void *userdata)
{
    Mailbox *b = userdata;

    b->start = sd_event_source_disable_unref(b->start);
    mailbox_identity_changed(b);
    return 0;
}

int mailbox_new(Manager *m, Mailbox **ret)
{
    static const RelaysWatcher watcher = {.listening = on_listening, .mail = on_mail};
    _cleanup_(mailbox_freep) Mailbox *b = calloc(1, sizeof(*b));
    int r;

    if (!b)
        return -ENOMEM;
    b->m = m;
    r = inbox_new(m->store, &b->inbox);
    if (r == 0)
        r = workers_new(m->event, &b->workers);
    if (r == 0)
        r = relays_watch(m->relays, &watcher, b);
    if (r == 0)
        r = sd_event_add_defer(m->event, &b->start, on_start, b);
    if (r != 0)
        return r;
    identity_hold(m->identity, is_needed, b);
    *ret = TAKE_PTR(b);
    return 0;
}

Mailbox *mailbox_free(Mailbox *b)
{
    MailboxRelay *l, *next;

    if (!b)
        return NULL;
    if (b->m->relays)
        relays_unwatch(b->m->relays, b);
    identity_hold(b->m->identity, NULL, NULL);
    b->keeping = keeping_free(b->keeping);
    b->keep_turn = sd_event_source_disable_unref(b->keep_turn);
    b->start = sd_event_source_disable_unref(b->start);
    while (b->requests)
        mailbox_request_detach(b->requests);
    while (b->queue) {
        Intake *k = b->queue;

        DL_DELETE(b->queue, k);
        (void)intake_free(k);
    }
    DL_FOREACH_SAFE (b->relays, l, next) {
        (void)relays_request_free(l->acknowledge);
        (void)relays_request_free(l->list);
        free(l);
    }
    b->timer = sd_event_source_disable_unref(b->timer);
    (void)workers_free(b->workers);
    (void)inbox_free(b->inbox);
    free(b);
    return NULL;
}

Inbox *mailbox_inbox(Mailbox *b)
{
    return b->inbox;
}

int mailbox_delete(Mailbox *b, const char *id)
{
    InboxRow row;
    int r;

    r = inbox_get(b->inbox, id, &row);
    if (r == 0)
        r = inbox_delete(b->inbox, id);
    if (r == 0)
        identity_released(b->m->identity);
    if (r == 0)
        mailbox_acknowledge(b, row.relay);
    return r;
}

const char *mailbox_state_name(InboxState s)
{
    return s == INBOX_READ ? "read" : s == INBOX_QUARANTINED ? "quarantined" : "new";
}

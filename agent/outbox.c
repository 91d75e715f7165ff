/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/outbox-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"

#define USEC UINT64_C(1000000)
#define SLEEP_MAX 3600 /* seconds: clocks are set */
#define ATTEMPTS_SHIFT_MAX 9u

void outbox_emit_state(Outbox *o, const OutboxRow *row)
{
    if (*row->error)
        (void)manager_emit(o->m, AGENT_MAIL_INTERFACE, "StateChanged", "sssa{sv}", row->id, row->kid,
                           outbox_state_name(row->state), 1, "error", "s", row->error);
    else
        (void)manager_emit(o->m, AGENT_MAIL_INTERFACE, "StateChanged", "sssa{sv}", row->id, row->kid,
                           outbox_state_name(row->state), 0);
}

int outbox_set_state(Outbox *o, OutboxRow *row, OutboxState state, const char *error)
{
    OutboxState before = row->state;
    int r;

    row->state = state;
    (void)snprintf(row->error, sizeof(row->error), "%s", error);
    utf8_repair(row->error); /* it may have been cut */
    r = outbox_store_update(o->store, row);
    if (r != 0) {
        log_error("The outbox cannot be written: %s", error_message(r));
        return r;
    }
    if (state != before)
        outbox_emit_state(o, row);
    outbox_status_keep(o, row->relay);
    return 0;
}

static Delivery *delivery_free(Delivery *d)
{
    (void)relays_request_free(d->request);
    free(d);
    return NULL;
}

static void arm(Outbox *o);

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    Outbox *o = userdata;

    o->timer = sd_event_source_disable_unref(o->timer);
    outbox_pump(o);
    return 0;
}

static void arm(Outbox *o)
{
    int64_t when = INT64_MAX, now = clock_realtime(), pause;

    o->timer = sd_event_source_disable_unref(o->timer);
    if (outbox_store_when(o->store, &when) != 0 || when == INT64_MAX)
        return;
    /* what is due and still here waits for something else, which comes back by itself */
    pause = when - now;
    pause = pause < 1 ? 1 : pause > SLEEP_MAX ? SLEEP_MAX : pause;
    if (sd_event_add_time_relative(o->m->event, &o->timer, CLOCK_BOOTTIME, (uint64_t)pause * USEC, USEC / 4,
                                   on_timer, o) < 0)
        log_error("No timer for the outbox");
}

/* Doubled with each attempt, anywhere in the upper half of that. */
static int64_t pause_seconds(unsigned attempts, unsigned retry_after)
{
    uint64_t pause = (uint64_t)OUTBOX_RETRY_MIN
                     << (attempts < ATTEMPTS_SHIFT_MAX ? attempts : ATTEMPTS_SHIFT_MAX);
    uint32_t random = 0;

    if (pause > OUTBOX_RETRY_MAX)
        pause = OUTBOX_RETRY_MAX;
    (void)crypto_random(&random, sizeof(random));
    pause = pause - pause / 2 + random % (pause / 2 + 1);
    return (int64_t)(pause > retry_after ? pause : retry_after);
}

/* Nothing that time would mend. A relay that is not trusted may be one day: its user says so, or its former
 * key comes back. */
static bool is_final(int r)
{
    return r == HMSG_ERROR_NOT_FOUND || r == HMSG_ERROR_TOO_LARGE || r == HMSG_ERROR_DENIED ||
           r == HMSG_ERROR_INVALID_ARGS || r == HMSG_ERROR_AUTHENTICATION_FAILED;
}

static void not_submitted(Outbox *o, OutboxRow *row, int r, const char *detail, unsigned retry_after)
{
    if (is_final(r)) {
        (void)outbox_set_state(o, row, OUTBOX_FAILED, detail);
        return;
    }
    row->next_attempt = clock_realtime() + pause_seconds(row->attempts, retry_after);
    row->attempts++;
    (void)outbox_set_state(o, row, OUTBOX_QUEUED, detail);
    /* the others for this relay would meet the same */
    if (r == HMSG_ERROR_RELAY_UNAVAILABLE || r == HMSG_ERROR_UNTRUSTED || r == HMSG_ERROR_LOCKED ||
        r == HMSG_ERROR_NO_IDENTITY)
        (void)outbox_store_postpone(o->store, row->relay, row->next_attempt);
}

/* The receipt is for this message of ours, to this recipient. */
static bool receipt_fits(const OutboxRow *row, const RelaysResult *result)
{
    const Receipt *receipt = result->receipt;
    uint8_t id[ID_SIZE], kid[KID_SIZE];

    return base64url_decode_exact(row->message, strlen(row->message), id, ID_SIZE) == 0 &&
           base64url_decode_exact(row->kid, strlen(row->kid), kid, KID_SIZE) == 0 &&
           bytes_equal(receipt->id, id, ID_SIZE) && bytes_equal(receipt->recipient, kid, KID_SIZE) &&
           bytes_equal(receipt->body_sha256, row->body_sha256, SHA256_SIZE) &&
           bytes_equal(receipt->submitter, result->submitter, KID_SIZE);
}

static void on_submitted(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Delivery *d = userdata;
    Outbox *o = d->owner;
    unsigned retry_after = relays_request_retry_after(d->request);

    if (r == 0 && !receipt_fits(&d->row, result)) {
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
        detail = "The relay's receipt is for something else than what was sent";
    }
    if (r == 0) {
        (void)outbox_set_state(o, &d->row, OUTBOX_ACCEPTED, "");
        if (d->told != OUTBOX_QUEUED)
            (void)outbox_set_state(o, &d->row, d->told, "");
        else if (d->row.attempts > 0 || d->row.queued <= o->begun)
            outbox_status_start(o, d->row.relay); /* an earlier try may have reached it, and been told of */
    } else {
        not_submitted(o, &d->row, r, detail, retry_after);
    }
    DL_DELETE(o->deliveries, d);
    (void)delivery_free(d);
    outbox_pump(o);
}

static int submit(Outbox *o, Delivery *d)
{
    _cleanup_(fd_closep) int fd = -1;
    int64_t last = clock_realtime() + (int64_t)(MESSAGE_EXPIRY_MAX - 2 * CLOCK_SKEW_MAX);
    int64_t expires = d->row.expires < last ? d->row.expires : last;
    char capability[HASH_TEXT_SIZE];
    int r;

    r = outbox_store_body(o->store, &d->row, &fd);
    if (r != 0)
        return r;
    r = contacts_capability(o->m->contacts, d->row.recipient, d->row.kid, capability);
    if (r != 0)
        return r;
    r = relays_submit(o->m->relays,
                      &(RelaysMail){.relay = d->row.relay,
                                    .kid = d->row.kid,
                                    .id = d->row.message,
                                    .capability = capability,
                                    .fd = fd,
                                    .size = d->row.size,
                                    .expires = (uint64_t)expires},
                      on_submitted, d, &d->request);
    bytes_wipe(capability, sizeof(capability));
    return r;
}

static void deliver(Outbox *o, const OutboxRow *row)
{
    Delivery *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return;
    d->owner = o;
    d->row = *row;
    DL_APPEND(o->deliveries, d);
    r = submit(o, d);
    if (r == 0)
        return;
    DL_DELETE(o->deliveries, d);
    not_submitted(o, &d->row, r, error_message(r), 0);
    (void)delivery_free(d);
}

static bool may_start(const Outbox *o, const OutboxRow *row)
{
    unsigned here = 0;
    const Delivery *d;

    DL_FOREACH (o->deliveries, d) {
        if (d->row.serial == row->serial)
            return false;
        here += strcmp(d->row.relay, row->relay) == 0;
    }
    return here < OUTBOX_ACTIVE_RELAY_MAX;
}

static void stop_delivery(Outbox *o, int64_t serial)
{
    Delivery *d, *next;

    DL_FOREACH_SAFE (o->deliveries, d, next)
        if (d->row.serial == serial) {
            DL_DELETE(o->deliveries, d);
            (void)delivery_free(d);
        }
}

static void expire(Outbox *o, int64_t now)
{
    OutboxRow row;

    while (outbox_store_next_expired(o->store, now, &row) == 0) {
        stop_delivery(o, row.serial);
        if (outbox_set_state(o, &row, OUTBOX_EXPIRED, "") != 0)
            return;
    }
}

void outbox_pump(Outbox *o)
{
    int64_t now = clock_realtime(), after = 0;
    unsigned active = 0;
    OutboxRow row;
    Delivery *d;

    if (o->pumping)
        return;
    o->pumping = true;
    expire(o, now);
    DL_FOREACH (o->deliveries, d)
        active++;
    while (active < OUTBOX_ACTIVE_MAX && outbox_store_next_due(o->store, now, after, &row) == 0) {
        after = row.serial;
        if (!may_start(o, &row))
            continue;
        deliver(o, &row);
        active++;
    }
    o->pumping = false;
    arm(o);
}

static void on_listening(const char *relay, void *userdata)
{
    Outbox *o = userdata;

    (void)outbox_store_hurry(o->store, relay);
    outbox_status_start(o, relay);
    outbox_pump(o);
}

static void on_status(const char *relay, const char *id, const char *state, void *userdata)
{
    outbox_status_told(userdata, relay, id, state);
}

static void on_trusted(const char *relay, void *userdata)
{
    Outbox *o = userdata;

    if (outbox_store_move(o->store, relay) != 0)
        log_error("The outbox cannot be written");
    arm(o); /* from the loop: we are in the middle of a request */
}

static int on_begin(sd_event_source *source, uint64_t usec, void *userdata)
{
    Outbox *o = userdata;
    OutboxRow row = {0};

    o->timer = sd_event_source_disable_unref(o->timer);
    while (outbox_store_next_at(o->store, NULL, OUTBOX_ACCEPTED, row.serial, &row) == 0)
        outbox_status_keep(o, row.relay);
    outbox_pump(o);
    return 0;
}

int outbox_new(Manager *m, Outbox **ret)
{
    static const RelaysWatcher watcher = {
        .listening = on_listening, .status = on_status, .trusted = on_trusted};
    _cleanup_(outbox_freep) Outbox *o = calloc(1, sizeof(*o));
    int r;

    if (!o)
        return -ENOMEM;
    o->m = m;
    o->begun = clock_realtime();
    r = outbox_store_new(m->store, &o->store);
    if (r == 0)
        r = workers_new(m->event, &o->workers);
    if (r == 0)
        r = relays_watch(m->relays, &watcher, o);
    if (r == 0)
        r = sd_event_add_time_relative(m->event, &o->timer, CLOCK_BOOTTIME, 0, USEC / 4, on_begin, o);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(o);
    return 0;
}

Outbox *outbox_free(Outbox *o)
{
    if (!o)
        return NULL;
    if (o->m->relays)
        relays_unwatch(o->m->relays, o);
    while (o->requests)
        outbox_request_detach(o->requests);
    while (o->deliveries) {
        Delivery *d = o->deliveries;

        DL_DELETE(o->deliveries, d);
        (void)delivery_free(d);
    }
    outbox_status_stop(o);
    o->timer = sd_event_source_disable_unref(o->timer);
    (void)workers_free(o->workers);
    (void)outbox_store_free(o->store);
    free(o);
    return NULL;
}

OutboxStore *outbox_store(Outbox *o)
{
    return o->store;
}

void outbox_hurry(Outbox *o)
{
    (void)outbox_store_hurry(o->store, NULL);
    outbox_pump(o);
}

void outbox_identity_changed(Outbox *o)
{
    if (identity_check(o->m->identity) == 0)
        outbox_hurry(o);
}

int outbox_retry(Outbox *o, const char *id)
{
    OutboxRow row = {0};
    int64_t after = 0;
    bool any = false;
    int r;

    while ((r = *id ? outbox_store_next_of(o->store, id, after, &row)
                    : outbox_store_next_at(o->store, NULL, OUTBOX_FAILED, after, &row)) == 0) {
        after = row.serial;
        any = true;
        if (row.state != OUTBOX_FAILED)
            continue;
        row.attempts = 0;
        row.next_attempt = 0;
        r = outbox_set_state(o, &row, OUTBOX_QUEUED, "");
        if (r != 0)
            return r;
    }
    if (r != HMSG_ERROR_NOT_FOUND || (!any && *id))
        return r;
    relays_hurry(o->m->relays);
    outbox_hurry(o);
    return 0;
}

int outbox_cancel(Outbox *o, const char *id)
{
    OutboxRow row = {0};
    int64_t after = 0;
    bool any = false, accepted = false;
    int r;

    while ((r = outbox_store_next_of(o->store, id, after, &row)) == 0) {
        after = row.serial;
        any = true;
        if (row.state != OUTBOX_QUEUED && row.state != OUTBOX_FAILED) {
            accepted = true;
            continue;
        }
        stop_delivery(o, row.serial);
        r = outbox_store_remove(o->store, &row);
        if (r != 0)
            return r;
    }
    outbox_pump(o);
    if (r != HMSG_ERROR_NOT_FOUND || !any)
        return r;
    return accepted ? HMSG_ERROR_ALREADY_EXISTS : 0;
}

int outbox_delete(Outbox *o, const char *id)
{
    OutboxRow row = {0};
    int64_t after = 0;
    bool any = false, unfinished = false;
    int r;

    while ((r = outbox_store_next_of(o->store, id, after, &row)) == 0) {
        after = row.serial;
        any = true;
        if (row.state == OUTBOX_QUEUED || row.state == OUTBOX_ACCEPTED) {
            unfinished = true;
            continue;
        }
        r = outbox_store_remove(o->store, &row);
        if (r != 0)
            return r;
    }
    if (r != HMSG_ERROR_NOT_FOUND || !any)
        return r;
    return unfinished ? HMSG_ERROR_INVALID_ARGS : 0;
}

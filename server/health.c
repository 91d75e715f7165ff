/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/health.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "libhmsg/base/clock.h"

#define HTTP_OK 200u
#define HTTP_NOT_FOUND 404u
#define HTTP_INTERNAL 500u
#define HTTP_UNAVAILABLE 503u

static int put_help(Buf *body, const char *name, const char *type, const char *help)
{
    return buf_printf(body, "# HELP hmsg_relay_%s %s\n# TYPE hmsg_relay_%s %s\n", name, help, name, type);
}

static int put_number(Buf *body, const char *name, const char *type, const char *help, uint64_t value)
{
    int r = put_help(body, name, type, help);
    return r == 0 ? buf_printf(body, "hmsg_relay_%s %" PRIu64 "\n", name, value) : r;
}

static int put_answers(Buf *body, const HttpCounts *c)
{
    int r = put_help(body, "answers_total", "counter", "Answers to requests, by HTTP status.");
    for (unsigned i = 0; i < HTTP_STATUS_MAX && r == 0; i++)
        if (c->answers[i] > 0)
            r = buf_printf(body, "hmsg_relay_answers_total{status=\"%u\"} %" PRIu64 "\n", i, c->answers[i]);
    return r;
}

static int put_server(Buf *body, const HttpCounts *c)
{
    int r = put_number(body, "connections", "gauge", "Connections that are open.", c->connections);
    if (r == 0)
        r = put_number(body, "connections_refused_total", "counter",
                       "Connections that were closed at once, for there were too many.", c->refused);
    if (r == 0)
        r = put_number(body, "body_memory_bytes", "gauge", "Memory of bodies that are under way.", c->memory);
    return r == 0 ? put_answers(body, c) : r;
}

static int put_totals(Buf *body, const HandlersTotals *t)
{
    int r =
        put_number(body, "accepted_messages_total", "counter", "Messages that were accepted.", t->accepted);
    if (r == 0)
        r = put_number(body, "accepted_bytes_total", "counter", "Size of these.", t->accepted_bytes);
    if (r == 0)
        r = put_number(body, "delivered_messages_total", "counter",
                       "Messages that their owners have acknowledged.", t->delivered);
    return r == 0 ? put_number(body, "expired_messages_total", "counter",
                               "Messages that nobody fetched in time.", t->expired)
                  : r;
}

static int put_store(Buf *body, const StoreCounts *c)
{
    int r = put_number(body, "identities", "gauge", "Registered identities, guests included.", c->identities);
    if (r == 0)
        r = put_number(body, "mailboxes", "gauge", "Mailboxes.", c->mailboxes);
    if (r == 0)
        r = put_number(body, "messages", "gauge", "Messages that wait.", c->messages);
    if (r == 0)
        r = put_number(body, "message_bytes", "gauge", "Size of the messages that wait.", c->bytes);
    if (r == 0)
        r = put_number(body, "blobs", "gauge", "Messages of these that are files.", c->blobs);
    if (r == 0)
        r = put_number(body, "store_key_created_timestamp_seconds", "gauge",
                       "When the root key of what is stored was made, since 1970.",
                       c->key_created > 0 ? (uint64_t)c->key_created : 0);
    return r == 0 ? put_number(body, "store_key_pending", "gauge",
                               "Identities and data keys that wait for a change of keys that has begun.",
                               c->key_pending)
                  : r;
}

/* When the key that signs receipts ends, in seconds since 1970; 0: there is none. */
static uint64_t key_expires(const Health *h)
{
    _cleanup_(online_key_unrefp) OnlineKey *o = relay_key_online(h->key);
    return o ? (uint64_t)online_key_expires(o) : 0;
}

static int put_identity(Buf *body, const Health *h)
{
    int r = put_number(body, "online_key_expiry_timestamp_seconds", "gauge",
                       "When the key that signs receipts ends, since 1970.", key_expires(h));
    if (r == 0)
        r = put_number(body, "identity_key_created_timestamp_seconds", "gauge",
                       "When the key that clients pin was made, since 1970.",
                       h->key_made > 0 ? (uint64_t)h->key_made : 0);
    if (r == 0)
        r = put_number(body, "identity_key_overdue", "gauge",
                       "1 when that key is older than its rotate-days.", h->key_overdue);
    return r == 0 ? put_number(body, "identity_key_announced_timestamp_seconds", "gauge",
                               "Since when the next such key is announced, since 1970; 0 for none.",
                               h->announced > 0 ? (uint64_t)h->announced : 0)
                  : r;
}

static int put_metrics(const Health *h, Buf *body)
{
    _cleanup_(freep) HttpCounts *counts = calloc(1, sizeof(*counts));
    StoreCounts stored = {};
    if (!counts)
        return -ENOMEM;
    http_server_counts(h->server, counts);
    int r = handlers_counts(h->handlers, &stored);
    if (r == 0)
        r = put_server(body, counts);
    const HandlersTotals totals = handlers_totals(h->handlers);
    if (r == 0)
        r = put_totals(body, &totals);
    if (r == 0)
        r = put_store(body, &stored);
    const uint64_t space = handlers_space(h->handlers);
    if (r == 0 && space != UINT64_MAX)
        r = put_number(body, "disk_free_bytes", "gauge",
                       "What is free on the disk of the data folder; below 32 MiB no message is taken.",
                       space);
    if (r == 0)
        r = put_number(body, "clock_held", "gauge",
                       "1 while messages end by another time than the wall clock, which was set forward.",
                       handlers_clock_held(h->handlers));
    return r == 0 ? put_identity(body, h) : r;
}

static unsigned answer_alive(const Health *h, Buf *body)
{
    const uint64_t max = h->silence_max > 0 ? h->silence_max : HEALTH_SILENCE_MAX;
    const bool stuck = http_server_silence(h->server, clock_boottime()) > max;
    if (buf_append_string(body, stuck ? "a thread stands still\n" : "ok\n") != 0)
        return HTTP_INTERNAL;
    return stuck ? HTTP_UNAVAILABLE : HTTP_OK;
}

static unsigned answer_ready(const Health *h, Buf *body)
{
    const char *text = "ready\n";
    unsigned status = HTTP_UNAVAILABLE;
    int r = handlers_ready(h->handlers);
    if (key_expires(h) <= (uint64_t)clock_realtime())
        text = "the online key has expired\n";
    else if (r != 0)
        text = r == -ENOSPC ? "the disk is full\n" : "the store fails\n";
    else
        status = HTTP_OK;
    return buf_append_string(body, text) == 0 ? status : HTTP_INTERNAL;
}

unsigned health_answer(void *userdata, const char *path, Buf *body)
{
    const Health *h = userdata;
    if (strcmp(path, "/healthz") == 0)
        return answer_alive(h, body);
    if (strcmp(path, "/readyz") == 0)
        return answer_ready(h, body);
    if (strcmp(path, "/metrics") != 0)
        return HTTP_NOT_FOUND;
    if (put_metrics(h, body) == 0)
        return HTTP_OK;
    buf_clear(body);
    return HTTP_INTERNAL;
}

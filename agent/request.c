/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/request.h"

#include <errno.h>
#include <utlist.h>

#include "agent/access-internal.h"
#include "agent/bus-util.h"
#include "libhmsg/base/error.h"

struct Request {
    Request *prev, *next;
    Client *client; /* NULL: has left */
    sd_bus_message *call;
    request_cancel_t cancel;
    void *userdata;
    bool answered;
};

void requests_cancel(Client *c)
{
    while (c->requests) {
        Request *q = c->requests;

        DL_DELETE(c->requests, q);
        q->client = NULL;
        if (q->cancel)
            q->cancel(q->userdata);
    }
}

int request_new(Access *a, sd_bus_message *call, request_cancel_t cancel, void *userdata, Request **ret)
{
    Request *q;
    Client *c;
    int r;

    r = access_client(a, call, &c);
    if (r < 0)
        return r;
    if (c->n_requests >= REQUESTS_PER_CLIENT_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    q->client = c;
    q->call = sd_bus_message_ref(call);
    q->cancel = cancel;
    q->userdata = userdata;
    DL_APPEND(c->requests, q);
    c->n_requests++;
    *ret = q;
    return 0;
}

Request *request_free(Request *q)
{
    if (!q)
        return NULL;
    if (!q->answered)
        (void)request_fail(q, HMSG_ERROR_CANCELLED, NULL);
    if (q->client) {
        DL_DELETE(q->client->requests, q);
        q->client->n_requests--;
    }
    sd_bus_message_unref(q->call);
    free(q);
    return NULL;
}

sd_bus_message *request_message(Request *q)
{
    return q->call;
}

int request_reply_new(Request *q, sd_bus_message **ret)
{
    return sd_bus_message_new_method_return(q->call, ret);
}

int request_send(Request *q, sd_bus_message *reply)
{
    q->answered = true;
    if (!q->client)
        return 0;
    return sd_bus_send(sd_bus_message_get_bus(q->call), reply, NULL);
}

int request_reply(Request *q, const char *types, ...)
{
    sd_bus_message *reply = NULL;
    va_list ap;
    int r;

    r = request_reply_new(q, &reply);
    if (r >= 0 && types && *types) {
        va_start(ap, types);
        r = sd_bus_message_appendv(reply, types, ap);
        va_end(ap);
    }
    if (r >= 0)
        r = request_send(q, reply);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 0;
}

int request_fail(Request *q, int error, const char *detail)
{
    sd_bus_error e = SD_BUS_ERROR_NULL;
    int r;

    q->answered = true;
    if (!q->client)
        return 0;
    (void)bus_fail(&e, error, detail);
    r = sd_bus_reply_method_error(q->call, &e);
    sd_bus_error_free(&e);
    return r;
}

int call_again(sd_bus_message *call)
{
    int r = sd_bus_message_rewind(call, true);

    if (r >= 0)
        r = sd_bus_enqueue_for_read(sd_bus_message_get_bus(call), call);
    return r < 0 ? r : 0;
}

int request_again(Request *q)
{
    int r = q->client ? call_again(q->call) : 0;

    q->answered = r == 0;
    return r;
}

int request_progress(Request *q, const char *job, uint64_t done, uint64_t total)
{
    sd_bus *bus = sd_bus_message_get_bus(q->call);
    sd_bus_message *signal = NULL;
    int r;

    if (!q->client || !job || !*job)
        return 0;
    r = sd_bus_message_new_signal(bus, &signal, AGENT_OBJECT_PATH, AGENT_INTERFACE, "Progress");
    if (r >= 0 && q->client->name)
        r = sd_bus_message_set_destination(signal, q->client->name);
    if (r >= 0)
        r = sd_bus_message_append(signal, "stt", job, done, total);
    if (r >= 0)
        r = sd_bus_send(bus, signal, NULL);
    sd_bus_message_unref(signal);
    return r < 0 ? r : 0;
}

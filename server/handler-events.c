/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/wire/json.h"
#include "server/handler.h"

#define PAGE 32u /* messages read at a time */
#define EVENT_SIZE_MAX 256u

/* One event stream: what of the mailbox was told on it. */
typedef struct Stream {
    Handlers *handlers;
    HttpEvents *events;
    HubStream *place;
    bool mailbox;
    bool pumping;
    uint8_t kid[KID_SIZE];
    int64_t after; /* seq of the last one that was told */
} Stream;

static Stream *stream_free(Stream *s)
{
    s->place = hub_leave(s->place);
    (void)http_events_unref(s->events);
    handlers_unref(s->handlers);
    free(s);
    return NULL;
}

static int push_message(Stream *s, const StoreMessage *m)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    _cleanup_(buf_done) Buf text = BUF_MAX(EVENT_SIZE_MAX);
    int e = json_put_number(j, "seq", m->seq);
    if (e == 0)
        e = json_put_bytes(j, "id", m->id, ID_SIZE);
    if (e == 0)
        e = json_put_number(j, "size", (int64_t)m->size);
    if (e == 0)
        e = json_put_bytes(j, "submitter", m->submitter, KID_SIZE);
    if (e == 0)
        e = json_write(j, &text);
    return e == 0 ? http_events_push(s->events, "mail", buf_text(&text)) : e;
}

static int push_page(Stream *s, bool *ret_more)
{
    StoreMessage list[PAGE];
    size_t n = 0;
    int e = store_list(handlers_reader(http_events_request(s->events)), s->kid, s->after, PAGE, list, &n);
    for (size_t i = 0; e == 0 && i < n; i++) {
        e = push_message(s, &list[i]);
        if (e == 0)
            s->after = list[i].seq;
    }
    *ret_more = n == PAGE;
    return e;
}

/* Tells what is new, as far as there is room; when there is again, "more" goes on. */
static void pump(void *userdata)
{
    Stream *s = userdata;
    bool more = s->mailbox && !s->pumping;
    int e = 0;
    s->pumping = true;
    while (more && e == 0)
        e = push_page(s, &more);
    s->pumping = false;
    if (e != 0 && e != -ENOBUFS && e != -EPIPE)
        http_events_end(s->events);
}

static void has_room(HttpEvents *e, void *userdata)
{
    pump(userdata);
}

static void closed(HttpEvents *e, void *userdata)
{
    (void)stream_free(userdata);
}

/* What other relays that share the store have for this client. Without it he hears of it when he is here
 * again. */
static void know(Stream *s, HttpRequest *r, const Client *c)
{
    uint8_t skid[KID_SIZE], kid[KID_SIZE];
    StoreReader *reader = handlers_reader(r);
    if (store_index(reader, c->skid, skid) == 0 && store_index(reader, c->kid, kid) == 0)
        hub_know(s->place, skid, s->mailbox ? kid : NULL);
}

/* GET /v1/events */
int handle_events(HttpRequest *r)
{
    const Client *c = http_request_client(r);
    if (hub_full(handlers_of(r)->hub, c->skid))
        return PROBLEM_TOO_MANY_REQUESTS;
    Stream *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->handlers = handlers_ref(handlers_of(r));
    s->mailbox = !c->guest;
    memcpy(s->kid, c->kid, KID_SIZE);
    /* From here on closed frees it. */
    HttpEvents *events = NULL;
    int e = http_answer_events(r, has_room, closed, s, &events);
    if (e != 0) {
        (void)stream_free(s);
        return e;
    }
    s->events = events;
    if (http_events_push(events, "ready", "{}") != 0 ||
        hub_join(s->handlers->hub, events, c->skid, s->mailbox ? s->kid : NULL, pump, s, &s->place) != 0) {
        http_events_end(events);
        return 0;
    }
    know(s, r, c);
    /* After joining, so that what comes in between is not missed. */
    pump(s);
    return 0;
}

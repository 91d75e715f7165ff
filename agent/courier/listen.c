/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/listen.h"

#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/courier/answer.h"
#include "agent/courier/call.h"
#include "agent/courier/events.h"
#include "libhmsg/base/error.h"

#define USEC_PER_SEC UINT64_C(1000000)

struct Listener {
    Peer *peer;
    Events *events;
    Request *request;       /* owned by the connection */
    Call *waiting;          /* until it stands */
    sd_event_source *timer; /* silence */
    sd_event_source *post;  /* goes on when the agent has read */
    bool ready;
};

static Listener *listener_free(Listener *l)
{
    if (!l)
        return NULL;
    events_free(l->events);
    sd_event_source_disable_unref(l->timer);
    sd_event_source_disable_unref(l->post);
    free(l);
    return NULL;
}
DEFINE_CLEANUP(Listener *, listener_free)

static void become_ready(Listener *l)
{
    Call *c, *next;

    if (l->ready)
        return;
    l->ready = true;
    courier_signal(peer_courier(l->peer), "Listening", "s", peer_name(l->peer));
    DL_FOREACH_SAFE2(l->waiting, c, next, waiting_next)
    call_reply_empty(c);
    l->waiting = NULL;
}

static int tell_mail(Listener *l, const json_t *j)
{
    AnswerMail mail;
    int r = answer_get_mail(j, false, &mail);

    if (r == 0)
        courier_signal(peer_courier(l->peer), "Mail", "ststs", peer_name(l->peer), mail.seq, mail.id,
                       mail.size, mail.submitter);
    return r;
}

static int tell_status(Listener *l, const json_t *j)
{
    const char *id, *state;
    int r;

    r = answer_get_id(j, "id", &id);
    if (r == 0)
        r = answer_get_state(j, &state);
    if (r == 0)
        courier_signal(peer_courier(l->peer), "Status", "sss", peer_name(l->peer), id, state);
    return r;
}

static int on_event(const char *name, const char *data, size_t n, void *userdata)
{
    Listener *l = userdata;
    bool mail = strcmp(name, "mail") == 0, status = strcmp(name, "status") == 0;
    json_t *j = NULL;
    int r;

    if (strcmp(name, "ready") == 0)
        become_ready(l);
    if (!mail && !status)
        return 0;
    if (!l->ready)
        return HMSG_ERROR_BAD_PACKAGE;
    r = json_parse_object(data, n, &j);
    if (r == 0)
        r = mail ? tell_mail(l, j) : tell_status(l, j);
    json_decref(j);
    return r;
}

static void restart_timer(Listener *l)
{
    /* what is not ready is not given more time by comments */
    if (l->ready && sd_event_source_set_time_relative(l->timer, LISTEN_SILENCE_SECONDS * USEC_PER_SEC) >= 0)
        (void)sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

static bool agent_is_behind(Listener *l)
{
    uint64_t n = 0;

    return sd_bus_get_n_queued_write(peer_courier(l->peer)->bus, &n) >= 0 && n > COURIER_SIGNALS_QUEUED;
}

static int on_data(Request *q, const void *data, size_t n)
{
    Listener *l = q->userdata;
    int r;

    if (agent_is_behind(l)) {
        /* the relay is not silent, we are */
        (void)sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(l->post, SD_EVENT_ON);
        return REQUEST_PAUSE;
    }
    r = events_feed(l->events, data, n);
    restart_timer(l);
    return r;
}

static int on_post(sd_event_source *source, void *userdata)
{
    Listener *l = userdata;

    if (agent_is_behind(l))
        return 0;
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    restart_timer(l);
    request_resume(l->request);
    return 0;
}

static int on_silence(sd_event_source *source, uint64_t usec, void *userdata)
{
    Listener *l = userdata;
    Problem why;

    problem_set(&why, PROBLEM_UNREACHABLE, "The relay was silent for too long");
    connection_end(peer_connection(l->peer), &why);
    return 0;
}

static void on_done(Request *q, const Problem *problem)
{
    _cleanup_(listener_freep) Listener *l = q->userdata;
    Problem why;
    Call *c, *next;

    *peer_listener(l->peer) = NULL;
    if (problem && problem->name)
        why = *problem;
    else if (problem)
        problem_set(&why, PROBLEM_UNREACHABLE, "%s", problem->text);
    else if (l->ready)
        problem_set(&why, PROBLEM_UNREACHABLE, "The relay ended the stream of events");
    else
        problem_set(&why, PROBLEM_PROTOCOL, "The relay ended the stream of events before it was ready");
    if (strcmp(why.name, PROBLEM_LOGIN_REQUIRED) == 0)
        peer_set_logged_in(l->peer, false);
    if (l->ready)
        connection_end(peer_connection(l->peer), &why);
    DL_FOREACH_SAFE2(l->waiting, c, next, waiting_next)
    call_fail(c, &why);
}

static int listener_new(Peer *p, Listener **ret)
{
    _cleanup_(listener_freep) Listener *l = NULL;
    sd_event *event = peer_courier(p)->event;
    int r;

    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->peer = p;
    r = events_new(on_event, l, &l->events);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &l->timer, CLOCK_MONOTONIC, LISTEN_READY_SECONDS * USEC_PER_SEC,
                                       0, on_silence, l);
    if (r >= 0)
        r = sd_event_add_post(event, &l->post, on_post, l);
    if (r >= 0)
        r = sd_event_source_set_enabled(l->post, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(l);
    return 0;
}

static int open_stream(Peer *p, Listener **ret)
{
    _cleanup_(listener_freep) Listener *l = NULL;
    _cleanup_(request_freep) Request *q = NULL;
    int r;

    r = listener_new(p, &l);
    if (r >= 0)
        r = request_new("GET", RELAY_BODY_SIZE_MAX, &q, "/v1/events");
    if (r < 0)
        return r;
    q->want_type = "text/event-stream";
    q->on_data = on_data;
    q->done = on_done;
    q->userdata = l;
    r = connection_send(peer_connection(p), q);
    if (r < 0)
        return r;
    l->request = TAKE_PTR(q);
    *ret = TAKE_PTR(l);
    return 0;
}

int listen_start(Call *call, sd_bus_error *error)
{
    Listener *l = *peer_listener(call->peer);
    int r;

    if (l && l->ready) {
        call_reply_empty(call);
        return 1;
    }
    if (!l) {
        r = open_stream(call->peer, &l);
        if (r < 0) {
            call_free(call);
            return failed(error, r);
        }
        *peer_listener(call->peer) = l;
    }
    DL_APPEND2(l->waiting, call, waiting_prev, waiting_next);
    return 1;
}

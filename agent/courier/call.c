/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/courier/calls.h"
#include "libhmsg/base/error.h"

int call_new_bare(Courier *courier, sd_bus_message *m, Call **ret, sd_bus_error *error)
{
    Call *c;

    if (courier->n_calls >= COURIER_CALLS_MAX)
        return refused(error, PROBLEM_BUSY, "Too many calls are under way");
    c = calloc(1, sizeof(*c));
    if (!c)
        return failed(error, -ENOMEM);
    c->courier = courier;
    c->message = sd_bus_message_ref(m);
    DL_APPEND(courier->calls, c);
    courier->n_calls++;
    *ret = c;
    return 0;
}

int call_new(Courier *courier, sd_bus_message *m, const char *relay, bool login, Call **ret,
             sd_bus_error *error)
{
    Call *c;
    Peer *p;
    int r;

    r = peer_get(courier, relay, login, &p, error);
    if (r >= 0)
        r = call_new_bare(courier, m, &c, error);
    if (r < 0)
        return r;
    c->peer = p;
    *ret = c;
    return 0;
}

Call *call_free(Call *c)
{
    if (!c)
        return NULL;
    DL_DELETE(c->courier->calls, c);
    c->courier->n_calls--;
    if (c->probe)
        probe_finish(c->probe);
    sd_bus_message_unref(c->message);
    free(c->ids);
    free(c);
    return NULL;
}

void calls_free(Courier *courier)
{
    probes_free(courier);
    while (courier->calls)
        call_free(courier->calls);
}

void call_fail(Call *c, const Problem *problem)
{
    (void)sd_bus_reply_method_errorf(c->message, problem->name, "%s", problem->text);
    call_free(c);
}

void call_reply_empty(Call *c)
{
    (void)sd_bus_reply_method_return(c->message, NULL);
    call_free(c);
}

static void call_fail_errno(Call *c, int r)
{
    Problem p;

    if (r > 0) {
        problem_set(&p, PROBLEM_PROTOCOL, "The relay's answer is not of the documented form");
        call_fail(c, &p);
        return;
    }
    (void)sd_bus_reply_method_errno(c->message, r, NULL);
    call_free(c);
}

static int finish(Call *c, Request *q, sd_bus_message *reply)
{
    json_t *answer = NULL;
    int r = 0;

    if (q->want_type && q->download < 0)
        r = json_parse_object(buf_text(&q->answer), q->answer.size, &answer);
    if (r == 0)
        r = c->finish(c, q, answer, reply);
    json_decref(answer);
    return r;
}

static void on_done(Request *q, const Problem *problem)
{
    Call *c = q->userdata;
    sd_bus_message *reply = NULL;
    int r;

    if (problem) {
        if (c->peer && problem->name && strcmp(problem->name, PROBLEM_LOGIN_REQUIRED) == 0)
            peer_set_logged_in(c->peer, false);
        if (problem->name)
            call_fail(c, problem);
        else
            call_fail_errno(c, q->failure);
        return;
    }
    r = sd_bus_message_new_method_return(c->message, &reply);
    if (r >= 0)
        r = finish(c, q, reply);
    if (r == 0)
        r = sd_bus_send(c->courier->bus, reply, NULL);
    sd_bus_message_unref(reply);
    if (r < 0 || r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_TOO_LARGE)
        call_fail_errno(c, r);
    else
        call_free(c);
}

int call_send_on(Call *call, Connection *connection, Request *q, call_finish_t finish_call,
                 sd_bus_error *error)
{
    int r;

    call->finish = finish_call;
    q->userdata = call;
    q->done = on_done;
    r = connection_send(connection, q);
    if (r < 0) {
        request_free(q);
        call_free(call);
        return failed(error, r);
    }
    return 1;
}

int call_send(Call *call, Request *q, call_finish_t finish_call, sd_bus_error *error)
{
    return call_send_on(call, peer_connection(call->peer), q, finish_call, error);
}

static int send_json(Call **call, Request **q, json_t *body, call_finish_t finish_call, sd_bus_error *error)
{
    int r;

    if (strcmp((*q)->method, "GET") != 0) {
        r = body ? json_write(body, &(*q)->body) : -ENOMEM;
        if (r == -EMSGSIZE)
            return refused(error, PROBLEM_TOO_LARGE, "The request is too large");
        if (r < 0)
            return failed(error, r);
    }
    (*q)->want_type = MEDIA_JSON;
    return call_send(TAKE_PTR(*call), TAKE_PTR(*q), finish_call, error);
}

int call_json(Courier *courier, sd_bus_message *m, const char *relay, bool login, const char *method,
              json_t *body, call_finish_t finish_call, sd_bus_error *error, const char *path, ...)
{
    _cleanup_(call_freep) Call *call = NULL;
    _cleanup_(request_freep) Request *q = NULL;
    _cleanup_(freep) char *text = NULL;
    va_list ap;
    int r;

    va_start(ap, path);
    r = vasprintf(&text, path, ap);
    va_end(ap);
    if (r < 0) {
        text = NULL;
        r = failed(error, -ENOMEM);
    } else {
        r = call_new(courier, m, relay, login, &call, error);
    }
    if (r >= 0) {
        r = request_new(method, RELAY_BODY_SIZE_MAX, &q, "%s", text);
        if (r < 0)
            r = failed(error, r);
    }
    if (r >= 0)
        r = send_json(&call, &q, body, finish_call, error);
    json_decref(body);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"
#include "libhmsg/wire/json.h"
#include "server/http-internal.h"

#define COMPLAINT_INTERVAL 1000000u /* microseconds */
#define FIELDS_MAX 6u
#define NUMBER_SIZE 24u
#define ROUTE_TEXT_SIZE 128u
#define ANSWER_SIZE_MAX (16u * 1024u * 1024u) /* of a body in memory */

void http_answer_done(HttpAnswer *a)
{
    buf_done(&a->body);
    if (a->source.free)
        a->source.free(a->source.userdata);
    a->source = (HttpSource){0};
    a->events = http_events_unref(a->events);
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name,
        .value = (uint8_t *)(uintptr_t)value,
        .namelen = strlen(name),
        .valuelen = strlen(value),
    };
}

static ssize_t read_buf(HttpAnswer *a, uint8_t *to, size_t n)
{
    memcpy(to, a->body.data + a->offset, n);
    return (ssize_t)n;
}

static ssize_t read_source(HttpAnswer *a, uint8_t *to, size_t n)
{
    ssize_t k = a->source.read(a->source.userdata, a->offset, to, n);

    return k > 0 ? k : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static ssize_t on_read(nghttp2_session *session, int32_t stream, uint8_t *to, size_t n, uint32_t *flags,
                       nghttp2_data_source *source, void *userdata)
{
    HttpRequest *r = source->ptr;
    HttpAnswer *a = &r->answer;
    ssize_t k = 0;

    if (a->events)
        return http_events_read(a->events, to, n, flags);
    if (n > a->size - a->offset)
        n = (size_t)(a->size - a->offset);
    if (n > 0)
        k = a->source.read ? read_source(a, to, n) : read_buf(a, to, n);
    if (k < 0)
        return k;
    a->offset += (uint64_t)k;
    if (a->offset == a->size)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return k;
}

/* On the loop, with the stream open. */
static int submit(HttpRequest *r)
{
    HttpAnswer *a = &r->answer;
    nghttp2_data_provider provider = {.source.ptr = r, .read_callback = on_read};
    bool has_body = a->size > 0 || a->events;
    char status[NUMBER_SIZE], length[NUMBER_SIZE], retry[NUMBER_SIZE];
    nghttp2_nv fields[FIELDS_MAX];
    size_t n = 0;

    (void)snprintf(status, sizeof(status), "%u", a->status);
    (void)snprintf(length, sizeof(length), "%llu", (unsigned long long)a->size);
    (void)snprintf(retry, sizeof(retry), "%u", a->retry_after);
    fields[n++] = field(":status", status);
    if (a->content_type)
        fields[n++] = field("content-type", a->content_type);
    if (!a->events && a->status != 204)
        fields[n++] = field("content-length", length);
    fields[n++] = field("cache-control", "no-store");
    if (a->retry_after > 0)
        fields[n++] = field("retry-after", retry);
    if (a->allow[0])
        fields[n++] = field("allow", a->allow);
    return nghttp2_submit_response(r->connection->session, r->stream, fields, n, has_body ? &provider : NULL);
}

void http_answer_closed(HttpRequest *r)
{
    HttpEvents *e = r->sending ? TAKE_PTR(r->answer.events) : NULL;

    if (e)
        http_events_close(e);
    (void)http_events_unref(e);
}

static void run_answer(HttpPost *p)
{
    _cleanup_(http_request_unrefp) HttpRequest *r =
        (HttpRequest *)(void *)((char *)p - offsetof(HttpRequest, post));

    r->sending = true;
    if (!r->connection) {
        http_answer_closed(r);
        return;
    }
    r->out.since = clock_boottime();
    if (r->answer.failed || submit(r) != 0)
        (void)nghttp2_submit_rst_stream(r->connection->session, NGHTTP2_FLAG_NONE, r->stream,
                                        NGHTTP2_INTERNAL_ERROR);
    else if (r->answer.events && r->loop->draining)
        http_events_end(r->answer.events);
    http_connection_touch(r->connection);
}

/* Answers are kept until their clients have taken them; when too much waits, "later" takes its place. */
static void charge(HttpRequest *r, HttpAnswer *a)
{
    uint64_t size = a->body.size;

    if (size == 0)
        return;
    if (http_memory_take(r->loop->server, size)) {
        a->charged = size;
        return;
    }
    buf_clear(&a->body);
    a->status = problem_status(PROBLEM_UNAVAILABLE);
    a->content_type = "application/problem+json";
    a->retry_after = PROBLEM_RETRY_DEFAULT;
    a->failed = problem_write(PROBLEM_UNAVAILABLE, NULL, &a->body) != 0;
    a->size = a->body.size;
}

/* Takes a; false: there was one before. */
static bool answer(HttpRequest *r, HttpAnswer *a)
{
    if (atomic_exchange(&r->answered, true)) {
        http_answer_done(a);
        return false;
    }
    if (a->status < 400)
        charge(r, a);
    if (a->status < HTTP_STATUS_MAX)
        atomic_fetch_add(&r->loop->server->answers[a->status], 1);
    r->answer = *a;
    r->post.run = run_answer;
    (void)http_request_ref(r);
    http_loop_post(r->loop, &r->post);
    return true;
}

void http_answer_empty(HttpRequest *r, unsigned status)
{
    (void)answer(r, &(HttpAnswer){.status = status});
}

void http_answer_buf(HttpRequest *r, unsigned status, const char *content_type, Buf *body)
{
    HttpAnswer a = {.status = status, .content_type = content_type, .body = *body, .size = body->size};

    *body = BUF_MAX(body->max);
    (void)answer(r, &a);
}

void http_answer_json(HttpRequest *r, unsigned status, const json_t *body)
{
    HttpAnswer a = {.status = status, .content_type = "application/json"};

    a.body = BUF_MAX(ANSWER_SIZE_MAX);
    a.failed = !body || json_write(body, &a.body) != 0;
    a.size = a.body.size;
    (void)answer(r, &a);
}

void http_answer_source(HttpRequest *r, unsigned status, const char *content_type, const HttpSource *source,
                        uint64_t size)
{
    (void)answer(
        r, &(HttpAnswer){.status = status, .content_type = content_type, .source = *source, .size = size});
}

bool http_answer_stream(HttpRequest *r, HttpEvents *e)
{
    return answer(r, &(HttpAnswer){.status = 200, .content_type = "text/event-stream", .events = e});
}

/* For the log: no id is in a pattern. */
static void name_route(const HttpRequest *r, char ret[static ROUTE_TEXT_SIZE])
{
    (void)snprintf(ret, ROUTE_TEXT_SIZE, "%s %s", r->route->method, r->route->pattern);
}

/* Why requests fail that are right, for the log: one in so much time stands for many. */
static void complain(HttpRequest *r, Problem p)
{
    HttpServer *s = r->loop->server;
    uint64_t now = clock_boottime(), last = atomic_load(&s->complained);

    if (!r->route || (last != 0 && now < last + COMPLAINT_INTERVAL) ||
        !atomic_compare_exchange_strong(&s->complained, &last, now))
        return;
    char route[ROUTE_TEXT_SIZE], status[NUMBER_SIZE];
    name_route(r, route);
    (void)snprintf(status, sizeof(status), "%u", problem_status(p));
    log_event(LOG_WARNING,
              LOG_FIELDS({"HMSG_EVENT", "request-refused"}, {"HMSG_ROUTE", route}, {"HMSG_STATUS", status},
                         {"HMSG_PROBLEM", problem_name(p)}),
              "%s: %s %s", route, status, problem_name(p));
}

static void answer_problem(HttpRequest *r, Problem p, const char *detail, unsigned retry_after,
                           const char *allow)
{
    HttpAnswer a = {.status = problem_status(p), .content_type = "application/problem+json"};

    a.body = BUF_MAX(ANSWER_SIZE_MAX);
    a.failed = problem_write(p, detail, &a.body) != 0;
    a.size = a.body.size;
    a.retry_after = problem_retry(p) && retry_after == 0 ? PROBLEM_RETRY_DEFAULT : retry_after;
    if (p == PROBLEM_FULL || p == PROBLEM_UNAVAILABLE)
        complain(r, p);
    (void)snprintf(a.allow, sizeof(a.allow), "%s", allow);
    (void)answer(r, &a);
}

void http_answer_problem(HttpRequest *r, Problem p, const char *detail, unsigned retry_after)
{
    answer_problem(r, p, detail, retry_after, "");
}

void http_answer_not_allowed(HttpRequest *r, const char *allow)
{
    answer_problem(r, PROBLEM_METHOD_NOT_ALLOWED, NULL, 0, allow);
}

static void log_failure(const HttpRequest *r, int error)
{
    char route[ROUTE_TEXT_SIZE], number[NUMBER_SIZE];
    name_route(r, route);
    (void)snprintf(number, sizeof(number), "%d", -error);
    log_event(LOG_WARNING,
              LOG_FIELDS({"HMSG_EVENT", "request-failed"}, {"HMSG_ROUTE", route}, {"ERRNO", number}),
              "%s: %s", route, strerror(-error));
}

void http_answer_error(HttpRequest *r, int error)
{
    if (error < 0)
        log_failure(r, error);
    http_answer_problem(r, problem_from_error(error), NULL, 0);
}

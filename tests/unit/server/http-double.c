/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/server/http-double.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "libhmsg/base/file.h"
#include "libhmsg/wire/crypto.h"
#include "libhmsg/wire/json.h"
#include "server/route.h"
#include "tests/lib/process.h"

#define FILE_SIZE_MAX (64u << 20)

struct HttpRequest {
    gint refs;
    DoubleConnection *connection;
    void *context;
    const HttpRoute *route;
    Target target;
    const char *method;
    const char *const *headers;
    int64_t length;
    uint64_t body_max;
    Buf body;
    void *data;
    void (*free_data)(void *data);
    atomic_int finished;
    unsigned status, retry;
    char *type;
    Buf answer;
    HttpEvents *events;
};

struct HttpEvents {
    gint refs;
    HttpRequest *request;
    void (*more)(HttpEvents *e, void *userdata);
    void (*closed)(HttpEvents *e, void *userdata);
    void *userdata;
    pthread_mutex_t lock;
    GQueue queue;
    unsigned room;
    bool full, ended;
};

struct DoubleEvents {
    HttpRequest *request;
    HttpEvents *events;
};

typedef struct Post {
    HttpRequest *request;
    void (*f)(HttpRequest *r, void *userdata);
    void *userdata;
} Post;

static pthread_mutex_t posts_lock = PTHREAD_MUTEX_INITIALIZER;
static GQueue posts = G_QUEUE_INIT;

void double_run(void)
{
    for (;;) {
        pthread_mutex_lock(&posts_lock);
        g_autofree Post *p = g_queue_pop_head(&posts);
        pthread_mutex_unlock(&posts_lock);
        if (!p)
            return;
        p->f(p->request, p->userdata);
        (void)http_request_unref(p->request);
    }
}

int http_request_post(HttpRequest *r, void (*f)(HttpRequest *r, void *userdata), void *userdata)
{
    Post *p = g_new0(Post, 1);
    *p = (Post){http_request_ref(r), f, userdata};
    pthread_mutex_lock(&posts_lock);
    g_queue_push_tail(&posts, p);
    pthread_mutex_unlock(&posts_lock);
    return 0;
}

HttpRequest *http_request_ref(HttpRequest *r)
{
    g_atomic_int_inc(&r->refs);
    return r;
}

HttpRequest *http_request_unref(HttpRequest *r)
{
    if (!r || !g_atomic_int_dec_and_test(&r->refs))
        return NULL;
    if (r->free_data)
        r->free_data(r->data);
    buf_done(&r->body);
    buf_done(&r->answer);
    g_free(r->type);
    g_free(r);
    return NULL;
}

void *http_request_context(const HttpRequest *r)
{
    return r->context;
}

unsigned http_request_loop(const HttpRequest *r)
{
    return 0;
}

Client *http_request_client(HttpRequest *r)
{
    return r->connection ? &r->connection->client : NULL;
}

bool http_request_finished(const HttpRequest *r)
{
    return atomic_load(&r->finished) != 0;
}

const char *http_request_value(const HttpRequest *r, unsigned index)
{
    return r->target.values[index];
}

const char *http_request_query(const HttpRequest *r, const char *name)
{
    return target_query(&r->target, name);
}

const char *http_request_header(const HttpRequest *r, const char *name)
{
    for (const char *const *h = r->headers; h && *h; h++)
        if (g_str_has_prefix(*h, name) && g_str_has_prefix(*h + strlen(name), ": "))
            return *h + strlen(name) + 2;
    return NULL;
}

int64_t http_request_length(const HttpRequest *r)
{
    return r->length;
}

void http_request_set_body_max(HttpRequest *r, uint64_t max)
{
    r->body_max = max;
}

const Buf *http_request_body(const HttpRequest *r)
{
    return &r->body;
}

int http_request_json(const HttpRequest *r, const char *const *names, json_t **ret)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    if (r->body.size == 0) {
        *ret = json_object();
        return 0;
    }
    if (json_parse_object(buf_text(&r->body), r->body.size, &j) != 0 || json_check_names(j, names) != 0)
        return PROBLEM_BAD_REQUEST;
    *ret = TAKE_PTR(j);
    return 0;
}

void http_request_set_data(HttpRequest *r, void *data, void (*free_data)(void *data))
{
    if (r->free_data)
        r->free_data(r->data);
    r->data = data;
    r->free_data = free_data;
}

void *http_request_data(const HttpRequest *r)
{
    return r->data;
}

static void answer(HttpRequest *r, unsigned status, const char *type, const void *data, size_t n)
{
    if (http_request_finished(r))
        return;
    r->status = status;
    r->type = g_strdup(type);
    r->answer = BUF_MAX(FILE_SIZE_MAX);
    g_assert_cmpint(buf_append(&r->answer, data, n), ==, 0);
    atomic_store(&r->finished, 1);
}

void http_answer_empty(HttpRequest *r, unsigned status)
{
    answer(r, status, NULL, "", 0);
}

void http_answer_buf(HttpRequest *r, unsigned status, const char *content_type, Buf *body)
{
    answer(r, status, content_type, body->data, body->size);
    buf_done(body);
}

void http_answer_json(HttpRequest *r, unsigned status, const json_t *body)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(FILE_SIZE_MAX);
    g_assert_cmpint(json_write(body, &text), ==, 0);
    answer(r, status, "application/json", text.data, text.size);
}

void http_answer_source(HttpRequest *r, unsigned status, const char *content_type, const HttpSource *source,
                        uint64_t size)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(FILE_SIZE_MAX);
    uint8_t piece[5000];
    while (body.size < size) {
        ssize_t n = source->read(source->userdata, body.size, piece, sizeof(piece));
        g_assert_cmpint(n, >, 0);
        g_assert_cmpint(buf_append(&body, piece, (size_t)n), ==, 0);
    }
    g_assert_cmpuint(body.size, ==, size);
    source->free(source->userdata);
    answer(r, status, content_type, body.data, body.size);
}

void http_answer_problem(HttpRequest *r, Problem p, const char *detail, unsigned retry_after)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(4096);
    if (http_request_finished(r))
        return;
    g_assert_cmpint(problem_write(p, detail, &text), ==, 0);
    r->retry = problem_retry(p) && retry_after == 0 ? PROBLEM_RETRY_DEFAULT : retry_after;
    answer(r, problem_status(p), "application/problem+json", text.data, text.size);
}

void http_answer_error(HttpRequest *r, int error)
{
    http_answer_problem(r, problem_from_error(error), NULL, 0);
}

int http_answer_events(HttpRequest *r, void (*more)(HttpEvents *e, void *userdata),
                       void (*closed)(HttpEvents *e, void *userdata), void *userdata, HttpEvents **ret)
{
    HttpEvents *e = g_new0(HttpEvents, 1);
    e->refs = 2;
    e->request = http_request_ref(r);
    e->more = more;
    e->closed = closed;
    e->userdata = userdata;
    e->room = 1000;
    pthread_mutex_init(&e->lock, NULL);
    answer(r, 200, "text/event-stream", "", 0);
    r->events = e;
    *ret = e;
    return 0;
}

int http_events_push(HttpEvents *e, const char *event, const char *data)
{
    int r = 0;
    pthread_mutex_lock(&e->lock);
    if (e->ended)
        r = -EPIPE;
    else if (e->queue.length >= e->room)
        r = -ENOBUFS;
    else
        g_queue_push_tail(&e->queue, g_strdup_printf("%s %s", event, data));
    e->full = e->full || r == -ENOBUFS;
    pthread_mutex_unlock(&e->lock);
    return r;
}

void http_events_end(HttpEvents *e)
{
    pthread_mutex_lock(&e->lock);
    e->ended = true;
    pthread_mutex_unlock(&e->lock);
}

HttpRequest *http_events_request(HttpEvents *e)
{
    return e->request;
}

HttpEvents *http_events_ref(HttpEvents *e)
{
    g_atomic_int_inc(&e->refs);
    return e;
}

HttpEvents *http_events_unref(HttpEvents *e)
{
    if (!e || !g_atomic_int_dec_and_test(&e->refs))
        return NULL;
    g_queue_clear_full(&e->queue, g_free);
    pthread_mutex_destroy(&e->lock);
    (void)http_request_unref(e->request);
    g_free(e);
    return NULL;
}

DoubleConnection *double_connect(const HttpRoute *routes, size_t n_routes, void *context)
{
    DoubleConnection *c = g_new0(DoubleConnection, 1);
    c->routes = routes;
    c->n_routes = n_routes;
    c->context = context;
    c->client.peer.ss_family = AF_INET;
    g_assert_cmpint(crypto_random(c->client.exporter, EXPORTER_SIZE), ==, 0);
    return c;
}

void double_close(DoubleConnection *c)
{
    double_run();
    client_done(&c->client);
    g_free(c);
}

static void take_result(HttpRequest *r, int result)
{
    if (result < 0)
        http_answer_error(r, result);
    else if (result > 0)
        http_answer_problem(r, (Problem)result, NULL, 0);
}

static int begin(HttpRequest *r)
{
    if (r->route->login && !r->connection->client.logged_in)
        return PROBLEM_LOGIN_REQUIRED;
    r->body_max = r->route->body_max;
    int p = r->route->begin ? r->route->begin(r) : 0;
    return p == 0 && r->length >= 0 && (uint64_t)r->length > r->body_max ? PROBLEM_TOO_LARGE : p;
}

static void send_body(HttpRequest *r, const DoubleCall *call)
{
    const uint8_t *data = call->body;
    size_t piece = call->piece > 0 ? call->piece : call->size, sent = 0;
    while (sent < call->size && !http_request_finished(r)) {
        size_t n = MIN(piece, call->size - sent);
        if (sent + n > r->body_max)
            take_result(r, PROBLEM_TOO_LARGE);
        else
            take_result(r, r->route->data ? r->route->data(r, data + sent, n)
                                          : buf_append(&r->body, data + sent, n));
        sent += n;
    }
}

static HttpRequest *start(DoubleConnection *c, const DoubleCall *call)
{
    char allow[ALLOW_SIZE] = "";
    HttpRequest *r = g_new0(HttpRequest, 1);
    r->refs = 1;
    r->connection = c;
    r->context = c->context;
    r->method = call->method;
    r->headers = call->headers;
    r->length = call->untold ? -1 : (int64_t)call->size;
    r->body = BUF_MAX(FILE_SIZE_MAX);
    int p = target_parse(call->target, strlen(call->target), &r->target);
    if (p == 0)
        p = route_find(c->routes, c->n_routes, call->method, &r->target, &r->route, allow);
    if (p == 0)
        p = begin(r);
    take_result(r, p);
    if (!http_request_finished(r))
        send_body(r, call);
    if (!http_request_finished(r))
        take_result(r, r->route->end(r));
    return r;
}

DoubleAnswer *double_call(DoubleConnection *c, const DoubleCall *call)
{
    HttpRequest *r = start(c, call);
    TEST_AWAIT((double_run(), http_request_finished(r)));
    DoubleAnswer *a = g_new0(DoubleAnswer, 1);
    a->status = r->status;
    a->retry = r->retry;
    a->type = g_strdup(r->type);
    a->body = g_byte_array_new();
    g_byte_array_append(a->body, r->answer.data, (guint)r->answer.size);
    if (r->type && g_str_has_suffix(r->type, "json"))
        g_assert_cmpint(json_parse_object(buf_text(&r->answer), r->answer.size, &a->json), ==, 0);
    r->headers = NULL;
    (void)http_request_unref(r);
    return a;
}

DoubleAnswer *double_json(DoubleConnection *c, const char *method, const char *target, json_t *body)
{
    static const char *const headers[] = {"content-type: application/json", NULL};
    _cleanup_(buf_done) Buf text = BUF_MAX(FILE_SIZE_MAX);
    if (body)
        g_assert_cmpint(json_write(body, &text), ==, 0);
    json_decref(body);
    return double_call(c, &(DoubleCall){.method = method,
                                        .target = target,
                                        .headers = body ? headers : NULL,
                                        .body = text.data,
                                        .size = text.size});
}

void double_answer_free(DoubleAnswer *a)
{
    json_decref(a->json);
    g_byte_array_unref(a->body);
    g_free(a->type);
    g_free(a);
}

DoubleEvents *double_events(DoubleConnection *c, const char *target, unsigned room)
{
    DoubleEvents *e = g_new0(DoubleEvents, 1);
    e->request = start(c, &(DoubleCall){.method = "GET", .target = target});
    g_assert_cmpuint(e->request->status, ==, 200);
    e->events = e->request->events;
    e->events->room = room;
    return e;
}

char *double_events_take(DoubleEvents *d)
{
    HttpEvents *e = d->events;
    char *text = NULL;
    bool room = false, ended = false;
    gint64 end = g_get_monotonic_time() + (gint64)TEST_AWAIT_SECONDS * G_USEC_PER_SEC;
    while (!text && !ended) {
        double_run();
        pthread_mutex_lock(&e->lock);
        text = g_queue_pop_head(&e->queue);
        ended = !text && e->ended;
        room = e->full && e->more && e->queue.length == 0;
        if (room)
            e->full = false;
        pthread_mutex_unlock(&e->lock);
        if (room)
            e->more(e, e->userdata);
        if (!text && !ended)
            g_usleep(TEST_AWAIT_PAUSE);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    return text;
}

void double_events_close(DoubleEvents *d)
{
    HttpEvents *e = d->events;
    http_events_end(e);
    e->closed(e, e->userdata);
    double_run();
    (void)http_events_unref(e);
    (void)http_request_unref(d->request);
    g_free(d);
}

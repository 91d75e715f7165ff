/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"
#include "libhmsg/wire/json.h"
#include "server/http-internal.h"

#define FIELD_OVERHEAD 32u /* what each field counts besides its bytes, RFC 9113 section 6.5.2 */
#define DISCARD_MAX (4u * 1024u * 1024u) /* bytes of a body that come after the answer */
#define CHARGE_MAX (64u * 1024u)         /* bytes of a body that are charged; what is larger goes to a file */
#define JSON_TYPE "application/json"

int http_request_new(HttpConnection *c, int32_t stream, HttpRequest **ret)
{
    HttpRequest *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    atomic_init(&r->references, 1);
    atomic_init(&r->answered, false);
    r->loop = c->loop;
    r->connection = c;
    r->stream = stream;
    r->length = -1;
    r->headers = BUF_MAX(HTTP_HEADERS_SIZE_MAX);
    r->body = BUF_MAX(0);
    r->in.since = clock_boottime();
    r->next = c->requests;
    if (r->next)
        r->next->previous = r;
    c->requests = r;
    *ret = r;
    return 0;
}

HttpRequest *http_request_ref(HttpRequest *r)
{
    if (r)
        atomic_fetch_add(&r->references, 1);
    return r;
}

HttpRequest *http_request_unref(HttpRequest *r)
{
    if (!r || atomic_fetch_sub(&r->references, 1) != 1)
        return NULL;
    if (r->free_data)
        r->free_data(r->data);
    http_memory_give(r->loop->server, r->charged + r->answer.charged);
    http_answer_done(&r->answer);
    buf_done(&r->headers);
    buf_done(&r->body);
    free(r);
    return NULL;
}

void http_request_detach(HttpRequest *r)
{
    HttpConnection *c = r->connection;

    (void)nghttp2_session_set_stream_user_data(c->session, r->stream, NULL);
    if (r->previous)
        r->previous->next = r->next;
    else
        c->requests = r->next;
    if (r->next)
        r->next->previous = r->previous;
    r->next = r->previous = NULL;
    r->connection = NULL;
    atomic_store(&r->closed, true);
    http_answer_closed(r);
    (void)http_request_unref(r);
}

static int parse_length(const char *text, size_t n, int64_t *ret)
{
    int64_t length = 0;

    if (n == 0 || n > 18)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        length = length * 10 + (text[i] - '0');
    }
    *ret = length;
    return 0;
}

static bool is(const char *name, size_t n, const char *what)
{
    return n == strlen(what) && memcmp(name, what, n) == 0; /* public */
}

int http_request_add_header(HttpRequest *r, const char *name, size_t name_size, const char *value,
                            size_t value_size)
{
    int e;

    r->headers_size += name_size + value_size + FIELD_OVERHEAD;
    if (r->headers_size > HTTP_HEADERS_SIZE_MAX || ++r->n_headers > HTTP_HEADERS_MAX)
        r->bad = true;
    if (r->bad)
        return 0;
    if (is(name, name_size, ":method")) {
        if (value_size >= sizeof(r->method))
            value_size = 0; /* "": a method of no route */
        memcpy(r->method, value, value_size);
        return 0;
    }
    if (is(name, name_size, ":path")) {
        r->bad = target_parse(value, value_size, &r->target) != 0;
        return 0;
    }
    if (name_size > 0 && name[0] == ':')
        return 0;
    if (is(name, name_size, "content-length") && parse_length(value, value_size, &r->length) < 0)
        r->bad = true;
    e = buf_append(&r->headers, name, name_size);
    if (e == 0)
        e = buf_append(&r->headers, "", 1);
    if (e == 0)
        e = buf_append(&r->headers, value, value_size);
    if (e == 0)
        e = buf_append(&r->headers, "", 1);
    return e;
}

/* The result of a handler's callback becomes an answer when it is not 0. */
static void take_result(HttpRequest *r, int result)
{
    if (result < 0)
        http_answer_error(r, result);
    else if (result > 0)
        http_answer_problem(r, (Problem)result, NULL, 0);
}

static bool is_json(const char *type)
{
    size_t n = strlen(JSON_TYPE);

    return strncasecmp(type, JSON_TYPE, n) == 0 && strchr("; \t", type[n]);
}

static int begin(HttpRequest *r)
{
    const HttpOptions *o = r->loop->server->options;
    char allow[ALLOW_SIZE];
    const char *type;
    int p;

    if (r->bad)
        return PROBLEM_BAD_REQUEST;
    p = route_find(o->routes, o->n_routes, r->method, &r->target, &r->route, allow);
    if (p == PROBLEM_METHOD_NOT_ALLOWED)
        http_answer_not_allowed(r, allow);
    if (p != 0)
        return p;
    if (r->route->login && !r->connection->client.logged_in)
        return PROBLEM_LOGIN_REQUIRED;
    type = http_request_header(r, "content-type");
    if (r->route->json && type && !is_json(type))
        return PROBLEM_UNSUPPORTED_MEDIA_TYPE;
    r->body_max = r->route->body_max;
    p = r->route->begin ? r->route->begin(r) : 0;
    if (p == 0 && r->length >= 0 && (uint64_t)r->length > r->body_max)
        p = PROBLEM_TOO_LARGE;
    return p;
}

void http_request_headers_done(HttpRequest *r)
{
    int p;

    p = begin(r);
    if (r->route)
        take_result(r, p);
    else
        http_answer_problem(r, (Problem)p, NULL, 0);
    r->body.max = r->body_max < SIZE_MAX ? (size_t)r->body_max : SIZE_MAX;
}

/* A body that nobody wants, since the answer was no. Clients stop by themselves when they see the answer; a
 * reset at once would make libcurl before 8.11 lose it. */
static void discard(HttpRequest *r, size_t n)
{
    r->discarded += n;
    if (r->discarded > DISCARD_MAX && r->connection)
        (void)nghttp2_submit_rst_stream(r->connection->session, NGHTTP2_FLAG_NONE, r->stream,
                                        NGHTTP2_NO_ERROR);
}

bool http_memory_take(HttpServer *s, uint64_t n)
{
    if (atomic_fetch_add(&s->memory, n) + n <= s->memory_max)
        return true;
    http_memory_give(s, n);
    return false;
}

void http_memory_give(HttpServer *s, uint64_t n)
{
    if (n > 0)
        atomic_fetch_sub(&s->memory, n);
}

/* Bodies are kept whole before they are used, so many slow ones are a way to take all memory. */
static bool charge(HttpRequest *r, size_t n)
{
    uint64_t left = CHARGE_MAX - r->charged;

    if (n > left)
        n = (size_t)left;
    if (n > 0 && !http_memory_take(r->loop->server, n))
        return false;
    r->charged += n;
    return true;
}

void http_request_data_in(HttpRequest *r, const void *data, size_t n)
{
    r->received += n;
    if (http_request_finished(r)) {
        discard(r, n);
        return;
    }
    if (r->received > r->body_max)
        take_result(r, PROBLEM_TOO_LARGE);
    else if (!charge(r, n))
        take_result(r, PROBLEM_UNAVAILABLE);
    else if (r->route->data)
        take_result(r, r->route->data(r, data, n));
    else
        take_result(r, buf_append(&r->body, data, n));
}

void http_request_body_done(HttpRequest *r)
{
    r->complete = true;
    if (http_request_finished(r))
        return;
    if (r->route->json && r->body.size > 0 && !http_request_header(r, "content-type"))
        take_result(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE);
    else
        take_result(r, r->route->end(r));
}

void *http_request_context(const HttpRequest *r)
{
    return r->loop->server->options->context;
}

unsigned http_request_loop(const HttpRequest *r)
{
    return r->loop->index;
}

Client *http_request_client(HttpRequest *r)
{
    return r->connection ? &r->connection->client : NULL;
}

bool http_request_finished(const HttpRequest *r)
{
    return atomic_load(&r->answered) || atomic_load(&r->closed);
}

const char *http_request_method(const HttpRequest *r)
{
    return r->method;
}

const char *http_request_path(const HttpRequest *r)
{
    return r->target.path;
}

const char *http_request_value(const HttpRequest *r, unsigned index)
{
    return index < HTTP_VALUES_MAX ? r->target.values[index] : NULL;
}

const char *http_request_query(const HttpRequest *r, const char *name)
{
    return target_query(&r->target, name);
}

const char *http_request_header(const HttpRequest *r, const char *name)
{
    const char *p = buf_text(&r->headers);
    const char *end = p + r->headers.size;

    while (p < end) {
        const char *value = p + strlen(p) + 1;

        if (strcmp(p, name) == 0)
            return value;
        p = value + strlen(value) + 1;
    }
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
    json_t *j = NULL;
    int e;

    e = r->body.size > 0 ? json_parse_object(buf_text(&r->body), r->body.size, &j)
                         : json_parse_object("{}", 2, &j);
    if (e == 0)
        e = json_check_names(j, names);
    if (e != 0) {
        json_decref(j);
        return e < 0 ? e : PROBLEM_BAD_REQUEST;
    }
    *ret = j;
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

typedef struct Call {
    HttpPost post;
    HttpRequest *request;
    void (*f)(HttpRequest *r, void *userdata);
    void *userdata;
} Call;

static void run_call(HttpPost *p)
{
    Call *c = (Call *)(void *)p;

    c->f(c->request, c->userdata);
    (void)http_request_unref(c->request);
    free(c);
}

int http_request_post(HttpRequest *r, void (*f)(HttpRequest *r, void *userdata), void *userdata)
{
    Call *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->post.run = run_call;
    c->request = http_request_ref(r);
    c->f = f;
    c->userdata = userdata;
    http_loop_post(r->loop, &c->post);
    return 0;
}

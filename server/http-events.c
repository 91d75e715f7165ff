/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "server/http-internal.h"

#define KEEPALIVE ":\n\n"

struct HttpEvents {
    atomic_uint references;
    HttpRequest *request;
    void (*more)(HttpEvents *e, void *userdata);
    void (*closed_f)(HttpEvents *e, void *userdata);
    void *userdata;

    pthread_mutex_t lock; /* over what follows */
    Buf out;
    size_t charged; /* bytes of out, to the server's memory */
    size_t taken;   /* bytes of out that are sent */
    uint64_t since; /* when something was last taken, or put into an empty out */
    bool pushed;    /* something since more was called */
    bool want_more, deferred, ending, closed;
    bool scheduled; /* post is under way, with a reference */
    HttpPost post;
};

/* With the lock, or the last reference. */
static void drop_out(HttpEvents *e)
{
    http_memory_give(e->request->loop->server, e->charged);
    e->charged = e->taken = 0;
    buf_done(&e->out);
}

HttpEvents *http_events_ref(HttpEvents *e)
{
    if (e)
        atomic_fetch_add(&e->references, 1);
    return e;
}

HttpEvents *http_events_unref(HttpEvents *e)
{
    if (!e || atomic_fetch_sub(&e->references, 1) != 1)
        return NULL;
    drop_out(e);
    (void)http_request_unref(e->request);
    pthread_mutex_destroy(&e->lock);
    free(e);
    return NULL;
}

HttpRequest *http_events_request(HttpEvents *e)
{
    return e->request;
}

static void run_events(HttpPost *p)
{
    _cleanup_(http_events_unrefp) HttpEvents *e =
        (HttpEvents *)(void *)((char *)p - offsetof(HttpEvents, post));
    HttpRequest *r = e->request;
    bool resume, more;

    pthread_mutex_lock(&e->lock);
    e->scheduled = false;
    resume = !e->closed && e->deferred && (e->out.size > 0 || e->ending);
    more = !e->closed && e->want_more;
    e->want_more = false;
    if (resume)
        e->deferred = false;
    pthread_mutex_unlock(&e->lock);

    if (resume && r->connection && nghttp2_session_resume_data(r->connection->session, r->stream) == 0)
        http_connection_touch(r->connection);
    if (more)
        e->more(e, e->userdata);
}

/* With the lock. */
static void schedule(HttpEvents *e)
{
    if (e->scheduled || e->closed)
        return;
    e->scheduled = true;
    (void)http_events_ref(e);
    http_loop_post(e->request->loop, &e->post);
}

int http_events_push(HttpEvents *e, const char *event, const char *data)
{
    size_t before;
    int r = 0;

    pthread_mutex_lock(&e->lock);
    before = e->out.size;
    if (e->closed || e->ending)
        r = -EPIPE;
    if (r == 0)
        r = buf_printf(&e->out, "event: %s\ndata: %s\n\n", event, data);
    if (r == -EMSGSIZE)
        r = -ENOBUFS;
    if (r == 0 && !http_memory_take(e->request->loop->server, e->out.size - before)) {
        buf_truncate(&e->out, before);
        e->ending = true; /* who is here again asks for what he missed */
        schedule(e);
        r = -EPIPE;
    }
    if (r == 0) {
        e->charged += e->out.size - before;
        if (before == 0)
            e->since = clock_boottime();
        schedule(e);
    } else if (r != -EPIPE)
        buf_truncate(&e->out, before);
    if (r == 0 || r == -ENOBUFS)
        e->pushed = true;
    pthread_mutex_unlock(&e->lock);
    return r;
}

void http_events_end(HttpEvents *e)
{
    pthread_mutex_lock(&e->lock);
    e->ending = true;
    schedule(e);
    pthread_mutex_unlock(&e->lock);
}

ssize_t http_events_read(HttpEvents *e, uint8_t *to, size_t n, uint32_t *flags)
{
    ssize_t result;

    pthread_mutex_lock(&e->lock);
    if (n > e->out.size - e->taken)
        n = e->out.size - e->taken;
    if (n > 0) {
        memcpy(to, e->out.data + e->taken, n);
        e->taken += n;
        e->since = clock_boottime();
    }
    if (e->taken == e->out.size) {
        drop_out(e); /* an idle stream keeps no memory */
        if (e->pushed && e->more) {
            e->want_more = true;
            schedule(e);
        }
        e->pushed = false;
    }
    result = (ssize_t)n;
    if (e->ending && e->out.size == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (n == 0) {
        e->deferred = true;
        result = NGHTTP2_ERR_DEFERRED;
    }
    pthread_mutex_unlock(&e->lock);
    return result;
}

void http_events_close(HttpEvents *e)
{
    bool first;

    pthread_mutex_lock(&e->lock);
    first = !e->closed;
    e->closed = true;
    drop_out(e);
    pthread_mutex_unlock(&e->lock);
    if (first && e->closed_f)
        e->closed_f(e, e->userdata);
}

bool http_events_sweep(HttpEvents *e, uint64_t now, uint64_t keepalive, uint64_t stall)
{
    bool stalled;

    pthread_mutex_lock(&e->lock);
    stalled = e->out.size > 0 && now > e->since && now - e->since > stall;
    if (e->out.size == 0 && now > e->since && now - e->since >= keepalive &&
        buf_append_string(&e->out, KEEPALIVE) == 0) {
        e->since = now;
        schedule(e);
    }
    pthread_mutex_unlock(&e->lock);
    return stalled;
}

int http_answer_events(HttpRequest *r, void (*more)(HttpEvents *e, void *userdata),
                       void (*closed)(HttpEvents *e, void *userdata), void *userdata, HttpEvents **ret)
{
    HttpEvents *e;
    int x;

    if (http_request_finished(r))
        return -EPIPE;
    e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    x = -pthread_mutex_init(&e->lock, NULL);
    if (x < 0) {
        free(e);
        return x;
    }
    atomic_init(&e->references, 2); /* the answer's and the caller's */
    e->request = http_request_ref(r);
    e->more = more;
    e->closed_f = closed;
    e->userdata = userdata;
    e->out = BUF_MAX(HTTP_EVENTS_SIZE_MAX);
    e->since = clock_boottime();
    e->post.run = run_events;
    buf_done(&r->headers); /* an idle stream keeps no memory that it does not need */
    if (!http_answer_stream(r, e)) {
        e->closed_f = NULL;
        (void)http_events_unref(e);
        return -EPIPE;
    }
    *ret = e;
    return 0;
}

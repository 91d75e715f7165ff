/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "server/http-internal.h"

static unsigned or_default(unsigned value, unsigned fallback)
{
    return value > 0 ? value : fallback;
}

static HttpTimeouts complete_timeouts(const HttpTimeouts *t)
{
    return (HttpTimeouts){
        .handshake = or_default(t->handshake, 10),
        .idle = or_default(t->idle, 300),
        .body = or_default(t->body, 30),
        .stall = or_default(t->stall, 60),
        .keepalive = or_default(t->keepalive, 30),
        .grace = or_default(t->grace, 10),
    };
}

int http_server_new(const int *fds, size_t n_fds, Tls *tls, const HttpOptions *o, HttpServer **ret)
{
    _cleanup_(http_server_freep) HttpServer *s = NULL;
    int r = 0;

    if (n_fds == 0 || n_fds > HTTP_LISTEN_MAX || o->loops == 0 || o->loops > HTTP_LOOPS_MAX)
        return -EINVAL;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->options = o;
    s->timeouts = complete_timeouts(&o->timeouts);
    s->memory_max = o->memory > 0 ? o->memory : HTTP_MEMORY_MAX;
    s->tls = tls;
    memcpy(s->fds, fds, n_fds * sizeof(*fds));
    s->n_fds = n_fds;
    r = peers_new(o->address_connections, &s->peers);
    while (r == 0 && s->n_loops < o->loops) {
        r = http_loop_new(s, s->n_loops, &s->loops[s->n_loops]);
        if (r >= 0)
            s->n_loops++;
    }
    for (unsigned i = s->n_loops; i > 0 && r >= 0; i--) /* the one that accepts last */
        r = http_loop_start(s->loops[i - 1]);
    if (r < 0) {
        s->n_fds = 0; /* still the caller's */
        return r;
    }
    *ret = TAKE_PTR(s);
    return 0;
}

void http_server_stop(HttpServer *s)
{
    if (s->stopped)
        return;
    s->stopped = true;
    for (unsigned i = 0; i < s->n_loops; i++)
        http_loop_drain(s->loops[i]);
    for (unsigned i = 0; i < s->n_loops; i++)
        http_loop_join(s->loops[i]);
}

HttpServer *http_server_free(HttpServer *s)
{
    if (!s)
        return NULL;
    http_server_stop(s);
    for (unsigned i = 0; i < s->n_loops; i++)
        s->loops[i] = http_loop_free(s->loops[i]);
    s->peers = peers_free(s->peers);
    free(s);
    return NULL;
}

void http_server_counts(HttpServer *s, HttpCounts *ret)
{
    ret->connections = atomic_load(&s->connections);
    ret->refused = atomic_load(&s->refused);
    ret->memory = atomic_load(&s->memory);
    for (unsigned i = 0; i < HTTP_STATUS_MAX; i++)
        ret->answers[i] = atomic_load(&s->answers[i]);
}

unsigned http_server_connections(HttpServer *s)
{
    return atomic_load(&s->connections);
}

uint64_t http_server_silence(HttpServer *s, uint64_t now)
{
    uint64_t longest = 0;

    for (unsigned i = 0; i < s->n_loops; i++) {
        uint64_t swept = atomic_load(&s->loops[i]->swept);

        if (now > swept && now - swept > longest)
            longest = now - swept;
    }
    return longest;
}

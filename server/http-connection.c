/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>

#include "libhmsg/base/clock.h"
#include "server/http-internal.h"

#define READS_AT_A_TIME 16u /* records, before others get their turn */

static void set_wanted(HttpConnection *c, uint32_t events)
{
    if (c->wanted == events)
        return;
    c->wanted = events;
    if (sd_event_source_set_io_events(c->io, events) < 0)
        c->broken = true;
}

/* What to do after an SSL function returned n <= 0. 0: wait, else the connection is over. */
static int ssl_result(HttpConnection *c, int n)
{
    int e = SSL_get_error(c->ssl, n);

    ERR_clear_error();
    if (e == SSL_ERROR_WANT_READ)
        return 0;
    if (e == SSL_ERROR_WANT_WRITE) {
        set_wanted(c, EPOLLIN | EPOLLOUT);
        return 0;
    }
    return -ECONNRESET;
}

static int handshake(HttpConnection *c)
{
    int n;

    ERR_clear_error();
    n = SSL_do_handshake(c->ssl);
    if (n <= 0)
        return ssl_result(c, n);
    set_wanted(c, EPOLLIN);
    if (!tls_finished(c->ssl, c->client.exporter))
        return -EPROTO;
    return http_session_new(c);
}

static int receive(HttpConnection *c)
{
    HttpLoop *l = c->loop;

    for (unsigned i = 0; i < READS_AT_A_TIME || SSL_pending(c->ssl) > 0; i++) {
        ssize_t taken;
        int n;

        ERR_clear_error();
        n = SSL_read(c->ssl, l->in, sizeof(l->in));
        if (n <= 0)
            return ssl_result(c, n);
        taken = nghttp2_session_mem_recv(c->session, l->in, (size_t)n);
        if (taken != n) {
            /* says why to the client, if it can be told */
            http_connection_touch(c);
            return nghttp2_is_fatal((int)taken) ? -EPROTO : 0;
        }
    }
    return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    HttpConnection *c = userdata;
    int r = 0;

    if (!c->session)
        r = handshake(c);
    if (r == 0 && c->session)
        r = receive(c);
    if (r < 0 || c->broken)
        http_connection_close(c);
    else if (c->session)
        http_connection_touch(c);
    return 0;
}

void http_connection_open(HttpLoop *l, int fd, const struct sockaddr_storage *peer, socklen_t peer_size)
{
    HttpConnection *c = calloc(1, sizeof(*c));

    if (!c) {
        (void)fd_close(fd);
        http_accept_leave(l->server, peer);
        return;
    }
    c->loop = l;
    c->fd = fd;
    c->out = BUF_MAX(l->out.max);
    c->client.peer = *peer;
    c->client.peer_size = peer_size;
    c->since = c->sent = clock_boottime();
    c->next = l->connections;
    if (c->next)
        c->next->previous = c;
    l->connections = c;
    c->wanted = EPOLLIN;
    if (tls_accept(l->server->tls, fd, &c->ssl) < 0 ||
        sd_event_add_io(l->event, &c->io, fd, c->wanted, on_io, c) < 0)
        http_connection_close(c);
}

static void unlink_connection(HttpConnection *c)
{
    HttpLoop *l = c->loop;

    if (c->previous)
        c->previous->next = c->next;
    else
        l->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    for (HttpConnection **p = &l->dirty; c->dirty && *p; p = &(*p)->next_dirty)
        if (*p == c) {
            *p = c->next_dirty;
            break;
        }
}

void http_connection_close(HttpConnection *c)
{
    unlink_connection(c);
    while (c->requests)
        http_request_detach(c->requests);
    nghttp2_session_del(c->session);
    (void)sd_event_source_disable_unref(c->io);
    if (c->ssl && SSL_is_init_finished(c->ssl))
        (void)SSL_shutdown(c->ssl); /* close_notify, if there is room for it */
    SSL_free(c->ssl);
    ERR_clear_error();
    (void)fd_close(c->fd);
    http_accept_leave(c->loop->server, &c->client.peer);
    client_done(&c->client);
    buf_done(&c->out);
    free(c);
}

void http_connection_touch(HttpConnection *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = c->loop->dirty;
    c->loop->dirty = c;
}

/* Frames of about one TLS record, into the loop's buffer. */
static int gather(HttpConnection *c)
{
    Buf *out = &c->loop->out;
    const uint8_t *p;
    ssize_t n;
    int r;

    buf_truncate(out, 0);
    while (out->size < HTTP_RECORD_SIZE) {
        n = nghttp2_session_mem_send(c->session, &p);
        if (n <= 0)
            return n < 0 ? -EPROTO : 0;
        r = buf_append(out, p, (size_t)n);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Writes what it can of n bytes; 1: all, 0: *ret_done of them, and the rest must be offered again. */
static int write_out(HttpConnection *c, const uint8_t *p, size_t n, size_t *ret_done)
{
    size_t done = 0;

    while (done < n) {
        size_t piece = n - done < INT_MAX ? n - done : INT_MAX;
        int k;

        ERR_clear_error();
        k = SSL_write(c->ssl, p + done, (int)piece);
        if (k <= 0) {
            *ret_done = done;
            set_wanted(c, EPOLLIN | EPOLLOUT);
            return ssl_result(c, k);
        }
        done += (size_t)k;
        c->sent = clock_boottime();
    }
    return 1;
}

/* The rest of an earlier flush. 1: nothing is left. */
static int write_rest(HttpConnection *c)
{
    _cleanup_(buf_done) Buf rest = c->out;
    size_t done = 0;
    int r;

    if (rest.size == 0)
        return 1;
    c->out = BUF_MAX(rest.max);
    r = write_out(c, rest.data, rest.size, &done);
    if (r == 0)
        r = buf_append(&c->out, rest.data + done, rest.size - done);
    return r;
}

static int flush(HttpConnection *c)
{
    Buf *out = &c->loop->out;
    size_t done = 0;
    int r;

    r = write_rest(c);
    while (r == 1) {
        r = gather(c);
        if (r < 0)
            return r;
        if (out->size == 0) {
            set_wanted(c, EPOLLIN);
            return nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session)
                       ? 0
                       : -ENOTCONN;
        }
        r = write_out(c, out->data, out->size, &done);
        if (r == 0)
            r = buf_append(&c->out, out->data + done, out->size - done);
    }
    return r;
}

void http_connection_flush(HttpConnection *c)
{
    if (!c->session)
        return;
    if (flush(c) < 0 || c->broken)
        http_connection_close(c);
}

void http_connection_goaway(HttpConnection *c)
{
    int32_t last;

    if (!c->session) {
        c->broken = true; /* the sweep closes it */
        return;
    }
    last = nghttp2_session_get_last_proc_stream_id(c->session);
    if (nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0)
        c->broken = true;
    for (HttpRequest *r = c->requests; r; r = r->next)
        if (r->sending && r->answer.events)
            http_events_end(r->answer.events);
    http_connection_touch(c);
}

/* Each so many seconds: have HTTP_BODY_RATE_MIN bytes for each of them gone through? A sum over all the time
 * would let whoever was quick at first stand still for days. */
static bool too_slow(HttpPace *p, uint64_t now, unsigned seconds, uint64_t done)
{
    if (now < p->since || now - p->since <= seconds * 1000000ull)
        return false;
    if (done - p->done < (uint64_t)seconds * HTTP_BODY_RATE_MIN)
        return true;
    *p = (HttpPace){now, done};
    return false;
}

/* Is one of its streams past its time? Such a stream is reset. */
static void sweep_request(HttpRequest *r, uint64_t now)
{
    const HttpTimeouts *t = &r->loop->server->timeouts;
    bool slow;

    if (r->sending && r->answer.events)
        slow = http_events_sweep(r->answer.events, now, t->keepalive * 1000000ull, t->stall * 1000000ull);
    else
        slow = r->sending && too_slow(&r->out, now, t->stall, r->answer.offset);
    if (slow || (!r->complete && too_slow(&r->in, now, t->body, r->received))) {
        (void)nghttp2_submit_rst_stream(r->connection->session, NGHTTP2_FLAG_NONE, r->stream, NGHTTP2_CANCEL);
        http_connection_touch(r->connection);
    }
}

void http_connection_sweep(HttpConnection *c, uint64_t now)
{
    const HttpTimeouts *t = &c->loop->server->timeouts;
    bool over = c->broken;

    if (!c->greeted)
        over = over || now - c->since > t->handshake * 1000000ull;
    else if (c->requests)
        c->since = now;
    else
        over = over || now - c->since > t->idle * 1000000ull;
    if (c->out.size > 0)
        over = over || now - c->sent > t->stall * 1000000ull;
    if (over) {
        http_connection_close(c);
        return;
    }
    for (HttpRequest *r = c->requests; r; r = r->next)
        sweep_request(r, now);
}

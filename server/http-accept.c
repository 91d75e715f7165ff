/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "libhmsg/base/log.h"
#include "server/http-internal.h"

#define ACCEPTS_AT_A_TIME 64u
#define USER_TIMEOUT_MS 60000 /* until a peer that acknowledges nothing is given up */

/* A connection on its way to another loop. */
typedef struct Passed {
    HttpPost post;
    HttpLoop *loop;
    int fd;
    struct sockaddr_storage peer;
    socklen_t peer_size;
} Passed;

void http_accept_leave(HttpServer *s, const struct sockaddr_storage *peer)
{
    peers_leave(s->peers, peer);
    atomic_fetch_sub(&s->connections, 1);
}

static void run_passed(HttpPost *p)
{
    Passed *x = (Passed *)(void *)p;

    if (x->loop->started && !x->loop->draining)
        http_connection_open(x->loop, x->fd, &x->peer, x->peer_size);
    else {
        (void)fd_close(x->fd);
        http_accept_leave(x->loop->server, &x->peer);
    }
    free(x);
}

static void pass_on(HttpServer *s, int fd, const struct sockaddr_storage *peer, socklen_t peer_size)
{
    HttpLoop *to = s->loops[s->next++ % s->n_loops];
    Passed *x = calloc(1, sizeof(*x));

    if (!x || !peers_enter(s->peers, peer)) {
        free(x);
        (void)fd_close(fd);
        atomic_fetch_add(&s->refused, 1);
        return;
    }
    atomic_fetch_add(&s->connections, 1);
    x->post.run = run_passed;
    x->loop = to;
    x->fd = fd;
    x->peer = *peer;
    x->peer_size = peer_size;
    http_loop_post(to, &x->post);
}

static void set_options(int fd)
{
    int one = 1, timeout = USER_TIMEOUT_MS;

    /* each only makes things better */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
}

/* Descriptors or memory are short: no more until the next sweep, else the loop would spin. */
static void pause_accepting(HttpLoop *l)
{
    l->accepting = false;
    for (size_t i = 0; i < l->server->n_fds; i++)
        (void)sd_event_source_set_enabled(l->accepts[i], SD_EVENT_OFF);
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    HttpLoop *l = userdata;
    HttpServer *s = l->server;

    for (unsigned i = 0; i < ACCEPTS_AT_A_TIME; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t size = sizeof(peer);
        int client = accept4(fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (client >= 0 && atomic_load(&s->connections) >= s->options->connections) {
            client = fd_close(client);
            atomic_fetch_add(&s->refused, 1);
        } else if (client >= 0) {
            set_options(client);
            pass_on(s, client, &peer, size);
        } else if (errno == EAGAIN)
            return 0;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warning("Cannot accept a connection: %m");
            pause_accepting(l);
            return 0;
        }
        /* anything else is about that connection alone, accept(2) */
    }
    return 0;
}

int http_accept_start(HttpLoop *l)
{
    int r = 0;

    for (size_t i = 0; i < l->server->n_fds && r >= 0; i++)
        r = sd_event_add_io(l->event, &l->accepts[i], l->server->fds[i], EPOLLIN, on_accept, l);
    return r;
}

void http_accept_resume(HttpLoop *l)
{
    if (l->accepting)
        return;
    l->accepting = true;
    for (size_t i = 0; i < l->server->n_fds; i++)
        if (l->accepts[i])
            (void)sd_event_source_set_enabled(l->accepts[i], SD_EVENT_ON);
}

void http_accept_stop(HttpLoop *l)
{
    HttpServer *s = l->server;

    for (size_t i = 0; i < HTTP_LISTEN_MAX; i++)
        l->accepts[i] = sd_event_source_disable_unref(l->accepts[i]);
    /* clients shall be refused rather than wait for an answer; systemd keeps sockets of its own open */
    for (; l->index == 0 && s->n_fds > 0; s->n_fds--)
        (void)fd_close(s->fds[s->n_fds - 1]);
}

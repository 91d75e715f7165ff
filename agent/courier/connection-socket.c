/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* curl's sockets and timer on the event loop. */

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utlist.h>

#include "agent/courier/connection-internal.h"

/* Microseconds. curl begins each transfer by its timer; what sd-event takes without a wish is 250 ms. */
#define TIMER_ACCURACY 1u

struct Socket {
    Socket *prev, *next;
    Connection *connection;
    int fd;
    bool opened;  /* by on_open: it lives until on_close, in use or not */
    bool watched; /* by curl */
    sd_event_source *source;
};

static Socket *socket_find(Connection *c, int fd)
{
    Socket *s;

    DL_FOREACH (c->sockets, s)
        if (s->fd == fd)
            return s;
    return NULL;
}

static Socket *socket_add(Connection *c, int fd, bool opened)
{
    Socket *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->connection = c;
    s->fd = fd;
    s->opened = opened;
    DL_APPEND(c->sockets, s);
    return s;
}

static void socket_remove(Socket *s)
{
    DL_DELETE(s->connection->sockets, s);
    sd_event_source_disable_unref(s->source);
    free(s);
}

static int on_ready(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    Socket *s = userdata;
    Connection *c = s->connection;
    int flags = 0, running;
    Problem why;

    if (!s->watched) {
        /* curl does not look at an idle connection, and the agent wants to hear of its end */
        problem_set(&why, PROBLEM_UNREACHABLE, "The relay closed the connection");
        connection_end(c, &why);
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        return 0;
    }
    if (revents & (EPOLLIN | EPOLLRDHUP))
        flags |= CURL_CSELECT_IN;
    if (revents & EPOLLOUT)
        flags |= CURL_CSELECT_OUT;
    if (revents & (EPOLLERR | EPOLLHUP))
        flags |= CURL_CSELECT_ERR;
    (void)curl_multi_socket_action(c->multi, fd, flags, &running);
    connection_look(c);
    return 0;
}

static int socket_watch(Socket *s, uint32_t events)
{
    int r;

    if (!s->source)
        return sd_event_add_io(s->connection->event, &s->source, s->fd, events, on_ready, s);
    r = sd_event_source_set_io_events(s->source, events);
    return r < 0 ? r : sd_event_source_set_enabled(s->source, SD_EVENT_ON);
}

static int on_wish(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data)
{
    Connection *c = userdata;
    Socket *s = socket_find(c, fd);
    uint32_t events = 0;

    if (what == CURL_POLL_REMOVE) {
        if (!s)
            return 0;
        s->watched = false;
        if (!s->opened)
            socket_remove(s);
        else if (s->source)
            (void)socket_watch(s, EPOLLRDHUP);
        return 0;
    }
    if (!s)
        s = socket_add(c, fd, false);
    if (!s)
        return -1;
    if (what & CURL_POLL_IN)
        events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        events |= EPOLLOUT;
    s->watched = true;
    return socket_watch(s, events) < 0 ? -1 : 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    Connection *c = userdata;
    int running;

    (void)curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    connection_look(c);
    return 0;
}

static int on_timer_wish(CURLM *multi, long milliseconds, void *userdata)
{
    Connection *c = userdata;
    int r;

    if (!c->timer)
        return 0;
    if (milliseconds < 0)
        return sd_event_source_set_enabled(c->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
    r = sd_event_source_set_time_relative(c->timer, (uint64_t)milliseconds * 1000);
    if (r >= 0)
        r = sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
    return r < 0 ? -1 : 0;
}

static curl_socket_t on_open(void *userdata, curlsocktype purpose, struct curl_sockaddr *address)
{
    Connection *c = userdata;
    int fd;

    /* never a second connection: what was said belongs to the first */
    if (c->established || c->has_ended)
        return CURL_SOCKET_BAD;
    fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (!socket_add(c, fd, true))
        return fd_close(fd);
    return fd;
}

static int on_close(void *userdata, curl_socket_t fd)
{
    Connection *c = userdata;
    Socket *s = socket_find(c, fd);

    if (s)
        socket_remove(s);
    fd_close(fd);
    return 0;
}

bool connection_socket_prepare(Connection *c, CURL *easy)
{
    CURLcode r = CURLE_OK;

    r |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    r |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, c);
    r |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    r |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, c);
    r |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    return r == CURLE_OK;
}

bool connection_socket_prepare_multi(Connection *c)
{
    CURLMcode r = CURLM_OK;

    if (sd_event_add_time(c->event, &c->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY, on_timer, c) < 0 ||
        sd_event_source_set_enabled(c->timer, SD_EVENT_OFF) < 0)
        return false;
    r |= curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_wish);
    r |= curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    r |= curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer_wish);
    r |= curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return r == CURLM_OK;
}

void connection_socket_free(Connection *c)
{
    while (c->sockets)
        socket_remove(c->sockets);
    c->timer = sd_event_source_disable_unref(c->timer);
}

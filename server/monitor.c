/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/monitor.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "libhmsg/base/file.h"

#define HEAD_SIZE_MAX 512u
#define TIMER_ACCURACY 100000u
#define METHOD "GET "

typedef struct MonitorClient {
    Monitor *monitor; /* NULL: the place is free */
    int fd;
    sd_event_source *io, *timer;
    char request[MONITOR_REQUEST_SIZE_MAX + 1];
    size_t size;
    Buf out;
    size_t sent;
    bool answering;
} MonitorClient;

struct Monitor {
    sd_event *event;
    int fd;
    sd_event_source *accept;
    MonitorAnswer answer;
    void *userdata;
    MonitorClient clients[MONITOR_CLIENTS_MAX];
};

static void client_close(MonitorClient *c)
{
    Monitor *m = c->monitor;
    if (!m)
        return;
    (void)sd_event_source_disable_unref(c->io);
    (void)sd_event_source_disable_unref(c->timer);
    (void)fd_close(c->fd);
    buf_done(&c->out);
    *c = (MonitorClient){};
    (void)sd_event_source_set_enabled(m->accept, SD_EVENT_ON);
}

static const char *reason(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

/* The path of the request line, terminated in place; else *ret_status says what is wrong. */
static const char *parse(char *request, unsigned *ret_status)
{
    char *end = strstr(request, "\r\n");
    *end = '\0';
    *ret_status = 405;
    if (strncmp(request, METHOD, strlen(METHOD)) != 0)
        return NULL;
    char *path = request + strlen(METHOD), *space = strchr(path, ' ');
    *ret_status = 400;
    if (path[0] != '/' || !space || strncmp(space, " HTTP/1.", 8) != 0)
        return NULL;
    *space = '\0';
    return path;
}

static int prepare(MonitorClient *c)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MONITOR_ANSWER_SIZE_MAX);
    unsigned status = 0;
    const char *path = parse(c->request, &status);
    if (path)
        status = c->monitor->answer(c->monitor->userdata, path, &body);
    c->out = BUF_MAX(MONITOR_ANSWER_SIZE_MAX + HEAD_SIZE_MAX);
    int r = buf_printf(&c->out,
                       "HTTP/1.1 %u %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                       "Content-Length: %zu\r\nCache-Control: no-store\r\nConnection: close\r\n%s\r\n",
                       status, reason(status), body.size,
                       status == 503   ? "Retry-After: 30\r\n"
                       : status == 405 ? "Allow: GET\r\n"
                                       : "");
    if (r == 0 && body.size > 0)
        r = buf_append(&c->out, body.data, body.size);
    c->answering = true;
    return r;
}

/* 1: all is said. */
static int send_some(MonitorClient *c)
{
    while (c->sent < c->out.size) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.size - c->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? sd_event_source_set_io_events(c->io, EPOLLOUT)
                                                     : -errno;
        c->sent += (size_t)n;
    }
    return 1;
}

static int receive_some(MonitorClient *c)
{
    ssize_t n = recv(c->fd, c->request + c->size, MONITOR_REQUEST_SIZE_MAX - c->size, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    c->size += (size_t)n;
    c->request[c->size] = '\0';
    if (strlen(c->request) != c->size)
        return -EBADMSG;
    if (!strstr(c->request, "\r\n\r\n"))
        return c->size < MONITOR_REQUEST_SIZE_MAX ? 0 : -EMSGSIZE;
    return prepare(c);
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    MonitorClient *c = userdata;
    int r = c->answering ? 0 : receive_some(c);
    if (r >= 0 && c->answering)
        r = send_some(c);
    if (r != 0)
        client_close(c);
    return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    client_close(userdata);
    return 0;
}

static MonitorClient *free_place(Monitor *m)
{
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        if (!m->clients[i].monitor)
            return &m->clients[i];
    return NULL;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    Monitor *m = userdata;
    MonitorClient *c = free_place(m);
    if (!c) /* until one has left */
        return sd_event_source_set_enabled(source, SD_EVENT_OFF);
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return 0;
    *c = (MonitorClient){.monitor = m, .fd = client};
    if (sd_event_add_io(m->event, &c->io, client, EPOLLIN, on_client, c) < 0 ||
        sd_event_add_time_relative(m->event, &c->timer, CLOCK_BOOTTIME, MONITOR_TIMEOUT, TIMER_ACCURACY,
                                   on_timeout, c) < 0)
        client_close(c);
    return 0;
}

int monitor_new(sd_event *event, int fd, MonitorAnswer answer, void *userdata, Monitor **ret)
{
    Monitor *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->event = sd_event_ref(event);
    m->answer = answer;
    m->userdata = userdata;
    m->fd = -1;
    int r = sd_event_add_io(event, &m->accept, fd, EPOLLIN, on_accept, m);
    if (r < 0) {
        (void)monitor_free(m);
        return r;
    }
    m->fd = fd;
    *ret = m;
    return 0;
}

Monitor *monitor_free(Monitor *m)
{
    if (!m)
        return NULL;
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        client_close(&m->clients[i]);
    (void)sd_event_source_disable_unref(m->accept);
    if (m->fd >= 0)
        (void)fd_close(m->fd);
    (void)sd_event_unref(m->event);
    free(m);
    return NULL;
}

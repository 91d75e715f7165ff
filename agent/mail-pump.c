/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "agent/mail-pump.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

#define CHUNK_SIZE 65536u

struct MailPump {
    pthread_t thread;
    bool running, split;
    int source, destination;
    int stop, ended; /* eventfds: to the thread, from it */
    size_t write_max;
    Buf prefix;
    MailHead head;
    uint64_t size;
    int result;
    sd_event_source *watch;
    mail_pump_t done;
    void *userdata;
};

/* 0: fd is ready. -ECANCELED: to stop. */
static int wait_for(MailPump *p, int fd, short events)
{
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = p->stop, .events = POLLIN}};

    while (poll(fds, ELEMENTSOF(fds), -1) < 0)
        if (errno != EINTR)
            return -errno;
    return fds[1].revents ? -ECANCELED : 0;
}

/* Bytes read, 0 at the end. */
static ssize_t read_some(MailPump *p, void *data, size_t n)
{
    for (;;) {
        int r = wait_for(p, p->source, POLLIN);
        ssize_t got;

        if (r < 0)
            return r;
        got = read(p->source, data, n);
        if (got >= 0)
            return got;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
}

static int write_all(MailPump *p, const uint8_t *data, size_t n)
{
    while (n > 0) {
        int r = wait_for(p, p->destination, POLLOUT);
        ssize_t put;

        if (r < 0)
            return r;
        put = write(p->destination, data, n < p->write_max ? n : p->write_max);
        if (put < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            return errno == ENOSPC || errno == EDQUOT ? HMSG_ERROR_STORAGE_FULL : -errno;
        }
        data += put;
        n -= (size_t)put;
    }
    return 0;
}

/* Leaves in p->prefix what was read behind the head. */
static int read_head(MailPump *p)
{
    size_t size = 0;
    int r;

    while ((r = mail_head_parse(p->prefix.data ? p->prefix.data : (const uint8_t *)"", p->prefix.size,
                                &p->head, &size)) == -EAGAIN) {
        uint8_t chunk[MAIL_PREAMBLE_SIZE + MAIL_HEAD_SIZE_MAX];
        ssize_t got = read_some(p, chunk, sizeof(chunk));

        if (got < 0)
            return (int)got;
        if (got == 0)
            return HMSG_ERROR_BAD_PACKAGE;
        r = buf_append(&p->prefix, chunk, (size_t)got);
        bytes_wipe(chunk, sizeof(chunk));
        if (r < 0)
            return r;
    }
    if (r != 0)
        return r;
    p->size = p->prefix.size - size;
    return write_all(p, p->prefix.data + size, p->prefix.size - size);
}

static int run(MailPump *p, uint8_t *chunk)
{
    int r;

    r = p->split ? read_head(p) : write_all(p, p->prefix.data, p->prefix.size);
    while (r == 0) {
        ssize_t got = read_some(p, chunk, CHUNK_SIZE);

        if (got <= 0)
            return (int)got;
        p->size += (uint64_t)got;
        r = write_all(p, chunk, (size_t)got);
    }
    return r;
}

static void *thread_main(void *userdata)
{
    MailPump *p = userdata;
    uint8_t chunk[CHUNK_SIZE];
    uint64_t one = 1;

    p->result = run(p, chunk);
    bytes_wipe(chunk, sizeof(chunk));
    /* the other ends see the end, or that nobody reads any more */
    p->source = fd_close(p->source);
    p->destination = fd_close(p->destination);
    while (write(p->ended, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    return NULL;
}

static void join(MailPump *p)
{
    if (p->running)
        (void)pthread_join(p->thread, NULL);
    p->running = false;
}

static int on_ended(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    MailPump *p = userdata;

    p->watch = sd_event_source_disable_unref(p->watch);
    join(p);
    p->done(p->result, &p->head, p->size, p->userdata);
    return 0;
}

MailPump *mail_pump_free(MailPump *p)
{
    uint64_t one = 1;

    if (!p)
        return NULL;
    if (p->running)
        while (write(p->stop, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    join(p);
    p->watch = sd_event_source_disable_unref(p->watch);
    (void)fd_close(p->source);
    (void)fd_close(p->destination);
    (void)fd_close(p->stop);
    (void)fd_close(p->ended);
    buf_done(&p->prefix);
    bytes_wipe(&p->head, sizeof(p->head));
    free(p);
    return NULL;
}

/* All signals blocked: a closed pipe is an error here and no signal for the agent. */
static int start_thread(MailPump *p)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    r = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r != 0)
        return -r;
    r = pthread_create(&p->thread, NULL, thread_main, p);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    p->running = r == 0;
    return -r;
}

static int open_all(MailPump *p, int source, int destination)
{
    struct stat st;

    p->source = fcntl(source, F_DUPFD_CLOEXEC, 3);
    if (p->source < 0)
        return -errno;
    p->destination = fcntl(destination, F_DUPFD_CLOEXEC, 3);
    if (p->destination < 0 || fstat(p->destination, &st) < 0)
        return -errno;
    /* a pipe that is ready takes this much without blocking, so that the thread can be stopped */
    p->write_max = S_ISREG(st.st_mode) ? CHUNK_SIZE : PIPE_BUF;
    p->stop = eventfd(0, EFD_CLOEXEC);
    p->ended = eventfd(0, EFD_CLOEXEC);
    return p->stop < 0 || p->ended < 0 ? -errno : 0;
}

static int start(MailPump *template, sd_event *event, const Buf *prefix, int source, int destination,
                 MailPump **ret)
{
    _cleanup_(mail_pump_freep) MailPump *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    *p = *template;
    p->source = p->destination = p->stop = p->ended = -1;
    p->prefix = BUF_MAX(prefix ? prefix->size : 2 * (MAIL_PREAMBLE_SIZE + MAIL_HEAD_SIZE_MAX));
    r = prefix ? buf_append(&p->prefix, prefix->data, prefix->size) : 0;
    if (r == 0)
        r = open_all(p, source, destination);
    if (r == 0)
        r = sd_event_add_io(event, &p->watch, p->ended, EPOLLIN, on_ended, p);
    if (r >= 0)
        r = start_thread(p);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

int mail_pump_join(sd_event *event, const Buf *prefix, int source, int destination, mail_pump_t done,
                   void *userdata, MailPump **ret)
{
    MailPump template = {.done = done, .userdata = userdata};

    return start(&template, event, prefix, source, destination, ret);
}

int mail_pump_split(sd_event *event, int source, int destination, mail_pump_t done, void *userdata,
                    MailPump **ret)
{
    MailPump template = {.done = done, .userdata = userdata, .split = true};

    return start(&template, event, NULL, source, destination, ret);
}

int mail_pipe(int ret_fds[static 2])
{
    return pipe2(ret_fds, O_CLOEXEC) < 0 ? -errno : 0;
}

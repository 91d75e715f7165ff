/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/fd-io.h"
#include "agent/mail-pump.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

#define CHUNK_SIZE 65536u
#define BEGIN_MAX (2u * (MAIL_PREAMBLE_SIZE + MAIL_HEAD_SIZE_MAX)) /* read until a head is whole */

/* The thread's part. */
typedef struct Work {
    FdIo source, destination;
    bool split;
    Buf begin; /* join: what comes first; split: what was read to find the head */
    MailHead head;
    uint64_t size;
    uint8_t chunk[CHUNK_SIZE];
} Work;

/* The same, of what is read before it is known whether it is a stream. */
typedef struct Gather {
    FdIo source;
    Buf content;
    bool end;
} Gather;

struct MailPump {
    Worker *worker;
    mail_pump_t done;
    mail_gathered_t gathered;
    void *userdata;
};

static void work_free(void *context)
{
    Work *w = context;

    if (!w)
        return;
    fd_io_done(&w->source);
    fd_io_done(&w->destination);
    buf_done(&w->begin);
    bytes_wipe(w, sizeof(*w));
    free(w);
}

static void work_freep(Work **w)
{
    work_free(*w);
}

static int write_all(Work *w, const uint8_t *data, size_t n, int stop_fd)
{
    int r = fd_io_write(&w->destination, data, n, stop_fd);

    return r == -ENOSPC || r == -EDQUOT ? HMSG_ERROR_STORAGE_FULL : r;
}

/* Finds the head and writes what was read behind it. */
static int pass_head(Work *w, int stop_fd)
{
    size_t size = 0;
    ssize_t n;
    int r;

    while ((r = mail_head_parse(buf_text(&w->begin), w->begin.size, &w->head, &size)) == -EAGAIN) {
        n = fd_io_read(&w->source, w->chunk, MAIL_PREAMBLE_SIZE + MAIL_HEAD_SIZE_MAX, stop_fd);
        if (n <= 0)
            return n < 0 ? (int)n : HMSG_ERROR_BAD_PACKAGE;
        r = buf_append(&w->begin, w->chunk, (size_t)n);
        if (r < 0)
            return r;
    }
    if (r != 0)
        return r;
    w->size = w->begin.size - size;
    return write_all(w, w->begin.data + size, w->begin.size - size, stop_fd);
}

static int copy(Work *w, int stop_fd)
{
    int r;

    r = w->split ? pass_head(w, stop_fd) : write_all(w, w->begin.data, w->begin.size, stop_fd);
    while (r == 0) {
        ssize_t n = fd_io_read(&w->source, w->chunk, sizeof(w->chunk), stop_fd);

        if (n <= 0)
            return (int)n;
        w->size += (uint64_t)n;
        r = write_all(w, w->chunk, (size_t)n, stop_fd);
    }
    return r;
}

static int work_run(void *context, int stop_fd)
{
    Work *w = context;
    int r = copy(w, stop_fd);

    /* the other ends see the end, or that nobody reads any more */
    fd_io_done(&w->source);
    fd_io_done(&w->destination);
    return r;
}

static void work_done(int r, void *context, void *userdata)
{
    _cleanup_(work_freep) Work *w = context;
    MailPump *p = userdata;

    p->worker = NULL;
    p->done(r, &w->head, w->size, p->userdata);
}

MailPump *mail_pump_free(MailPump *p)
{
    if (!p)
        return NULL;
    (void)worker_cancel(p->worker);
    free(p);
    return NULL;
}

static int start(Workers *workers, const Buf *begin, int source, int destination, mail_pump_t done,
                 void *userdata, MailPump **ret)
{
    static const WorkerTask task = {.run = work_run, .done = work_done, .free_context = work_free};
    _cleanup_(mail_pump_freep) MailPump *p = calloc(1, sizeof(*p));
    _cleanup_(work_freep) Work *w = calloc(1, sizeof(*w));
    int r;

    if (!p || !w)
        return -ENOMEM;
    w->source = w->destination = FD_IO_NONE;
    w->split = !begin;
    w->begin = BUF_MAX(begin ? begin->size : BEGIN_MAX);
    p->done = done;
    p->userdata = userdata;
    r = begin ? buf_append(&w->begin, begin->data, begin->size) : 0;
    if (r == 0)
        r = fd_io_open(source, false, &w->source);
    if (r == 0)
        r = fd_io_open(destination, true, &w->destination);
    if (r == 0)
        r = worker_start(workers, &task, w, p, &p->worker);
    if (r != 0)
        return r;
    (void)TAKE_PTR(w);
    *ret = TAKE_PTR(p);
    return 0;
}

int mail_pump_join(Workers *workers, const Buf *begin, int source, int destination, mail_pump_t done,
                   void *userdata, MailPump **ret)
{
    return start(workers, begin, source, destination, done, userdata, ret);
}

int mail_pump_split(Workers *workers, int source, int destination, mail_pump_t done, void *userdata,
                    MailPump **ret)
{
    return start(workers, NULL, source, destination, done, userdata, ret);
}

static void gather_free(void *context)
{
    Gather *g = context;

    if (!g)
        return;
    fd_io_done(&g->source);
    buf_done(&g->content);
    free(g);
}

static void gather_freep(Gather **g)
{
    gather_free(*g);
}

static int gather_run(void *context, int stop_fd)
{
    Gather *g = context;
    uint8_t chunk[CHUNK_SIZE];
    int r = 0;

    while (r == 0 && !g->end && g->content.size < g->content.max) {
        size_t room = g->content.max - g->content.size;
        ssize_t n = fd_io_read(&g->source, chunk, room < sizeof(chunk) ? room : sizeof(chunk), stop_fd);

        g->end = n == 0;
        r = n < 0 ? (int)n : buf_append(&g->content, chunk, (size_t)n);
    }
    bytes_wipe(chunk, sizeof(chunk));
    return r;
}

static void gather_done(int r, void *context, void *userdata)
{
    _cleanup_(gather_freep) Gather *g = context;
    MailPump *p = userdata;

    p->worker = NULL;
    p->gathered(r, &g->content, g->end, p->userdata);
}

int mail_pump_gather(Workers *workers, int source, size_t max, mail_gathered_t done, void *userdata,
                     MailPump **ret)
{
    static const WorkerTask task = {.run = gather_run, .done = gather_done, .free_context = gather_free};
    _cleanup_(mail_pump_freep) MailPump *p = calloc(1, sizeof(*p));
    _cleanup_(gather_freep) Gather *g = calloc(1, sizeof(*g));
    int r;

    if (!p || !g)
        return -ENOMEM;
    g->source = FD_IO_NONE;
    g->content = BUF_MAX(max);
    p->gathered = done;
    p->userdata = userdata;
    r = fd_io_open(source, false, &g->source);
    if (r == 0)
        r = worker_start(workers, &task, g, p, &p->worker);
    if (r != 0)
        return r;
    (void)TAKE_PTR(g);
    *ret = TAKE_PTR(p);
    return 0;
}

int mail_pipe(int ret_fds[static 2])
{
    return pipe2(ret_fds, O_CLOEXEC) < 0 ? -errno : 0;
}

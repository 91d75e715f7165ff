/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/cipher-fd.h"
#include "libhmsg/base/error.h"

typedef struct OpenFdJob {
    FdJob fd;
    Opening opening;
} OpenFdJob;

static void open_fd_succeed(CipherJob *j)
{
    OpenFdJob *o = (OpenFdJob *)j;
    const StreamReader *reader = o->fd.pump->reader;
    OpenInfo info;

    opening_info(&o->opening, &info);
    /* any of several recipients could have made it, unless it says otherwise at its end */
    if (reader && !stream_reader_verified(reader))
        info.verified = info.trusted = false;
    info.is_range = o->opening.is_range;
    info.to_end = info.is_range && o->fd.pump->to_end;
    fd_job_answer(&o->fd, &info);
}

static void open_fd_free(CipherJob *j)
{
    OpenFdJob *o = (OpenFdJob *)j;

    opening_done(&o->opening);
    fd_job_done(&o->fd);
    free(o);
}

static const CipherJobType open_fd_type = {
    .fail = fd_job_fail, .succeed = open_fd_succeed, .free = open_fd_free};

static int after_content(FdJob *f)
{
    cipher_job_succeed(&f->job);
    return 0;
}

static int open_stream(OpenFdJob *o)
{
    Pump *p = o->fd.pump;
    int r;

    r = opening_finish_stream(&o->opening, p->head.data, p->head.size, p->prefix, &p->reader);
    if (r != 0)
        return r;
    return fd_job_run(&o->fd, o->opening.is_range ? &fd_task_open_range : &fd_task_open, after_content);
}

/* Of a package all is here; the range of it stays. */
static int take_range(Pump *p)
{
    size_t skip;

    if (p->offset > p->head.size) {
        p->detail = PUMP_BEHIND;
        return HMSG_ERROR_INVALID_ARGS;
    }
    skip = (size_t)p->offset;
    if (skip > 0)
        memmove(p->head.data, p->head.data + skip, p->head.size - skip);
    buf_truncate(&p->head, p->head.size - skip);
    if (p->length < p->head.size)
        buf_truncate(&p->head, (size_t)p->length);
    p->to_end = true;
    return 0;
}

/* All of a package is verified before anything of it is written. */
static int open_package(OpenFdJob *o)
{
    Pump *p = o->fd.pump;
    int r;

    buf_clear(&p->head);
    r = opening_finish(&o->opening, &p->head);
    if (r == 0 && o->opening.is_range)
        r = take_range(p);
    return r == 0 ? fd_job_run(&o->fd, &fd_task_write_head, after_content) : r;
}

static void on_ready(int r, const char *detail, void *userdata)
{
    OpenFdJob *o = userdata;

    if (r == 0 && !cipher_job_is_current(&o->fd.job))
        r = HMSG_ERROR_LOCKED;
    if (r == 0) {
        r = o->fd.pump->is_stream ? open_stream(o) : open_package(o);
        detail = r != 0 && !o->opening.detail ? o->fd.pump->detail : o->opening.detail;
    }
    if (r != 0)
        opening_fail(&o->opening, &o->fd.job, r, detail);
}

static int after_head(FdJob *f)
{
    OpenFdJob *o = (OpenFdJob *)f;
    const Buf *head = &f->pump->head;
    int r;

    if (f->pump->is_stream)
        r = opening_parse_stream(&o->opening, head->data, head->size);
    else
        r = opening_parse(&o->opening, buf_text(head), head->size);
    if (r == 0)
        r = opening_start(&o->opening, on_ready, o);
    if (r != -EAGAIN)
        on_ready(r, o->opening.detail, o);
    return 0;
}

int cipher_open_fd(Cipher *c, int source, int destination, const OpenOptions *options, uint64_t expected_size,
                   cipher_progress_t progress, cipher_fd_t done, void *userdata, CipherJob **ret)
{
    OpenFdJob *o = calloc(1, sizeof(*o));
    int r;

    if (!o)
        return -ENOMEM;
    opening_init(&o->opening, c, options);
    r = fd_job_init(&o->fd, &open_fd_type, c, source, destination, expected_size, progress, done, userdata);
    if (r == 0 && o->opening.is_range) {
        o->fd.pump->offset = options->range_offset;
        o->fd.pump->length = options->range_length;
        if (!fd_io_is_file(&o->fd.pump->in))
            r = HMSG_ERROR_INVALID_ARGS;
    }
    if (r == 0 && options->relay) {
        o->opening.relay = strdup(options->relay);
        if (!o->opening.relay)
            r = -ENOMEM;
    }
    if (r == 0)
        r = fd_job_run(&o->fd, &fd_task_read_head, after_head);
    if (r != 0) {
        open_fd_free(&o->fd.job);
        return r;
    }
    *ret = &o->fd.job;
    return 0;
}

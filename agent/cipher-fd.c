/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What EncryptFd and DecryptFd have in common: a pump that a worker drives, progress, and the answer. */

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/cipher-fd.h"
#include "libhmsg/base/error.h"

#define PROGRESS_PAUSE (200u * 1000u) /* µs */

/* Between two stages, and while a worker runs: a worker's pump may be looked at, not changed. */
static void fd_job_stop(FdJob *f)
{
    if (f->worker) {
        f->worker = worker_cancel(f->worker);
        f->pump = NULL; /* the worker's, which frees it */
    }
    f->pump = pump_free(f->pump);
}

static int on_progress(sd_event_source *source, uint64_t usec, void *userdata)
{
    FdJob *f = userdata;
    uint64_t done = atomic_load(&f->pump->bytes_in);
    int r;

    r = sd_event_source_set_time(source, usec + PROGRESS_PAUSE);
    if (r >= 0)
        r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    if (done != f->told) {
        f->told = done;
        f->progress(done, f->pump->total, f->job.userdata); /* may free f */
    }
    return r < 0 ? r : 0;
}

int fd_job_init(FdJob *f, const CipherJobType *type, Cipher *c, int source, int destination,
                uint64_t expected, cipher_progress_t progress, cipher_fd_t done, void *userdata)
{
    cipher_job_init(&f->job, type, c, userdata);
    f->done = done;
    f->progress = progress;
    return pump_new(source, destination, expected, &f->pump);
}

void fd_job_done(FdJob *f)
{
    if (f->gone)
        *f->gone = true;
    sd_event_source_disable_unref(f->timer);
    fd_job_stop(f);
    cipher_job_done(&f->job);
}

void fd_job_fail(CipherJob *j, int r, const char *detail)
{
    FdJob *f = (FdJob *)j;

    f->timer = sd_event_source_disable_unref(f->timer);
    fd_job_stop(f); /* before anything else comes out of it */
    f->done(r, detail, NULL, j->userdata);
}

void fd_job_answer(FdJob *f, OpenInfo *info)
{
    bool gone = false;

    f->timer = sd_event_source_disable_unref(f->timer);
    info->bytes_in = atomic_load(&f->pump->bytes_in);
    info->bytes_out = atomic_load(&f->pump->bytes_out);
    if (f->progress && f->told != info->bytes_in) {
        f->gone = &gone; /* cppcheck-suppress autoVariables ; cleared before we leave */
        f->progress(info->bytes_in, f->pump->total, f->job.userdata);
        if (gone)
            return;
        f->gone = NULL;
    }
    f->done(0, "", info, f->job.userdata);
}

static void on_done(int r, void *context, void *userdata)
{
    FdJob *f = userdata;

    f->worker = NULL; /* and the pump is ours again */
    if (r == -ENOSPC || r == -EDQUOT)
        r = HMSG_ERROR_STORAGE_FULL;
    if (r == 0 && !cipher_job_is_current(&f->job))
        r = HMSG_ERROR_LOCKED;
    f->timer = sd_event_source_disable_unref(f->timer);
    if (r == 0)
        r = f->next(f);
    if (r != 0)
        cipher_job_fail(&f->job, r, f->pump ? f->pump->detail : NULL);
}

int fd_job_run(FdJob *f, const WorkerTask *task, int (*next)(FdJob *f))
{
    sd_event *event = f->job.cipher->m->event;
    uint64_t now = 0;
    int r = 0;

    f->next = next;
    if (f->progress && !f->timer) {
        (void)sd_event_now(event, CLOCK_MONOTONIC, &now);
        r = sd_event_add_time(event, &f->timer, CLOCK_MONOTONIC, now + PROGRESS_PAUSE, PROGRESS_PAUSE / 4,
                              on_progress, f);
        if (r < 0)
            return r;
    }
    return worker_start(f->job.cipher->workers, task, f->pump, f, &f->worker);
}

#define TASK(name, function)                                                                                 \
    const WorkerTask name = {.run = (function), .done = on_done, .free_context = pump_free_context}
TASK(fd_task_read_head, pump_read_head);
TASK(fd_task_write_head, pump_write_head);
TASK(fd_task_seal, pump_seal);
TASK(fd_task_open, pump_open);
TASK(fd_task_open_range, pump_open_range);

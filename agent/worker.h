/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One function in a thread of its own, for work that would hold up the event loop. The thread has all signals
 * blocked, so that writing to a closed pipe is an error and no more. */

#include <systemd/sd-event.h>

#include "libhmsg/base/macro.h"

#define WORKERS_MAX 64u /* threads at a time, of all callers together, those that are being cancelled too */

typedef struct Workers Workers;
typedef struct Worker Worker;

int workers_new(sd_event *event, Workers **ret);
/* Stops all, and waits two seconds for those that the kernel holds up: what they use is leaked then. */
Workers *workers_free(Workers *w);
DEFINE_CLEANUP(Workers *, workers_free)

typedef struct WorkerTask {
    /* In the thread. Returns as soon as it can when stop_fd is readable. */
    int (*run)(void *context, int stop_fd);
    /* In the loop, once, unless it was cancelled: context is the caller's again. */
    void (*done)(int r, void *context, void *userdata);
    /* For a context whose worker was cancelled: in the loop, after run has returned. */
    void (*free_context)(void *context);
} WorkerTask;

/* The context belongs to the worker until done or free_context. QUOTA_EXCEEDED: too many run. The worker is
 * gone once done is called. */
int worker_start(Workers *workers, const WorkerTask *task, void *context, void *userdata, Worker **ret);
/* Never waits. No callback to userdata after it. */
Worker *worker_cancel(Worker *w);
DEFINE_CLEANUP(Worker *, worker_cancel)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to agent/cipher*.c: jobs that move a file's contents. */

#include "agent/cipher-internal.h"
#include "agent/cipher-pump.h"

typedef struct FdJob FdJob;
struct FdJob {
    CipherJob job;
    cipher_fd_t done;
    cipher_progress_t progress; /* NULL: nobody asks */
    Pump *pump;
    Worker *worker;        /* while it runs the pump is its own */
    int (*next)(FdJob *f); /* after it; an error ends the job */
    sd_event_source *timer;
    uint64_t told;
    bool *gone; /* where to say that it was freed meanwhile */
};

/* Also on failure to be ended with fd_job_done. */
int fd_job_init(FdJob *f, const CipherJobType *type, Cipher *c, int source, int destination,
                uint64_t expected, cipher_progress_t progress, cipher_fd_t done, void *userdata);
void fd_job_done(FdJob *f);
void fd_job_fail(CipherJob *j, int r, const char *detail);
/* The job's callback, with the byte counts in info; progress before it, which may free f. */
void fd_job_answer(FdJob *f, OpenInfo *info);
/* In a thread; then next in the loop. */
int fd_job_run(FdJob *f, const WorkerTask *task, int (*next)(FdJob *f));

extern const WorkerTask fd_task_read_head, fd_task_write_head, fd_task_seal, fd_task_open, fd_task_open_range;

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <utlist.h>

#include "agent/worker.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"

#define STACK_SIZE (256u * 1024u)
#define FREE_PATIENCE (2u * 1000000u) /* µs */

struct Workers {
    sd_event *event;
    Worker *list;
    unsigned n;
};

struct Worker {
    Worker *prev, *next;
    Workers *owner;
    const WorkerTask *task;
    void *context;
    void *userdata;
    int stop_fd, end_fd;
    int result;
    bool cancelled;
    pthread_t thread;
    sd_event_source *source;
};

int workers_new(sd_event *event, Workers **ret)
{
    Workers *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->event = event;
    *ret = w;
    return 0;
}

static void raise_flag(int fd)
{
    static const uint64_t one = 1;

    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void worker_remove(Worker *w)
{
    DL_DELETE(w->owner->list, w);
    w->owner->n--;
    sd_event_source_disable_unref(w->source);
    fd_close(w->stop_fd);
    fd_close(w->end_fd);
    free(w);
}

/* The thread has said that it ends. */
static void worker_finish(Worker *w)
{
    const WorkerTask *task = w->task;
    void *context = w->context, *userdata = w->userdata;
    bool cancelled = w->cancelled;
    int r;

    (void)pthread_join(w->thread, NULL);
    r = w->result;
    worker_remove(w);
    if (cancelled)
        task->free_context(context);
    else
        task->done(r, context, userdata);
}

static int on_end(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    worker_finish(userdata);
    return 0;
}

static void *thread_main(void *userdata)
{
    Worker *w = userdata;

    w->result = w->task->run(w->context, w->stop_fd);
    raise_flag(w->end_fd);
    return NULL;
}

static int thread_start(Worker *w)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int r;

    r = pthread_attr_init(&attributes);
    if (r != 0)
        return -r;
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&w->thread, &attributes, thread_main, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return -r;
}

int worker_start(Workers *workers, const WorkerTask *task, void *context, void *userdata, Worker **ret)
{
    Worker *w;
    int r;

    if (workers->n >= WORKERS_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->owner = workers;
    w->task = task;
    w->context = context;
    w->userdata = userdata;
    DL_APPEND(workers->list, w);
    workers->n++;
    w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = w->stop_fd < 0 || w->end_fd < 0 ? -errno : 0;
    if (r == 0)
        r = sd_event_add_io(workers->event, &w->source, w->end_fd, POLLIN, on_end, w);
    if (r >= 0)
        r = thread_start(w);
    if (r < 0) {
        worker_remove(w);
        return r;
    }
    *ret = w;
    return 0;
}

Worker *worker_cancel(Worker *w)
{
    if (!w)
        return NULL;
    w->cancelled = true;
    w->userdata = NULL;
    raise_flag(w->stop_fd);
    return NULL;
}

Workers *workers_free(Workers *workers)
{
    uint64_t deadline = clock_boottime() + FREE_PATIENCE;
    Worker *w, *next;

    if (!workers)
        return NULL;
    DL_FOREACH (workers->list, w)
        (void)worker_cancel(w);
    DL_FOREACH_SAFE (workers->list, w, next) {
        struct pollfd end = {.fd = w->end_fd, .events = POLLIN};
        uint64_t now = clock_boottime();

        if (poll(&end, 1, now < deadline ? (int)((deadline - now) / 1000u) : 0) > 0)
            worker_finish(w);
        else /* a read or write that no signal ends; the process goes away under it */
            w->source = sd_event_source_disable_unref(w->source);
    }
    free(workers);
    return NULL;
}

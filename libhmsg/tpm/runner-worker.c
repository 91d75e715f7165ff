/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "libhmsg/tpm/runner-internal.h"

struct Worker {
    atomic_uint references;
    pthread_t thread;
    uint64_t idle;
    char *conf;
    int cancel_fd, notify_fd;
    Counter *counter;
    LeftOver left_over;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* the thread, or who waits for its end */
    Work *todo, *done;   /* at most one of them */
    bool stop, ended;
};

static Worker *worker_unref(Worker *w)
{
    if (!w || atomic_fetch_sub(&w->references, 1) != 1)
        return NULL;
    work_free(w->todo);
    work_free(w->done);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
    (void)fd_close(w->cancel_fd);
    (void)fd_close(w->notify_fd);
    counter_unref(w->counter);
    free(w->conf);
    free(w);
    return NULL;
}
DEFINE_CLEANUP(Worker *, worker_unref)

static struct timespec after(uint64_t us)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t ns = (uint64_t)t.tv_nsec + us % 1000000u * 1000u;
    t.tv_sec += (time_t)(us / 1000000u + ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
}

/* The next work; NULL: stop, or idle for too long when the link is open. */
static Work *next_work(Worker *w, bool open, bool *ret_stop)
{
    struct timespec until = after(w->idle);
    int r = 0;

    (void)pthread_mutex_lock(&w->lock);
    while (!w->todo && !w->stop && r != ETIMEDOUT)
        r = open ? pthread_cond_timedwait(&w->wake, &w->lock, &until) : pthread_cond_wait(&w->wake, &w->lock);
    *ret_stop = w->stop && !w->todo;
    Work *work = TAKE_PTR(w->todo);
    (void)pthread_mutex_unlock(&w->lock);
    return work;
}

static void finished(Worker *w, Work *work, bool ended)
{
    (void)pthread_mutex_lock(&w->lock);
    w->done = work ? work : w->done;
    w->ended = ended;
    (void)pthread_cond_broadcast(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
    (void)eventfd_write(w->notify_fd, 1);
}

/* A set-gid program has set its group aside: it is taken here, in this thread alone, to open files with. That
 * would make a process dumpable again where fs.suid_dumpable says so. */
static void take_group(void)
{
    gid_t real, effective, saved;
    int dumpable;

    if (getresgid(&real, &effective, &saved) < 0 || saved == effective)
        return;
    dumpable = prctl(PR_GET_DUMPABLE);
    (void)setfsgid(saved);
    if (dumpable == 0)
        (void)prctl(PR_SET_DUMPABLE, 0);
}

static void *run(void *argument)
{
    Worker *w = argument;
    Link link = {.conf = w->conf,
                 .cancel_fd = w->cancel_fd,
                 .counter = w->counter,
                 .left_over = w->left_over.any,
                 .had_external = w->left_over.external,
                 .srk = ESYS_TR_NONE,
                 .session = ESYS_TR_NONE,
                 .policy = ESYS_TR_NONE,
                 .nv = ESYS_TR_NONE,
                 .key = ESYS_TR_NONE};
    bool stop = false;

    memcpy(link.external_name, w->left_over.external_name, TPM_NAME_SIZE);
    take_group();
    while (!stop) {
        Work *work = next_work(w, link.esys != NULL, &stop);
        if (work) {
            work_run(work, &link);
            finished(w, work, false);
        } else
            link_close(&link, !link_pause(&link, 0));
    }
    finished(w, NULL, true);
    worker_unref(w);
    return NULL;
}

static int init_lock(Worker *w)
{
    pthread_condattr_t attributes;
    int r = pthread_condattr_init(&attributes);
    if (r != 0)
        return -r;
    r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (r == 0)
        r = pthread_cond_init(&w->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    if (r == 0)
        r = pthread_mutex_init(&w->lock, NULL);
    return -r;
}

/* Signals belong to the main thread; a broken connection is an error code here, not a SIGPIPE. */
static int start(Worker *w)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    int r = pthread_sigmask(SIG_SETMASK, &all, &old);
    if (r != 0)
        return -r;
    atomic_fetch_add(&w->references, 1);
    r = pthread_create(&w->thread, NULL, run, w);
    if (r != 0)
        atomic_fetch_sub(&w->references, 1);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

int worker_new(const char *conf, uint64_t idle, int notify_fd, Counter *counter, const LeftOver *left_over,
               Worker **ret)
{
    Worker *raw = calloc(1, sizeof(*raw));
    if (!raw)
        return -ENOMEM;
    atomic_init(&raw->references, 1);
    int r = init_lock(raw);
    if (r < 0) {
        free(raw);
        return r;
    }
    raw->cancel_fd = raw->notify_fd = -1;
    _cleanup_(worker_unrefp) Worker *w = raw;
    atomic_fetch_add(&counter->references, 1);
    w->counter = counter;
    w->left_over = *left_over;
    w->idle = idle;
    w->conf = strdup(conf);
    if (!w->conf)
        return -ENOMEM;
    w->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->notify_fd = fcntl(notify_fd, F_DUPFD_CLOEXEC, 3);
    if (w->cancel_fd < 0 || w->notify_fd < 0)
        return -errno;
    r = start(w);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(w);
    return 0;
}

void worker_give(Worker *w, Work *work)
{
    (void)pthread_mutex_lock(&w->lock);
    w->todo = work;
    (void)pthread_cond_broadcast(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
}

Work *worker_take(Worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    Work *work = TAKE_PTR(w->done);
    (void)pthread_mutex_unlock(&w->lock);
    return work;
}

bool worker_ended(Worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    bool ended = w->ended;
    (void)pthread_mutex_unlock(&w->lock);
    return ended;
}

void worker_stop(Worker *w, bool hard)
{
    (void)pthread_mutex_lock(&w->lock);
    w->stop = true;
    (void)pthread_cond_broadcast(&w->wake);
    (void)pthread_mutex_unlock(&w->lock);
    if (hard)
        (void)eventfd_write(w->cancel_fd, 1);
}

bool worker_join(Worker *w, unsigned seconds)
{
    struct timespec until = after(seconds * 1000000ull);
    int r = 0;

    (void)pthread_mutex_lock(&w->lock);
    while (!w->ended && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&w->wake, &w->lock, &until);
    bool ended = w->ended;
    (void)pthread_mutex_unlock(&w->lock);
    if (!ended)
        return false;
    (void)pthread_join(w->thread, NULL);
    worker_unref(w);
    return true;
}

void worker_drop(Worker *w)
{
    (void)pthread_detach(w->thread);
    worker_unref(w);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/sweeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"

struct Sweeper {
    Store *store;
    Hub *hub;
    Steady *steady;
    unsigned interval_ms;
    uint64_t key_age;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool stop, busy;
    atomic_uint_fast64_t expired;
    int sweep_failed, rekey_failed; /* the last result of each */
    StoreWrite write;
};

static void swept(StoreWrite *w)
{
    Sweeper *s = w->userdata;
    (void)atomic_fetch_add(&s->expired, w->n_changes);
    hub_changes(s->hub, w->changes, w->n_changes);
    store_write_done(w);
    (void)pthread_mutex_lock(&s->lock);
    s->busy = false;
    (void)pthread_cond_signal(&s->change);
    (void)pthread_mutex_unlock(&s->lock);
}

/* When it begins to fail, and when it goes again. */
static void note(Sweeper *s, const StoreWrite *w, int r)
{
    int *failed = w->kind == STORE_SWEEP ? &s->sweep_failed : &s->rekey_failed;
    const char *what = w->kind == STORE_SWEEP ? "Removing what has expired" : "The change of keys";
    if (r == -EAGAIN) /* too much is to be done */
        return;
    if (r != 0 && r != *failed)
        log_error("%s does not go on: %s", what, store_problem(r));
    else if (r == 0 && *failed != 0)
        log_info("%s goes on again", what);
    *failed = r;
}

/* With the lock; true: it went well. */
static bool ask(Sweeper *s, const StoreWrite *w)
{
    s->write = *w;
    s->write.done = swept;
    s->write.userdata = s;
    s->busy = true;
    (void)pthread_mutex_unlock(&s->lock);
    int r = store_write(s->store, &s->write);
    (void)pthread_mutex_lock(&s->lock);
    if (r != 0)
        s->busy = false;
    while (s->busy)
        (void)pthread_cond_wait(&s->change, &s->lock);
    r = r == 0 ? s->write.result : r;
    if (!s->stop)
        note(s, w, r);
    return r == 0;
}

/* With the lock; true: there is more to do at once. */
static bool sweep(Sweeper *s)
{
    const StoreWrite end = {.kind = STORE_SWEEP, .sweep.now = steady_now(s->steady)};
    bool more = ask(s, &end) && s->write.sweep.more;
    if (ask(s, &(StoreWrite){.kind = STORE_REKEY, .rekey = {.now = clock_realtime(), .age_max = s->key_age}}))
        more = more || s->write.rekey.more;
    return more;
}

static void *run(void *userdata)
{
    Sweeper *s = userdata;
    (void)pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        struct timespec until;
        if (sweep(s))
            continue;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += s->interval_ms / 1000;
        until.tv_nsec += (long)(s->interval_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        while (!s->stop && pthread_cond_timedwait(&s->change, &s->lock, &until) == 0)
            continue;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

static Sweeper *release(Sweeper *s)
{
    (void)pthread_cond_destroy(&s->change);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

int sweeper_start(Store *store, Hub *hub, Steady *steady, unsigned interval_ms, uint64_t key_age,
                  Sweeper **ret)
{
    pthread_condattr_t attributes;
    Sweeper *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->store = store;
    s->hub = hub;
    s->steady = steady;
    s->interval_ms = interval_ms;
    s->key_age = key_age;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->change, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&s->lock, NULL);
    int r = -pthread_create(&s->thread, NULL, run, s);
    if (r != 0) {
        (void)release(s);
        return r;
    }
    *ret = s;
    return 0;
}

uint64_t sweeper_expired(Sweeper *s)
{
    return atomic_load(&s->expired);
}

Sweeper *sweeper_stop(Sweeper *s)
{
    if (!s)
        return NULL;
    (void)pthread_mutex_lock(&s->lock);
    s->stop = true;
    (void)pthread_cond_signal(&s->change);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    return release(s);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/watcher.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <semaphore.h>
#include <time.h>

struct Watcher {
    StoreReader *reader;
    Hub *hub;
    unsigned interval_ms;
    pthread_t thread;
    sem_t stop;
};

static void heard(const StoreNews *news, void *userdata)
{
    hub_news(((const Watcher *)userdata)->hub, news);
}

static struct timespec after(unsigned ms)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

/* What fails is tried again; the store says then that something may be missed. */
static void *run(void *userdata)
{
    Watcher *w = userdata;
    struct timespec until;
    do {
        (void)store_news(w->reader, heard, w);
        until = after(w->interval_ms);
    } while (sem_clockwait(&w->stop, CLOCK_MONOTONIC, &until) < 0);
    return NULL;
}

static Watcher *release(Watcher *w)
{
    w->reader = store_reader_free(w->reader);
    (void)sem_destroy(&w->stop);
    free(w);
    return NULL;
}

int watcher_start(Store *store, Hub *hub, unsigned interval_ms, Watcher **ret)
{
    static const uint8_t nobody[KID_SIZE];
    uint8_t index[KID_SIZE];
    Watcher *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->hub = hub;
    w->interval_ms = interval_ms;
    (void)sem_init(&w->stop, 0, 0);
    int r = store_reader_new(store, &w->reader);
    if (r == 0)
        r = store_index(w->reader, nobody, index);
    if (r == 0)
        r = -pthread_create(&w->thread, NULL, run, w);
    if (r != 0) {
        (void)release(w);
        return r == -EOPNOTSUPP ? 0 : r;
    }
    *ret = w;
    return 0;
}

Watcher *watcher_stop(Watcher *w)
{
    if (!w)
        return NULL;
    (void)sem_post(&w->stop);
    (void)pthread_join(w->thread, NULL);
    return release(w);
}

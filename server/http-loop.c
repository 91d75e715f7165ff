/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"
#include "server/http-internal.h"

#define SWEEP_INTERVAL 1000000u /* microseconds between looks at the time-outs */
#define EVENT_ACCURACY 100000u
#define OUT_SIZE_MAX (256u * 1024u)

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    uint64_t n;

    if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    return 0;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *userdata)
{
    HttpLoop *l = userdata;
    uint64_t now = clock_boottime();
    HttpConnection *next;
    int r;

    atomic_store(&l->swept, now);
    http_accept_resume(l);
    for (HttpConnection *c = l->connections; c; c = next) {
        next = c->next;
        if (l->draining && now >= l->drain_end)
            http_connection_close(c);
        else
            http_connection_sweep(c, now);
    }
    r = sd_event_source_set_time_relative(source, SWEEP_INTERVAL);
    if (r >= 0)
        r = sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return r;
}

int http_loop_new(HttpServer *s, unsigned index, HttpLoop **ret)
{
    HttpLoop *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->server = s;
    l->index = index;
    l->out = BUF_MAX(OUT_SIZE_MAX);
    l->posts_end = &l->posts;
    l->accepting = true;
    atomic_init(&l->swept, clock_boottime());
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = -pthread_mutex_init(&l->lock, NULL);
    if (r == 0 && l->wake_fd < 0)
        r = -errno;
    if (r >= 0)
        r = sd_event_new(&l->event);
    if (r >= 0)
        r = sd_event_add_io(l->event, NULL, l->wake_fd, EPOLLIN, on_wake, l);
    if (r >= 0)
        r = sd_event_add_time_relative(l->event, &l->sweep, CLOCK_BOOTTIME, SWEEP_INTERVAL, EVENT_ACCURACY,
                                       on_sweep, l);
    if (r >= 0 && index == 0)
        r = http_accept_start(l);
    if (r < 0) {
        (void)http_loop_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void http_loop_post(HttpLoop *l, HttpPost *p)
{
    static const uint64_t one = 1;
    bool wake;

    p->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->posts_end = p;
    l->posts_end = &p->next;
    wake = l->sleeping;
    l->sleeping = false;
    pthread_mutex_unlock(&l->lock);
    /* an eventfd that is full has woken the loop already */
    if (wake && write(l->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_error("Cannot wake a thread: %s", strerror(errno));
}

static void run_posts(HttpLoop *l)
{
    HttpPost *p, *next;

    pthread_mutex_lock(&l->lock);
    p = l->posts;
    l->posts = NULL;
    l->posts_end = &l->posts;
    pthread_mutex_unlock(&l->lock);
    for (; p; p = next) {
        next = p->next;
        p->run(p);
    }
}

static void flush_dirty(HttpLoop *l)
{
    while (l->dirty) {
        HttpConnection *c = l->dirty;

        l->dirty = c->next_dirty;
        c->next_dirty = NULL;
        c->dirty = false;
        http_connection_flush(c);
    }
}

/* Says whether there is something to do at once; else whoever posts wakes the loop. */
static bool go_to_sleep(HttpLoop *l)
{
    bool busy;

    pthread_mutex_lock(&l->lock);
    busy = l->posts;
    l->sleeping = !busy;
    pthread_mutex_unlock(&l->lock);
    return busy;
}

static void wake_up(HttpLoop *l)
{
    pthread_mutex_lock(&l->lock);
    l->sleeping = false;
    pthread_mutex_unlock(&l->lock);
}

static int run_once(HttpLoop *l)
{
    int r;

    r = sd_event_prepare(l->event);
    if (r == 0) {
        r = sd_event_wait(l->event, go_to_sleep(l) ? 0 : UINT64_MAX);
        wake_up(l);
    }
    if (r > 0)
        r = sd_event_dispatch(l->event);
    run_posts(l);
    flush_dirty(l);
    return r;
}

static void *loop_main(void *userdata)
{
    HttpLoop *l = userdata;
    char name[16];
    int r = 0;

    (void)snprintf(name, sizeof(name), "http-%u", l->index);
    (void)pthread_setname_np(pthread_self(), name);
    while (r >= 0 && !(l->draining && !l->connections))
        r = run_once(l);
    if (r < 0)
        log_error("Thread %u ends: %s", l->index, strerror(-r));
    while (l->connections)
        http_connection_close(l->connections);
    return NULL;
}

int http_loop_start(HttpLoop *l)
{
    sigset_t all, before;
    int r;

    /* signals are for the main thread */
    sigfillset(&all);
    r = -pthread_sigmask(SIG_BLOCK, &all, &before);
    if (r < 0)
        return r;
    l->started = true; /* the thread looks at it */
    r = -pthread_create(&l->thread, NULL, loop_main, l);
    if (r < 0)
        l->started = false;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static void run_drain(HttpPost *p)
{
    HttpLoop *l = (HttpLoop *)(void *)((char *)p - offsetof(HttpLoop, drain));

    if (l->draining)
        return;
    l->draining = true;
    l->drain_end = clock_boottime() + l->server->timeouts.grace * 1000000ull;
    http_accept_stop(l);
    for (HttpConnection *c = l->connections; c; c = c->next)
        http_connection_goaway(c);
}

void http_loop_drain(HttpLoop *l)
{
    l->drain.run = run_drain;
    http_loop_post(l, &l->drain);
}

void http_loop_join(HttpLoop *l)
{
    if (l->started)
        (void)pthread_join(l->thread, NULL);
    l->started = false;
    while (l->posts) /* connections that were passed on too late are closed */
        run_posts(l);
}

HttpLoop *http_loop_free(HttpLoop *l)
{
    if (!l)
        return NULL;
    http_loop_join(l);
    http_accept_stop(l);
    (void)sd_event_source_disable_unref(l->sweep);
    (void)sd_event_unref(l->event);
    (void)fd_close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    buf_done(&l->out);
    free(l);
    return NULL;
}

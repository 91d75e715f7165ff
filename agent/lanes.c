/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/lanes.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define STACK_SIZE (256u * 1024u)

typedef struct Lanes Lanes;

typedef struct Lane {
    Lanes *owner;
    void *block;
    unsigned number;
    pthread_t thread;
} Lane;

struct Lanes {
    const LanesTask *task;
    void *context;
    int stop_fd;
    unsigned n;
    Lane lanes[LANES_MAX];

    pthread_mutex_t source; /* who has it takes */
    unsigned started;
    uint64_t taken;
    bool ended;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t checked, given; /* whose turn it is */
    _Atomic int failed;
};

static void *lane_main(void *userdata);

/* With source. That there is one thread less is no error. */
static void start_another(Lanes *g)
{
    pthread_attr_t attributes;
    Lane *l = &g->lanes[g->started];

    if (pthread_attr_init(&attributes) != 0)
        return;
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    if (pthread_create(&l->thread, &attributes, lane_main, l) == 0)
        g->started++;
    (void)pthread_attr_destroy(&attributes);
}

/* 0: there is none left. Else the block has its turn, with an error in *ret_result or without. */
static bool take(Lane *l, uint64_t *ret_turn, int *ret_result)
{
    Lanes *g = l->owner;
    bool goes_on;

    pthread_mutex_lock(&g->source);
    goes_on = !g->ended && atomic_load(&g->failed) == 0;
    if (goes_on) {
        *ret_result = g->task->take(g->context, l->block, &g->ended, g->stop_fd);
        *ret_turn = g->taken++;
        if (*ret_result != 0)
            g->ended = true;
        if (!g->ended && g->started < g->n)
            start_another(g);
    }
    pthread_mutex_unlock(&g->source);
    return goes_on;
}

static bool turn_wait(Lanes *g, const uint64_t *at, uint64_t turn)
{
    bool ok;

    pthread_mutex_lock(&g->mutex);
    while (*at != turn && atomic_load(&g->failed) == 0)
        pthread_cond_wait(&g->changed, &g->mutex);
    ok = atomic_load(&g->failed) == 0;
    pthread_mutex_unlock(&g->mutex);
    return ok;
}

static void turn_end(Lanes *g, uint64_t *at)
{
    pthread_mutex_lock(&g->mutex);
    ++*at;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

static void fail(Lanes *g, int r)
{
    static const uint64_t one = 1;

    pthread_mutex_lock(&g->mutex);
    atomic_store(&g->failed, r);
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
    /* another one may be waiting for the source */
    while (write(g->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void *lane_main(void *userdata)
{
    Lane *l = userdata;
    Lanes *g = l->owner;
    uint64_t turn = 0;
    int r = 0;

    while (take(l, &turn, &r)) {
        if (r == 0)
            r = g->task->work(g->context, l->block, l->number);
        if (!turn_wait(g, &g->checked, turn))
            break;
        r = g->task->check(g->context, l->block, r);
        if (r == 0)
            turn_end(g, &g->checked);
        /* an error too has its turn: what is before it still goes out */
        if (!turn_wait(g, &g->given, turn))
            break;
        if (r == 0)
            r = g->task->give(g->context, l->block, g->stop_fd);
        if (r != 0) {
            fail(g, r);
            break;
        }
        turn_end(g, &g->given);
    }
    return NULL;
}

static bool is_started(Lanes *g, unsigned i)
{
    bool started;

    pthread_mutex_lock(&g->source);
    started = i < g->started;
    pthread_mutex_unlock(&g->source);
    return started;
}

int lanes_run(const LanesTask *task, void *context, void *const *blocks, unsigned n, int stop_fd)
{
    Lanes g = {.task = task, .context = context, .stop_fd = stop_fd, .n = n, .started = 1};

    if (n == 0 || n > LANES_MAX)
        return -EINVAL;
    for (unsigned i = 0; i < n; i++)
        g.lanes[i] = (Lane){.owner = &g, .block = blocks[i], .number = i};
    pthread_mutex_init(&g.source, NULL);
    pthread_mutex_init(&g.mutex, NULL);
    pthread_cond_init(&g.changed, NULL);
    (void)lane_main(&g.lanes[0]);
    /* only one that runs can start another, and then it did so before it ended */
    for (unsigned i = 1; is_started(&g, i); i++)
        (void)pthread_join(g.lanes[i].thread, NULL);
    pthread_cond_destroy(&g.changed);
    pthread_mutex_destroy(&g.mutex);
    pthread_mutex_destroy(&g.source);
    return g.failed;
}

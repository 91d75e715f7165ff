/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/lanes.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BLOCKS 500u
#define WRONG 77

typedef enum Stage {
    STAGE_NONE,
    STAGE_TAKE,
    STAGE_WORK,
    STAGE_CHECK,
    STAGE_GIVE,
} Stage;

typedef struct Scene {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned n, taken, given, inside; /* inside: of work */
    _Atomic unsigned checked;
    unsigned of_lane[LANES_MAX];
    unsigned fail_at;
    Stage fail;
    unsigned wait_for;     /* threads that have to be at work together before any goes on */
    bool together, asleep; /* asleep: after the first block there is no other until the stop */
    int busy[STAGE_GIVE + 1];
} Scene;

typedef struct Item {
    unsigned number;
    bool worked;
} Item;

/* lint: global: what the wrapped function sees */
static _Atomic unsigned threads_left = LANES_MAX;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *userdata);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *userdata);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *userdata)
{
    if (atomic_load(&threads_left) == 0)
        return EAGAIN;
    if (atomic_load(&threads_left) < LANES_MAX)
        atomic_fetch_sub(&threads_left, 1);
    return __real_pthread_create(thread, attributes, start, userdata);
}

/* One thread at a time. */
static void enter(Scene *s, Stage stage)
{
    g_assert_cmpint(g_atomic_int_add(&s->busy[stage], 1), ==, 0);
}

static void leave(Scene *s, Stage stage)
{
    g_assert_cmpint(g_atomic_int_add(&s->busy[stage], -1), ==, 1);
}

static int result(const Scene *s, Stage stage, const Item *item)
{
    return s->fail == stage && s->fail_at == item->number ? WRONG : 0;
}

static int take(void *context, void *block, bool *ret_end, int stop_fd)
{
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
    Scene *s = context;
    Item *item = block;

    enter(s, STAGE_TAKE);
    if (s->asleep && s->taken > 0) {
        g_assert_cmpint(poll(&stop, 1, -1), ==, 1);
        leave(s, STAGE_TAKE);
        return -ECANCELED;
    }
    *item = (Item){.number = s->taken++};
    g_assert_cmpuint(item->number, <, s->n);
    *ret_end = s->taken == s->n;
    leave(s, STAGE_TAKE);
    return result(s, STAGE_TAKE, item);
}

static int work(void *context, void *block, unsigned lane)
{
    Scene *s = context;
    Item *item = block;

    g_assert_cmpuint(lane, <, LANES_MAX);
    pthread_mutex_lock(&s->mutex);
    s->of_lane[lane]++;
    s->inside++;
    if (s->inside >= s->wait_for)
        s->together = true;
    pthread_cond_broadcast(&s->changed);
    while (!s->together)
        pthread_cond_wait(&s->changed, &s->mutex);
    s->inside--;
    pthread_mutex_unlock(&s->mutex);
    if (item->number % 7 == 0)
        g_usleep(200); /* so that others are ready before it */
    item->worked = true;
    return result(s, STAGE_WORK, item);
}

static int check(void *context, void *block, int r)
{
    Scene *s = context;
    const Item *item = block;

    enter(s, STAGE_CHECK);
    g_assert_cmpuint(item->number, ==, s->checked++);
    g_assert_true(r != 0 || item->worked);
    leave(s, STAGE_CHECK);
    return r != 0 ? r : result(s, STAGE_CHECK, item);
}

static int give(void *context, void *block, int stop_fd)
{
    Scene *s = context;
    const Item *item = block;

    enter(s, STAGE_GIVE);
    g_assert_cmpuint(item->number, ==, s->given);
    g_assert_cmpuint(item->number, <, s->checked);
    leave(s, STAGE_GIVE);
    if (result(s, STAGE_GIVE, item) != 0)
        return WRONG;
    s->given++;
    return 0;
}

static int run(Scene *s, unsigned n)
{
    static const LanesTask task = {.take = take, .work = work, .check = check, .give = give};
    struct pollfd stop = {.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = POLLIN};
    Item items[LANES_MAX];
    void *blocks[LANES_MAX];
    int r;

    for (unsigned i = 0; i < LANES_MAX; i++)
        blocks[i] = &items[i];
    g_assert_cmpint(stop.fd, >=, 0);
    r = lanes_run(&task, s, blocks, n, stop.fd);
    if (n > 0 && n <= LANES_MAX)
        g_assert_cmpint(poll(&stop, 1, 0), ==, r != 0);
    close(stop.fd);
    return r;
}

static void test_order(void)
{
    for (unsigned n = 1; n <= LANES_MAX; n++)
        for (unsigned blocks = 1; blocks <= BLOCKS; blocks = blocks * 3 + 1) {
            Scene s = {.n = blocks, .together = true};
            unsigned sum = 0;

            g_assert_cmpint(run(&s, n), ==, 0);
            g_assert_cmpuint(s.given, ==, blocks);
            for (unsigned i = 0; i < LANES_MAX; i++)
                sum += s.of_lane[i];
            g_assert_cmpuint(sum, ==, blocks);
        }
}

/* None ends its first block before all are at work: it takes all of them to come to an end. */
static void test_at_once(void)
{
    for (unsigned n = 1; n <= LANES_MAX; n++) {
        Scene s = {.n = BLOCKS, .wait_for = n};

        g_assert_cmpint(run(&s, n), ==, 0);
        g_assert_cmpuint(s.given, ==, BLOCKS);
        for (unsigned i = 0; i < LANES_MAX; i++)
            g_assert_true((s.of_lane[i] > 0) == (i < n));
    }
}

/* All before it are given, none behind it. */
static void test_errors(void)
{
    static const unsigned points[] = {0, 1, 2, 63, BLOCKS - 1};

    for (unsigned n = 1; n <= LANES_MAX; n++)
        for (Stage stage = STAGE_TAKE; stage <= STAGE_GIVE; stage++)
            for (size_t i = 0; i < G_N_ELEMENTS(points); i++) {
                Scene s = {.n = BLOCKS, .together = true, .fail = stage, .fail_at = points[i]};

                g_assert_cmpint(run(&s, n), ==, WRONG);
                g_assert_cmpuint(s.given, ==, points[i]);
                /* what was checked behind it is not given */
                g_assert_cmpuint(s.checked, >=, points[i] + 1);
                g_assert_true(stage == STAGE_GIVE || s.checked == points[i] + 1);
            }
}

/* A thread that waits for more is woken when another one cannot give. */
static void test_wake(void)
{
    for (unsigned n = 2; n <= LANES_MAX; n++) {
        Scene s = {.n = BLOCKS, .together = true, .asleep = true, .fail = STAGE_GIVE};

        g_assert_cmpint(run(&s, n), ==, WRONG);
        g_assert_cmpuint(s.given, ==, 0);
        g_assert_cmpuint(s.taken, ==, 1);
    }
}

/* Without a second thread, or a third, the work is done by those that there are. */
static void test_no_threads(void)
{
    for (unsigned n = 1; n <= LANES_MAX; n++) {
        Scene s = {.n = BLOCKS, .wait_for = n};

        atomic_store(&threads_left, n - 1);
        g_assert_cmpint(run(&s, LANES_MAX), ==, 0);
        atomic_store(&threads_left, LANES_MAX);
        g_assert_cmpuint(s.given, ==, BLOCKS);
        for (unsigned i = 0; i < LANES_MAX; i++)
            g_assert_true((s.of_lane[i] > 0) == (i < n));
    }
}

static void test_bounds(void)
{
    Scene s = {.n = 1, .together = true};

    g_assert_cmpint(run(&s, 0), ==, -EINVAL);
    g_assert_cmpint(run(&s, LANES_MAX + 1), ==, -EINVAL);
    g_assert_cmpuint(s.taken, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lanes/order", test_order);
    g_test_add_func("/lanes/at-once", test_at_once);
    g_test_add_func("/lanes/errors", test_errors);
    g_test_add_func("/lanes/wake", test_wake);
    g_test_add_func("/lanes/no-threads", test_no_threads);
    g_test_add_func("/lanes/bounds", test_bounds);
    return g_test_run();
}

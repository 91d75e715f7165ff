/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "agent/worker.h"
#include "libhmsg/base/error.h"

typedef struct Context {
    int result;
    bool wait; /* for being stopped */
    gint freed;
    pthread_t thread;
} Context;

typedef struct Answer {
    bool done;
    int r;
    void *context;
} Answer;

static int run(void *context, int stop_fd)
{
    Context *c = context;
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
    sigset_t set;

    c->thread = pthread_self();
    g_assert_cmpint(pthread_sigmask(SIG_BLOCK, NULL, &set), ==, 0);
    g_assert_true(sigismember(&set, SIGPIPE) == 1 && sigismember(&set, SIGTERM) == 1);
    if (c->wait)
        g_assert_cmpint(poll(&stop, 1, -1), ==, 1);
    return c->wait ? -ECANCELED : c->result;
}

static void done(int r, void *context, void *userdata)
{
    Answer *a = userdata;

    g_assert_false(a->done);
    *a = (Answer){.done = true, .r = r, .context = context};
}

static void free_context(void *context)
{
    ((Context *)context)->freed++;
}

static const WorkerTask task = {.run = run, .done = done, .free_context = free_context};

static void test_done(void)
{
    Context c = {.result = -EIO};
    Workers *w = NULL;
    Worker *worker = NULL;
    sd_event *event = NULL;
    Answer a = {0};

    g_assert_cmpint(sd_event_new(&event), >=, 0);
    g_assert_cmpint(workers_new(event, &w), ==, 0);
    g_assert_cmpint(worker_start(w, &task, &c, &a, &worker), ==, 0);
    while (!a.done)
        g_assert_cmpint(sd_event_run(event, UINT64_MAX), >=, 0);
    g_assert_cmpint(a.r, ==, -EIO);
    g_assert_true(a.context == &c && c.freed == 0 && !pthread_equal(c.thread, pthread_self()));
    workers_free(w);
    sd_event_unref(event);
}

static void test_cancel(void)
{
    Context c[WORKERS_MAX], more = {0};
    Workers *w = NULL;
    Worker *worker[WORKERS_MAX], *none = NULL;
    sd_event *event = NULL;
    Answer a = {0};

    g_assert_cmpint(sd_event_new(&event), >=, 0);
    g_assert_cmpint(workers_new(event, &w), ==, 0);
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        c[i] = (Context){.wait = true};
        g_assert_cmpint(worker_start(w, &task, &c[i], &a, &worker[i]), ==, 0);
    }
    g_assert_cmpint(worker_start(w, &task, &more, &a, &none), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_null(worker_cancel(worker[0]));
    g_assert_null(worker_cancel(NULL));
    while (c[0].freed == 0)
        g_assert_cmpint(sd_event_run(event, UINT64_MAX), >=, 0);
    workers_free(w); /* stops the others */
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        g_assert_cmpint(c[i].freed, ==, 1);
    g_assert_false(a.done);
    sd_event_unref(event);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/thread/done", test_done);
    g_test_add_func("/thread/cancel", test_cancel);
    return g_test_run();
}

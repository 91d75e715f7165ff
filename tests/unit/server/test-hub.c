/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/hub.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "server/store-sqlite.h"
#include "server/sweeper.h"
#include "server/watcher.h"
#include "tests/unit/server/http-double.h"
#include "tests/unit/server/store-util.h"

typedef struct Listener {
    Hub *hub;
    HttpEvents *events;
    HubStream *place;
    uint8_t user;
    unsigned wakes;
} Listener;

static void woken(void *userdata)
{
    ((Listener *)userdata)->wakes++;
}

static void closed(HttpEvents *e, void *userdata)
{
    Listener *l = userdata;
    l->place = hub_leave(l->place);
    (void)http_events_unref(l->events);
}

static int listen_now(HttpRequest *r)
{
    Listener *l = http_request_context(r);
    g_assert_cmpint(http_answer_events(r, NULL, closed, l, &l->events), ==, 0);
    return hub_join(l->hub, l->events, test_skid(l->user), l->user < 10 ? test_kid(l->user) : NULL, woken, l,
                    &l->place);
}

static const HttpRoute route[] = {{.method = "GET", .pattern = "/", .end = listen_now}};

static DoubleConnection *start(Listener *l, Hub *hub, uint8_t user, unsigned room, DoubleEvents **ret)
{
    *l = (Listener){.hub = hub, .user = user};
    DoubleConnection *c = double_connect(route, 1, l);
    *ret = double_events(c, "/", room);
    return c;
}

static void test_wakes(void)
{
    _cleanup_(hub_freep) Hub *hub = NULL;
    Listener a, b, guest;
    DoubleEvents *in_a, *in_b, *in_guest;
    g_assert_cmpint(hub_new(&hub), ==, 0);
    g_autoptr(DoubleConnection) of_a = start(&a, hub, 1, 10, &in_a);
    g_autoptr(DoubleConnection) of_b = start(&b, hub, 2, 10, &in_b);
    g_autoptr(DoubleConnection) of_guest = start(&guest, hub, 11, 10, &in_guest);
    hub_mail(hub, test_kid(1));
    hub_mail(hub, test_kid(1)); /* one wake-up for both */
    hub_mail(hub, test_kid(11));
    hub_mail(hub, test_skid(2));
    double_run();
    g_assert_cmpuint(a.wakes, ==, 1);
    g_assert_cmpuint(b.wakes, ==, 0);
    g_assert_cmpuint(guest.wakes, ==, 0);
    hub_mail(hub, test_kid(1));
    double_run();
    g_assert_cmpuint(a.wakes, ==, 2);
    /* A wake-up on its way when the stream ends is dropped. */
    hub_mail(hub, test_kid(1));
    double_events_close(in_a);
    g_assert_cmpuint(a.wakes, ==, 2);
    hub_mail(hub, test_kid(1));
    double_run();
    g_assert_cmpuint(a.wakes, ==, 2);
    double_events_close(in_b);
    double_events_close(in_guest);
}

static void test_changes(void)
{
    _cleanup_(hub_freep) Hub *hub = NULL;
    Listener a, b;
    DoubleEvents *in_a, *in_b;
    StoreChange changes[3] = {{.state = STORE_DELIVERED}, {.state = STORE_EXPIRED}, {.state = STORE_EXPIRED}};
    memcpy(changes[0].submitter, test_skid(1), KID_SIZE);
    memcpy(changes[1].submitter, test_skid(1), KID_SIZE);
    memcpy(changes[2].submitter, test_skid(3), KID_SIZE);
    g_assert_cmpint(hub_new(&hub), ==, 0);
    g_autoptr(DoubleConnection) of_a = start(&a, hub, 1, 2, &in_a);
    g_autoptr(DoubleConnection) of_b = start(&b, hub, 2, 2, &in_b);
    hub_changes(hub, changes, 3);
    g_autofree char *first = double_events_take(in_a), *second = double_events_take(in_a);
    g_assert_true(g_str_has_prefix(first, "status {\"id\":\"AAAA"));
    g_assert_nonnull(strstr(first, "\"state\":\"delivered\""));
    g_assert_nonnull(strstr(second, "\"state\":\"expired\""));
    /* Whoever takes nothing is not told half of it: the stream ends. */
    hub_changes(hub, changes, 2);
    hub_changes(hub, changes, 2);
    for (unsigned i = 0; i < 2; i++)
        g_free(double_events_take(in_a));
    g_assert_null(double_events_take(in_a));
    hub_end(hub, test_skid(2));
    g_assert_null(double_events_take(in_b));
    double_events_close(in_a);
    double_events_close(in_b);
}

static const uint8_t *index_of(StoreReader *reader, const uint8_t *kid, uint8_t ret[static KID_SIZE])
{
    g_assert_cmpint(store_index(reader, kid, ret), ==, 0);
    return ret;
}

/* Of another relay: here of the one that is known by such names. */
static void test_news(void)
{
    _cleanup_(hub_freep) Hub *hub = NULL;
    Listener a, b;
    DoubleEvents *in_a, *in_b;
    StoreNews news = {.kind = STORE_NEWS_MAIL};
    g_assert_cmpint(hub_new(&hub), ==, 0);
    g_autoptr(DoubleConnection) of_a = start(&a, hub, 1, 10, &in_a);
    g_autoptr(DoubleConnection) of_b = start(&b, hub, 2, 10, &in_b);
    hub_know(a.place, test_skid(31), test_kid(31));
    memcpy(news.key, test_kid(31), KID_SIZE);
    hub_news(hub, &news);
    hub_mail(hub, test_kid(31));
    double_run();
    g_assert_cmpuint(a.wakes, ==, 1);
    g_assert_cmpuint(b.wakes, ==, 0);
    news = (StoreNews){.kind = STORE_NEWS_STATE, .state = STORE_DELIVERED};
    memcpy(news.key, test_skid(31), KID_SIZE);
    hub_news(hub, &news);
    g_autofree char *told = double_events_take(in_a);
    g_assert_nonnull(strstr(told, "delivered"));
    news.kind = STORE_NEWS_GONE;
    hub_news(hub, &news);
    g_assert_null(double_events_take(in_a));
    hub_news(hub, &(StoreNews){.kind = STORE_NEWS_LOST});
    g_assert_null(double_events_take(in_b)); /* ended, though nothing is known of it */
    double_events_close(in_a);
    double_events_close(in_b);
    hub_news(hub, &news);
}

/* Mail that comes to one relay wakes who waits at the other. */
static void test_watcher(void)
{
    StoreFixture one = {}, other = {.folder = test_folder_new()};
    Hub *hub = NULL;
    Watcher *watcher = NULL;
    Listener owner;
    DoubleEvents *in;
    StoreWrite w;
    uint8_t skid[KID_SIZE], kid[KID_SIZE];
    store_fixture_set_up(&one);
    other.limits = one.limits;
    store_fixture_open(&other);
    g_assert_cmpint(test_register(one.store, 1, "alice"), ==, 0);
    g_assert_cmpint(hub_new(&hub), ==, 0);
    g_assert_cmpint(watcher_start(other.store, hub, 10, &watcher), ==, 0);
    g_assert_nonnull(watcher);
    DoubleConnection *c = start(&owner, hub, 1, 10, &in);
    hub_know(owner.place, index_of(other.reader, test_skid(1), skid),
             index_of(other.reader, test_kid(1), kid));
    /* it begins with what comes after its start */
    for (unsigned i = 0; owner.wakes == 0; i++) {
        g_assert_cmpint(test_put(one.store, 1, 1, 3, test_body(i, 10), 10, clock_realtime() + 1000, &w), ==,
                        0);
        g_usleep(TEST_AWAIT_PAUSE);
        double_run();
    }
    watcher = watcher_stop(watcher);
    double_events_close(in);
    double_close(c);
    store_fixture_close(&other);
    test_folder_remove(other.folder);
    hub = hub_free(hub);
    store_fixture_tear_down(&one);
}

/* A store that is swept. */
typedef struct Swept {
    char *folder;
    Hub *hub;
    Store *store;
    StoreReader *reader;
    Steady *steady;
    Sweeper *sweeper; /* from sweep_from on */
} Swept;

static Swept swept_new(void)
{
    Swept s = {.folder = test_folder_new()};
    StoreLimits limits;
    store_limits_init(&limits);
    g_assert_cmpint(hub_new(&s.hub), ==, 0);
    g_assert_cmpint(store_sqlite_open(s.folder, &limits, test_store_keeper(), &s.store), ==, 0);
    g_assert_cmpint(store_reader_new(s.store, &s.reader), ==, 0);
    g_assert_cmpint(test_register(s.store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(s.store, 2, "bob"), ==, 0);
    return s;
}

/* known: as of steady_new. */
static void sweep_from(Swept *s, int64_t known)
{
    s->sweeper = sweeper_stop(s->sweeper);
    s->steady = steady_free(s->steady);
    g_assert_cmpint(steady_new(known, &s->steady), ==, 0);
    g_assert_cmpint(sweeper_start(s->store, s->hub, s->steady, 10, 0, &s->sweeper), ==, 0);
}

static bool state_is(const Swept *s, const StoreWrite *put, StoreState expected)
{
    StoreState state = STORE_ACCEPTED;
    return store_status(s->reader, test_skid(2), put->put.id, &state) == 0 && state == expected;
}

static void swept_done(Swept *s)
{
    s->sweeper = sweeper_stop(s->sweeper);
    s->steady = steady_free(s->steady);
    s->reader = store_reader_free(s->reader);
    s->store = store_free(s->store);
    s->hub = hub_free(s->hub);
    test_folder_remove(s->folder);
}

static void test_sweeper(void)
{
    Swept s = swept_new();
    StoreWrite w, stays;
    Listener sender;
    DoubleEvents *in;
    DoubleConnection *c = start(&sender, s.hub, 2, 10, &in);
    g_assert_cmpint(test_put(s.store, 1, 2, 3, "over", 4, 1000, &w), ==, 0);
    g_assert_cmpint(test_put(s.store, 1, 2, 3, "not yet", 7, clock_realtime() + 1000, &stays), ==, 0);
    sweep_from(&s, 0);
    g_autofree char *event = double_events_take(in);
    g_assert_nonnull(strstr(event, "expired"));
    g_assert_true(state_is(&s, &stays, STORE_ACCEPTED));
    /* and it goes on */
    g_assert_cmpint(test_put(s.store, 1, 2, 3, "over too", 8, 1000, &w), ==, 0);
    TEST_AWAIT(state_is(&s, &w, STORE_EXPIRED));
    TEST_AWAIT(sweeper_expired(s.sweeper) == 2);
    /* keys are changed when somebody asks */
    StoreCounts counts = {};
    g_assert_cmpint(store_sqlite_request_rekey(s.folder), ==, 0);
    TEST_AWAIT(store_counts(s.reader, &counts) == 0 && counts.key == 2 && counts.key_pending == 0);
    g_assert_true(state_is(&s, &stays, STORE_ACCEPTED));
    s.sweeper = sweeper_stop(s.sweeper);
    double_events_close(in);
    double_close(c);
    swept_done(&s);
}

/* A store that answers as it is told to. */
typedef struct FakeStore {
    Store base;
    gint result, asked;
} FakeStore;

static int fake_write(Store *store, StoreWrite *w)
{
    FakeStore *f = (FakeStore *)store;
    w->result = g_atomic_int_get(&f->result);
    w->changes = NULL;
    w->n_changes = 0;
    g_atomic_int_inc(&f->asked);
    w->done(w);
    return 0;
}

static void await_sweeps(FakeStore *f)
{
    gint before = g_atomic_int_get(&f->asked);
    TEST_AWAIT(g_atomic_int_get(&f->asked) > before + 8); /* of two kinds */
}

static unsigned count_lines(const char *log, const char *line)
{
    unsigned n = 0;
    for (const char *at = log; (at = strstr(at, line)); at++)
        n++;
    return n;
}

/* A store that fails is told of in the log when that begins and ends, not each minute. */
static void test_failing(void)
{
    static const StoreOps ops = {.write = fake_write};
    FakeStore f = {.base.ops = &ops, .result = -EBADMSG};
    Hub *hub = NULL;
    Sweeper *sweeper = NULL;
    Steady *steady = NULL;
    g_autofree char *path = NULL, *log = NULL;
    g_assert_cmpint(hub_new(&hub), ==, 0);
    g_assert_cmpint(steady_new(0, &steady), ==, 0);
    int saved = dup(STDERR_FILENO), file = g_file_open_tmp(NULL, &path, NULL);
    g_assert_true(saved >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    int started = sweeper_start(&f.base, hub, steady, 1, 0, &sweeper);
    await_sweeps(&f);
    g_atomic_int_set(&f.result, -EAGAIN); /* which is nothing to tell */
    await_sweeps(&f);
    g_atomic_int_set(&f.result, 0);
    await_sweeps(&f);
    sweeper = sweeper_stop(sweeper);
    g_assert_cmpint(dup2(saved, STDERR_FILENO), >=, 0);
    g_assert_true(close(saved) == 0 && close(file) == 0);
    g_assert_true(g_file_get_contents(path, &log, NULL, NULL));
    (void)unlink(path);
    g_assert_cmpint(started, ==, 0);
    g_assert_cmpuint(count_lines(log, "Removing what has expired does not go on: the store is damaged"), ==,
                     1);
    g_assert_cmpuint(count_lines(log, "The change of keys does not go on: the store is damaged"), ==, 1);
    g_assert_cmpuint(count_lines(log, "goes on again"), ==, 2);
    steady = steady_free(steady);
    hub = hub_free(hub);
}

/* The relay comes up with a clock that is two days ahead: what would be over by it stays, what is over by the
 * time of before goes. */
static void test_clock(void)
{
    Swept s = swept_new();
    StoreWrite over, stays;
    const int64_t now = clock_realtime(), before = now - 2 * 86400;
    g_assert_cmpint(test_put(s.store, 1, 2, 3, "stays", 5, now - 3600, &stays), ==, 0);
    sweep_from(&s, before);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(test_put(s.store, 1, 2, 3, test_body(i, 10), 10, before - 1, &over), ==, 0);
        TEST_AWAIT(state_is(&s, &over, STORE_EXPIRED));
    }
    g_assert_true(steady_held(s.steady));
    g_assert_true(state_is(&s, &stays, STORE_ACCEPTED));
    /* and goes as soon as the clock is believed */
    sweep_from(&s, now);
    TEST_AWAIT(state_is(&s, &stays, STORE_EXPIRED));
    swept_done(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hub/wakes", test_wakes);
    g_test_add_func("/hub/changes", test_changes);
    g_test_add_func("/hub/news", test_news);
    g_test_add_func("/hub/sweeper", test_sweeper);
    g_test_add_func("/hub/failing", test_failing);
    g_test_add_func("/hub/clock", test_clock);
    if (test_store_remote())
        g_test_add_func("/hub/watcher", test_watcher);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Three servers, of which each commit has reached two. The primary is killed while two relays accept and
 * deliver; the standby that has received more takes its place: nothing that was answered is lost, and nothing
 * that was acknowledged comes back. HMSG_ROUNDS: how many times, each with new servers. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-open.h"
#include "server/store-postgres.h"
#include "tests/unit/server/store-util.h"

#define RELAYS 2u
#define USERS 5u
#define IN_FLIGHT 24u /* of each relay */
#define BEFORE 300u   /* answered until a standby stands still, then as many until the primary is killed */
#define AFTER 300u    /* after that */
#define BODY_SIZE 1500u
#define NOW 1000
#define LATER 1000000
#define NODES 3u

typedef struct Answered {
    unsigned number;
    uint8_t mailbox, id[ID_SIZE];
    bool acknowledged;
} Answered;

typedef struct Scene {
    TestPostgres *nodes[NODES + 1]; /* the first is the primary; NULL at the end */
    char *folders[RELAYS];
    Store *stores[RELAYS];
    GMutex lock;
    GArray *answered; /* Answered */
    unsigned failures;
    gint next, stop, running;
} Scene;

/* One message after the other, each until it is answered; every third is acknowledged then. */
typedef struct Sender {
    Scene *scene;
    Store *store;
    StoreWrite write;
    unsigned number;
    uint8_t mailbox, id[ID_SIZE];
    char body[BODY_SIZE];
} Sender;

static void make_body(unsigned number, char *ret)
{
    for (unsigned i = 0; i < BODY_SIZE; i++)
        ret[i] = (char)(i * 7 + number);
    memcpy(ret, &number, sizeof(number));
}

static void submit(Sender *s);
static void acknowledge(Sender *s);

static void go_on(Sender *s)
{
    if (g_atomic_int_get(&s->scene->stop)) {
        (void)g_atomic_int_dec_and_test(&s->scene->running);
        return;
    }
    s->number = (unsigned)g_atomic_int_add(&s->scene->next, 1);
    s->mailbox = (uint8_t)(1 + s->number % USERS);
    make_body(s->number, s->body);
    submit(s);
}

/* true: it counts. What failed is tried again, as clients do. */
static bool is_answered(Sender *s, const StoreWrite *w)
{
    g_mutex_lock(&s->scene->lock);
    s->scene->failures += w->result != 0;
    g_mutex_unlock(&s->scene->lock);
    if (w->result < 0)
        g_usleep(10000);
    else
        g_assert_cmpint(w->result, ==, 0);
    return w->result == 0;
}

static void acknowledged(StoreWrite *w)
{
    Sender *s = w->userdata;
    bool done = is_answered(s, w);
    store_write_done(w);
    if (!done) {
        acknowledge(s);
        return;
    }
    const Answered a = {.number = s->number, .mailbox = s->mailbox, .acknowledged = true};
    g_mutex_lock(&s->scene->lock);
    g_array_append_val(s->scene->answered, a);
    memcpy(g_array_index(s->scene->answered, Answered, s->scene->answered->len - 1).id, s->id, ID_SIZE);
    g_mutex_unlock(&s->scene->lock);
    go_on(s);
}

static void acknowledge(Sender *s)
{
    s->write = (StoreWrite){.kind = STORE_ACKNOWLEDGE, .acknowledge = {.ids = s->id, .n = 1}};
    memcpy(s->write.acknowledge.mailbox, test_kid(s->mailbox), KID_SIZE);
    s->write.done = acknowledged;
    s->write.userdata = s;
    g_assert_cmpint(store_write(s->store, &s->write), ==, 0);
}

static void submitted(StoreWrite *w)
{
    Sender *s = w->userdata;
    if (!is_answered(s, w)) {
        submit(s);
        return;
    }
    memcpy(s->id, w->put.id, ID_SIZE);
    if (s->number % 3 == 0) {
        acknowledge(s);
        return;
    }
    const Answered a = {.number = s->number, .mailbox = s->mailbox};
    g_mutex_lock(&s->scene->lock);
    g_array_append_val(s->scene->answered, a);
    memcpy(g_array_index(s->scene->answered, Answered, s->scene->answered->len - 1).id, s->id, ID_SIZE);
    g_mutex_unlock(&s->scene->lock);
    go_on(s);
}

static void submit(Sender *s)
{
    test_put_init(&s->write, s->mailbox, (uint8_t)(1 + (s->number + 1) % USERS), NOW, s->body, BODY_SIZE,
                  LATER);
    s->write.done = submitted;
    s->write.userdata = s;
    g_assert_cmpint(store_write(s->store, &s->write), ==, 0);
}

static unsigned count_answered(Scene *s)
{
    g_mutex_lock(&s->lock);
    unsigned n = s->answered->len;
    g_mutex_unlock(&s->lock);
    return n;
}

static void make_nodes(Scene *s)
{
    s->nodes[0] = test_postgres_new("synchronous_standby_names = 'ANY 1 (n1, n2)'\nwal_keep_size = 64MB\n"
                                    "hot_standby = on\n");
    s->nodes[1] = test_postgres_standby(s->nodes[0], "n1");
    s->nodes[2] = test_postgres_standby(s->nodes[0], "n2");
}

static void open_store(Scene *s, unsigned relay)
{
    StoreLimits limits;
    char error[POSTGRES_ERROR_SIZE];
    PostgresOptions o = {.connection = test_postgres_connection(s->nodes), .quorum = true};
    store_limits_init(&limits);
    limits.mailbox_messages = limits.sender_messages = 1000000;
    g_assert_cmpint(
        store_postgres_open(&o, s->folders[relay], &limits, test_store_keeper(), &s->stores[relay], error),
        ==, 0);
    postgres_options_done(&o);
}

static gint64 received(const TestPostgres *p)
{
    g_autofree char *at = test_postgres_ask(p, "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')");
    g_assert_nonnull(at);
    return g_ascii_strtoll(at, NULL, 10);
}

/* The standby that has more becomes the primary, and the other one follows it. */
static void replace_primary(Scene *s)
{
    test_postgres_kill(s->nodes[0]);
    test_postgres_freeze(s->nodes[2], false);
    gint64 a = received(s->nodes[1]), b = received(s->nodes[2]);
    g_assert_cmpint(a, >, b); /* the other one has stood still: it would have lost much */
    unsigned first = 1;
    g_test_message("received %" G_GINT64_FORMAT " and %" G_GINT64_FORMAT, a, b);
    g_autofree char *follow = g_strdup_printf(
        "ALTER SYSTEM SET primary_conninfo = 'host=%s port=5432 user=hmsg application_name=n%u'",
        test_postgres_folder(s->nodes[first]), 3 - first);
    test_postgres_promote(s->nodes[first]);
    test_postgres_do(s->nodes[3 - first], follow);
    test_postgres_do(s->nodes[3 - first], "SELECT pg_reload_conf()");
}

static void expect_message(StoreReader *reader, const Answered *a)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    char expected[BODY_SIZE];
    StoreFile *file = NULL;
    uint64_t size = 0;
    int r = store_fetch(reader, test_kid(a->mailbox), a->id, &body, &file, &size);
    if (a->acknowledged) {
        g_assert_cmpint(r, ==, HMSG_ERROR_NOT_FOUND);
        return;
    }
    g_assert_cmpint(r, ==, 0);
    make_body(a->number, expected);
    g_assert_cmpmem(body.data, body.size, expected, BODY_SIZE);
}

static void check(Scene *s)
{
    StoreReader *reader = NULL;
    StoreCounts c = {};
    unsigned waiting = 0;
    g_assert_cmpint(store_reader_new(s->stores[0], &reader), ==, 0);
    for (guint i = 0; i < s->answered->len; i++) {
        const Answered *a = &g_array_index(s->answered, Answered, i);
        expect_message(reader, a);
        waiting += !a->acknowledged;
    }
    g_assert_cmpint(store_counts(reader, &c), ==, 0);
    g_assert_cmpuint(c.messages, ==, waiting); /* all have ended: nothing is there twice, or unanswered */
    g_assert_cmpint(store_check(reader, NULL, NULL), ==, 0);
    g_test_message("%u answered, %u of them acknowledged, %u failures in between, 0 lost", s->answered->len,
                   s->answered->len - waiting, s->failures);
    reader = store_reader_free(reader);
}

static void play(void)
{
    Scene s = {.answered = g_array_new(FALSE, TRUE, sizeof(Answered))};
    g_autofree Sender *senders = g_new0(Sender, RELAYS * IN_FLIGHT);
    g_mutex_init(&s.lock);
    make_nodes(&s);
    for (unsigned i = 0; i < RELAYS; i++) {
        s.folders[i] = test_folder_new();
        open_store(&s, i);
    }
    for (unsigned u = 1; u <= USERS; u++) {
        g_autofree char *name = g_strdup_printf("user%u", u);
        g_assert_cmpint(test_register(s.stores[u % RELAYS], (uint8_t)u, name), ==, 0);
        (void)test_kid((uint8_t)u); /* filled before others read it */
    }
    s.running = RELAYS * IN_FLIGHT;
    for (unsigned i = 0; i < RELAYS * IN_FLIGHT; i++) {
        senders[i].scene = &s;
        senders[i].store = s.stores[i % RELAYS];
        go_on(&senders[i]);
    }
    TEST_AWAIT(count_answered(&s) >= BEFORE);
    test_postgres_freeze(s.nodes[2], true);
    TEST_AWAIT(count_answered(&s) >= 2 * BEFORE);
    replace_primary(&s);
    unsigned until = count_answered(&s) + AFTER;
    TEST_AWAIT(count_answered(&s) >= until);
    g_atomic_int_set(&s.stop, 1);
    TEST_AWAIT(g_atomic_int_get(&s.running) == 0);
    check(&s);
    for (unsigned i = 0; i < RELAYS; i++) {
        s.stores[i] = store_free(s.stores[i]);
        test_folder_remove(s.folders[i]);
    }
    for (unsigned i = NODES; i-- > 0;)
        test_postgres_free(s.nodes[i]);
    g_array_free(s.answered, TRUE);
    g_mutex_clear(&s.lock);
}

static void test_failover(void)
{
    const char *rounds = g_getenv("HMSG_ROUNDS");
    for (guint64 i = rounds ? g_ascii_strtoull(rounds, NULL, 10) : 1; i > 0; i--)
        play();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/store-failover/primary", test_failover);
    return g_test_run();
}

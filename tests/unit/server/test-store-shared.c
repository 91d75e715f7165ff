/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two relays with one database: here two stores of one process. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-open.h"
#include "server/store-postgres.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

#define NOW 1000
#define LATER 5000
#define MANY 150u
#define USERS 6u

typedef struct Fixture {
    StoreFixture a, b;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    store_fixture_set_up(&f->a);
    f->b.folder = test_folder_new();
    f->b.limits = f->a.limits;
    store_fixture_open(&f->b);
    for (unsigned i = 1; i <= USERS; i++) {
        g_autofree char *name = g_strdup_printf("user%u", i);
        g_assert_cmpint(test_register(i % 2 ? f->a.store : f->b.store, (uint8_t)i, name), ==, 0);
    }
}

static void tear_down(Fixture *f, gconstpointer data)
{
    store_fixture_close(&f->b);
    test_folder_remove(f->b.folder);
    store_fixture_tear_down(&f->a);
}

static StoreCounts counts(const Fixture *f)
{
    StoreCounts c = {};
    g_assert_cmpint(store_counts(f->b.reader, &c), ==, 0);
    return c;
}

/* Both write to all mailboxes at once, in opposite order: nobody waits for the other for ever, and each
 * number is given once. */
static void test_together(Fixture *f, gconstpointer data)
{
    g_autofree StoreWrite *all = g_new0(StoreWrite, (gsize)2 * MANY);
    g_autofree StoreMessage *list = g_new0(StoreMessage, (gsize)2 * MANY);
    size_t n = 0, total = 0;
    for (unsigned i = 0; i < MANY; i++) {
        uint8_t to = (uint8_t)(1 + i % USERS);
        test_put_init(&all[2 * i], to, 1, NOW, test_body(i, 200), 200, LATER);
        test_put_init(&all[2 * i + 1], (uint8_t)(1 + USERS - to), 2, NOW, test_body(MANY + i, 200), 200,
                      LATER);
        test_write_begin(f->a.store, &all[2 * i]);
        test_write_begin(f->b.store, &all[2 * i + 1]);
    }
    for (unsigned i = 0; i < 2 * MANY; i++)
        g_assert_cmpint(test_write_end(&all[i]), ==, 0);
    for (unsigned u = 1; u <= USERS; u++) {
        g_assert_cmpint(store_list(f->a.reader, test_kid((uint8_t)u), 0, (size_t)2 * MANY, list, &n), ==, 0);
        for (size_t i = 0; i < n; i++)
            g_assert_cmpint(list[i].seq, ==, (gint64)i + 1);
        total += n;
    }
    g_assert_cmpuint(total, ==, 2 * MANY);
    g_assert_cmpuint(counts(f).messages, ==, 2 * MANY);
    g_assert_cmpint(store_check(f->b.reader, NULL, NULL), ==, 0);
}

/* The same message by both is one. */
static void test_same(Fixture *f, gconstpointer data)
{
    StoreWrite a, b;
    for (unsigned i = 0; i < 20; i++) {
        test_put_init(&a, 1, 2, NOW, test_body(i, 50), 50, LATER);
        test_put_init(&b, 1, 2, NOW + 1, test_body(i, 50), 50, LATER);
        test_write_begin(f->a.store, &a);
        test_write_begin(f->b.store, &b);
        g_assert_cmpint(test_write_end(&a), ==, 0);
        g_assert_cmpint(test_write_end(&b), ==, 0);
        g_assert_true(a.put.created != b.put.created);
        g_assert_cmpint(a.put.seq, ==, b.put.seq);
        g_assert_cmpint(a.put.accepted, ==, b.put.accepted);
    }
    g_assert_cmpuint(counts(f).messages, ==, 20);
}

static void test_limit(Fixture *f, gconstpointer data)
{
    g_autofree StoreWrite *all = g_new0(StoreWrite, 40);
    unsigned taken = 0;
    Fixture g = *f;
    store_fixture_close(&g.a);
    store_fixture_close(&g.b);
    g.a.limits.mailbox_messages = g.b.limits.mailbox_messages = 15;
    store_fixture_open(&g.a);
    store_fixture_open(&g.b);
    *f = g;
    for (unsigned i = 0; i < 40; i++) {
        test_put_init(&all[i], 1, 2, NOW, test_body(i, 50), 50, LATER);
        test_write_begin(i % 2 ? f->a.store : f->b.store, &all[i]);
    }
    for (unsigned i = 0; i < 40; i++)
        taken += test_write_end(&all[i]) == 0;
    g_assert_cmpuint(taken, ==, 15);
    g_assert_cmpuint(counts(f).messages, ==, 15);
}

/* What is stored in all, of which each relay knows a part at a time. */
static void test_total(Fixture *f, gconstpointer data)
{
    Fixture g = *f;
    StoreWrite w;
    uint8_t id[ID_SIZE];
    store_fixture_close(&g.a);
    store_fixture_close(&g.b);
    g.a.limits.total_bytes = g.b.limits.total_bytes = 10000;
    store_fixture_open(&g.a);
    store_fixture_open(&g.b);
    *f = g;
    g_assert_cmpint(test_put(f->a.store, 1, 2, NOW, test_body(1, 3000), 3000, LATER, &w), ==, 0);
    memcpy(id, w.put.id, ID_SIZE);
    g_assert_cmpint(test_acknowledge(f->b.store, 1, id, 1, &w), ==, 0);
    store_write_done(&w);
    g_assert_cmpint(test_put(f->b.store, 1, 2, NOW, test_body(2, 3000), 3000, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->b.store, 1, 2, NOW, test_body(3, 8000), 8000, LATER, &w), ==,
                    HMSG_ERROR_STORAGE_FULL);
    StoreWrite leave = {.kind = STORE_UNREGISTER, .unregister.name = "user1"};
    memcpy(leave.unregister.skid, test_skid(1), KID_SIZE);
    g_assert_cmpint(test_write(f->a.store, &leave), ==, 0);
    g_assert_cmpint(test_put(f->a.store, 3, 2, NOW, test_body(4, 8000), 8000, LATER, &w), ==, 0);
}

static void limit(Fixture *f, uint64_t a, uint64_t b)
{
    store_fixture_close(&f->a);
    store_fixture_close(&f->b);
    f->a.limits.total_bytes = a;
    f->b.limits.total_bytes = b;
    store_fixture_open(&f->a);
    store_fixture_open(&f->b);
}

/* While one relay's message is on its way to a standby, another takes none that would not fit with it; and
 * whoever has the room, it is not exceeded. */
static void test_exact_total(Fixture *f, gconstpointer data)
{
    StoreWrite first, second;
    limit(f, 10000, 10000);
    test_wait_in_vain();
    test_put_init(&first, 1, 2, NOW, test_body(1, 6000), 6000, LATER);
    test_write_begin(f->a.store, &first);
    TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
    test_put_init(&second, 3, 2, NOW, test_body(2, 6000), 6000, LATER);
    test_write_begin(f->b.store, &second);
    TEST_AWAIT(test_answer_is("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'", "1"));
    test_wait_for_nobody();
    g_assert_cmpint(test_write_end(&first), ==, 0);
    g_assert_cmpint(test_write_end(&second), ==, HMSG_ERROR_STORAGE_FULL);
    g_assert_cmpint(test_put(f->b.store, 3, 2, NOW, test_body(3, 4000), 4000, LATER, &second), ==, 0);
    g_assert_cmpint(test_put(f->a.store, 3, 2, NOW, test_body(4, 1), 1, LATER, &second), ==,
                    HMSG_ERROR_STORAGE_FULL);
}

/* What all relays have written comes to what there is, also what those without a limit have. */
static void test_totals(Fixture *f, gconstpointer data)
{
    static const char right[] = "SELECT (SELECT sum(bytes) FROM totals) = (SELECT sum(bytes) FROM mailboxes)";
    g_autofree StoreWrite *all = g_new0(StoreWrite, MANY);
    StoreWrite w;
    limit(f, UINT64_C(1) << 40, 0);
    for (unsigned i = 0; i < MANY; i++) {
        test_put_init(&all[i], (uint8_t)(1 + i % USERS), 1, NOW, test_body(i, 100 + i), 100 + i,
                      i % 3 ? LATER : NOW + 1);
        test_write_begin(i % 2 ? f->a.store : f->b.store, &all[i]);
    }
    for (unsigned i = 0; i < MANY; i++)
        g_assert_cmpint(test_write_end(&all[i]), ==, 0);
    g_assert_true(test_answer_is(right, "t"));
    g_assert_cmpint(test_acknowledge(f->b.store, 2, all[1].put.id, 1, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    store_write_done(&w);
    StoreWrite leave = {.kind = STORE_UNREGISTER, .unregister.name = "user3"};
    memcpy(leave.unregister.skid, test_skid(3), KID_SIZE);
    g_assert_cmpint(test_write(f->b.store, &leave), ==, 0);
    g_assert_true(test_answer_is(right, "t"));
    for (unsigned i = 0; i < 2; i++) {
        StoreWrite sweep = {.kind = STORE_SWEEP, .sweep.now = NOW + 10};
        g_assert_cmpint(test_write(i ? f->a.store : f->b.store, &sweep), ==, 0);
        store_write_done(&sweep);
        g_assert_true(test_answer_is(right, "t"));
    }
    /* those of relays that have ended are one with the others' */
    g_assert_true(test_answer_is("SELECT count(*) FROM totals", "1"));
    g_assert_cmpint(test_put(f->b.store, 1, 2, NOW, "more", 4, LATER, &w), ==, 0);
    g_assert_true(test_answer_is(right, "t"));
    limit(f, UINT64_C(1) << 40, 0);
    g_assert_true(test_answer_is(right, "t"));
}

typedef struct Heard {
    unsigned n[STORE_NEWS_LOST + 1];
    StoreNews last;
} Heard;

static void hear(const StoreNews *news, void *userdata)
{
    Heard *h = userdata;
    h->n[news->kind]++;
    h->last = *news;
}

static void expect_key(StoreReader *reader, const Heard *h, const uint8_t *kid)
{
    uint8_t index[KID_SIZE];
    g_assert_cmpint(store_index(reader, kid, index), ==, 0);
    g_assert_cmpmem(h->last.key, KID_SIZE, index, KID_SIZE);
    g_assert_true(memcmp(index, kid, KID_SIZE) != 0);
}

static void test_news(Fixture *f, gconstpointer data)
{
    Heard a = {}, b = {};
    StoreWrite w, leave = {.kind = STORE_UNREGISTER, .unregister.name = "user3"};
    uint8_t id[ID_SIZE];
    g_assert_cmpint(store_news(f->a.reader, hear, &a), ==, 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_LOST], ==, 1); /* whatever was before */
    g_assert_cmpint(test_put(f->a.store, 1, 2, NOW, "new", 3, LATER, &w), ==, 0);
    memcpy(id, w.put.id, ID_SIZE);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, 1);
    expect_key(f->b.reader, &b, test_kid(1));
    /* once, not what one has written oneself, and not what changed nothing */
    g_assert_cmpint(test_put(f->a.store, 1, 2, NOW, "new", 3, LATER, &w), ==, 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpint(store_news(f->a.reader, hear, &a), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, 1);
    g_assert_cmpuint(a.n[STORE_NEWS_MAIL], ==, 0);
    g_assert_cmpint(test_acknowledge(f->b.store, 1, id, 1, &w), ==, 0);
    store_write_done(&w);
    g_assert_cmpint(store_news(f->a.reader, hear, &a), ==, 0);
    g_assert_cmpuint(a.n[STORE_NEWS_STATE], ==, 1);
    expect_key(f->a.reader, &a, test_skid(2));
    g_assert_cmpint(a.last.state, ==, STORE_DELIVERED);
    g_assert_cmpmem(a.last.id, ID_SIZE, id, ID_SIZE);
    memcpy(leave.unregister.skid, test_skid(3), KID_SIZE);
    g_assert_cmpint(test_write(f->a.store, &leave), ==, 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_GONE], ==, 1);
    expect_key(f->b.reader, &b, test_skid(3));
    /* no id stands there */
    g_autofree char *hex = g_strdup_printf("%02x%02x%02x%02x%02x%02x%02x%02x", id[0], id[1], id[2], id[3],
                                           id[4], id[5], id[6], id[7]);
    g_autofree char *rows = test_store_ask(NULL, "SELECT string_agg(encode(entries, 'hex'), ' ') FROM news");
    g_assert_cmpuint(strlen(rows), >, 100);
    g_assert_null(strstr(rows, hex));
    /* a connection that was lost may have missed something */
    test_postgres_do(
        test_store_server(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hmsg-relay'");
    TEST_AWAIT(store_news(f->b.reader, hear, &b) == 0);
    g_assert_cmpuint(b.n[STORE_NEWS_LOST], ==, 2);
    TEST_AWAIT(test_put(f->a.store, 1, 2, NOW, "newer", 5, LATER, &w) == 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, 2);
}

static void sweep(Store *s, int64_t now)
{
    StoreWrite w = {.kind = STORE_SWEEP, .sweep.now = now};
    g_assert_cmpint(test_write(s, &w), ==, 0);
    store_write_done(&w);
}

static void expect_rows(const char *expected)
{
    g_autofree char *rows = test_store_ask(NULL, "SELECT count(*) FROM news WHERE relay <> ''");
    g_assert_cmpstr(rows, ==, expected);
}

/* Rows are forgotten some time after they were there for all to see, however old they were then, and whatever
 * the clocks of relays say. */
static void test_forgotten(Fixture *f, gconstpointer data)
{
    Heard a = {}, b = {};
    StoreWrite w;
    g_assert_cmpint(store_news(f->a.reader, hear, &a), ==, 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpint(test_put(f->a.store, 1, 2, NOW, "new", 3, LATER, &w), ==, 0);
    test_postgres_do(test_store_server(), "UPDATE news SET created = 1");
    sweep(f->a.store, NOW);
    sweep(f->b.store, NOW + 3000); /* its clock is ahead */
    expect_rows("1");
    sweep(f->a.store, NOW + 599);
    expect_rows("1");
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, 1);
    sweep(f->a.store, NOW + 600);
    expect_rows("0");
    /* who has seen it misses nothing; who has not knows that he may */
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_LOST], ==, 1);
    g_assert_cmpint(store_news(f->a.reader, hear, &a), ==, 0);
    g_assert_cmpuint(a.n[STORE_NEWS_LOST], ==, 2);
    g_assert_cmpint(test_put(f->a.store, 1, 2, NOW, "newer", 5, LATER, &w), ==, 0);
    sweep(f->a.store, NOW + 601);
    sweep(f->a.store, NOW + 2000);
    expect_rows("1"); /* it was not there at the sweep before */
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, 2);
    g_assert_cmpuint(b.n[STORE_NEWS_LOST], ==, 1);
}

/* So many that nobody reads them all, while something else in the server takes long: once that is told, it is
 * not told again. */
static void test_many_news(Fixture *f, gconstpointer data)
{
    Heard b = {};
    Db *late = NULL;
    char error[POSTGRES_ERROR_SIZE];
    PostgresOptions o = {.connection = test_store_connection()};
    g_assert_cmpint(postgres_open(&o, &late, error), ==, 0);
    g_assert_cmpint(db_begin_shared(late), ==, 0);
    g_assert_cmpint(db_exec(late, "SELECT pg_current_xact_id()"), ==, 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    test_postgres_do(test_store_server(),
                     "INSERT INTO news(relay, created, nonce, entries) SELECT 'other', 1,"
                     " decode(repeat('00', 16), 'hex'), decode(repeat('00', 50), 'hex')"
                     " FROM generate_series(1, 10000)");
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
        g_assert_cmpuint(b.n[STORE_NEWS_LOST], ==, 2);
    }
    late = db_close(late);
    postgres_options_done(&o);
}

/* What commits late is heard of, though its number is smaller than that of what was heard before; and what
 * was heard before is not heard again, though the position stays where it was meanwhile. */
static void test_late(Fixture *f, gconstpointer data)
{
    static const char insert[] =
        "INSERT INTO news(relay, created, nonce, entries)"
        " VALUES('other', 1, decode(repeat('00', 16), 'hex'), decode(repeat('00', 50), 'hex'))";
    Heard b = {};
    StoreWrite w;
    Db *late = NULL;
    char error[POSTGRES_ERROR_SIZE];
    PostgresOptions o = {.connection = test_store_connection()};
    g_assert_cmpint(postgres_open(&o, &late, error), ==, 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpint(db_begin_shared(late), ==, 0);
    g_assert_cmpint(db_exec(late, insert), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(test_put(f->a.store, 1, 2, NOW, test_body(i, 10), 10, LATER, &w), ==, 0);
        g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
        g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, i + 1);
    }
    g_assert_cmpint(db_commit(late), ==, 0);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, 4);
    g_assert_cmpint(store_news(f->b.reader, hear, &b), ==, 0);
    g_assert_cmpuint(b.n[STORE_NEWS_MAIL], ==, 4);
    late = db_close(late);
    postgres_options_done(&o);
}

/* All have the same tick; one that is made soon after another is no other. */
static void test_ticks(Fixture *f, gconstpointer data)
{
    Ticks first = {.number = 7, .n = 1}, t = {}, again = {};
    char error[POSTGRES_ERROR_SIZE];
    PostgresOptions o = {.connection = test_store_connection()};
    memset(first.ids[0], 7, TICK_SIZE);
    g_assert_cmpint(store_postgres_tick(&o, NULL, &t, error), ==, -ENOENT);
    g_assert_cmpint(store_postgres_tick(&o, &first, &t, error), ==, 0);
    g_assert_cmpuint(t.number, ==, 7);
    g_assert_cmpint(store_postgres_tick(&o, NULL, &again, error), ==, 0);
    g_assert_cmpmem(&t, sizeof(t), &again, sizeof(again));
    for (unsigned i = 0; i < TICKS_MAX + 3; i++) {
        Ticks before = t;
        test_postgres_do(test_store_server(), "UPDATE ticks SET made = made - 1000");
        g_assert_cmpint(store_postgres_tick(&o, NULL, &t, error), ==, 0);
        g_assert_cmpuint(t.number, ==, before.number + 1);
        g_assert_cmpmem(t.ids[1], TICK_SIZE, before.ids[0], TICK_SIZE);
        g_assert_true(memcmp(t.ids[0], before.ids[0], TICK_SIZE) != 0);
    }
    g_assert_cmpuint(t.n, ==, TICKS_MAX);
    test_postgres_do(test_store_server(), "UPDATE ticks SET ids = ''");
    g_assert_cmpint(store_postgres_tick(&o, NULL, &t, error), ==, -EBADMSG);
    postgres_options_done(&o);
}

static bool step(Store *s)
{
    StoreWrite w = {.kind = STORE_REKEY, .rekey = {.now = NOW}};
    g_assert_cmpint(test_write(s, &w), ==, 0);
    return w.rekey.more;
}

static void fetch(StoreReader *reader, const uint8_t *id, const char *expected)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    uint64_t size = 0;
    g_assert_cmpint(store_fetch(reader, test_kid(1), id, &body, &file, &size), ==, 0);
    g_assert_cmpstr(buf_text(&body), ==, expected);
}

/* One changes the keys while the other goes on. */
static void test_rekey(Fixture *f, gconstpointer data)
{
    StoreWrite before, after;
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    g_assert_cmpint(test_put(f->b.store, 1, 2, NOW, "before", 6, LATER, &before), ==, 0);
    g_assert_cmpint(store_sqlite_request_rekey(f->a.folder), ==, 0);
    while (step(f->a.store))
        continue;
    g_assert_cmpuint(counts(f).key, ==, 2);
    fetch(f->b.reader, before.put.id, "before");
    g_assert_cmpint(store_find_name(f->b.reader, "user2", i), ==, 0);
    g_assert_cmpint(test_put(f->b.store, 1, 2, NOW, "after", 5, LATER, &after), ==, 0);
    g_assert_cmpint(test_register(f->b.store, 9, "user9"), ==, 0);
    fetch(f->a.reader, after.put.id, "after");
    while (step(f->b.store) || step(f->a.store))
        continue;
    g_assert_cmpuint(counts(f).key_pending, ==, 0);
    g_assert_cmpint(store_check(f->a.reader, NULL, NULL), ==, 0);
}

/* However many read large bodies at a time, what they have of them in memory is bounded, and they all get
 * them. */
static void test_many_readers(Fixture *f, gconstpointer data)
{
    const size_t n = 290000, most = REMOTE_PIECES_MAX + 20u;
    const StoreRemote *remote = ((const SqliteReader *)f->a.reader)->remote;
    g_autofree StoreFile **files = g_new0(StoreFile *, most);
    g_autofree char *got = g_malloc(n);
    StoreBlob *b = NULL;
    StoreWrite w;
    uint64_t size = 0;
    test_put_init(&w, 1, 2, NOW, test_body(1, n), n, LATER);
    w.put.body = NULL;
    g_assert_cmpint(store_blob_new(f->b.store, &b), ==, 0);
    g_assert_cmpint(store_blob_append(b, test_body(1, n), n), ==, 0);
    w.put.blob = b;
    g_assert_cmpint(test_write(f->b.store, &w), ==, 0);
    for (size_t i = 0; i < most; i++) {
        _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
        g_assert_cmpint(store_fetch(f->a.reader, test_kid(1), w.put.id, &body, &files[i], &size), ==, 0);
        g_assert_cmpint(store_file_read(files[i], 0, got, 1), ==, 1);
    }
    g_assert_cmpuint(atomic_load(&remote->pieces), ==, REMOTE_PIECES_MAX);
    for (size_t i = 0; i < most; i += most - 1) { /* one that has a piece and one that has none */
        for (size_t at = 0; at < n;) {
            ssize_t k = store_file_read(files[i], at, got + at, n - at);
            g_assert_cmpint(k, >, 0);
            at += (size_t)k;
        }
        g_assert_cmpmem(got, n, test_body(1, n), n);
    }
    files[0] = store_file_free(files[0]);
    g_assert_cmpuint(atomic_load(&remote->pieces), ==, REMOTE_PIECES_MAX - 1);
    g_assert_cmpint(store_file_read(files[most - 1], 0, got, 1), ==, 1); /* whoever reads next has it */
    g_assert_cmpuint(atomic_load(&remote->pieces), ==, REMOTE_PIECES_MAX);
    for (size_t i = 1; i < most; i++)
        files[i] = store_file_free(files[i]);
    g_assert_cmpuint(atomic_load(&remote->pieces), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, f) g_test_add("/store-shared/" name, Fixture, NULL, set_up, f, tear_down)
    ADD("together", test_together);
    ADD("same", test_same);
    ADD("limit", test_limit);
    ADD("total", test_total);
    ADD("exact-total", test_exact_total);
    ADD("totals", test_totals);
    ADD("news", test_news);
    ADD("late", test_late);
    ADD("forgotten-news", test_forgotten);
    ADD("many-news", test_many_news);
    ADD("rekey", test_rekey);
    ADD("ticks", test_ticks);
    ADD("many-readers", test_many_readers);
    return g_test_run();
}

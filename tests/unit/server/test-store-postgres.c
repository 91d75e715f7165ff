/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is of PostgreSQL alone: when a commit counts, and which servers are taken. */

#include "server/store-postgres.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/postgres.h"
#include "server/store-open.h"
#include "server/store-postgres-internal.h"
#include "server/store-remote.h"
#include "server/sweeper.h"
#include "tests/unit/server/store-util.h"

#define NOW 1000
#define LATER 5000
#define LARGE 200000u
#define HUGE_BODY 300000u /* more than a socket takes that nobody reads from */
#define TERMINATE                                                                                            \
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hmsg-relay'"

#define WAITING                                                                                              \
    "SELECT pid, query_start FROM pg_stat_activity WHERE wait_event = 'SyncRep'" /* one, and since when */

static void set_up(StoreFixture *f, gconstpointer data)
{
    store_fixture_set_up(f);
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(f->store, 2, "bob"), ==, 0);
}

static void tear_down(StoreFixture *f, gconstpointer data)
{
    store_fixture_tear_down(f);
}

static PostgresOptions options(void)
{
    return (PostgresOptions){.connection = test_store_connection()};
}

static void expect_wrong(const char *connection, const char *part)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    PostgresOptions o = {.connection = g_strdup(connection)};
    g_assert_cmpint(postgres_options_check(&o, error), ==, HMSG_ERROR_INVALID_ARGS);
    if (!strstr(error, part))
        g_error("\"%s\" does not say %s", error, part);
    postgres_options_done(&o);
}

static void test_options(void)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    PostgresOptions o = {.connection = g_strdup("host=db.example dbname=hmsg")};
    expect_wrong("host=db.example password=secret", "holds a password");
    expect_wrong("postgresql://hmsg:secret@db.example/hmsg", "holds a password");
    expect_wrong("host=db.example sslpassword=secret", "holds a password");
    expect_wrong("service=hmsg", "service");
    expect_wrong("hots=db.example", "hots");
    expect_wrong("host=db.example connect_timeout=0", "connect_timeout");
    expect_wrong("host=db.example connect_timeout=61", "connect_timeout");
    expect_wrong("host=db.example keepalives=0", "keepalives=0");
    expect_wrong("host=db.example tcp_user_timeout=0", "tcp_user_timeout=0");
    g_assert_cmpint(postgres_options_check(&o, error), ==, 0);
    g_assert_true(g_setenv("PGPASSWORD", "secret", TRUE));
    expect_wrong("host=db.example", "PGPASSWORD");
    g_unsetenv("PGPASSWORD");
    postgres_options_done(&o);
}

static void expect_refused(PostgresOptions *o, int result, const char *part)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    Db *db = NULL;
    g_assert_cmpint(postgres_open(o, &db, error), ==, result);
    if (!strstr(error, part))
        g_error("\"%s\" does not say %s", error, part);
}

static void test_servers(StoreFixture *f, gconstpointer data)
{
    PostgresOptions o = options();
    Db *db = NULL;
    char error[POSTGRES_ERROR_SIZE];
    o.quorum = true;
    expect_refused(&o, -EROFS, "synchronous_standby_names");
    test_wait_in_vain();
    g_assert_cmpint(postgres_open(&o, &db, error), ==, 0);
    db = db_close(db);
    test_wait_for_nobody();
    o.quorum = false;
    test_store_set("ALTER SYSTEM SET full_page_writes = off", "full_page_writes", "off");
    expect_refused(&o, -EROFS, "full_page_writes");
    test_store_set("ALTER SYSTEM RESET full_page_writes", "full_page_writes", "on");
    test_store_set("ALTER SYSTEM SET fsync = off", "fsync", "off");
    expect_refused(&o, -EROFS, "fsync");
    test_store_set("ALTER SYSTEM SET fsync = on", "fsync", "on");
    postgres_options_done(&o);
    o.connection = g_strdup("host=/nonexistent user=hmsg");
    expect_refused(&o, -ECONNREFUSED, "/nonexistent");
    postgres_options_done(&o);
}

/* A message whose commit waits for a standby until an administrator ends that: then it is tried again, and
 * waits again. */
static void put_in_vain(Store *s, const char *how, StoreWrite *w)
{
    g_autofree char *stop =
        g_strdup_printf("SELECT count(%s(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", how);
    test_wait_in_vain();
    test_put_init(w, 1, 2, NOW, "wait", 4, LATER);
    test_write_begin(s, w);
    TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
    g_autofree char *first = test_postgres_ask(test_store_server(), WAITING);
    TEST_AWAIT(test_answer_is(stop, "1"));
    g_autofree char *second = NULL;
    TEST_AWAIT((g_free(second), second = test_postgres_ask(test_store_server(), WAITING)) && second[0] &&
               !g_str_equal(first, second));
}

/* The wait is given up by an administrator: the row is there, but nobody was told that it is. It may be lost
 * still: that it is there is no answer, but the commit of who says so. */
static void test_cancelled(StoreFixture *f, gconstpointer how)
{
    StoreWrite w;
    put_in_vain(f->store, how, &w);
    g_assert_true(test_answer_is("SELECT count(*) FROM messages", "1"));
    test_wait_for_nobody();
    g_assert_cmpint(test_write_end(&w), ==, 0);
    g_assert_false(w.put.created);
    g_assert_cmpint(w.put.accepted, ==, NOW);
    g_assert_cmpint(w.put.seq, ==, 1);
}

/* The second time it is no answer either: whoever asked may come again. */
static void test_cancelled_twice(StoreFixture *f, gconstpointer how)
{
    g_autofree char *stop = g_strdup_printf(
        "SELECT count(%s(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", (const char *)how);
    StoreWrite w;
    put_in_vain(f->store, how, &w);
    TEST_AWAIT(test_answer_is(stop, "1"));
    g_assert_cmpint(test_write_end(&w), <, 0);
    test_wait_for_nobody();
    TEST_AWAIT(test_put(f->store, 1, 2, NOW + 1, "wait", 4, LATER, &w) == 0);
    g_assert_false(w.put.created);
    g_assert_cmpint(w.put.accepted, ==, NOW);
}

/* So of what is acknowledged again. */
static void test_acknowledged(StoreFixture *f, gconstpointer data)
{
    StoreWrite w, again;
    uint8_t id[ID_SIZE];
    g_assert_cmpint(test_put(f->store, 1, 2, NOW, "once", 4, LATER, &w), ==, 0);
    memcpy(id, w.put.id, ID_SIZE);
    g_assert_cmpint(test_acknowledge(f->store, 1, id, 1, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    store_write_done(&w);
    test_wait_in_vain();
    again = (StoreWrite){.kind = STORE_ACKNOWLEDGE, .acknowledge = {.ids = id, .n = 1}};
    memcpy(again.acknowledge.mailbox, test_kid(1), KID_SIZE);
    test_write_begin(f->store, &again);
    TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
    test_wait_for_nobody();
    g_assert_cmpint(test_write_end(&again), ==, 0);
    g_assert_cmpuint(again.n_changes, ==, 0);
    store_write_done(&again);
}

/* All connections go: nothing that was accepted is lost, and work goes on by itself. */
static void test_reconnects(StoreFixture *f, gconstpointer data)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    StoreWrite w;
    StoreMessage list[4];
    size_t n = 0;
    g_assert_cmpint(test_put(f->store, 1, 2, NOW, "before", 6, LATER, &w), ==, 0);
    test_postgres_do(test_store_server(), TERMINATE);
    TEST_AWAIT(test_put(f->store, 1, 2, NOW, "after", 5, LATER, &w) == 0);
    TEST_AWAIT(store_list(f->reader, test_kid(1), 0, 4, list, &n) == 0);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpint(store_find_name(f->reader, "bob", i), ==, 0);
    g_assert_cmpint(store_snapshot(f->reader), ==, 0);
    test_postgres_do(test_store_server(), TERMINATE);
    g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), <, 0);
    store_snapshot_end(f->reader);
    TEST_AWAIT(store_list(f->reader, test_kid(1), 0, 4, list, &n) == 0);
}

/* A row that does not fit in fails alone. */
static void test_failure(StoreFixture *f, gconstpointer data)
{
    StoreWrite many[6];
    test_postgres_do(test_store_server(), "ALTER TABLE messages ADD CHECK (size <> 77)");
    test_block(f->store);
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++) {
        size_t n = i == 3 ? 77 : 100 + i;
        test_put_init(&many[i], 1, 2, NOW, test_body(i, n), n, LATER);
        test_write_begin(f->store, &many[i]);
    }
    test_unblock();
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++)
        g_assert_true((test_write_end(&many[i]) == 0) == (i != 3));
    g_assert_true(test_answer_is("SELECT count FROM mailboxes WHERE number = 1", "5"));
    g_assert_true(test_answer_is("SELECT count(*) FROM messages", "5"));
}

/* What another relay leaves behind when it dies in the middle of a large body. */
static void test_uploads(StoreFixture *f, gconstpointer data)
{
    StoreWrite w = {.kind = STORE_SWEEP, .sweep.now = 100 + REMOTE_UPLOAD_MAX};
    test_postgres_do(test_store_server(), "INSERT INTO uploads VALUES('left', 100), ('new', 101);"
                                          "INSERT INTO bodies VALUES('left', 0, ''), ('new', 0, '')");
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    store_write_done(&w);
    g_assert_true(test_answer_is("SELECT count(*) FROM bodies", "2"));
    w.sweep.now++;
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    store_write_done(&w);
    g_assert_true(test_answer_is("SELECT blob FROM bodies", "\\x6e6577"));
    g_assert_true(test_answer_is("SELECT blob FROM uploads", "\\x6e6577"));
}

static void begin_body(Store *s, unsigned number, size_t n, StoreWrite *w)
{
    StoreBlob *b = NULL;
    test_put_init(w, 1, 2, NOW, test_body(number, n), n, LATER);
    g_assert_cmpint(store_blob_new(s, &b), ==, 0);
    g_assert_cmpint(store_blob_append(b, test_body(number, n), n), ==, 0);
    w->put.body = NULL;
    w->put.blob = b;
    test_write_begin(s, w);
}

static void begin_large(Store *s, unsigned number, StoreWrite *w)
{
    begin_body(s, number, LARGE, w);
}

static void expect_large(StoreFixture *f, unsigned number, const uint8_t *id)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(LARGE);
    StoreFile *file = NULL;
    uint64_t size = 0;
    g_assert_cmpint(store_fetch(f->reader, test_kid(1), id, &body, &file, &size), ==, 0);
    test_read_file(file, &body);
    g_assert_cmpmem(body.data, body.size, test_body(number, LARGE), LARGE);
}

/* Two requests are committed, but nobody knows it: then each is tried alone, and finds what is there. Its
 * body is the first one's. */
static void test_doubtful(StoreFixture *f, gconstpointer data)
{
    StoreWrite large, small;
    test_block(f->store);
    begin_large(f->store, 1, &large);
    TEST_AWAIT(test_answer_is("SELECT count(*) FROM uploads", "1"));
    test_put_init(&small, 1, 2, NOW, "small", 5, LATER);
    test_write_begin(f->store, &small);
    test_wait_in_vain();
    test_unblock();
    TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
    TEST_AWAIT(test_answer_is("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
                              " WHERE wait_event = 'SyncRep'",
                              "1"));
    TEST_AWAIT(test_answer_is("SELECT count(*) FROM messages", "2"));
    test_wait_for_nobody();
    g_assert_cmpint(test_write_end(&large), ==, 0);
    g_assert_cmpint(test_write_end(&small), ==, 0);
    g_assert_false(large.put.created);
    expect_large(f, 1, large.put.id);
    g_assert_cmpint(store_check(f->reader, NULL, NULL), ==, 0);
    /* the same again brings a body of its own, which goes */
    begin_large(f->store, 1, &large);
    g_assert_cmpint(test_write_end(&large), ==, 0);
    g_assert_false(large.put.created);
    expect_large(f, 1, large.put.id);
    TEST_AWAIT(test_answer_is("SELECT count(*) FROM uploads", "0"));
    TEST_AWAIT(test_answer_is("SELECT count(DISTINCT blob) FROM bodies", "1"));
}

static void hear(const StoreNews *news, void *userdata)
{
    unsigned *n = userdata;
    n[news->kind]++;
}

/* Its own relay did not tell those who wait for what is there now; and what comes later is as from another.
 */
static void test_doubtful_news(StoreFixture *f, gconstpointer how)
{
    unsigned n[STORE_NEWS_LOST + 1] = {};
    StoreWrite w;
    g_assert_cmpint(store_news(f->reader, hear, n), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, NOW, "told", 4, LATER, &w), ==, 0);
    g_assert_cmpint(store_news(f->reader, hear, n), ==, 0);
    g_assert_cmpuint(n[STORE_NEWS_LOST], ==, 1);
    g_assert_cmpuint(n[STORE_NEWS_MAIL], ==, 0);
    put_in_vain(f->store, how, &w);
    TEST_AWAIT(test_answer_is("SELECT count(*) FROM news", "2"));
    test_wait_for_nobody();
    g_assert_cmpint(test_write_end(&w), ==, 0);
    g_assert_cmpint(store_news(f->reader, hear, n), ==, 0);
    g_assert_cmpuint(n[STORE_NEWS_LOST], ==, 2);
    g_assert_cmpuint(n[STORE_NEWS_MAIL], ==, 0);
    test_postgres_do(test_store_server(), "INSERT INTO news(relay, created, nonce, entries)"
                                          " SELECT relay, created, nonce, entries FROM news ORDER BY number"
                                          " DESC LIMIT 1");
    g_assert_cmpint(store_news(f->reader, hear, n), ==, 0);
    g_assert_cmpuint(n[STORE_NEWS_MAIL], ==, 1);
    /* one that has failed is in no doubt, and what is committed then is told by who did it */
    test_postgres_do(test_store_server(), "ALTER TABLE messages ADD CHECK (size <> 77)");
    g_assert_cmpint(test_put(f->store, 1, 2, NOW, test_body(1, 77), 77, LATER, &w), !=, 0);
    TEST_AWAIT(test_put(f->store, 1, 2, NOW, "more", 4, LATER, &w) == 0);
    g_assert_cmpint(store_news(f->reader, hear, n), ==, 0);
    g_assert_cmpuint(n[STORE_NEWS_LOST], ==, 2);
    g_assert_cmpuint(n[STORE_NEWS_MAIL], ==, 1);
}

/* Another relay, whose clock is ahead, takes the body for one that nobody wants: no message has it then. */
static void test_forgotten(StoreFixture *f, gconstpointer data)
{
    StoreWrite large;
    test_postgres_do(test_store_server(),
                     "CREATE FUNCTION forget() RETURNS TRIGGER LANGUAGE plpgsql AS"
                     " 'BEGIN DELETE FROM bodies WHERE blob = NEW.blob; RETURN NULL; END';"
                     "CREATE TRIGGER forget BEFORE INSERT ON uploads FOR EACH ROW EXECUTE FUNCTION forget()");
    begin_large(f->store, 1, &large);
    g_assert_cmpint(test_write_end(&large), <, 0);
    g_assert_true(test_answer_is("SELECT count(*) FROM messages", "0"));
    test_postgres_do(test_store_server(), "DROP TRIGGER forget ON uploads; DROP FUNCTION forget");
    begin_large(f->store, 1, &large);
    g_assert_cmpint(test_write_end(&large), ==, 0);
    expect_large(f, 1, large.put.id);
}

/* A store that waits for a standby which does not come can be closed all the same. */
static void test_closed(StoreFixture *f, gconstpointer large)
{
    StoreWrite many[3];
    test_wait_in_vain();
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++) {
        if (large) {
            begin_large(f->store, i, &many[i]);
            continue;
        }
        test_put_init(&many[i], 1, 2, NOW, test_body(i, 100), 100, LATER);
        test_write_begin(f->store, &many[i]);
    }
    TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
    store_fixture_close(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++)
        g_assert_cmpint(test_write_end(&many[i]), <, 0);
    test_wait_for_nobody();
    store_fixture_open(f);
}

/* Nor does a server that says nothing at all keep it, whatever it was at: neither the end of a commit, nor
 * room for what is sent, nor a connection comes; and being asked to give up it does not answer either. */
static void test_frozen(StoreFixture *f, gconstpointer what)
{
    TestPostgres *server = test_store_server();
    StoreWrite many[3];
    bool large = g_str_equal(what, "upload");
    if (large) { /* the connection for it is there already */
        begin_large(f->store, 9, &many[0]);
        g_assert_cmpint(test_write_end(&many[0]), ==, 0);
    } else if (g_str_equal(what, "connect"))
        test_postgres_do(server, TERMINATE);
    test_postgres_freeze(server, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++) {
        if (large) {
            begin_body(f->store, i, HUGE_BODY, &many[i]);
            continue;
        }
        test_put_init(&many[i], 1, 2, NOW, test_body(i, 60000), 60000, LATER);
        test_write_begin(f->store, &many[i]);
    }
    store_fixture_close(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++)
        g_assert_cmpint(test_write_end(&many[i]), <, 0);
    test_postgres_freeze(server, false);
    store_fixture_open(f);
}

/* Who serves others goes on while a connection is made that does not come, and has it when it does. */
static void test_frozen_reader(StoreFixture *f, gconstpointer data)
{
    TestPostgres *server = test_store_server();
    StoreMessage list[4];
    size_t n = 0;
    test_postgres_do(server, TERMINATE);
    test_postgres_freeze(server, true);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), ==, -EIO);
    test_postgres_freeze(server, false);
    TEST_AWAIT(store_list(f->reader, test_kid(1), 0, 4, list, &n) == 0);
}

/* Nor is the relay that waits for its sweeper, which waits for the store. */
static void test_stopped(StoreFixture *f, gconstpointer data)
{
    _cleanup_(hub_freep) Hub *hub = NULL;
    _cleanup_(steady_freep) Steady *steady = NULL;
    Sweeper *sweeper = NULL;
    StoreWrite w;
    StoreBlob *b = NULL;
    g_assert_cmpint(hub_new(&hub), ==, 0);
    test_wait_in_vain();
    g_assert_cmpint(steady_new(0, &steady), ==, 0);
    g_assert_cmpint(sweeper_start(f->store, hub, steady, 10, 0, &sweeper), ==, 0);
    TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
    store_stop(f->store);
    sweeper = sweeper_stop(sweeper);
    test_put_init(&w, 1, 2, NOW, "late", 4, LATER);
    g_assert_cmpint(store_write(f->store, &w), ==, -EAGAIN);
    g_assert_cmpint(store_blob_new(f->store, &b), ==, 0);
    w.put.blob = b;
    g_assert_cmpint(store_write(f->store, &w), ==, -EAGAIN);
    b = store_blob_free(b);
    store_fixture_close(f);
    test_wait_for_nobody();
    store_fixture_open(f);
}

static Db *open_db(PostgresOptions *o)
{
    Db *db = NULL;
    char error[POSTGRES_ERROR_SIZE];
    g_assert_cmpint(postgres_open(o, &db, error), ==, 0);
    return db;
}

static int commit(Db *db)
{
    _cleanup_(db_rollbackp) Db *transaction = db;
    int r = db_begin_shared(transaction);
    return r == 0 ? db_commit(transaction) : r;
}

static gpointer commit_one(gpointer db)
{
    return GINT_TO_POINTER(commit(db));
}

/* While a commit waits for a standby, the server is told not to: what was asked for is not what was done. */
static void test_quorum(StoreFixture *f, gconstpointer data)
{
    PostgresOptions o = options();
    for (unsigned quorum = 0; quorum < 2; quorum++) {
        o.quorum = quorum;
        test_wait_in_vain();
        Db *db = open_db(&o);
        GThread *thread = g_thread_new("commit", commit_one, db);
        TEST_AWAIT(test_answer_is(TEST_WAITS, "1"));
        test_wait_for_nobody();
        g_assert_cmpint(GPOINTER_TO_INT(g_thread_join(thread)), ==, quorum ? -EIO : 0);
        g_assert_cmpint(commit(db), ==, quorum ? -EIO : 0);
        db = db_close(db);
    }
    o.quorum = false;
    Db *db = open_db(&o);
    test_store_set("ALTER SYSTEM SET fsync = off", "fsync", "off");
    TEST_AWAIT(commit(db) == -EIO);
    test_store_set("ALTER SYSTEM SET fsync = on", "fsync", "on");
    TEST_AWAIT(commit(db) == 0);
    db = db_close(db);
    postgres_options_done(&o);
}

/* A server that does not answer is given up by who is not patient, and so is one that lets it wait. So may
 * be, on a busy machine, what is asked before anybody has the lock. */
static void test_silence(StoreFixture *f, gconstpointer data)
{
    StoreMessage list[4];
    StoreWrite w;
    size_t n = 0;
    bool row = false;
    PostgresOptions o = options();
    Db *other = open_db(&o), *db = NULL;
    o.patience = 1;
    g_assert_cmpint(postgres_new(&o, &db), ==, 0);
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    g_assert_cmpint(db_prepare(db, "SELECT number FROM messages", &sql), ==, 0);
    TEST_AWAIT(db_step(sql, &row) == 0);
    g_assert_cmpint(db_begin_shared(other), ==, 0);
    g_assert_cmpint(db_exec(other, "LOCK TABLE messages"), ==, 0);
    g_assert_cmpint(db_step(sql, &row), ==, -EIO);
    g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), ==, -EIO);
    g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), ==, -EIO); /* at once */
    test_put_init(&w, 1, 2, NOW, "patient", 7, LATER);
    test_write_begin(f->store, &w);
    TEST_AWAIT(test_answer_is("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                              " AND query LIKE 'INSERT INTO messages%'",
                              "1"));
    db_rollback(other);
    g_assert_cmpint(test_write_end(&w), ==, 0);
    TEST_AWAIT(store_list(f->reader, test_kid(1), 0, 4, list, &n) == 0);
    g_assert_cmpuint(n, ==, 1);
    TEST_AWAIT(db_step(sql, &row) == 0);
    g_assert_true(row);
    db_reset(sql);
    sql = db_statement_free(sql);
    db = db_close(db);
    other = db_close(other);
    postgres_options_done(&o);
}

/* What a store in use finds when its connections were gone for a while. */
static void test_moved(StoreFixture *f, gconstpointer data)
{
    StoreWrite w;
    StoreMessage list[4];
    size_t n = 0;
    test_postgres_do(test_store_server(), "INSERT INTO moves VALUES(3, 'token')");
    test_postgres_do(test_store_server(), TERMINATE);
    for (unsigned i = 0; i < 30; i++) {
        g_assert_cmpint(test_put(f->store, 1, 2, NOW, "lost", 4, LATER, &w), <, 0);
        g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), <, 0);
        g_usleep(100000); /* connections are made in between */
    }
    g_assert_true(test_answer_is("SELECT count(*) FROM messages", "0"));
    test_postgres_do(test_store_server(), "DELETE FROM moves");
    TEST_AWAIT(test_put(f->store, 1, 2, NOW, "here", 4, LATER, &w) == 0);
    TEST_AWAIT(store_list(f->reader, test_kid(1), 0, 4, list, &n) == 0);
    g_assert_cmpuint(n, ==, 1);
}

static void test_rewrap(StoreFixture *f, gconstpointer data)
{
    char error[POSTGRES_ERROR_SIZE];
    PostgresOptions o = options();
    StoreReader *reader = NULL;
    g_assert_cmpint(store_postgres_rewrap(&o, test_store_keeper(), error), ==, -EBUSY);
    store_fixture_close(f);
    TEST_AWAIT(store_postgres_rewrap(&o, test_store_keeper(), error) == 0);
    g_assert_cmpint(store_postgres_rewrap(&o, test_other_keeper(), error), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* what was moved away since is kept by the former key for good: nothing may follow it there */
    g_autofree char *moved =
        g_strdup_printf("INSERT INTO moves(kind, token) VALUES(%d, 'x')", (int)MOVE_MOVED);
    test_postgres_do(test_store_server(), moved);
    g_assert_cmpint(store_postgres_rewrap(&o, test_store_keeper(), error), ==, -ENODATA);
    test_postgres_do(test_store_server(), "DELETE FROM moves");
    g_assert_cmpint(store_postgres_open_reader(&o, test_other_keeper(), &reader, error), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(store_postgres_open_reader(&o, test_store_keeper(), &reader, error), ==, 0);
    g_assert_cmpint(store_check(reader, NULL, NULL), ==, 0);
    reader = store_reader_free(reader);
    test_postgres_do(test_store_server(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    g_assert_cmpint(store_postgres_open_reader(&o, test_store_keeper(), &reader, error), ==, -ENOENT);
    postgres_options_done(&o);
    store_fixture_open(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, data, f) g_test_add("/store-postgres/" name, StoreFixture, data, set_up, f, tear_down)
    g_test_add_func("/store-postgres/options", test_options);
    ADD("servers", NULL, test_servers);
    ADD("cancelled", "pg_cancel_backend", test_cancelled);
    ADD("terminated", "pg_terminate_backend", test_cancelled);
    ADD("cancelled-twice", "pg_cancel_backend", test_cancelled_twice);
    ADD("terminated-twice", "pg_terminate_backend", test_cancelled_twice);
    ADD("acknowledged", NULL, test_acknowledged);
    ADD("closed", NULL, test_closed);
    ADD("reconnects", NULL, test_reconnects);
    ADD("failure", NULL, test_failure);
    ADD("uploads", NULL, test_uploads);
    ADD("doubtful", NULL, test_doubtful);
    ADD("doubtful-news", "pg_cancel_backend", test_doubtful_news);
    ADD("doubtful-news-terminated", "pg_terminate_backend", test_doubtful_news);
    ADD("forgotten", NULL, test_forgotten);
    ADD("closed-upload", "large", test_closed);
    ADD("frozen-commit", "commit", test_frozen);
    ADD("frozen-upload", "upload", test_frozen);
    ADD("frozen-connect", "connect", test_frozen);
    ADD("frozen-reader", NULL, test_frozen_reader);
    ADD("stopped", NULL, test_stopped);
    ADD("quorum", NULL, test_quorum);
    ADD("silence", NULL, test_silence);
    ADD("moved", NULL, test_moved);
    ADD("rewrap", NULL, test_rewrap);
    return g_test_run();
}

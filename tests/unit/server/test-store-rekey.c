/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

/* New keys while the store serves. */

#define NOW 1000
#define LATER 5000
#define USERS 90u     /* more than one step does, with their messages */
#define MESSAGES 300u /* of user 1 */
#define LARGE 100000u

typedef struct Fixture {
    StoreFixture s;
    uint8_t ids[MESSAGES][ID_SIZE], large[ID_SIZE];
} Fixture;

static void put_large(Fixture *f)
{
    StoreWrite w;
    test_put_init(&w, 1, 2, NOW, test_body(1, LARGE), LARGE, LATER);
    w.put.body = NULL;
    g_assert_cmpint(store_blob_new(f->s.store, &w.put.blob), ==, 0);
    g_assert_cmpint(store_blob_append(w.put.blob, test_body(1, LARGE), LARGE), ==, 0);
    g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
    memcpy(f->large, w.put.id, ID_SIZE);
}

/* User 7 has had other keys. */
static void rotate(Fixture *f)
{
    g_autofree StoreIdentity *i = test_identity(USERS + 1, "");
    i->generation = 2;
    StoreWrite w = {.kind = STORE_ROTATE,
                    .rotate = {.identity = i,
                               .from = test_skid(7),
                               .from_statement = "statement 7",
                               .steps = "[\"by these steps\"]"}};
    g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
}

static int note(const StoreLink *l, void *userdata)
{
    bool *seen = userdata;
    g_assert_cmpstr(l->statement, ==, "statement 7");
    g_assert_cmpstr(l->steps, ==, "[\"by these steps\"]");
    g_assert_cmpstr(l->next, ==, "statement 91");
    *seen = true;
    return 0;
}

static void expect_chain(Fixture *f)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    bool seen = false;
    g_assert_cmpint(store_chain(f->s.reader, test_skid(USERS + 1), test_skid(7), note, &seen), ==, 0);
    g_assert_true(seen);
    g_assert_cmpint(store_find_former(f->s.reader, test_kid(7), i), ==, 0);
    g_assert_cmpstr(i->name, ==, "user7");
}

static size_t size_of(unsigned number)
{
    return 100 + number;
}

static void set_up(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    store_fixture_set_up(&f->s);
    for (unsigned i = 1; i <= USERS; i++) {
        g_autofree char *name = g_strdup_printf("user%u", i);
        g_assert_cmpint(test_register(f->s.store, (uint8_t)i, i == USERS ? "" : name), ==, 0);
    }
    rotate(f);
    put_large(f);
    for (unsigned i = 0; i < MESSAGES; i++) {
        g_assert_cmpint(test_put(f->s.store, 1, 2, NOW, test_body(i, size_of(i)), size_of(i), LATER, &w), ==,
                        0);
        memcpy(f->ids[i], w.put.id, ID_SIZE);
    }
}

static void tear_down(Fixture *f, gconstpointer data)
{
    store_fixture_tear_down(&f->s);
}

static StoreCounts counts(Fixture *f)
{
    StoreCounts c = {};
    g_assert_cmpint(store_counts(f->s.reader, &c), ==, 0);
    return c;
}

static bool step(Fixture *f, int64_t now, uint64_t age_max)
{
    StoreWrite w = {.kind = STORE_REKEY, .rekey = {.now = now, .age_max = age_max}};
    g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
    return w.rekey.more;
}

static void expect_message(Fixture *f, unsigned number)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    uint64_t size = 0;
    g_assert_cmpint(store_fetch(f->s.reader, test_kid(1), f->ids[number], &body, &file, &size), ==, 0);
    g_assert_cmpmem(body.data, body.size, test_body(number, size_of(number)), size_of(number));
}

static void expect_all(Fixture *f)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    g_autofree StoreMessage *list = g_new0(StoreMessage, MESSAGES + 1);
    _cleanup_(buf_done) Buf body = BUF_MAX(LARGE);
    StoreFile *file = NULL;
    uint64_t size = 0;
    size_t n = 0;
    for (unsigned k = 1; k <= USERS; k++)
        g_assert_cmpint(store_find_key(f->s.reader, test_kid((uint8_t)k), i), ==,
                        k == 7 ? HMSG_ERROR_NOT_FOUND : 0);
    expect_chain(f);
    g_assert_cmpint(store_list(f->s.reader, test_kid(1), 0, MESSAGES + 1, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, MESSAGES + 1);
    for (unsigned k = 0; k < MESSAGES; k++)
        g_assert_cmpmem(list[k + 1].id, ID_SIZE, f->ids[k], ID_SIZE);
    for (unsigned k = 0; k < MESSAGES; k += 7)
        expect_message(f, k);
    g_assert_cmpint(store_fetch(f->s.reader, test_kid(1), f->large, &body, &file, &size), ==, 0);
    test_read_file(file, &body);
    g_assert_cmpmem(body.data, body.size, test_body(1, LARGE), LARGE);
    g_assert_cmpint(store_sqlite_check(f->s.reader), ==, 0);
}

/* One value, as it stands in the table. */
static GBytes *look(const Fixture *f, const char *query)
{
    Db *db = NULL;
    DbStatement *sql = NULL;
    bool row = false;
    size_t n = 0;
    g_assert_cmpint(db_open_reader(f->s.path, &store_sqlite_schema, &db), ==, 0);
    g_assert_cmpint(db_prepare(db, query, &sql), ==, 0);
    g_assert_cmpint(db_step(sql, &row), ==, 0);
    g_assert_true(row);
    const void *data = db_column_bytes(sql, 0, &n);
    GBytes *b = g_bytes_new(data, n);
    (void)db_statement_free(sql);
    (void)db_close(db);
    return b;
}

static bool files_have(const Fixture *f, GBytes *b)
{
    gsize n = 0;
    const void *data = g_bytes_get_data(b, &n);
    return test_files_have(f->s.folder, data, n);
}

static void test_change(Fixture *f, gconstpointer data)
{
    static const char *const queries[] = {
        "SELECT kept FROM roots WHERE number = 1",
        "SELECT wrapped FROM identities WHERE number = 1",
        "SELECT wrapped FROM identities WHERE number = 80",
        "SELECT sealed FROM identities WHERE number = 80",
        "SELECT sealed FROM former",
        "SELECT sealed FROM messages WHERE number = 1",
        "SELECT sealed FROM messages WHERE number = 299",
    };
    GBytes *before[G_N_ELEMENTS(queries)];
    StoreReader *other = NULL;
    StoreWrite w;
    unsigned steps = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(queries); i++) {
        before[i] = look(f, queries[i]);
        g_assert_true(files_have(f, before[i]));
    }
    g_assert_false(step(f, NOW, 0)); /* nobody asked */
    g_assert_cmpuint(counts(f).key, ==, 1);
    g_assert_cmpint(store_sqlite_open_reader(f->s.folder, test_store_keeper(), &other), ==, 0);
    g_assert_cmpint(store_sqlite_request_rekey(f->s.folder), ==, 0);
    while (step(f, NOW, 0)) {
        steps++;
        g_assert_cmpuint(counts(f).key, ==, 2);
        g_assert_cmpuint(counts(f).key_pending, >, 0);
        expect_all(f);
        g_assert_cmpint(test_put(f->s.store, 2, 1, NOW, test_body(steps, 50), 50, LATER, &w), ==, 0);
    }
    g_assert_cmpuint(steps, >, 1);
    g_assert_cmpuint(counts(f).key_pending, ==, 0);
    expect_all(f);
    g_assert_cmpint(store_sqlite_check(other), ==, 0); /* which did not know the root */
    other = store_reader_free(other);
    for (size_t i = 0; i < G_N_ELEMENTS(queries); i++) {
        (void)step(f, NOW, 0);
        TEST_AWAIT(!files_have(f, before[i]));
        g_bytes_unref(before[i]);
    }
    g_assert_cmpuint(counts(f).key, ==, 2);
    store_fixture_close(&f->s);
    store_fixture_open(&f->s);
    expect_all(f);
}

/* The relay may end at each step, and goes on with the next. */
static void test_resumed(Fixture *f, gconstpointer data)
{
    bool more = true;
    g_assert_cmpint(store_sqlite_request_rekey(f->s.folder), ==, 0);
    while (more) {
        more = step(f, NOW, 0);
        store_fixture_close(&f->s);
        store_fixture_open(&f->s);
        expect_message(f, 5);
    }
    g_assert_cmpuint(counts(f).key, ==, 2);
    g_assert_cmpuint(counts(f).key_pending, ==, 0);
    expect_all(f);
}

static void test_due(Fixture *f, gconstpointer data)
{
    int64_t made = counts(f).key_created;
    g_assert_cmpint(made, >, 0);
    (void)step(f, made + 99, 100);
    (void)step(f, made - 1000, 100); /* the clock goes back */
    g_assert_cmpuint(counts(f).key, ==, 1);
    while (step(f, made + 100, 100))
        continue;
    g_assert_cmpuint(counts(f).key, ==, 2);
    g_assert_cmpint(counts(f).key_created, ==, made + 100);
    (void)step(f, made + 150, 100);
    g_assert_cmpuint(counts(f).key, ==, 2);
}

/* A data key seals so many messages, then comes another. */
static void test_bound(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    store_fixture_close(&f->s);
    f->s.limits.key_seals = 3;
    store_fixture_open(&f->s);
    for (unsigned i = 400; i < 410; i++)
        g_assert_cmpint(test_put(f->s.store, 3, 2, NOW, test_body(i, 64), 64, LATER, &w), ==, 0);
    g_autofree char *keys =
        test_store_ask(f->s.folder, "SELECT count(DISTINCT key) FROM messages WHERE mailbox = 3");
    g_assert_cmpstr(keys, ==, "4");
    g_assert_cmpuint(counts(f).key_pending, ==, 3);
    g_assert_cmpint(store_sqlite_check(f->s.reader), ==, 0);
    g_assert_cmpint(test_acknowledge(f->s.store, 3, w.put.id, 1, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    store_write_done(&w);
    while (step(f, NOW, 0))
        continue;
    g_assert_cmpuint(counts(f).key_pending, ==, 0);
    g_assert_cmpint(store_sqlite_check(f->s.reader), ==, 0);
}

/* Whoever leaves in the middle of it takes all his keys with him. */
static void test_leave(Fixture *f, gconstpointer data)
{
    StoreWrite leave = {.kind = STORE_UNREGISTER, .unregister.name = "user1"};
    memcpy(leave.unregister.skid, test_skid(1), KID_SIZE);
    g_assert_cmpint(store_sqlite_request_rekey(f->s.folder), ==, 0);
    g_assert_true(step(f, NOW, 0));
    g_assert_cmpint(test_write(f->s.store, &leave), ==, 0);
    while (step(f, NOW, 0))
        continue;
    g_assert_cmpuint(counts(f).key_pending, ==, 0);
    g_assert_cmpuint(counts(f).messages, ==, 0);
    g_assert_cmpint(store_sqlite_check(f->s.reader), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, f) g_test_add("/store/rekey/" name, Fixture, NULL, set_up, f, tear_down)
    if (!test_store_remote())
        ADD("change", test_change);
    ADD("resumed", test_resumed);
    ADD("due", test_due);
    ADD("bound", test_bound);
    ADD("leave", test_leave);
    return g_test_run();
}

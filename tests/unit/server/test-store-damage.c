/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

/* What is damaged is named, and all else goes on. Users 1 to 4 are clients 1 to 4. */

#define NOW 1000
#define LATER 5000
#define LARGE 100000u

typedef struct Fixture {
    StoreFixture s;
    uint8_t ids[6][ID_SIZE]; /* messages 1 to 5 */
    GPtrArray *told;
} Fixture;

static void put(Fixture *f, unsigned number, uint8_t to)
{
    StoreWrite w;
    g_assert_cmpint(test_put(f->s.store, to, 3, NOW, test_body(number, 500), 500, LATER, &w), ==, 0);
    memcpy(f->ids[number], w.put.id, ID_SIZE);
}

static void put_large(Fixture *f, unsigned number, uint8_t to)
{
    StoreWrite w;
    test_put_init(&w, to, 3, NOW, test_body(number, LARGE), LARGE, LATER);
    w.put.body = NULL;
    g_assert_cmpint(store_blob_new(f->s.store, &w.put.blob), ==, 0);
    g_assert_cmpint(store_blob_append(w.put.blob, test_body(number, LARGE), LARGE), ==, 0);
    g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
    memcpy(f->ids[number], w.put.id, ID_SIZE);
}

/* User 4 has had the keys of user 14. */
static void rotate(Fixture *f)
{
    g_autofree StoreIdentity *i = test_identity(4, "");
    i->generation = 2;
    StoreWrite w = {
        .kind = STORE_ROTATE,
        .rotate = {
            .identity = i, .from = test_skid(14), .from_statement = "statement 14", .steps = "[\"steps\"]"}};
    g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    store_fixture_set_up(&f->s);
    f->told = g_ptr_array_new_with_free_func(g_free);
    g_assert_cmpint(test_register(f->s.store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(f->s.store, 2, "bob"), ==, 0);
    g_assert_cmpint(test_register(f->s.store, 3, ""), ==, 0);
    g_assert_cmpint(test_register(f->s.store, 14, "dora"), ==, 0);
    rotate(f);
    for (unsigned i = 1; i <= 3; i++)
        put(f, i, 1);
    put(f, 4, 2);
    put_large(f, 5, 1);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_ptr_array_unref(f->told);
    store_fixture_tear_down(&f->s);
}

static void note(const StoreDamage *d, void *userdata)
{
    static const char *const kinds[] = {"database", "table", "client", "former", "message", "file"};
    Fixture *f = userdata;
    g_assert_cmpuint(d->kind, <, G_N_ELEMENTS(kinds));
    g_ptr_array_add(f->told, g_strdup_printf("%s %d of %d %s", kinds[d->kind], (int)d->number, (int)d->client,
                                             d->text ? d->text : ""));
}

/* These and no others, in this order; each a beginning of what is told. */
static void expect_damage(Fixture *f, StoreReader *reader, const char *const *expected)
{
    g_ptr_array_set_size(f->told, 0);
    g_assert_cmpint(store_sqlite_check_tell(reader, note, f), ==, expected[0] ? -EBADMSG : 0);
    for (size_t i = 0; expected[i] || i < f->told->len; i++) {
        if (i >= f->told->len)
            g_error("it does not tell of %s", expected[i]);
        if (!expected[i] || !g_str_has_prefix(f->told->pdata[i], expected[i]))
            g_error("it tells of %s, not of %s", (char *)f->told->pdata[i],
                    expected[i] ? expected[i] : "nothing");
    }
}
#define EXPECT_DAMAGE(f, ...)                                                                                \
    expect_damage(f, (f)->s.reader, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void test_named(Fixture *f, gconstpointer data)
{
    EXPECT_DAMAGE(f);
    store_fixture_change(&f->s, "UPDATE messages SET sealed = zeroblob(40) WHERE number = 2;"
                                "UPDATE messages SET body = zeroblob(length(body)) WHERE number = 4;"
                                "UPDATE former SET sealed = zeroblob(length(sealed))");
    EXPECT_DAMAGE(f, "former 1 of 4", "message 2 of 1", "message 4 of 2");
    store_fixture_change(&f->s, "UPDATE identities SET wrapped = x'00' WHERE number = 2");
    EXPECT_DAMAGE(f, "client 2 of 2", "former 1 of 4", "message 2 of 1", "message 4 of 2");
}

static char *only_blob(const Fixture *f)
{
    g_autofree char *blobs = g_build_filename(f->s.folder, "blobs", NULL);
    GDir *d = g_dir_open(blobs, 0, NULL);
    char *name = g_strdup(g_dir_read_name(d));
    g_dir_close(d);
    return name;
}

/* A file that is missing, is longer, or holds something else is named, so that it can be put back. */
static void test_file(Fixture *f, gconstpointer data)
{
    g_autofree char *name = only_blob(f), *expected = g_strdup_printf("file 5 of 1 %s", name);
    g_autofree char *path = g_build_filename(f->s.folder, "blobs", name, NULL), *sound = NULL;
    gsize n = 0;
    g_assert_true(g_file_get_contents(path, &sound, &n, NULL));
    g_assert_cmpint(g_unlink(path), ==, 0);
    EXPECT_DAMAGE(f, expected);
    g_assert_true(g_file_set_contents(path, sound, (gssize)n - 1, NULL));
    EXPECT_DAMAGE(f, expected);
    sound[n / 2] = (char)~sound[n / 2];
    g_assert_true(g_file_set_contents(path, sound, (gssize)n, NULL));
    EXPECT_DAMAGE(f, expected);
    sound[n / 2] = (char)~sound[n / 2];
    g_assert_true(g_file_set_contents(path, sound, (gssize)n, NULL));
    EXPECT_DAMAGE(f);
}

/* A number that is greater than any and reads as 0: the same row follows itself. */
static void test_repeated(Fixture *f, gconstpointer data)
{
    StoreReader *reader = NULL;
    Db *db = NULL;
    store_fixture_close(&f->s);
    g_assert_cmpint(db_open(f->s.path, &store_sqlite_schema, NULL, &db), ==, 0);
    g_assert_cmpint(
        db_exec(db,
                "PRAGMA foreign_keys=OFF; ALTER TABLE messages RENAME TO m; CREATE TABLE messages AS SELECT"
                " 'x' AS number, mailbox, seq, id, submitter, size, accepted, expires, state, key, blob,"
                " sealed, body FROM m; DROP TABLE invites; CREATE TABLE invites AS SELECT 'x' AS number, 1 AS"
                " uses, 1 AS created, 9999999999 AS expires"),
        ==, 0);
    (void)db_close(db);
    g_assert_cmpint(store_sqlite_open_reader(f->s.folder, test_store_keeper(), &reader), ==, 0);
    expect_damage(f, reader, (const char *const[]){"table 0 of 0 messages", NULL});
    StoreInvite invite = {};
    g_assert_cmpint(store_next_invite(reader, &invite), ==, -EBADMSG);
    (void)store_reader_free(reader);
}

/* A row of nobody, and pages that are none: what can be read is looked at all the same. */
static void test_database(Fixture *f, gconstpointer data)
{
    store_fixture_change(&f->s, "PRAGMA foreign_keys=OFF; DELETE FROM mailboxes WHERE number = 2;"
                                "UPDATE messages SET sealed = zeroblob(40) WHERE number = 2");
    EXPECT_DAMAGE(f, "database 0 of 0 row 0 of shares", "database 0 of 0 row 4 of messages",
                  "message 2 of 1");
}

static void expect_list(Fixture *f, uint8_t user, const unsigned *expected, size_t n)
{
    StoreMessage list[8];
    size_t found = 0;
    for (size_t max = 1; max <= 8; max += 7) {
        g_assert_cmpint(store_list(f->s.reader, test_kid(user), 0, max, list, &found), ==, 0);
        g_assert_cmpuint(found, ==, MIN(n, max));
        for (size_t i = 0; i < found; i++)
            g_assert_cmpmem(list[i].id, ID_SIZE, f->ids[expected[i]], ID_SIZE);
    }
}
#define EXPECT_LIST(f, user, ...)                                                                            \
    expect_list(f, user, (const unsigned[]){__VA_ARGS__},                                                    \
                sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static int fetch(Fixture *f, uint8_t user, unsigned number)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    uint64_t size = 0;
    int r = store_fetch(f->s.reader, test_kid(user), f->ids[number], &body, &file, &size);
    (void)store_file_free(file);
    return r;
}

static StoreUse use_of(Fixture *f, uint8_t user)
{
    StoreUse use = {};
    g_assert_cmpint(store_use(f->s.reader, test_kid(user), &use), ==, 0);
    return use;
}

static const char spoil[] = "UPDATE messages SET sealed = zeroblob(length(sealed)) WHERE number IN (1, 2)";

/* The first messages of a mailbox do not open: the others are listed, fetched and acknowledged. */
static void test_left_out(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    store_fixture_change(&f->s, spoil);
    EXPECT_LIST(f, 1, 3, 5);
    EXPECT_LIST(f, 2, 4);
    g_assert_cmpint(fetch(f, 1, 1), ==, -EBADMSG);
    g_assert_cmpint(fetch(f, 1, 3), ==, 0);
    g_assert_cmpint(fetch(f, 2, 4), ==, 0);
    /* with one that was fetched before it was damaged */
    uint8_t ids[2 * ID_SIZE];
    memcpy(ids, f->ids[1], ID_SIZE);
    memcpy(ids + ID_SIZE, f->ids[3], ID_SIZE);
    g_assert_cmpint(test_acknowledge(f->s.store, 1, ids, 2, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1); /* of the other it is not known whose it was */
    store_write_done(&w);
    EXPECT_LIST(f, 1, 5);
    EXPECT_DAMAGE(f, "message 2 of 1");
    StoreState state;
    g_assert_cmpint(store_status(f->s.reader, test_skid(3), f->ids[1], &state), ==, 0);
    g_assert_cmpint(state, ==, STORE_DELIVERED);
    g_assert_cmpuint(use_of(f, 1).messages, ==, 2);
    g_assert_cmpuint(use_of(f, 1).bytes, ==, 500 + LARGE);
}

static void expect_shares(const char *folder, const char *expected)
{
    g_autofree char *got =
        test_store_ask(folder, "SELECT group_concat(mailbox || ':' || bytes || ':' || count) FROM"
                               " (SELECT * FROM shares ORDER BY mailbox)");
    g_assert_cmpstr(got, ==, expected);
}

/* What is damaged ends at its time with all else, and counts to nobody's share any more. */
static void test_swept(Fixture *f, gconstpointer data)
{
    StoreWrite w = {.kind = STORE_SWEEP, .sweep.now = LATER};
    StoreState state;
    put(f, 1, 2); /* another mailbox, which stays */
    store_fixture_change(&f->s, "UPDATE messages SET expires = 9000 WHERE number = 3");
    store_fixture_change(&f->s, spoil);
    store_fixture_change(
        &f->s,
        "UPDATE messages SET id = x'00' WHERE number = 4; UPDATE messages SET blob = x'00' WHERE number = 5");
    expect_shares(f->s.folder, "1:101500:4,2:1000:2");
    g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
    store_write_done(&w);
    g_assert_false(w.sweep.more);
    EXPECT_DAMAGE(f);
    EXPECT_LIST(f, 1, 3);
    expect_shares(f->s.folder, "1:500:1");
    g_assert_cmpuint(use_of(f, 1).messages, ==, 1);
    g_assert_cmpuint(use_of(f, 1).bytes, ==, 500);
    g_assert_cmpuint(use_of(f, 2).messages, ==, 0);
    g_assert_cmpint(store_status(f->s.reader, test_skid(3), f->ids[2], &state), ==, 0);
    g_assert_cmpint(state, ==, STORE_EXPIRED);
}

static void rekey(Fixture *f)
{
    bool more = true;
    g_assert_cmpint(store_sqlite_request_rekey(f->s.folder), ==, 0);
    for (unsigned i = 0; more; i++) {
        StoreWrite w = {.kind = STORE_REKEY, .rekey.now = NOW};
        g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
        g_assert_cmpuint(i, <, 10);
        more = w.rekey.more;
    }
}

/* A change of keys comes to its end, and whom it found sound stays so. */
static void test_rekeyed(Fixture *f, gconstpointer data)
{
    StoreCounts c = {};
    store_fixture_change(&f->s, spoil);
    store_fixture_change(&f->s, "UPDATE former SET sealed = zeroblob(length(sealed));"
                                "UPDATE identities SET sealed = zeroblob(length(sealed)) WHERE number = 2");
    EXPECT_DAMAGE(f, "client 2 of 2", "former 1 of 4", "message 1 of 1", "message 2 of 1");
    for (unsigned i = 0; i < 2; i++) {
        rekey(f);
        g_assert_cmpint(store_counts(f->s.reader, &c), ==, 0);
        g_assert_cmpuint(c.key, ==, 2 + i);
        g_assert_cmpuint(c.key_pending, ==, 0);
        EXPECT_LIST(f, 1, 3, 5);
        g_assert_cmpint(fetch(f, 1, 3), ==, 0);
        EXPECT_DAMAGE(f, "client 2 of 2", "former 1 of 4", "message 1 of 1", "message 2 of 1",
                      "message 4 of 2");
    }
    store_fixture_close(&f->s);
    store_fixture_open(&f->s);
    EXPECT_LIST(f, 1, 3, 5);
}

/* In the middle of a change: the former data key of one, the new one of another do not open. */
static void test_rekeying(Fixture *f, gconstpointer data)
{
    StoreCounts c = {};
    rekey(f);
    store_fixture_change(
        &f->s, "INSERT INTO old_keys(owner, key, root, wrapped, resealed) VALUES(1, 1, 2, x'00', 0),"
               " (2, 1, 2, zeroblob((SELECT length(wrapped) FROM identities LIMIT 1)), 0);"
               "UPDATE identities SET root = 9 WHERE number = 4;"
               "UPDATE messages SET key = 1 WHERE number = 4");
    rekey(f);
    g_assert_cmpint(store_counts(f->s.reader, &c), ==, 0);
    g_assert_cmpuint(c.key_pending, ==, 0);
    EXPECT_LIST(f, 1, 1, 2, 3, 5);
}

/* In a database of any kind: seals of the wrong size, before a change of keys, and until they expire. */
static void test_any_store(Fixture *f, gconstpointer data)
{
    static const char sql[] = "UPDATE messages SET sealed = submitter WHERE seq IN (1, 2) AND size = 500;"
                              "UPDATE former SET sealed = skid";
    StoreWrite w = {.kind = STORE_SWEEP, .sweep.now = LATER};
    StoreCounts c = {};
    store_fixture_change(&f->s, sql);
    EXPECT_LIST(f, 1, 3, 5);
    g_assert_cmpint(store_sqlite_check(f->s.reader), ==, -EBADMSG);
    for (bool more = true; more;) {
        StoreWrite rekey = {.kind = STORE_REKEY, .rekey = {.now = 2 * NOW, .age_max = 1}};
        g_assert_cmpint(test_write(f->s.store, &rekey), ==, 0);
        more = rekey.rekey.more;
    }
    EXPECT_LIST(f, 1, 3, 5);
    g_assert_cmpint(fetch(f, 1, 3), ==, 0);
    g_assert_cmpint(test_write(f->s.store, &w), ==, 0);
    store_write_done(&w);
    for (uint8_t user = 1; user <= 2; user++) {
        g_assert_cmpuint(use_of(f, user).messages, ==, 0);
        g_assert_cmpuint(use_of(f, user).bytes, ==, 0);
    }
    g_assert_cmpint(store_counts(f->s.reader, &c), ==, 0);
    g_assert_cmpuint(c.messages, ==, 0);
    g_assert_cmpuint(c.key_pending, ==, 0);
    g_autofree char *shares = test_store_ask(f->s.folder, "SELECT count(*) FROM shares");
    g_assert_cmpstr(shares, ==, "0");
}

static int unregister(Fixture *f, int64_t number)
{
    StoreWrite w = {.kind = STORE_UNREGISTER, .unregister.number = number};
    return test_write(f->s.store, &w);
}

/* A client of whom nothing can be read is in nobody's way, and goes by its number. */
static void test_client(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    store_fixture_change(&f->s, "UPDATE identities SET wrapped = x'00' WHERE number = 1;"
                                "UPDATE messages SET blob = x'00' WHERE number = 5");
    g_assert_cmpint(test_put(f->s.store, 1, 3, NOW, "a", 1, LATER, &w), ==, -EBADMSG);
    g_assert_cmpint(test_put(f->s.store, 2, 3, NOW, "a", 1, LATER, &w), ==, 0);
    g_assert_cmpint(unregister(f, 99), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(unregister(f, 1), ==, 0);
    g_assert_cmpint(unregister(f, 1), ==, HMSG_ERROR_NOT_FOUND);
    EXPECT_DAMAGE(f);
    g_assert_cmpint(test_register(f->s.store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_put(f->s.store, 1, 3, NOW, "a", 1, LATER, &w), ==, 0);
}

/* A message that the index has and the table does not is neither there nor stored: it is not accepted. */
static void test_index(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    store_fixture_change(&f->s, "UPDATE messages SET id = CAST(substr(id, 1, 16) || zeroblob(16) AS BLOB)"
                                " WHERE number = 1");
    g_assert_cmpint(test_put(f->s.store, 1, 3, NOW, test_body(1, 500), 500, LATER, &w), ==, -EIO);
    g_assert_cmpint(test_put(f->s.store, 1, 3, NOW, test_body(2, 500), 500, LATER, &w), ==, 0);
    g_assert_false(w.put.created);
    g_assert_cmpint(test_put(f->s.store, 1, 3, NOW, test_body(6, 500), 500, LATER, &w), ==, 0);
    g_assert_true(w.put.created);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, f) g_test_add("/store/damage/" name, Fixture, NULL, set_up, f, tear_down)
    ADD("any-store", test_any_store);
    if (test_store_remote())
        return g_test_run();
    ADD("named", test_named);
    ADD("file", test_file);
    ADD("repeated", test_repeated);
    ADD("database", test_database);
    ADD("left-out", test_left_out);
    ADD("swept", test_swept);
    ADD("rekeyed", test_rekeyed);
    ADD("rekeying", test_rekeying);
    ADD("client", test_client);
    ADD("index", test_index);
    return g_test_run();
}

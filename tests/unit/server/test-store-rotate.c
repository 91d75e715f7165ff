/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that take the place of others in the relay's store: name, mailbox and messages stay, the former keys
 * are remembered and serve nobody else. */

#include "server/store-sqlite.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/db/db.h"
#include "libhmsg/wire/proof.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

#define LATER (clock_realtime() + 1000)

typedef StoreFixture Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    store_fixture_set_up(f);
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(f->store, 2, "bob"), ==, 0);
    g_assert_cmpint(test_register(f->store, 3, ""), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    store_fixture_tear_down(f);
}

static int rotate_from(Fixture *f, uint8_t from, const char *statement, uint8_t to, uint64_t generation,
                       bool *ret_created)
{
    g_autofree StoreIdentity *i = test_identity(to, "");
    g_autofree char *steps = g_strdup_printf("[\"%u to %u\"]", from, to);
    i->generation = generation;
    StoreWrite w = {
        .kind = STORE_ROTATE,
        .rotate = {.identity = i, .from = test_skid(from), .from_statement = statement, .steps = steps}};
    int r = test_write(f->store, &w);
    *ret_created = w.rotate.created;
    return r;
}

static int rotate(Fixture *f, uint8_t from, uint8_t to, uint64_t generation)
{
    g_autofree char *statement = g_strdup_printf("statement %u", from);
    bool created = false;
    int r = rotate_from(f, from, statement, to, generation, &created);
    g_assert_true(created == (r == 0));
    return r;
}

static void test_keys(Fixture *f, gconstpointer data)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    bool created = true;
    g_assert_cmpint(rotate(f, 1, 11, 2), ==, 0);
    g_assert_cmpint(store_find_name(f->reader, "alice", i), ==, 0);
    g_assert_cmpmem(i->skid, KID_SIZE, test_skid(11), KID_SIZE);
    g_assert_cmpmem(i->kid, KID_SIZE, test_kid(11), KID_SIZE);
    g_assert_cmpstr(i->statement, ==, "statement 11");
    g_assert_cmpuint(i->generation, ==, 2);
    /* found as former alone */
    g_assert_cmpint(store_find_key(f->reader, test_skid(1), i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_find_key(f->reader, test_kid(1), i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_find_former(f->reader, test_kid(1), i), ==, 0);
    g_assert_cmpint(store_find_former(f->reader, test_skid(1), i), ==, 0);
    g_assert_cmpstr(i->name, ==, "alice");
    g_assert_cmpint(store_find_former(f->reader, test_skid(11), i), ==, HMSG_ERROR_NOT_FOUND);
    /* the same again changes nothing */
    g_assert_cmpint(rotate_from(f, 1, "statement 1", 11, 2, &created), ==, 0);
    g_assert_false(created);
    /* a guest stays one */
    g_assert_cmpint(rotate(f, 3, 13, 2), ==, 0);
    g_assert_cmpint(store_find_key(f->reader, test_kid(13), i), ==, 0);
    g_assert_cmpstr(i->name, ==, "");
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(store_find_former(f->reader, test_kid(3), i), ==, 0);
    g_assert_cmpint(i->kid[0], ==, test_kid(13)[0]);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    bool created = true;
    /* nobody; not greater; another statement by now; another's keys */
    g_assert_cmpint(rotate(f, 9, 19, 2), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(rotate(f, 1, 11, 1), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(rotate_from(f, 1, "statement 0", 11, 2, &created), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(rotate(f, 1, 2, 2), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(rotate(f, 1, 11, 2), ==, 0);
    /* a key that was given up serves nobody: not its owner again, not another, not as a new one */
    g_assert_cmpint(rotate(f, 11, 1, 3), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(rotate(f, 2, 1, 3), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(test_register(f->store, 1, "carol"), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(test_register(f->store, 1, ""), ==, HMSG_ERROR_ALREADY_EXISTS);
    /* nor does it give keys to anybody once more */
    g_assert_cmpint(rotate_from(f, 1, "statement 1", 21, 3, &created), ==, HMSG_ERROR_NOT_FOUND);
}

typedef struct Seen {
    unsigned n;
    char *text;
} Seen;

static int note(const StoreLink *l, void *userdata)
{
    Seen *s = userdata;
    char *text = g_strdup_printf("%s%s %s %s;", s->text ? s->text : "", l->statement, l->steps, l->next);
    g_free(s->text);
    s->text = text;
    s->n++;
    return 0;
}

static void expect_chain(Fixture *f, uint8_t now, const uint8_t *from, const char *text)
{
    Seen s = {};
    g_assert_cmpint(store_snapshot(f->reader), ==, 0);
    g_assert_cmpint(store_chain(f->reader, test_skid(now), from, note, &s), ==, 0);
    store_snapshot_end(f->reader);
    g_assert_cmpstr(s.text, ==, text);
    g_free(s.text);
}

static void test_chain(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(rotate(f, 1, 11, 2), ==, 0);
    g_assert_cmpint(rotate(f, 2, 12, 2), ==, 0);
    g_assert_cmpint(rotate(f, 11, 21, 3), ==, 0);
    expect_chain(f, 21, test_kid(1),
                 "statement 1 [\"1 to 11\"] statement 11;statement 11 [\"11 to 21\"] statement 21;");
    expect_chain(f, 21, test_skid(11), "statement 11 [\"11 to 21\"] statement 21;");
    /* from another's key, from the own one, for one that is not now */
    expect_chain(f, 21, test_skid(2), NULL);
    expect_chain(f, 21, test_skid(21), NULL);
    expect_chain(f, 11, test_skid(1), NULL);
}

/* The newest are kept. */
static void test_chain_max(Fixture *f, gconstpointer data)
{
    Seen s = {};
    for (unsigned i = 0; i <= ROTATION_CHAIN_MAX; i++)
        g_assert_cmpint(rotate(f, (uint8_t)(i == 0 ? 1 : 10 + i), (uint8_t)(11 + i), i + 2), ==, 0);
    const uint8_t last = 11 + ROTATION_CHAIN_MAX;
    g_assert_cmpint(store_chain(f->reader, test_skid(last), test_skid(1), note, &s), ==, 0);
    g_assert_cmpuint(s.n, ==, 0);
    g_assert_cmpint(store_chain(f->reader, test_skid(last), test_skid(11), note, &s), ==, 0);
    g_assert_cmpuint(s.n, ==, ROTATION_CHAIN_MAX);
    g_free(s.text);
}

/* Mail from before, and what comes to the former key within its time, is in the one mailbox. */
static void test_mailbox(Fixture *f, gconstpointer data)
{
    StoreMessage list[4];
    StoreWrite w;
    size_t n = 0;
    int64_t now = clock_realtime();
    g_assert_cmpint(test_put(f->store, 1, 2, now, "before", 6, LATER, &w), ==, 0);
    g_assert_cmpmem(w.put.owner, KID_SIZE, test_kid(1), KID_SIZE);
    g_assert_cmpint(rotate(f, 1, 11, 2), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, now, "under way", 9, LATER, &w), ==, 0);
    g_assert_cmpmem(w.put.owner, KID_SIZE, test_kid(11), KID_SIZE);
    g_assert_cmpint(test_put(f->store, 1, 2, now, "before", 6, LATER, &w), ==, 0); /* again */
    g_assert_false(w.put.created);
    g_assert_cmpint(test_put(f->store, 11, 2, now, "after", 5, LATER, &w), ==, 0);
    g_assert_cmpint(store_room(f->reader, test_kid(1), 10), ==, 0);
    /* too late */
    g_assert_cmpint(test_put(f->store, 1, 2, now + 31 * 86400, "late", 4, now + 32 * 86400, &w), ==,
                    HMSG_ERROR_NOT_FOUND);
    /* the owner of now reads it, the former key nothing */
    g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 0);
    g_assert_cmpint(store_list(f->reader, test_kid(11), 0, 4, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 3);
    uint8_t ids[3 * ID_SIZE];
    for (size_t i = 0; i < n; i++)
        memcpy(ids + i * ID_SIZE, list[i].id, ID_SIZE);
    g_assert_cmpint(test_acknowledge(f->store, 11, ids, n, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 3);
    store_write_done(&w);
    g_assert_cmpint(store_list(f->reader, test_kid(11), 0, 4, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 0);
}

/* Who has sent under the former key asks by the new one, is told by it, and has used up what he has used up.
 */
static void test_sender(Fixture *f, gconstpointer data)
{
    StoreState state = STORE_EXPIRED;
    StoreWrite w;
    int64_t now = clock_realtime();
    f->limits.sender_messages = 2;
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(test_put(f->store, 1, 2, now, "one", 3, LATER, &w), ==, 0);
    uint8_t id[ID_SIZE];
    memcpy(id, w.put.id, ID_SIZE);
    g_assert_cmpint(rotate(f, 2, 12, 2), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, now, "by the former key", 17, LATER, &w), ==, HMSG_ERROR_DENIED);
    g_assert_cmpint(store_status(f->reader, test_skid(12), id, &state), ==, 0);
    g_assert_cmpint(state, ==, STORE_ACCEPTED);
    g_assert_cmpint(store_status(f->reader, test_skid(3), id, &state), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(test_put(f->store, 1, 12, now, "two", 3, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 12, now, "three", 5, LATER, &w), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_true(w.put.share);
    g_assert_cmpint(test_acknowledge(f->store, 1, id, 1, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    g_assert_cmpmem(w.changes[0].submitter, KID_SIZE, test_skid(12), KID_SIZE);
    store_write_done(&w);
    g_assert_cmpint(test_put(f->store, 1, 12, now, "three", 5, LATER, &w), ==, 0);
}

static void test_unregister(Fixture *f, gconstpointer data)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    StoreWrite w = {.kind = STORE_UNREGISTER};
    g_assert_cmpint(rotate(f, 1, 11, 2), ==, 0);
    memcpy(w.unregister.skid, test_skid(1), KID_SIZE);
    g_strlcpy(w.unregister.name, "alice", sizeof(w.unregister.name));
    g_assert_cmpint(test_write(f->store, &w), ==, HMSG_ERROR_NOT_FOUND);
    memcpy(w.unregister.skid, test_skid(11), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    g_assert_cmpint(store_find_former(f->reader, test_skid(1), i), ==, HMSG_ERROR_NOT_FOUND);
    store_fixture_close(f);
    store_fixture_open(f);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

/* A store of before there were rotations is brought up to date, with all that is in it. */
static void test_migration(Fixture *f, gconstpointer data)
{
    static const char rows[] = "INSERT INTO identities SELECT 1, CAST(zeroblob(31) || x'07' AS BLOB), "
                               "CAST(zeroblob(31) || x'08' AS BLOB),"
                               " 'dora', x'01', x'02', 'statement', 1, 1;"
                               "INSERT INTO mailboxes VALUES(1, 2, 4, 1);"
                               "INSERT INTO shares VALUES(1, x'', 4, 1);"
                               "INSERT INTO messages VALUES(1, 1, 1, zeroblob(32), zeroblob(32), x'', 4, 1, "
                               "4000000000, 0, NULL, x'61626364')";
    const DbSchema first = {store_sqlite_schema.application_id, store_sqlite_schema.steps, 1};
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1), *new = test_identity(50, "");
    StoreMessage list[2];
    size_t n = 0;
    store_fixture_close(f);
    test_folder_remove(f->folder);
    f->folder = test_folder_new();
    g_free(f->path);
    f->path = g_build_filename(f->folder, "relay.sqlite", NULL);
    Db *db = NULL;
    g_assert_cmpint(db_open(f->path, &first, NULL, &db), ==, 0);
    g_assert_cmpint(db_exec(db, rows), ==, 0);
    db = db_close(db);
    store_fixture_open(f);
    g_assert_cmpint(store_find_name(f->reader, "dora", i), ==, 0);
    g_assert_cmpstr(i->statement, ==, "statement");
    g_assert_cmpint(store_list(f->reader, i->kid, 0, 2, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
    new->generation = 2;
    StoreWrite w = {
        .kind = STORE_ROTATE,
        .rotate = {.identity = new, .from = i->skid, .from_statement = "statement", .steps = "[]"}};
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
    g_assert_cmpint(store_list(f->reader, test_kid(50), 0, 2, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

/* alice comes back as user 11, and says to have been `first` and `second` before. */
static int come_back(Fixture *f, uint8_t first, uint8_t second, bool *ret_created)
{
    g_autofree StoreIdentity *i = test_identity(11, "alice");
    StoreFormer former[2] = {{.link = {"statement a", "[\"a\"]", "statement b"}},
                             {.link = {"statement b", "[\"b\"]", "statement 11"}}};
    memcpy(former[0].skid, test_skid(first), KID_SIZE);
    memcpy(former[0].kid, test_kid(first), KID_SIZE);
    memcpy(former[1].skid, test_skid(second), KID_SIZE);
    memcpy(former[1].kid, test_kid(second), KID_SIZE);
    StoreWrite w = {.kind = STORE_REGISTER, .reg = {.identity = i, .former = former, .n_former = 2}};
    int r = test_write(f->store, &w);
    *ret_created = w.reg.created;
    return r;
}

static int count_link(const StoreLink *l, void *userdata)
{
    (*(unsigned *)userdata)++;
    return 0;
}

static unsigned links(Fixture *f, const uint8_t *from)
{
    unsigned n = 0;
    g_assert_cmpint(store_chain(f->reader, test_skid(11), from, count_link, &n), ==, 0);
    return n;
}

static void leave(Fixture *f, uint8_t user, const char *name)
{
    StoreWrite w = {.kind = STORE_UNREGISTER};
    memcpy(w.unregister.skid, test_skid(user), KID_SIZE);
    g_strlcpy(w.unregister.name, name, sizeof(w.unregister.name));
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
}

/* Keys of before that a registration tells of. */
static void test_claims(Fixture *f, gconstpointer data)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    bool created = false;
    StoreWrite w;
    leave(f, 1, "alice");
    g_assert_cmpint(come_back(f, 1, 5, &created), ==, 0);
    g_assert_true(created);
    g_assert_cmpuint(links(f, test_kid(1)), ==, 2);
    g_assert_cmpuint(links(f, test_skid(1)), ==, 2);
    g_assert_cmpuint(links(f, test_kid(5)), ==, 1);
    g_assert_cmpuint(links(f, test_kid(6)), ==, 0);
    g_assert_cmpint(store_find_former(f->reader, test_skid(1), i), ==, 0);
    g_assert_cmpint(store_find_former(f->reader, test_kid(1), i), ==, HMSG_ERROR_NOT_FOUND);
    /* the sign key is used up, the decrypt key takes no mail */
    g_assert_cmpint(test_register(f->store, 1, "other"), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "a", 1, LATER, &w), ==, HMSG_ERROR_NOT_FOUND);
    /* again, or with others: nothing changes */
    g_assert_cmpint(come_back(f, 7, 8, &created), ==, 0);
    g_assert_false(created);
    g_assert_cmpuint(links(f, test_kid(7)), ==, 0);
    g_assert_cmpuint(links(f, test_kid(1)), ==, 2);
    /* a rotation goes on, and new keys of the store leave them as they are */
    g_assert_cmpint(rotate(f, 11, 12, 2), ==, 0);
    for (bool more = true; more;) {
        StoreWrite rekey = {.kind = STORE_REKEY, .rekey = {.now = LATER + 10, .age_max = 1}};
        g_assert_cmpint(test_write(f->store, &rekey), ==, 0);
        more = rekey.rekey.more;
    }
    unsigned n = 0;
    g_assert_cmpint(store_chain(f->reader, test_skid(12), test_kid(1), count_link, &n), ==, 0);
    g_assert_cmpuint(n, ==, 3);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
    leave(f, 12, "alice");
    g_assert_cmpint(test_register(f->store, 1, "alice"), ==, 0); /* all is forgotten */
}

/* Of keys one of which is somebody's, or was. */
static void test_claims_of_others(Fixture *f, gconstpointer data)
{
    bool created = false;
    leave(f, 1, "alice");
    g_assert_cmpint(rotate(f, 2, 22, 2), ==, 0);
    for (uint8_t other = 2; other <= 3; other++) { /* one that was, one that is */
        g_assert_cmpint(come_back(f, 5, other, &created), ==, 0);
        g_assert_true(created);
        g_assert_cmpuint(links(f, test_kid(5)), ==, 0);
        leave(f, 11, "alice");
    }
    g_assert_cmpint(come_back(f, 5, 6, &created), ==, 0);
    g_assert_cmpuint(links(f, test_kid(5)), ==, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add(name, Fixture, NULL, set_up, test, tear_down)
    ADD("/store-rotate/keys", test_keys);
    ADD("/store-rotate/refused", test_refused);
    ADD("/store-rotate/chain", test_chain);
    ADD("/store-rotate/chain-max", test_chain_max);
    ADD("/store-rotate/mailbox", test_mailbox);
    ADD("/store-rotate/sender", test_sender);
    ADD("/store-rotate/unregister", test_unregister);
    ADD("/store-rotate/claims", test_claims);
    ADD("/store-rotate/claims-of-others", test_claims_of_others);
    if (!test_store_remote())
        ADD("/store-rotate/migration", test_migration);
    return g_test_run();
}

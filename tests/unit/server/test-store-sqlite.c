/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store-sqlite.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/proof.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

#define NOW 1000000
#define LATER (NOW + 1000)

typedef StoreFixture Fixture;

static void reopen(Fixture *f)
{
    store_fixture_close(f);
    store_fixture_open(f);
}

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

/* Of bodies that are not in rows of messages. */
static unsigned blob_files(const Fixture *f)
{
    if (!test_store_remote())
        return test_count_files(f->folder, "blobs");
    g_autofree char *n = test_store_ask(f->folder, "SELECT count(DISTINCT blob) FROM bodies");
    g_autofree char *part = test_store_ask(f->folder, "SELECT count(*) FROM uploads");
    g_assert_cmpstr(part, ==, "0");
    return (unsigned)g_ascii_strtoull(n, NULL, 10);
}

static StoreCounts counts(Fixture *f)
{
    StoreCounts c = {};
    g_assert_cmpint(store_counts(f->reader, &c), ==, 0);
    return c;
}

static void test_registration(Fixture *f, gconstpointer data)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    g_assert_cmpint(store_find_name(f->reader, "alice", i), ==, 0);
    g_assert_cmpstr(i->name, ==, "alice");
    g_assert_cmpstr(i->statement, ==, "statement 1");
    g_assert_cmpint(i->skid[0], ==, 1);
    g_assert_cmpint(i->kid[0], ==, 101);
    g_assert_cmpuint(i->sign_size, ==, 4);
    g_assert_cmpint(store_find_key(f->reader, test_skid(2), i), ==, 0);
    g_assert_cmpstr(i->name, ==, "bob");
    g_assert_cmpint(store_find_key(f->reader, test_kid(3), i), ==, 0);
    g_assert_cmpstr(i->name, ==, "");
    g_assert_cmpint(store_find_name(f->reader, "carol", i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_find_name(f->reader, "", i), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(store_find_key(f->reader, test_kid(4), i), ==, HMSG_ERROR_NOT_FOUND);
}

static int register_as(Fixture *f, uint8_t skid, uint8_t kid, const char *name, bool *ret_created)
{
    g_autofree StoreIdentity *i = test_identity(skid, name);
    memcpy(i->kid, test_kid(kid), KID_SIZE);
    i->generation = 2;
    StoreWrite w = {.kind = STORE_REGISTER, .reg.identity = i};
    int r = test_write(f->store, &w);
    *ret_created = w.reg.created;
    return r;
}

static void test_conflicts(Fixture *f, gconstpointer data)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    bool created = true;
    g_assert_cmpint(register_as(f, 1, 1, "alice", &created), ==, 0);
    g_assert_false(created);
    g_assert_cmpint(store_find_name(f->reader, "alice", i), ==, 0);
    g_assert_cmpuint(i->generation, ==, 2);
    /* another's name, another's decrypt key, a second name, a second decrypt key */
    g_assert_cmpint(register_as(f, 4, 4, "alice", &created), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(register_as(f, 4, 1, "carol", &created), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(register_as(f, 1, 1, "carol", &created), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(register_as(f, 1, 4, "alice", &created), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpuint(counts(f).identities, ==, 3);
    /* a guest becomes a member; a member that asks as a guest stays one */
    g_assert_cmpint(register_as(f, 3, 3, "carol", &created), ==, 0);
    g_assert_true(created);
    g_assert_cmpint(register_as(f, 3, 3, "", &created), ==, 0);
    g_assert_false(created);
    g_assert_cmpint(store_find_name(f->reader, "carol", i), ==, 0);
    g_assert_cmpuint(counts(f).mailboxes, ==, 3);
}

static void test_put_fetch(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "hello", 5, LATER, &w), ==, 0);
    g_assert_true(w.put.created);
    g_assert_cmpint(w.put.seq, ==, 1);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "second", 6, LATER, &w), ==, 0);
    g_assert_cmpint(w.put.seq, ==, 2);
    g_assert_cmpint(test_put(f->store, 3, 2, 1, "guests have no mailbox", 5, LATER, &w), ==,
                    HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(test_put(f->store, 1, 9, 3, "of nobody", 9, LATER, &w), ==, HMSG_ERROR_DENIED);
    StoreMessage list[4];
    size_t n = 0;
    g_assert_cmpint(store_list(f->reader, test_kid(1), 0, 4, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpint(list[0].seq, ==, 1);
    g_assert_cmpuint(list[0].size, ==, 5);
    g_assert_cmpint(list[0].expires, ==, LATER);
    g_assert_cmpmem(list[0].submitter, KID_SIZE, test_skid(2), KID_SIZE);
    g_assert_cmpint(store_list(f->reader, test_kid(1), 1, 4, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmpint(store_list(f->reader, test_kid(2), 0, 4, list, &n), ==, 0);
    g_assert_cmpuint(n, ==, 0);
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    uint64_t size = 0;
    g_assert_cmpint(store_fetch(f->reader, test_kid(1), w.put.id, &body, &file, &size), ==,
                    HMSG_ERROR_NOT_FOUND);
    uint8_t id[ID_SIZE];
    g_assert_cmpint(message_id(test_kid(1), "hello", 5, id), ==, 0);
    g_assert_cmpint(store_fetch(f->reader, test_kid(1), id, &body, &file, &size), ==, 0);
    g_assert_null(file);
    g_assert_cmpmem(body.data, body.size, "hello", 5);
    g_assert_cmpint(store_fetch(f->reader, test_kid(2), id, &body, &file, &size), ==, HMSG_ERROR_NOT_FOUND);
    StoreState state = STORE_EXPIRED;
    g_assert_cmpint(store_status(f->reader, test_skid(2), id, &state), ==, 0);
    g_assert_cmpint(state, ==, STORE_ACCEPTED);
    g_assert_cmpstr(store_state_text(state), ==, "accepted");
    g_assert_cmpint(store_status(f->reader, test_skid(1), id, &state), ==, HMSG_ERROR_NOT_FOUND);
}

static void test_idempotence(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    StoreState state = STORE_EXPIRED;
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "once", 4, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, 9, "once", 4, LATER + 5, &w), ==, 0);
    g_assert_false(w.put.created);
    g_assert_cmpint(w.put.seq, ==, 1);
    g_assert_cmpint(w.put.accepted, ==, 3);
    g_assert_cmpuint(counts(f).messages, ==, 1);
    uint8_t ids[2 * ID_SIZE] = {};
    memcpy(ids, w.put.id, ID_SIZE);
    g_assert_cmpint(test_acknowledge(f->store, 2, ids, 2, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 0); /* not his mailbox */
    store_write_done(&w);
    g_assert_cmpint(test_acknowledge(f->store, 1, ids, 2, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    g_assert_cmpint(w.changes[0].state, ==, STORE_DELIVERED);
    g_assert_cmpmem(w.changes[0].submitter, KID_SIZE, test_skid(2), KID_SIZE);
    store_write_done(&w);
    g_assert_cmpint(test_acknowledge(f->store, 1, ids, 2, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 0);
    store_write_done(&w);
    /* Submitted again after delivery it is not stored again. */
    g_assert_cmpint(test_put(f->store, 1, 2, 11, "once", 4, LATER, &w), ==, 0);
    g_assert_false(w.put.created);
    g_assert_cmpint(w.put.accepted, ==, 3);
    g_assert_cmpuint(counts(f).messages, ==, 0);
    g_assert_cmpuint(counts(f).bytes, ==, 0);
    g_assert_cmpint(store_status(f->reader, test_skid(2), ids, &state), ==, 0);
    g_assert_cmpint(state, ==, STORE_DELIVERED);
    g_assert_cmpint(test_acknowledge(f->store, 3, ids, 2, &w), ==, HMSG_ERROR_NOT_FOUND);
}

/* The messages that end then. */
static size_t sweep_at(Fixture *f, int64_t now)
{
    StoreWrite sweep = {.kind = STORE_SWEEP, .sweep.now = now};
    g_assert_cmpint(test_write(f->store, &sweep), ==, 0);
    size_t n = sweep.n_changes;
    store_write_done(&sweep);
    return n;
}

static void test_expiry(Fixture *f, gconstpointer data)
{
    StoreWrite w = {}, sweep = {.kind = STORE_SWEEP, .sweep.now = LATER - 1};
    StoreState state = STORE_ACCEPTED;
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "stale", 5, LATER, &w), ==, 0);
    g_assert_cmpint(test_write(f->store, &sweep), ==, 0);
    g_assert_cmpuint(sweep.n_changes, ==, 0);
    store_write_done(&sweep);
    sweep.sweep.now = LATER;
    g_assert_cmpint(test_write(f->store, &sweep), ==, 0);
    g_assert_cmpuint(sweep.n_changes, ==, 1);
    g_assert_cmpint(sweep.changes[0].state, ==, STORE_EXPIRED);
    g_assert_false(sweep.sweep.more);
    store_write_done(&sweep);
    g_assert_cmpuint(counts(f).messages, ==, 0);
    g_assert_cmpint(store_status(f->reader, test_skid(2), w.put.id, &state), ==, 0);
    g_assert_cmpint(state, ==, STORE_EXPIRED);
    g_assert_cmpint(sweep_at(f, LATER + STORE_EXPIRED_RETENTION), ==, 0);
    g_assert_cmpint(store_status(f->reader, test_skid(2), w.put.id, &state), ==, 0);
    g_assert_cmpint(sweep_at(f, 3 + MESSAGE_EXPIRY_MAX), ==, 0);
    g_assert_cmpint(store_status(f->reader, test_skid(2), w.put.id, &state), ==, HMSG_ERROR_NOT_FOUND);
}

/* A copy of a message with a short life, that comes when its time is over, and as late as the longest life
 * allows; the clock goes back and forth meanwhile. */
static void test_replay(Fixture *f, gconstpointer data)
{
    const int64_t times[] = {4, LATER, LATER + STORE_EXPIRED_RETENTION, 1, 2 + MESSAGE_EXPIRY_MAX};
    StoreWrite w = {}, again = {}, acknowledged = {};
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "short", 5, 5, &w), ==, 0);
    g_assert_cmpint(test_acknowledge(f->store, 1, w.put.id, 1, &acknowledged), ==, 0);
    g_assert_cmpuint(acknowledged.n_changes, ==, 1);
    store_write_done(&acknowledged);
    for (size_t i = 0; i < G_N_ELEMENTS(times); i++) {
        g_assert_cmpint(sweep_at(f, times[i]), ==, 0);
        g_assert_cmpint(
            test_put(f->store, 1, 2, times[i], "short", 5, times[i] + (int64_t)MESSAGE_EXPIRY_MAX, &again),
            ==, 0);
        g_assert_false(again.put.created);
        g_assert_cmpint(again.put.accepted, ==, 3);
        g_assert_cmpuint(counts(f).messages, ==, 0);
    }
}

static bool is_known(Fixture *f, uint8_t user)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    int r = store_find_key(f->reader, test_kid(user), i);
    g_assert_true(r == 0 || r == HMSG_ERROR_NOT_FOUND);
    return r == 0;
}

static void register_at(Fixture *f, uint8_t user, const char *name, int64_t now)
{
    g_autofree StoreIdentity *i = test_identity(user, name);
    StoreWrite w = {.kind = STORE_REGISTER, .reg.identity = i};
    i->created = now;
    g_assert_cmpint(test_write(f->store, &w), ==, 0);
}

/* Guests who send nothing any more are forgotten, however many come; nobody else is. */
static void test_guests(Fixture *f, gconstpointer data)
{
    const int64_t day = 86400, from = 1000 * day, end = from + (int64_t)STORE_GUEST_SECONDS;
    StoreWrite w;
    register_at(f, 7, "member", from);
    for (uint8_t i = 10; i < 14; i++)
        register_at(f, i, "", from);
    StoreWrite block = {.kind = STORE_BLOCK, .block.blocked = true};
    memcpy(block.block.skid, test_skid(13), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &block), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 11, from + day, "late", 4, from + 9 * day, &w), ==, 0);
    register_at(f, 12, "", from + 2 * day);   /* again */
    g_assert_cmpint(sweep_at(f, end), ==, 1); /* the message */
    g_assert_true(is_known(f, 10));
    (void)sweep_at(f, end + 1);
    g_assert_false(is_known(f, 10));
    g_assert_true(is_known(f, 11) && is_known(f, 12) && is_known(f, 13) && is_known(f, 7));
    g_assert_cmpint(test_put(f->store, 1, 10, end, "who", 3, end + 1, &w), ==, HMSG_ERROR_DENIED);
    (void)sweep_at(f, end + day + 1);
    g_assert_false(is_known(f, 11));
    (void)sweep_at(f, end + 2 * day + 1);
    g_assert_false(is_known(f, 12));
    g_assert_true(is_known(f, 13) && is_known(f, 7)); /* a block is not undone */
    register_at(f, 10, "", end);
    g_assert_cmpint(test_put(f->store, 1, 10, end, "here", 4, end + 1, &w), ==, 0);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

static void test_limits(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    f->limits.mailbox_messages = 4;
    f->limits.mailbox_bytes = 100;
    f->limits.sender_messages = 2;
    f->limits.strangers_bytes = 10;
    f->limits.body_bytes = 60;
    f->limits.total_bytes = 90;
    reopen(f);
    g_assert_cmpint(test_register(f->store, 4, ""), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, test_body(1, 61), 61, LATER, &w), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "1", 1, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "2", 1, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "3", 1, LATER, &w), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_true(w.put.share);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "2", 1, LATER, &w), ==, 0); /* here already */
    g_assert_cmpint(test_put(f->store, 1, 3, 3, "12345678", 8, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 4, 3, "12345678901", 11, LATER, &w), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(test_put(f->store, 1, 4, 3, "123", 3, LATER, &w), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_true(w.put.share);
    g_assert_cmpint(test_put(f->store, 1, 1, 3, test_body(2, 60), 60, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 1, 3, "5", 1, LATER, &w), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_false(w.put.share);
    g_assert_cmpint(test_put(f->store, 2, 1, 3, test_body(3, 30), 30, LATER, &w), ==,
                    HMSG_ERROR_STORAGE_FULL);
    g_assert_cmpint(store_room(f->reader, test_kid(1), 1), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(store_room(f->reader, test_kid(2), 60), ==, 0);
    g_assert_cmpint(store_room(f->reader, test_kid(2), 61), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(store_room(f->reader, test_kid(3), 1), ==, HMSG_ERROR_NOT_FOUND);
    /* The sum is the same after a restart. */
    reopen(f);
    g_assert_cmpint(test_put(f->store, 2, 1, 3, test_body(3, 30), 30, LATER, &w), ==,
                    HMSG_ERROR_STORAGE_FULL);
    StoreWrite leave = {.kind = STORE_UNREGISTER, .unregister.name = "alice"};
    memcpy(leave.unregister.skid, test_skid(1), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &leave), ==, 0);
    g_assert_cmpint(test_put(f->store, 2, 2, 3, test_body(3, 30), 30, LATER, &w), ==, 0);
}

static StoreBlob *blob(Fixture *f, const char *body, size_t n)
{
    StoreBlob *b = NULL;
    g_assert_cmpint(store_blob_new(f->store, &b), ==, 0);
    g_assert_cmpint(store_blob_append(b, body, n / 2), ==, 0);
    g_assert_cmpint(store_blob_append(b, body + n / 2, n - n / 2), ==, 0);
    return b;
}

static int put_blob(Fixture *f, uint8_t to, const char *body, size_t n, StoreWrite *ret)
{
    test_put_init(ret, to, 2, 5, body, n, LATER);
    ret->put.body = NULL;
    ret->put.blob = blob(f, body, n);
    return test_write(f->store, ret);
}

static void test_blobs(Fixture *f, gconstpointer data)
{
    const size_t n = 300000;
    const char *body = test_body(5, n);
    StoreWrite w;
    StoreBlob *left = blob(f, body, n);
    g_assert_cmpuint(blob_files(f), ==, test_store_remote() ? 0 : 1);
    left = store_blob_free(left);
    g_assert_cmpuint(blob_files(f), ==, 0);
    g_assert_cmpint(put_blob(f, 1, body, n, &w), ==, 0);
    g_assert_true(w.put.created);
    g_assert_cmpuint(blob_files(f), ==, 1);
    g_assert_cmpint(put_blob(f, 1, body, n, &w), ==, 0); /* the second leaves nothing */
    g_assert_false(w.put.created);
    g_assert_cmpint(put_blob(f, 3, body, n, &w), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpuint(blob_files(f), ==, 1);
    g_assert_cmpint(put_blob(f, 1, body, n, &w), ==, 0);
    reopen(f);
    g_assert_cmpuint(counts(f).blobs, ==, 1);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
    _cleanup_(buf_done) Buf got = BUF_MAX(n), none = BUF_MAX(1);
    StoreFile *file = NULL;
    uint64_t size = 0;
    g_assert_cmpint(store_fetch(f->reader, test_kid(1), w.put.id, &none, &file, &size), ==, 0);
    g_assert_cmpuint(size, ==, n);
    test_read_file(file, &got);
    g_assert_cmpmem(got.data, got.size, body, n);
    g_assert_cmpint(test_acknowledge(f->store, 1, w.put.id, 1, &w), ==, 0);
    store_write_done(&w);
    g_assert_cmpuint(blob_files(f), ==, 0);
    g_assert_cmpint(put_blob(f, 1, test_body(6, n), n, &w), ==, 0);
    StoreWrite leave = {.kind = STORE_UNREGISTER, .unregister.name = "alice"};
    memcpy(leave.unregister.skid, test_skid(1), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &leave), ==, 0);
    g_assert_cmpuint(blob_files(f), ==, 0);
}

static void test_orphans(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    g_assert_cmpint(put_blob(f, 1, test_body(7, 100000), 100000, &w), ==, 0);
    static const char *const names[] = {"00112233445566778899aabbccddeeff",
                                        "00112233445566778899aabbccddeefe.part",
                                        "00112233445566778899AABBCCDDEEFF"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(f->folder, "blobs", names[i], NULL);
        g_assert_true(g_file_set_contents(path, "x", 1, NULL));
    }
    g_autofree char *other = g_build_filename(f->folder, "blobs", names[2], NULL);
    g_autofree char *lost = g_build_filename(f->folder, "blobs", "lost+found", NULL);
    g_assert_cmpint(mkdir(lost, 0700), ==, 0);
    g_assert_cmpuint(blob_files(f), ==, 5);
    reopen(f);
    /* what the store did not make, as in the root of a disk of its own, it leaves alone */
    g_assert_cmpuint(blob_files(f), ==, 3);
    g_assert_cmpint(remove(other), ==, 0);
    g_assert_cmpint(remove(lost), ==, 0);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
    /* A blob that is gone is told. */
    g_autofree char *folder = g_build_filename(f->folder, "blobs", NULL);
    GDir *d = g_dir_open(folder, 0, NULL);
    g_autofree char *path = g_build_filename(folder, g_dir_read_name(d), NULL);
    g_dir_close(d);
    g_assert_cmpint(remove(path), ==, 0);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, -EBADMSG);
}

static void test_full_database(Fixture *f, gconstpointer data)
{
    StoreWrite w, many[8];
    unsigned stored = 0, refused = 0;
    f->limits.size_max = 412288;
    reopen(f);
    for (unsigned i = 0; i < 40; i++) {
        int r = test_put(f->store, 1, 2, 3, test_body(i, 20000), 20000, LATER, &w);
        g_assert_true(r == 0 || r == HMSG_ERROR_STORAGE_FULL);
        stored += r == 0;
        refused += r != 0;
    }
    g_assert_cmpuint(stored, >, 5);
    g_assert_cmpuint(refused, >, 5);
    g_assert_cmpuint(counts(f).messages, ==, stored);
    g_assert_cmpuint(counts(f).bytes, ==, stored * 20000);
    /* Those that do not fit do not harm the others of their batch, and what is there can be acknowledged. */
    test_block(f->store);
    for (unsigned i = 0; i < 8; i++) {
        test_put_init(&many[i], 1, 2, 3, test_body(100 + i, i == 5 ? 10 : 30000), i == 5 ? 10 : 30000, LATER);
        test_write_begin(f->store, &many[i]);
    }
    test_unblock();
    for (unsigned i = 0; i < 8; i++)
        g_assert_cmpint(test_write_end(&many[i]), ==, i == 5 ? 0 : HMSG_ERROR_STORAGE_FULL);
    uint8_t id[ID_SIZE];
    g_assert_cmpint(message_id(test_kid(1), test_body(0, 20000), 20000, id), ==, 0);
    g_assert_cmpint(test_acknowledge(f->store, 1, id, 1, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    store_write_done(&w);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, test_body(200, 10000), 10000, LATER, &w), ==, 0);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

static void test_reserve(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "early", 5, LATER, &w), ==, 0);
    f->limits.space_reserve = UINT64_MAX;
    reopen(f);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "late", 4, LATER, &w), ==, HMSG_ERROR_STORAGE_FULL);
    uint8_t id[ID_SIZE];
    g_assert_cmpint(message_id(test_kid(1), "early", 5, id), ==, 0);
    g_assert_cmpint(test_acknowledge(f->store, 1, id, 1, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 1);
    store_write_done(&w);
    /* and what the log has is given back */
    g_autofree char *log = g_build_filename(f->folder, "relay.sqlite-wal", NULL);
    struct stat st;
    TEST_AWAIT(stat(log, &st) == 0 && st.st_size == 0);
    /* large bodies are refused while they come in, not when they have filled the disk */
    StoreBlob *b = NULL;
    g_assert_cmpint(store_blob_new(f->store, &b), ==, HMSG_ERROR_STORAGE_FULL);
    f->limits.space_reserve = 1;
    reopen(f);
    g_assert_cmpint(store_blob_new(f->store, &b), ==, 0);
    ((SqliteStore *)(void *)f->store)->limits.space_reserve = UINT64_MAX;
    g_assert_cmpint(store_blob_append(b, test_body(1, 300000), 300000), ==, 0);
    int r = 0;
    for (unsigned i = 0; i < 4 && r == 0; i++)
        r = store_blob_append(b, test_body(1, 300000), 300000);
    g_assert_cmpint(r, ==, HMSG_ERROR_STORAGE_FULL);
    b = store_blob_free(b);
    g_assert_cmpuint(blob_files(f), ==, 0);
}

static void test_group_commit(Fixture *f, gconstpointer data)
{
    g_autofree StoreWrite *many = g_new0(StoreWrite, 200);
    g_autofree char *log = g_build_filename(f->folder, "relay.sqlite-wal", NULL);
    test_block(f->store);
    unsigned before = test_count_commits(log);
    for (unsigned i = 0; i < 200; i++) {
        test_put_init(&many[i], 1, 2, 3, test_body(i, 4096), 4096, LATER);
        test_write_begin(f->store, &many[i]);
    }
    test_unblock();
    for (unsigned i = 0; i < 200; i++) {
        g_assert_cmpint(test_write_end(&many[i]), ==, 0);
        g_assert_cmpint(many[i].put.seq, ==, i + 1);
    }
    g_assert_cmpuint(test_count_commits(log) - before, ==, 1);
}

static void test_queue(Fixture *f, gconstpointer data)
{
    g_autofree StoreWrite *many = g_new0(StoreWrite, STORE_QUEUE_MAX + 1);
    test_block(f->store);
    for (unsigned i = 0; i < STORE_QUEUE_MAX; i++) {
        test_put_init(&many[i], 3, 2, 3, "x", 1, LATER);
        test_write_begin(f->store, &many[i]);
    }
    test_put_init(&many[STORE_QUEUE_MAX], 3, 2, 3, "x", 1, LATER);
    g_assert_cmpint(store_write(f->store, &many[STORE_QUEUE_MAX]), ==, -EAGAIN);
    test_unblock();
    for (unsigned i = 0; i < STORE_QUEUE_MAX; i++)
        g_assert_cmpint(test_write_end(&many[i]), ==, HMSG_ERROR_NOT_FOUND);
}

static void test_one_relay(Fixture *f, gconstpointer data)
{
    Store *again = NULL;
    StoreReader *look = NULL;
    StoreWrite w;
    g_assert_cmpint(store_sqlite_open(f->folder, &f->limits, test_store_keeper(), &again), ==, -EBUSY);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, "seen", 4, LATER, &w), ==, 0);
    g_assert_cmpint(store_sqlite_open_reader(f->folder, test_store_keeper(), &look), ==, 0);
    StoreCounts c = {};
    g_assert_cmpint(store_counts(look, &c), ==, 0);
    g_assert_cmpuint(c.messages, ==, 1);
    g_assert_cmpuint(c.mailboxes, ==, 2);
    g_assert_cmpint(store_sqlite_check(look), ==, 0);
    look = store_reader_free(look);
    g_assert_cmpint(store_sqlite_open_reader("/nonexistent", test_store_keeper(), &look), ==, -ENOENT);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, f) g_test_add("/store/" name, Fixture, NULL, set_up, f, tear_down)
    ADD("registration", test_registration);
    ADD("conflicts", test_conflicts);
    ADD("put", test_put_fetch);
    ADD("idempotence", test_idempotence);
    ADD("expiry", test_expiry);
    ADD("replay", test_replay);
    ADD("guests", test_guests);
    ADD("limits", test_limits);
    ADD("blobs", test_blobs);
    ADD("queue", test_queue);
    if (test_store_remote())
        return g_test_run();
    ADD("orphans", test_orphans);
    ADD("full-database", test_full_database);
    ADD("reserve", test_reserve);
    ADD("group-commit", test_group_commit);
    ADD("one-relay", test_one_relay);
    return g_test_run();
}

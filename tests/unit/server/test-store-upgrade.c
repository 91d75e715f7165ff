/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <glib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/proof.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

/* A store of the second version, in clear, becomes one of now. test-store-rotate.c has one of the first. */

#define USERS 90u
#define MESSAGES 200u
#define LARGE 100000u
#define LATER 4000000000

static atomic_int countdown; /* writes until the process is killed; 0: it is not */

static void maybe_die(void)
{
    if (atomic_load(&countdown) > 0 && atomic_fetch_sub(&countdown, 1) == 1)
        _exit(9);
}

/* These stand before those of libc. */
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset)
{
    maybe_die();
    return syscall(SYS_pwrite64, fd, data, n, offset);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    maybe_die();
    return (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}

int unlinkat(int fd, const char *path, int flags)
{
    maybe_die();
    return (int)syscall(SYS_unlinkat, fd, path, flags);
}

typedef struct Old {
    char *folder;
    Db *db;
    uint8_t ids[MESSAGES][ID_SIZE];
} Old;

static bool is_large(unsigned number)
{
    return number % 50 == 7;
}

static bool has_ended(unsigned number)
{
    return number % 10 == 3;
}

static size_t size_of(unsigned number)
{
    return is_large(number) ? LARGE : 1000u + number;
}

static void add_user(const Old *o, uint8_t user)
{
    g_autofree char *name = g_strdup_printf("user%u", user);
    g_autofree StoreIdentity *i = test_identity(user, user == 3 ? "" : name);
    DbStatement *s = NULL;
    g_assert_cmpint(db_prepare(o->db,
                               "INSERT INTO identities(skid, kid, name, sign, decrypt, statement, generation,"
                               " created) VALUES(?1, ?2, ?3, ?4, ?5, ?6, 1, 1)",
                               &s),
                    ==, 0);
    db_bind_bytes(s, 1, i->skid, KID_SIZE);
    db_bind_bytes(s, 2, i->kid, KID_SIZE);
    db_bind_text(s, 3, i->name[0] ? i->name : NULL);
    db_bind_bytes(s, 4, i->sign, i->sign_size);
    db_bind_bytes(s, 5, i->decrypt, i->decrypt_size);
    db_bind_text(s, 6, i->statement);
    g_assert_cmpint(db_run(s), ==, 0);
    (void)db_statement_free(s);
}

static void bind_body(const Old *o, DbStatement *s, unsigned number)
{
    uint8_t name[BLOB_NAME_SIZE] = {(uint8_t)number, 1, 2, 3};
    char text[BLOB_TEXT_SIZE];
    if (!is_large(number)) {
        db_bind_bytes(s, 8, test_body(number, size_of(number)), size_of(number));
        g_assert_cmpint(db_run(s), ==, 0);
        return;
    }
    blob_text(name, text);
    g_autofree char *path = g_build_filename(o->folder, "blobs", text, NULL);
    g_assert_true(g_file_set_contents(path, test_body(number, LARGE), LARGE, NULL));
    db_bind_bytes(s, 7, name, sizeof(name));
    g_assert_cmpint(db_run(s), ==, 0);
}

/* From user 2, or from the guest, to user 1. */
static void add_message(Old *o, unsigned number)
{
    const uint8_t *from = test_skid(number % 2 ? 2 : 3);
    DbStatement *s = NULL;
    g_assert_cmpint(
        message_id(test_kid(1), test_body(number, size_of(number)), size_of(number), o->ids[number]), ==, 0);
    g_assert_cmpint(
        db_prepare(o->db,
                   "INSERT INTO messages(mailbox, seq, id, submitter, share, size, accepted, expires,"
                   " state, blob, body) VALUES(1, ?1, ?2, ?3, ?4, ?5, 3, 4000000000, ?6, ?7, ?8)",
                   &s),
        ==, 0);
    db_bind_number(s, 1, number + 1);
    db_bind_bytes(s, 2, o->ids[number], ID_SIZE);
    db_bind_bytes(s, 3, from, KID_SIZE);
    /* of the oldest key that the sender had */
    db_bind_bytes(s, 4, test_skid(96), number % 2 ? KID_SIZE : 0);
    db_bind_number(s, 5, (int64_t)size_of(number));
    db_bind_number(s, 6, has_ended(number) ? STORE_DELIVERED : STORE_ACCEPTED);
    if (has_ended(number))
        g_assert_cmpint(db_run(s), ==, 0);
    else
        bind_body(o, s, number);
    (void)db_statement_free(s);
}

static const char counted[] =
    "UPDATE mailboxes SET next = 201, bytes = (SELECT sum(size) FROM messages WHERE state = 0),"
    " count = (SELECT count(*) FROM messages WHERE state = 0) WHERE number = 1;"
    "INSERT INTO shares SELECT 1, share, sum(size), count(*) FROM messages WHERE state = 0 GROUP BY share";

/* User 4 has had the keys of user 95, and user 2 those of user 96. */
static void add_former(const Old *o)
{
    DbStatement *s = NULL;
    g_assert_cmpint(db_prepare(o->db,
                               "INSERT INTO former(identity, skid, kid, statement, steps, next, retired)"
                               " VALUES(?1, ?2, ?3, 'statement then', '[\"step\"]', 'statement 4', 5)",
                               &s),
                    ==, 0);
    for (uint8_t i = 0; i < 2; i++) {
        db_bind_number(s, 1, i == 0 ? 4 : 2);
        db_bind_bytes(s, 2, test_skid(95 + i), KID_SIZE);
        db_bind_bytes(s, 3, test_kid(95 + i), KID_SIZE);
        g_assert_cmpint(db_run(s), ==, 0);
    }
    (void)db_statement_free(s);
}

static Old *old_new(void)
{
    const DbSchema schema = {store_sqlite_schema.application_id, store_sqlite_schema.steps, 2};
    Old *o = g_new0(Old, 1);
    o->folder = test_folder_new();
    g_autofree char *path = g_build_filename(o->folder, "relay.sqlite", NULL);
    g_autofree char *blobs = g_build_filename(o->folder, "blobs", NULL);
    g_assert_cmpint(mkdir(blobs, 0700), ==, 0);
    g_assert_cmpint(db_open(path, &schema, NULL, &o->db), ==, 0);
    g_assert_cmpint(db_begin(o->db), ==, 0);
    for (unsigned i = 1; i <= USERS; i++)
        add_user(o, (uint8_t)i);
    g_assert_cmpint(db_exec(o->db, "INSERT INTO mailboxes SELECT number, 1, 0, 0 FROM identities"
                                   " WHERE name IS NOT NULL"),
                    ==, 0);
    for (unsigned i = 0; i < MESSAGES; i++)
        add_message(o, i);
    add_former(o);
    g_assert_cmpint(db_exec(o->db, counted), ==, 0);
    g_assert_cmpint(db_commit(o->db), ==, 0);
    /* the last one leaves: no other may get his number */
    g_assert_cmpint(db_exec(o->db, "DELETE FROM mailboxes WHERE number = 90;"
                                   "DELETE FROM identities WHERE number = 90"),
                    ==, 0);
    o->db = db_close(o->db);
    return o;
}

static void old_free(Old *o)
{
    test_folder_remove(o->folder);
    g_free(o);
}

static void expect_message(const Old *o, StoreReader *reader, unsigned number)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(LARGE);
    StoreFile *file = NULL;
    StoreState state = STORE_STATE_MAX_;
    uint64_t size = 0;
    int r = store_fetch(reader, test_kid(1), o->ids[number], &body, &file, &size);
    g_assert_cmpint(r, ==, has_ended(number) ? HMSG_ERROR_NOT_FOUND : 0);
    g_assert_cmpint(store_status(reader, test_skid(number % 2 ? 2 : 3), o->ids[number], &state), ==, 0);
    g_assert_cmpint(state, ==, has_ended(number) ? STORE_DELIVERED : STORE_ACCEPTED);
    g_assert_cmpint(store_status(reader, test_skid(4), o->ids[number], &state), ==, HMSG_ERROR_NOT_FOUND);
    if (r != 0)
        return;
    test_read_file(file, &body);
    g_assert_cmpmem(body.data, body.size, test_body(number, size_of(number)), size_of(number));
}

static void expect_hidden(const Old *o)
{
    g_assert_false(test_files_have(o->folder, "statement ", 10));
    g_assert_false(test_files_have(o->folder, "user1", 5));
    for (unsigned i = 1; i < USERS; i++) {
        g_assert_false(test_files_have(o->folder, test_skid((uint8_t)i), KID_SIZE));
        g_assert_false(test_files_have(o->folder, test_kid((uint8_t)i), KID_SIZE));
    }
    for (unsigned i = 0; i < MESSAGES; i += 13) {
        g_assert_false(test_files_have(o->folder, o->ids[i], ID_SIZE));
        g_assert_false(test_files_have(o->folder, test_body(i, 1000) + 500, 24));
    }
}

static int note(const StoreLink *l, void *userdata)
{
    bool *seen = userdata;
    g_assert_cmpstr(l->statement, ==, "statement then");
    g_assert_cmpstr(l->steps, ==, "[\"step\"]");
    g_assert_cmpstr(l->next, ==, "statement 4");
    *seen = true;
    return 0;
}

static void expect_former(StoreReader *reader)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    bool seen = false;
    g_assert_cmpint(store_find_former(reader, test_kid(95), i), ==, 0);
    g_assert_cmpstr(i->name, ==, "user4");
    g_assert_cmpint(store_chain(reader, test_skid(4), test_kid(95), note, &seen), ==, 0);
    g_assert_true(seen);
}

static void expect_whole(const Old *o, Store *store)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    StoreReader *reader = NULL;
    StoreCounts c = {};
    StoreWrite w;
    g_assert_cmpint(store_reader_new(store, &reader), ==, 0);
    g_assert_cmpint(store_sqlite_check(reader), ==, 0);
    g_assert_cmpint(store_counts(reader, &c), ==, 0);
    g_assert_cmpuint(c.identities, ==, USERS - 1);
    g_assert_cmpuint(c.mailboxes, ==, USERS - 2);
    g_assert_cmpuint(c.messages, ==, MESSAGES - MESSAGES / 10);
    g_assert_cmpuint(c.blobs, ==, 4);
    g_assert_cmpuint(test_count_files(o->folder, "blobs"), ==, c.blobs);
    g_assert_cmpint(store_find_name(reader, "user7", i), ==, 0);
    g_assert_cmpint(i->skid[0], ==, 7);
    g_assert_cmpstr(i->statement, ==, "statement 7");
    expect_former(reader);
    for (unsigned k = 0; k < MESSAGES; k++)
        expect_message(o, reader, k);
    /* what is counted goes on, and what was delivered is not delivered again */
    g_assert_cmpint(test_put(store, 1, 2, 5, test_body(3, size_of(3)), size_of(3), LATER, &w), ==, 0);
    g_assert_false(w.put.created);
    g_assert_cmpint(test_put(store, 1, 2, 5, "new", 3, LATER, &w), ==, 0);
    g_assert_cmpint(w.put.seq, ==, MESSAGES + 1);
    g_assert_cmpint(test_acknowledge(store, 1, o->ids[0], MESSAGES, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, c.messages);
    store_write_done(&w);
    g_assert_cmpint(store_counts(reader, &c), ==, 0);
    g_assert_cmpuint(c.bytes, ==, 3);
    reader = store_reader_free(reader);
}

static Store *open_store(const Old *o)
{
    StoreLimits limits;
    Store *store = NULL;
    store_limits_init(&limits);
    limits.space_reserve = 0;
    g_assert_cmpint(store_sqlite_open(o->folder, &limits, test_store_keeper(), &store), ==, 0);
    return store;
}

static void test_upgrade(void)
{
    Old *o = old_new();
    StoreReader *look = NULL;
    g_assert_true(test_files_have(o->folder, test_kid(5), KID_SIZE));
    g_assert_true(test_files_have(o->folder, test_body(13, 1000) + 500, 24));
    g_assert_cmpint(store_sqlite_open_reader(o->folder, test_store_keeper(), &look), ==, -ESTALE);
    Store *store = open_store(o);
    expect_hidden(o);
    g_autofree char *path = g_build_filename(o->folder, "relay.sqlite", NULL);
    Db *db = NULL;
    DbStatement *sql = NULL;
    bool row = false;
    g_assert_cmpint(test_register(store, 90, "user90"), ==, 0);
    g_assert_cmpint(db_open_reader(path, &store_sqlite_schema, &db), ==, 0);
    g_assert_cmpint(db_prepare(db, "SELECT max(number) FROM identities", &sql), ==, 0);
    g_assert_cmpint(db_step(sql, &row), ==, 0);
    g_assert_cmpint(db_column_number(sql, 0), ==, USERS + 1);
    (void)db_statement_free(sql);
    (void)db_close(db);
    StoreWrite leave = {.kind = STORE_UNREGISTER, .unregister.name = "user90"};
    memcpy(leave.unregister.skid, test_skid(90), KID_SIZE);
    g_assert_cmpint(test_write(store, &leave), ==, 0);
    expect_whole(o, store);
    store = store_free(store);
    expect_hidden(o);
    old_free(o);
}

/* A relay that is killed meanwhile goes on where it was. */
static void test_killed(void)
{
    Old *o = old_new();
    unsigned kills = 0;
    for (int status = 1; status != 0;) {
        /* more each time: carrying the log over takes as many writes as it takes */
        int after = g_random_int_range(1, 12 + 6 * (int)kills), ended = 0;
        pid_t pid = fork();
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
            atomic_store(&countdown, after);
            (void)store_free(open_store(o));
            _exit(0);
        }
        g_assert_cmpint(waitpid(pid, &ended, 0), ==, pid);
        g_assert_true(WIFEXITED(ended));
        status = WEXITSTATUS(ended);
        g_assert_true(status == 0 || status == 9);
        kills += status == 9;
    }
    g_test_message("%u kills", kills);
    g_assert_cmpuint(kills, >, 5);
    Store *store = open_store(o);
    expect_hidden(o);
    expect_whole(o, store);
    store = store_free(store);
    old_free(o);
}

/* A file that was lost before is told of, and keeps nobody from the rest. */
static void test_lost_file(void)
{
    Old *o = old_new();
    uint8_t name[BLOB_NAME_SIZE] = {7, 1, 2, 3};
    char text[BLOB_TEXT_SIZE];
    StoreReader *reader = NULL;
    blob_text(name, text);
    g_autofree char *path = g_build_filename(o->folder, "blobs", text, NULL);
    g_assert_cmpint(unlink(path), ==, 0);
    Store *store = open_store(o);
    g_assert_cmpint(store_reader_new(store, &reader), ==, 0);
    g_assert_cmpint(store_sqlite_check(reader), ==, -EBADMSG);
    expect_message(o, reader, 8);
    expect_message(o, reader, 57);
    reader = store_reader_free(reader);
    store = store_free(store);
    old_free(o);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/store/upgrade/whole", test_upgrade);
    g_test_add_func("/store/upgrade/killed", test_killed);
    g_test_add_func("/store/upgrade/lost-file", test_lost_file);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

/* Copies of a store that serves. */

#define NOW 1000
#define LATER (1ll << 40)
#define SMALL 4096u
#define LARGE 100000u
#define MESSAGES 20u
#define BACKUPS 5u

typedef struct Fixture {
    StoreFixture s;
    char *to, *part;
    uint8_t large[ID_SIZE];
    gint stop;
    bool damaged;
} Fixture;

static void put_large(Store *s, unsigned number, uint8_t ret[static ID_SIZE])
{
    StoreWrite w;
    test_put_init(&w, 1, 2, NOW, test_body(number, LARGE), LARGE, LATER);
    w.put.body = NULL;
    g_assert_cmpint(store_blob_new(s, &w.put.blob), ==, 0);
    g_assert_cmpint(store_blob_append(w.put.blob, test_body(number, LARGE), LARGE), ==, 0);
    g_assert_cmpint(test_write(s, &w), ==, 0);
    memcpy(ret, w.put.id, ID_SIZE);
}

static void set_up(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    store_fixture_set_up(&f->s);
    f->to = g_strdup_printf("%s/backup", f->s.folder);
    f->part = g_strdup_printf("%s.part", f->to);
    g_assert_cmpint(test_register(f->s.store, 1, "bob"), ==, 0);
    g_assert_cmpint(test_register(f->s.store, 2, ""), ==, 0);
    for (unsigned i = 0; i < MESSAGES; i++)
        g_assert_cmpint(test_put(f->s.store, 1, 2, NOW, test_body(i, SMALL), SMALL, LATER, &w), ==, 0);
    put_large(f->s.store, MESSAGES, f->large);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->to);
    g_free(f->part);
    store_fixture_tear_down(&f->s);
}

static void expect_nothing(const Fixture *f)
{
    g_assert_false(g_file_test(f->to, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(f->part, G_FILE_TEST_EXISTS));
}

static void expect_mode(const char *folder, const char *name, unsigned mode)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    GStatBuf st;
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, mode);
}

/* As a relay would, in the place of the lost one. */
static void expect_messages(const Fixture *f)
{
    Store *store = NULL;
    StoreReader *reader = NULL;
    StoreFile *file = NULL;
    StoreMessage all[MESSAGES + 2];
    StoreIdentity *bob = g_new0(StoreIdentity, 1);
    size_t n = 0;
    uint64_t size = 0;
    g_assert_cmpint(store_sqlite_open(f->to, &f->s.limits, test_store_keeper(), &store), ==, 0);
    g_assert_cmpint(store_reader_new(store, &reader), ==, 0);
    g_assert_cmpint(store_find_name(reader, "bob", bob), ==, 0);
    g_assert_cmpint(store_list(reader, test_kid(1), 0, G_N_ELEMENTS(all), all, &n), ==, 0);
    g_assert_cmpuint(n, ==, MESSAGES + 1);
    for (unsigned i = 0; i <= MESSAGES; i++) {
        _cleanup_(buf_done) Buf body = BUF_MAX(2 * LARGE);
        size_t expected = i < MESSAGES ? SMALL : LARGE;
        g_assert_cmpint(store_fetch(reader, test_kid(1), all[i].id, &body, &file, &size), ==, 0);
        test_read_file(file, &body);
        g_assert_cmpmem(body.data, body.size, test_body(i, expected), expected);
    }
    (void)store_reader_free(reader);
    (void)store_free(store);
    g_free(bob);
}

static void test_backup(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    g_assert_cmpint(store_sqlite_backup(f->s.folder, test_store_keeper(), f->to, &f->damaged), ==, 0);
    g_assert_false(f->damaged);
    g_assert_false(g_file_test(f->part, G_FILE_TEST_EXISTS));
    expect_mode(f->to, "", 0700);
    expect_mode(f->to, "blobs", 0700);
    expect_mode(f->to, "relay.sqlite", 0600);
    g_assert_cmpuint(test_count_files(f->to, "blobs"), ==, 1);
    g_assert_cmpint(store_sqlite_backup(f->s.folder, test_store_keeper(), f->to, &f->damaged), ==, -EEXIST);
    /* what happens later to the one is nothing to the other */
    g_assert_cmpint(test_acknowledge(f->s.store, 1, f->large, 1, &w), ==, 0);
    store_write_done(&w);
    g_assert_cmpuint(test_count_files(f->s.folder, "blobs"), ==, 0);
    expect_messages(f);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_autofree char *nowhere = g_build_filename(f->s.folder, "no", "where", NULL);
    g_autofree char *kept = g_build_filename(f->part, "kept", NULL);
    g_assert_cmpint(store_sqlite_backup(f->s.folder, test_other_keeper(), f->to, &f->damaged), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    expect_nothing(f);
    g_assert_cmpint(store_sqlite_backup(f->s.folder, test_store_keeper(), nowhere, &f->damaged), ==, -ENOENT);
    g_assert_cmpint(g_mkdir(f->part, 0700), ==, 0);
    g_assert_true(g_file_set_contents(kept, "kept", -1, NULL));
    g_assert_cmpint(store_sqlite_backup(f->s.folder, test_store_keeper(), f->to, &f->damaged), ==, -EEXIST);
    g_assert_true(g_file_test(kept, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(f->to, G_FILE_TEST_EXISTS));
}

static char *only_blob(const Fixture *f)
{
    g_autofree char *folder = g_build_filename(f->s.folder, "blobs", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    return g_build_filename(folder, g_dir_read_name(dir), NULL);
}

/* What is damaged in the store is so in a copy, which says it. */
static void expect_damaged(Fixture *f, unsigned blobs)
{
    StoreReader *reader = NULL;
    g_assert_cmpint(store_sqlite_backup(f->s.folder, test_store_keeper(), f->to, &f->damaged), ==, 0);
    g_assert_true(f->damaged);
    g_assert_false(g_file_test(f->part, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(test_count_files(f->to, "blobs"), ==, blobs);
    g_assert_cmpint(store_sqlite_open_reader(f->to, test_store_keeper(), &reader), ==, 0);
    g_assert_cmpint(store_sqlite_check(reader), ==, -EBADMSG);
    (void)store_reader_free(reader);
    test_folder_remove(g_strdup(f->to));
}

static void test_damaged(Fixture *f, gconstpointer data)
{
    g_autofree char *blob = only_blob(f);
    g_autofree char *text = NULL;
    gsize n = 0;
    g_assert_true(g_file_get_contents(blob, &text, &n, NULL));
    text[n / 2] ^= 1;
    g_assert_true(g_file_set_contents(blob, text, (gssize)n, NULL));
    expect_damaged(f, 1);
    g_assert_cmpint(g_unlink(blob), ==, 0);
    expect_damaged(f, 0);
    store_fixture_change(&f->s, "UPDATE messages SET sealed = x'00', blob = x'00' WHERE number = 1");
    expect_damaged(f, 0);
    /* of a database that is no sound one there is none */
    store_fixture_change(&f->s, "PRAGMA foreign_keys=OFF; DELETE FROM mailboxes");
    g_assert_cmpint(store_sqlite_backup(f->s.folder, test_store_keeper(), f->to, &f->damaged), ==, -EBADMSG);
    expect_nothing(f);
}

static gpointer send_on(gpointer data)
{
    Fixture *f = data;
    for (unsigned i = MESSAGES + 1; !g_atomic_int_get(&f->stop); i++) {
        StoreWrite w;
        uint8_t id[ID_SIZE];
        put_large(f->s.store, i, id);
        g_assert_cmpint(test_acknowledge(f->s.store, 1, id, 1, &w), ==, 0);
        store_write_done(&w);
    }
    return NULL;
}

static unsigned count_messages(const char *folder)
{
    StoreReader *reader = NULL;
    StoreCounts counts = {0};
    g_assert_cmpint(store_sqlite_open_reader(folder, test_store_keeper(), &reader), ==, 0);
    g_assert_cmpint(store_sqlite_check(reader), ==, 0);
    g_assert_cmpint(store_counts(reader, &counts), ==, 0);
    (void)store_reader_free(reader);
    return (unsigned)counts.messages;
}

static void test_busy(Fixture *f, gconstpointer data)
{
    GThread *sender = g_thread_new("sender", send_on, f);
    unsigned made = 0;
    while (made < BACKUPS) {
        g_autofree char *to = g_strdup_printf("%s-%u", f->to, made);
        int r = store_sqlite_backup(f->s.folder, test_store_keeper(), to, &f->damaged);
        if (r == -EAGAIN)
            continue;
        g_assert_cmpint(r, ==, 0);
        unsigned n = count_messages(to);
        g_assert_cmpuint(n, >=, MESSAGES + 1);
        g_assert_cmpuint(n, <=, MESSAGES + 2);
        made++;
    }
    g_atomic_int_set(&f->stop, 1);
    g_thread_join(sender);
}

#define ADD(path, test) g_test_add("/server/store-backup/" path, Fixture, NULL, set_up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("backup", test_backup);
    ADD("refused", test_refused);
    ADD("damaged", test_damaged);
    ADD("busy", test_busy);
    return g_test_run();
}

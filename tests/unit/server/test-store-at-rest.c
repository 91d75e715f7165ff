/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/proof.h"
#include "server/store-sqlite-internal.h"
#include "tests/unit/server/store-util.h"

/* What somebody has who has the files of the store: nothing that he could not count. */

#define LATER 1000
#define LARGE 100000u
#define USERS 60u

typedef StoreFixture Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    store_fixture_set_up(f);
    g_assert_cmpint(test_register(f->store, 1, "alice.in.wonderland"), ==, 0);
    g_assert_cmpint(test_register(f->store, 2, "bob.the.builder"), ==, 0);
    g_assert_cmpint(test_register(f->store, 3, ""), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    store_fixture_tear_down(f);
}

static int put_large(Fixture *f, uint8_t to, unsigned number, StoreWrite *ret)
{
    const char *body = test_body(number, LARGE);
    test_put_init(ret, to, 2, 3, body, LARGE, LATER);
    ret->put.body = NULL;
    g_assert_cmpint(store_blob_new(f->store, &ret->put.blob), ==, 0);
    g_assert_cmpint(store_blob_append(ret->put.blob, body, LARGE), ==, 0);
    return test_write(f->store, ret);
}

/* As bytes, in hexadecimal, in base64url. */
static void expect_hidden(const Fixture *f, const void *secret, size_t n)
{
    g_autofree char *hex = g_malloc(2 * n + 1), *text = g_malloc(BASE64URL_SIZE(n) + 1);
    hex_encode(secret, n, hex);
    base64url_encode(secret, n, text);
    g_assert_false(test_files_have(f->folder, secret, n));
    g_assert_false(test_files_have(f->folder, hex, strlen(hex)));
    g_assert_false(test_files_have(f->folder, text, strlen(text)));
}

static void expect_all_hidden(const Fixture *f, const StoreWrite *small, const StoreWrite *large)
{
    g_autofree StoreIdentity *i = g_new0(StoreIdentity, 1);
    uint8_t hash[SHA256_SIZE];
    g_assert_cmpint(store_find_name(f->reader, "alice.in.wonderland", i), ==, 0);
    for (uint8_t user = 1; user <= 3; user++) {
        expect_hidden(f, test_skid(user), KID_SIZE);
        expect_hidden(f, test_kid(user), KID_SIZE);
        g_assert_cmpint(crypto_sha256(test_kid(user), KID_SIZE, hash), ==, 0);
        expect_hidden(f, hash, AT_REST_INDEX_SIZE); /* an index is no plain hash */
    }
    expect_hidden(f, "alice.in", 8);
    expect_hidden(f, "bob.the", 7);
    expect_hidden(f, i->statement, strlen(i->statement));
    expect_hidden(f, i->decrypt, i->decrypt_size);
    expect_hidden(f, small->put.id, ID_SIZE);
    expect_hidden(f, large->put.id, ID_SIZE);
    expect_hidden(f, test_body(1, 5000) + 1000, 24);
    expect_hidden(f, test_body(2, LARGE) + 50000, 24);
}

static void test_hidden(Fixture *f, gconstpointer data)
{
    StoreWrite small, large, w;
    uint8_t ids[2 * ID_SIZE];
    g_assert_cmpint(test_put(f->store, 1, 2, 3, test_body(1, 5000), 5000, LATER, &small), ==, 0);
    g_assert_cmpint(put_large(f, 1, 2, &large), ==, 0);
    g_assert_cmpint(test_put(f->store, 2, 3, 3, test_body(1, 4999), 4999, LATER, &w), ==, 0);
    /* the search finds what is there */
    g_assert_true(test_files_have(f->folder, "CREATE TABLE", 12));
    expect_all_hidden(f, &small, &large);
    store_fixture_close(f);
    store_fixture_open(f);
    expect_all_hidden(f, &small, &large);
    memcpy(ids, small.put.id, ID_SIZE);
    memcpy(ids + ID_SIZE, large.put.id, ID_SIZE);
    g_assert_cmpint(test_acknowledge(f->store, 1, ids, 2, &w), ==, 0);
    g_assert_cmpuint(w.n_changes, ==, 2);
    store_write_done(&w);
    expect_all_hidden(f, &small, &large);
}

/* The data keys of all, as they stand in the table. */
static GPtrArray *wrapped_keys(const Fixture *f)
{
    GPtrArray *all = g_ptr_array_new_with_free_func(g_free);
    Db *db = NULL;
    DbStatement *sql = NULL;
    bool row = false;
    g_assert_cmpint(db_open_reader(f->path, &store_sqlite_schema, &db), ==, 0);
    g_assert_cmpint(db_prepare(db, "SELECT wrapped FROM identities ORDER BY number", &sql), ==, 0);
    g_assert_cmpint(db_step(sql, &row), ==, 0);
    while (row) {
        uint8_t *key = g_malloc(AT_REST_WRAPPED_SIZE);
        g_assert_cmpint(db_column_exact(sql, 0, key, AT_REST_WRAPPED_SIZE), ==, 0);
        g_ptr_array_add(all, key);
        g_assert_cmpint(db_step(sql, &row), ==, 0);
    }
    (void)db_statement_free(sql);
    (void)db_close(db);
    return all;
}

/* Of those who left no data key is anywhere: not in the log, not in free pages, not in the gaps of others. */
static void test_erased(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    for (unsigned i = 4; i < USERS; i++) {
        g_autofree char *name = g_strdup_printf("user%u", i);
        g_assert_cmpint(test_register(f->store, (uint8_t)i, name), ==, 0);
        g_assert_cmpint(test_put(f->store, (uint8_t)i, 2, 3, test_body(i, 3000), 3000, LATER, &w), ==, 0);
    }
    g_autoptr(GPtrArray) keys = wrapped_keys(f);
    g_assert_cmpuint(keys->len, ==, USERS - 1);
    for (unsigned i = 0; i < keys->len; i++)
        g_assert_true(test_files_have(f->folder, keys->pdata[i], AT_REST_WRAPPED_SIZE));
    for (unsigned i = 4; i < USERS; i += 2) {
        StoreWrite leave = {.kind = STORE_UNREGISTER};
        g_snprintf(leave.unregister.name, sizeof(leave.unregister.name), "user%u", i);
        memcpy(leave.unregister.skid, test_skid((uint8_t)i), KID_SIZE);
        g_assert_cmpint(test_write(f->store, &leave), ==, 0);
    }
    for (unsigned i = 1; i < USERS; i++)
        if (i < 4 || i % 2 == 1)
            g_assert_true(test_files_have(f->folder, keys->pdata[i - 1], AT_REST_WRAPPED_SIZE));
        else
            TEST_AWAIT(!test_files_have(f->folder, keys->pdata[i - 1], AT_REST_WRAPPED_SIZE));
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

/* A mailbox that is gone takes its messages with it, wherever copies of them are. */
static void test_crypto_erased(Fixture *f, gconstpointer data)
{
    StoreWrite large;
    g_assert_cmpint(put_large(f, 1, 2, &large), ==, 0);
    g_autofree char *blobs = g_build_filename(f->folder, "blobs", NULL);
    GDir *d = g_dir_open(blobs, 0, NULL);
    g_autofree char *path = g_build_filename(blobs, g_dir_read_name(d), NULL);
    g_autofree char *sealed = NULL;
    gsize n = 0;
    g_dir_close(d);
    g_assert_true(g_file_get_contents(path, &sealed, &n, NULL));
    StoreWrite leave = {.kind = STORE_UNREGISTER, .unregister.name = "alice.in.wonderland"};
    memcpy(leave.unregister.skid, test_skid(1), KID_SIZE);
    g_assert_cmpint(test_write(f->store, &leave), ==, 0);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    /* the same owner again, and the file that was kept elsewhere: it opens nothing */
    g_assert_cmpint(test_register(f->store, 1, "alice.in.wonderland"), ==, 0);
    g_assert_cmpint(put_large(f, 1, 2, &large), ==, 0);
    d = g_dir_open(blobs, 0, NULL);
    g_autofree char *now = g_build_filename(blobs, g_dir_read_name(d), NULL);
    g_dir_close(d);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
    g_assert_true(g_file_set_contents(now, sealed, (gssize)n, NULL));
    g_assert_cmpint(store_sqlite_check(f->reader), ==, -EBADMSG);
}

static void test_other_key(Fixture *f, gconstpointer data)
{
    StoreWrite w;
    StoreReader *look = NULL;
    g_autofree char *before = NULL, *after = NULL;
    gsize n_before = 0, n_after = 0;
    g_assert_cmpint(put_large(f, 1, 2, &w), ==, 0);
    store_fixture_close(f);
    g_assert_true(g_file_get_contents(f->path, &before, &n_before, NULL));
    g_assert_cmpint(store_sqlite_open(f->folder, &f->limits, test_other_keeper(), &f->store), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(store_sqlite_open_reader(f->folder, test_other_keeper(), &look), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_true(g_file_get_contents(f->path, &after, &n_after, NULL));
    g_assert_cmpmem(before, n_before, after, n_after);
    g_assert_cmpuint(test_count_files(f->folder, "blobs"), ==, 1);
    g_assert_nonnull(strstr(store_problem(HMSG_ERROR_AUTHENTICATION_FAILED), "identity key"));
    store_fixture_open(f);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
}

/* Somebody who can write in the database can delete; what he moves or makes up does not open. */
static void test_moved(Fixture *f, gconstpointer data)
{
    static const char *const changes[] = {
        "UPDATE messages SET sealed = (SELECT sealed FROM messages WHERE number = 2) WHERE number = 1",
        "UPDATE messages SET body = (SELECT body FROM messages WHERE number = 2) WHERE number = 1",
        "UPDATE messages SET mailbox = 2 WHERE number = 1",
        "UPDATE messages SET size = size - 1 WHERE number = 1",
        "UPDATE messages SET id = zeroblob(16) WHERE number = 1",
        "UPDATE identities SET sealed = (SELECT sealed FROM identities WHERE number = 2) WHERE number = 1",
        "UPDATE identities SET wrapped = (SELECT wrapped FROM identities WHERE number = 2) WHERE number = 1",
        "UPDATE identities SET key = 2 WHERE number = 1",
        "UPDATE identities SET root = 2 WHERE number = 1",
    };
    StoreWrite w;
    g_assert_cmpint(test_put(f->store, 1, 2, 3, test_body(1, 5000), 5000, LATER, &w), ==, 0);
    g_assert_cmpint(test_put(f->store, 1, 2, 3, test_body(2, 5000), 5000, LATER, &w), ==, 0);
    g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
    store_fixture_close(f);
    g_autofree char *copy = NULL;
    gsize n = 0;
    g_assert_true(g_file_get_contents(f->path, &copy, &n, NULL));
    store_fixture_open(f);
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        store_fixture_change(f, changes[i]);
        g_assert_cmpint(store_sqlite_check(f->reader), ==, -EBADMSG);
        store_fixture_close(f);
        g_assert_true(g_file_set_contents(f->path, copy, (gssize)n, NULL));
        store_fixture_open(f);
        g_assert_cmpint(store_sqlite_check(f->reader), ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, f) g_test_add("/store/at-rest/" name, Fixture, NULL, set_up, f, tear_down)
    ADD("hidden", test_hidden);
    ADD("erased", test_erased);
    ADD("crypto-erased", test_crypto_erased);
    ADD("other-key", test_other_key);
    ADD("moved", test_moved);
    return g_test_run();
}

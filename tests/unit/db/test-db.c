/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/db/db.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/error.h"
#include "tests/lib/process.h"

#define APPLICATION 0x54455354

static const char *const steps[] = {
    "CREATE TABLE a(k INTEGER PRIMARY KEY, v BLOB); CREATE UNIQUE INDEX av ON a(v)",
    "CREATE TABLE b(k INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES a(k))",
};
static const DbSchema first = {APPLICATION, steps, 1}, second = {APPLICATION, steps, 2},
                      other = {APPLICATION + 1, steps, 2};

typedef struct Fixture {
    char *folder, *path;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "test.sqlite", NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->path);
    test_folder_remove(f->folder);
}

static int64_t number(Db *db, const char *sql)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    g_assert_cmpint(db_prepare(db, sql, &s), ==, 0);
    g_assert_cmpint(db_step(s, &row), ==, 0);
    g_assert_true(row);
    return db_column_number(s, 0);
}

static int insert(Db *db, int64_t k, const void *v, size_t n)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    g_assert_cmpint(db_prepare(db, "INSERT INTO a VALUES(?1, ?2)", &s), ==, 0);
    db_bind_number(s, 1, k);
    db_bind_bytes(s, 2, v, n);
    return db_run(s);
}

static void test_pragmas(Fixture *f, gconstpointer data)
{
    _cleanup_(db_closep) Db *db = NULL;
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, 0);
    g_assert_cmpint(number(db, "PRAGMA synchronous"), ==, 2);
    g_assert_cmpint(number(db, "PRAGMA foreign_keys"), ==, 1);
    g_assert_cmpint(number(db, "PRAGMA secure_delete"), ==, 1);
    g_assert_cmpint(number(db, "PRAGMA mmap_size"), ==, 0);
    g_assert_cmpint(number(db, "PRAGMA trusted_schema"), ==, 0);
    g_assert_cmpint(number(db, "PRAGMA user_version"), ==, 2);
    g_assert_cmpint(number(db, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), ==, 1);
    g_assert_cmpint(insert(db, 1, "x", 1), ==, 0);
    for (const char *const *suffix = (const char *const[]){"", "-wal", "-shm", ".lock", NULL}; *suffix;
         suffix++) {
        g_autofree char *name = g_strconcat(f->path, *suffix, NULL);
        struct stat st;
        g_assert_cmpint(stat(name, &st), ==, 0);
        g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    }
}

/* Cache and log may grow with the store, within their bounds. */
static void test_fit(Fixture *f, gconstpointer data)
{
    const DbOptions options = {
        .cache_kib = 64, .cache_kib_max = 150, .checkpoint_pages = 10, .checkpoint_pages_max = 200};
    _cleanup_(db_closep) Db *db = NULL;
    g_autofree uint8_t *large = g_malloc0(300 * 4096);
    g_assert_cmpint(db_open(f->path, &second, &options, &db), ==, 0);
    g_assert_cmpint(number(db, "PRAGMA wal_autocheckpoint"), ==, 10);
    g_assert_cmpint(insert(db, 1, large, 300 * 4096), ==, 0);
    g_assert_cmpint(number(db, "PRAGMA wal_autocheckpoint"), ==, 10);
    g_assert_cmpint(db_fit(db), ==, 0);
    int64_t pages = number(db, "PRAGMA page_count");
    g_assert_cmpint(pages, >, 160);
    g_assert_cmpint(pages, <, 608);
    g_assert_cmpint(number(db, "PRAGMA wal_autocheckpoint"), ==, pages / DB_LOG_SHARE);
    g_assert_cmpint(number(db, "PRAGMA cache_size"), ==, -(pages / DB_CACHE_SHARE * 4));
    g_assert_cmpint(number(db, "PRAGMA journal_size_limit"), ==, DB_LOG_SIZE);
    large[0] = 1;
    g_assert_cmpint(insert(db, 2, large, 300 * 4096), ==, 0);
    g_assert_cmpint(db_fit(db), ==, 0);
    g_assert_cmpint(number(db, "PRAGMA wal_autocheckpoint"), ==, 200);
    g_assert_cmpint(number(db, "PRAGMA cache_size"), ==, -150);
}

static void test_one_writer(Fixture *f, gconstpointer data)
{
    _cleanup_(db_closep) Db *db = NULL, *again = NULL, *reader = NULL;
    g_assert_cmpint(db_open_reader(f->path, &second, &reader), ==, -ENOENT);
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, 0);
    g_assert_cmpint(db_open(f->path, &second, NULL, &again), ==, -EBUSY);
    g_assert_null(again);
    g_assert_cmpint(db_open_reader(f->path, &second, &reader), ==, 0);
    g_assert_cmpint(insert(reader, 1, "x", 1), ==, -EROFS);
    g_assert_cmpint(db_checkpoint(reader), ==, -EROFS);
    g_assert_cmpint(db_begin(db), ==, 0);
    g_assert_cmpint(insert(db, 1, "x", 1), ==, 0);
    g_assert_cmpint(number(reader, "SELECT count(*) FROM a"), ==, 0);
    g_assert_cmpint(db_commit(db), ==, 0);
    g_assert_cmpint(number(reader, "SELECT count(*) FROM a"), ==, 1);
    g_assert_cmpint(db_checkpoint(db), ==, 0);
    db = db_close(db);
    g_assert_cmpint(db_open(f->path, &second, NULL, &again), ==, 0);
    g_assert_cmpint(number(again, "SELECT count(*) FROM a"), ==, 1);
}

/* A copy is of the moment, while a transaction runs, and a store of its own. */
static void test_copy(Fixture *f, gconstpointer data)
{
    _cleanup_(db_closep) Db *db = NULL, *reader = NULL, *copy = NULL;
    g_autofree char *path = g_strconcat(f->path, ".copy", NULL);
    struct stat st;
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, 0);
    g_assert_cmpint(insert(db, 1, "x", 1), ==, 0);
    g_assert_cmpint(db_open_reader(f->path, &second, &reader), ==, 0);
    g_assert_cmpint(db_begin(db), ==, 0);
    g_assert_cmpint(insert(db, 2, "y", 1), ==, 0);
    g_assert_cmpint(db_copy(reader, path), ==, 0);
    g_assert_cmpint(db_copy(reader, path), ==, -EEXIST);
    g_assert_cmpint(db_commit(db), ==, 0);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    g_assert_cmpint(db_open(path, &second, NULL, &copy), ==, 0);
    g_assert_cmpint(db_check(copy), ==, 0);
    g_assert_cmpint(number(copy, "SELECT count(*) FROM a"), ==, 1);
    g_assert_cmpint(insert(copy, 3, "z", 1), ==, 0);
    g_assert_cmpint(number(reader, "SELECT count(*) FROM a"), ==, 2);
}

static void test_versions(Fixture *f, gconstpointer data)
{
    _cleanup_(db_closep) Db *db = NULL;
    g_assert_cmpint(db_open(f->path, &first, NULL, &db), ==, 0);
    g_assert_cmpint(insert(db, 1, "x", 1), ==, 0);
    db = db_close(db);
    g_assert_cmpint(db_open_reader(f->path, &second, &db), ==, -ESTALE);
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, 0);
    g_assert_cmpint(number(db, "SELECT count(*) FROM a"), ==, 1);
    g_assert_cmpint(number(db, "SELECT count(*) FROM b"), ==, 0);
    db = db_close(db);
    g_assert_cmpint(db_open(f->path, &first, NULL, &db), ==, -ENOTSUP);
    g_assert_cmpint(db_open(f->path, &other, NULL, &db), ==, -EBADMSG);
    g_assert_cmpint(db_open_reader(f->path, &first, &db), ==, -ENOTSUP);
    g_assert_true(g_file_set_contents(f->path, "this is no database, though it is long enough", -1, NULL));
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, -EBADMSG);
    g_assert_null(db);
}

static void test_errors(Fixture *f, gconstpointer data)
{
    _cleanup_(db_closep) Db *db = NULL;
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = true;
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, 0);
    g_assert_cmpint(insert(db, 1, "x", 1), ==, 0);
    g_assert_cmpint(insert(db, 2, "x", 1), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(db_exec(db, "INSERT INTO b VALUES(1, 77)"), ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpint(db_exec(db, "no SQL"), ==, -EIO);
    g_assert_cmpint(db_prepare(db, "", &s), ==, -EINVAL);
    g_assert_cmpint(db_prepare(db, "SELECT v, NULL, k FROM a WHERE k = ?1", &s), ==, 0);
    db_bind_number(s, 2, 1);
    g_assert_cmpint(db_step(s, &row), ==, -EIO);
    db_bind_number(s, 1, 1);
    g_assert_cmpint(db_step(s, &row), ==, 0);
    g_assert_true(row);
    uint8_t value[2] = {};
    g_assert_cmpint(db_column_exact(s, 0, value, 2), ==, -EBADMSG);
    g_assert_cmpint(db_column_exact(s, 0, value, 1), ==, 0);
    g_assert_cmpint(value[0], ==, 'x');
    g_assert_true(db_column_null(s, 1));
    g_assert_cmpstr(db_column_text(s, 1, NULL), ==, "");
    g_assert_cmpint(db_step(s, &row), ==, 0);
    g_assert_false(row);
}

static void test_rollback(Fixture *f, gconstpointer data)
{
    _cleanup_(db_closep) Db *db = NULL;
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, 0);
    {
        _cleanup_(db_rollbackp) Db *transaction = db;
        g_assert_cmpint(db_begin(transaction), ==, 0);
        g_assert_cmpint(insert(db, 1, "x", 1), ==, 0);
        g_assert_cmpint(db_changes(db), ==, 1);
        g_assert_cmpint(db_last_row_id(db), ==, 1);
    }
    g_assert_cmpint(number(db, "SELECT count(*) FROM a"), ==, 0);
    db_rollback(db);
    g_assert_cmpint(db_begin_read(db), ==, 0);
    g_assert_cmpint(number(db, "SELECT count(*) FROM a"), ==, 0);
    db_rollback(db);
    g_assert_cmpint(db_check(db), ==, 0);
}

static void test_full(Fixture *f, gconstpointer data)
{
    static const DbOptions options = {.size_max = 256 * 1024};
    _cleanup_(db_closep) Db *db = NULL;
    g_autofree uint8_t *big = g_malloc0(400 * 1024);
    g_assert_cmpint(db_open(f->path, &second, &options, &db), ==, 0);
    g_assert_cmpint(db_begin(db), ==, 0);
    g_assert_cmpint(insert(db, 1, big, 400 * 1024), ==, HMSG_ERROR_STORAGE_FULL);
    db_rollback(db);
    g_assert_cmpint(insert(db, 2, big, 1024), ==, 0);
    g_assert_cmpint(number(db, "SELECT count(*) FROM a"), ==, 1);
}

static void count_problem(const char *problem, void *userdata)
{
    unsigned *n = userdata;
    g_assert_cmpstr(problem, !=, "");
    g_assert_null(strstr(problem, "long enough")); /* nothing that is stored */
    (*n)++;
}

static void test_damage(Fixture *f, gconstpointer data)
{
    _cleanup_(db_closep) Db *db = NULL;
    g_assert_cmpint(db_open(f->path, &second, NULL, &db), ==, 0);
    for (int i = 0; i < 400; i++) {
        char v[64];
        int n = g_snprintf(v, sizeof(v), "value number %d, which is long enough", i);
        g_assert_cmpint(insert(db, i, v, (size_t)n), ==, 0);
    }
    db = db_close(db);
    g_autofree char *content = NULL;
    gsize n = 0;
    g_assert_true(g_file_get_contents(f->path, &content, &n, NULL));
    memset(content + n - 3000, 0x5a, 2000);
    g_assert_true(g_file_set_contents(f->path, content, (gssize)n, NULL));
    g_assert_cmpint(db_open_reader(f->path, &second, &db), ==, 0);
    g_assert_cmpint(db_check(db), ==, -EBADMSG);
    unsigned told = 0;
    g_assert_cmpint(db_check_tell(db, count_problem, &told), ==, -EBADMSG);
    g_assert_cmpuint(told, >, 0);
    g_assert_cmpuint(told, <=, 2 * DB_PROBLEMS_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/db/pragmas", Fixture, NULL, set_up, test_pragmas, tear_down);
    g_test_add("/db/fit", Fixture, NULL, set_up, test_fit, tear_down);
    g_test_add("/db/one-writer", Fixture, NULL, set_up, test_one_writer, tear_down);
    g_test_add("/db/versions", Fixture, NULL, set_up, test_versions, tear_down);
    g_test_add("/db/errors", Fixture, NULL, set_up, test_errors, tear_down);
    g_test_add("/db/copy", Fixture, NULL, set_up, test_copy, tear_down);
    g_test_add("/db/rollback", Fixture, NULL, set_up, test_rollback, tear_down);
    g_test_add("/db/full", Fixture, NULL, set_up, test_full, tear_down);
    g_test_add("/db/damage", Fixture, NULL, set_up, test_damage, tear_down);
    return g_test_run();
}

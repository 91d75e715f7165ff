/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/db/wal-vfs.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/db/db.h"
#include "tests/lib/process.h"

#define APPLICATION 0x4c4f4753
#define ROWS 500u
#define ROW_SIZE 4000u /* each has a page of its own */

static unsigned writes;    /* to the log */
static unsigned countdown; /* writes to the log until one fails; 0: none does */

static bool is_log(int fd)
{
    char path[64], name[PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, name, sizeof(name) - 1);
    g_assert_cmpint(n, >, 0);
    name[n] = 0;
    return g_str_has_suffix(name, "-wal");
}

/* Before that of libc. */
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset)
{
    if (is_log(fd)) {
        writes++;
        if (countdown > 0 && --countdown == 0) {
            errno = ENOSPC;
            return -1;
        }
    }
    return syscall(SYS_pwrite64, fd, data, n, offset);
}

static const char *const steps[] = {"CREATE TABLE a(k INTEGER PRIMARY KEY, v BLOB NOT NULL)"};
static const DbSchema schema = {APPLICATION, steps, 1};

typedef struct Fixture {
    char *folder, *path, *log;
    Db *db;
    DbStatement *insert;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    const DbOptions options = {.cache_kib = (unsigned)GPOINTER_TO_UINT(data), .checkpoint_pages = 1000000};
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "test.sqlite", NULL);
    f->log = g_strconcat(f->path, "-wal", NULL);
    g_assert_cmpint(db_open(f->path, &schema, &options, &f->db), ==, 0);
    g_assert_cmpint(db_prepare(f->db, "INSERT INTO a(v) VALUES(?1)", &f->insert), ==, 0);
    writes = countdown = 0;
}

static void tear_down(Fixture *f, gconstpointer data)
{
    countdown = 0;
    (void)db_statement_free(f->insert);
    (void)db_close(f->db);
    g_free(f->path);
    g_free(f->log);
    test_folder_remove(f->folder);
}

static int insert(Fixture *f, unsigned n)
{
    static const uint8_t row[ROW_SIZE] = {1};
    int r = 0;
    for (unsigned i = 0; r == 0 && i < n; i++) {
        db_bind_bytes(f->insert, 1, row, sizeof(row));
        r = db_run(f->insert);
    }
    return r;
}

static int64_t rows(Db *db)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    g_assert_cmpint(db_prepare(db, "SELECT count(*) FROM a WHERE length(v) = 4000", &s), ==, 0);
    g_assert_cmpint(db_step(s, &row), ==, 0);
    g_assert_true(row);
    return db_column_number(s, 0);
}

static int64_t rows_of_reader(const Fixture *f)
{
    _cleanup_(db_closep) Db *reader = NULL;
    g_assert_cmpint(db_open_reader(f->path, &schema, &reader), ==, 0);
    return rows(reader);
}

/* What a crash at this moment leaves. */
static int64_t rows_after_crash(const Fixture *f)
{
    _cleanup_(db_closep) Db *db = NULL;
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "test.sqlite", NULL);
    g_autofree char *log = g_strconcat(path, "-wal", NULL), *content = NULL;
    gsize n = 0;
    g_assert_true(g_file_get_contents(f->path, &content, &n, NULL));
    g_assert_true(g_file_set_contents(path, content, (gssize)n, NULL));
    g_clear_pointer(&content, g_free);
    g_assert_true(g_file_get_contents(f->log, &content, &n, NULL));
    g_assert_true(g_file_set_contents(log, content, (gssize)n, NULL));
    g_assert_cmpint(db_open(path, &schema, NULL, &db), ==, 0);
    g_assert_cmpint(db_check(db), ==, 0);
    int64_t found = rows(db);
    db = db_close(db);
    test_folder_remove(folder);
    return found;
}

/* Few writes, and all is there when the commit returns. */
static void test_gathered(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(db_begin(f->db), ==, 0);
    g_assert_cmpint(insert(f, ROWS), ==, 0);
    g_assert_cmpint(db_commit(f->db), ==, 0);
    g_assert_cmpuint(writes, >, 0);
    g_assert_cmpuint(writes, <, ROWS / 10);
    g_assert_cmpint(rows_of_reader(f), ==, ROWS);
    g_assert_cmpint(rows_after_crash(f), ==, ROWS);
    writes = 0;
    g_assert_cmpint(insert(f, 1), ==, 0);
    g_assert_cmpuint(writes, >, 0);
    g_assert_cmpint(rows_after_crash(f), ==, ROWS + 1);
}

/* A transaction larger than the cache reads what it wrote to the log itself; nobody else sees it, and
 * nothing of it stays when it is given up. */
static void test_spilled(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpint(db_begin(f->db), ==, 0);
        g_assert_cmpint(insert(f, ROWS), ==, 0);
        g_assert_cmpuint(writes, >, 0);
        g_assert_cmpint(rows(f->db), ==, (i / 2 + 1) * ROWS);
        g_assert_cmpint(rows_of_reader(f), ==, i / 2 * ROWS);
        if (i % 2 == 0)
            db_rollback(f->db);
        else
            g_assert_cmpint(db_commit(f->db), ==, 0);
        g_assert_cmpint(rows_of_reader(f), ==, (i + 1) / 2 * ROWS);
        g_assert_cmpint(rows_after_crash(f), ==, (i + 1) / 2 * ROWS);
    }
}

/* Whichever write fails, the transaction does, the one before it is whole and the next one succeeds. */
static void test_fails(Fixture *f, gconstpointer data)
{
    int64_t expected = 0;
    bool failed = true;
    for (unsigned at = 1; failed; at++) {
        g_assert_cmpint(insert(f, 3), ==, 0);
        expected += 3;
        g_assert_cmpint(db_begin(f->db), ==, 0);
        countdown = at;
        int r = insert(f, ROWS);
        if (r == 0)
            r = db_commit(f->db);
        failed = countdown == 0;
        countdown = 0;
        g_assert_cmpint(r, ==, failed ? HMSG_ERROR_STORAGE_FULL : 0);
        db_rollback(f->db);
        expected += failed ? 0 : ROWS;
        g_assert_cmpint(rows(f->db), ==, expected);
        g_assert_cmpint(insert(f, 2), ==, 0);
        expected += 2;
        g_assert_cmpint(rows_of_reader(f), ==, expected);
        g_assert_cmpint(rows_after_crash(f), ==, expected);
    }
    g_assert_cmpint(expected, >, 5 + ROWS);
}

/* Closed in the middle, it leaves what was committed. */
static void test_closed(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(insert(f, 1), ==, 0);
    g_assert_cmpint(db_begin(f->db), ==, 0);
    g_assert_cmpint(insert(f, ROWS), ==, 0);
    f->insert = db_statement_free(f->insert);
    f->db = db_close(f->db);
    g_assert_cmpint(db_open(f->path, &schema, NULL, &f->db), ==, 0);
    g_assert_cmpint(rows(f->db), ==, 1);
}

int main(int argc, char **argv)
{
    const gpointer small = GUINT_TO_POINTER(64), large = GUINT_TO_POINTER(65536);
    g_test_init(&argc, &argv, NULL);
    g_test_add("/wal/gathered", Fixture, large, set_up, test_gathered, tear_down);
    g_test_add("/wal/spilled", Fixture, small, set_up, test_spilled, tear_down);
    g_test_add("/wal/fails", Fixture, large, set_up, test_fails, tear_down);
    g_test_add("/wal/fails-spilled", Fixture, small, set_up, test_fails, tear_down);
    g_test_add("/wal/closed", Fixture, small, set_up, test_closed, tear_down);
    return g_test_run();
}

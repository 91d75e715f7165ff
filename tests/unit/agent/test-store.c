/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/store.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "libhmsg/base/file.h"
#include "tests/lib/process.h"

typedef struct Fixture {
    char *folder;
    Store *store;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->store), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)store_free(f->store);
    test_folder_remove(f->folder);
}

static bool there(Fixture *f, const char *name)
{
    g_autofree char *path = g_build_filename(f->folder, "mail", name, NULL);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void make(Fixture *f, size_t size, char name[STORE_FILE_NAME_SIZE], StoreBody *body)
{
    g_autofree uint8_t *bytes = g_malloc(size);
    _cleanup_(fd_closep) int fd = -1;

    memset(bytes, 'x', size);
    g_assert_cmpint(store_body_create(f->store, name, &fd), ==, 0);
    g_assert_cmpint(file_write_fd(fd, bytes, size), ==, 0);
    g_assert_cmpint(store_body_keep(f->store, name, fd, size + 1, body), ==, -EBADMSG);
    g_assert_cmpint(store_body_keep(f->store, name, fd, size, body), ==, 0);
}

static void test_small_body(Fixture *f, gconstpointer data)
{
    char name[STORE_FILE_NAME_SIZE];
    StoreBody body = {0};

    make(f, STORE_BODY_ROW_MAX, name, &body);
    g_assert_cmpstr(body.file, ==, "");
    g_assert_cmpuint(body.bytes.size, ==, STORE_BODY_ROW_MAX);
    g_assert_cmpint(body.bytes.data[0], ==, 'x');
    g_assert_false(there(f, name));
    store_body_done(&body);
}

static void test_large_body(Fixture *f, gconstpointer data)
{
    _cleanup_(fd_closep) int fd = -1;
    char name[STORE_FILE_NAME_SIZE];
    Buf read = BUF_MAX(STORE_BODY_ROW_MAX + 1);
    StoreBody body = {0};

    make(f, STORE_BODY_ROW_MAX + 1, name, &body);
    g_assert_cmpstr(body.file, ==, name);
    g_assert_cmpint(store_body_open(f->store, name, &fd), ==, 0);
    g_assert_cmpint(file_read_fd(fd, &read), ==, 0);
    g_assert_cmpuint(read.size, ==, STORE_BODY_ROW_MAX + 1);
    buf_done(&read);
    store_body_remove(f->store, name);
    store_body_remove(f->store, name);
    store_body_remove(f->store, NULL);
    g_assert_false(there(f, name));
    store_body_done(&body);
}

/* A file stays over a restart exactly when a row names it. */
static void test_sweep(Fixture *f, gconstpointer data)
{
    char kept[STORE_FILE_NAME_SIZE], lost[STORE_FILE_NAME_SIZE];
    StoreBody body = {0};
    g_autofree char *sql = NULL;

    make(f, STORE_BODY_ROW_MAX + 1, kept, &body);
    make(f, STORE_BODY_ROW_MAX + 1, lost, &body);
    sql = g_strdup_printf("INSERT INTO inbox(id, relay, state, submitter, received, size, file)"
                          " VALUES('i', 'r', 0, 's', 1, 2, '%s')",
                          kept);
    g_assert_cmpint(db_exec(store_db(f->store), sql), ==, 0);
    f->store = store_free(f->store);
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->store), ==, 0);
    g_assert_true(there(f, kept));
    g_assert_false(there(f, lost));
}

static void test_one_at_a_time(Fixture *f, gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->folder, "store.db", NULL);
    Store *second = NULL;
    GStatBuf st;

    g_assert_cmpint(store_new(f->folder, "", NULL, &second), ==, -EBUSY);
    g_assert_null(second);
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
}

static void test_no_folder(void)
{
    Store *s = NULL;

    g_assert_cmpint(store_new("/nonexistent/folder", "", NULL, &s), <, 0);
    g_assert_null(s);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/store/small-body", Fixture, NULL, set_up, test_small_body, tear_down);
    g_test_add("/store/large-body", Fixture, NULL, set_up, test_large_body, tear_down);
    g_test_add("/store/sweep", Fixture, NULL, set_up, test_sweep, tear_down);
    g_test_add("/store/one-at-a-time", Fixture, NULL, set_up, test_one_at_a_time, tear_down);
    g_test_add_func("/store/no-folder", test_no_folder);
    return g_test_run();
}

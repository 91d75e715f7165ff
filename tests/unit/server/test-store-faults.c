/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/problem.h"
#include "server/store-sqlite.h"
#include "tests/unit/server/store-util.h"

/* Each call by which the store, or SQLite in it, changes the disk fails in its turn, in each way that a disk
 * has. Whatever fails, the answer is one that says "later", nothing that was accepted is lost, and what a
 * crash at this moment leaves can be opened and is whole. */

#define LATER 1000
#define BLOB_SIZE 100000u

typedef enum Way {
    WAY_ONCE,
    WAY_STAYS, /* so does every call after it, as on a disk that is full */
    WAY_SHORT, /* a write gets half of it done, the next call fails */
    WAY_MAX_,
} Way;

static atomic_int countdown; /* calls until one fails; 0: none does */
static atomic_int failure;   /* errno */
static atomic_int way;

static bool fails(void)
{
    int left = atomic_load(&countdown);
    do
        if (left <= 0)
            return false;
    while (!atomic_compare_exchange_weak(&countdown, &left,
                                         left == 1 && atomic_load(&way) == WAY_STAYS ? 1 : left - 1));
    if (left > 1)
        return false;
    errno = atomic_load(&failure);
    return true;
}

/* How much of n bytes is written before the failure. */
static size_t so_far(size_t n)
{
    return n > 1 && atomic_load(&way) == WAY_SHORT && atomic_load(&countdown) == 1 ? n / 2 : n;
}

/* These stand before those of libc. */
ssize_t write(int fd, const void *data, size_t n)
{
    n = so_far(n);
    return fails() ? -1 : syscall(SYS_write, fd, data, n);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset)
{
    n = so_far(n);
    return fails() ? -1 : syscall(SYS_pwrite64, fd, data, n, offset);
}

int fsync(int fd)
{
    return fails() ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return fails() ? -1 : (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}

static int open_at(int fd, const char *path, int flags, mode_t mode)
{
    return (flags & O_CREAT) && fails() ? -1 : (int)syscall(SYS_openat, fd, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat64(int fd, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_at(fd, path, flags, mode);
}

typedef struct Case {
    char *folder;
    StoreLimits limits;
    Store *store;
    StoreReader *reader;
    StoreWrite small, large; /* what is put while a call fails */
} Case;

static int put_small(Case *c)
{
    return test_put(c->store, 1, 2, 3, test_body(1, 5000), 5000, LATER, &c->small);
}

static int put_large(Case *c)
{
    StoreBlob *b = NULL;
    const char *body = test_body(2, BLOB_SIZE);
    test_put_init(&c->large, 1, 2, 3, body, BLOB_SIZE, LATER);
    c->large.put.body = NULL;
    int r = store_blob_new(c->store, &b);
    if (r == 0)
        r = store_blob_append(b, body, BLOB_SIZE);
    if (r != 0) {
        b = store_blob_free(b);
        return r;
    }
    c->large.put.blob = b;
    return test_write(c->store, &c->large);
}

static void case_begin(Case *c)
{
    StoreWrite w;
    *c = (Case){.folder = test_folder_new()};
    store_limits_init(&c->limits);
    c->limits.space_reserve = 0;
    g_assert_cmpint(store_sqlite_open(c->folder, &c->limits, test_store_keeper(), &c->store), ==, 0);
    g_assert_cmpint(store_reader_new(c->store, &c->reader), ==, 0);
    g_assert_cmpint(test_register(c->store, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(c->store, 2, "bob"), ==, 0);
    g_assert_cmpint(test_put(c->store, 1, 2, 3, "before", 6, LATER, &w), ==, 0);
}

static void case_end(Case *c)
{
    c->reader = store_reader_free(c->reader);
    c->store = store_free(c->store);
    test_folder_remove(c->folder);
}

static void expect_later(int r)
{
    Problem p = problem_from_error(r);
    if (r != 0 && p != PROBLEM_FULL && p != PROBLEM_UNAVAILABLE)
        g_error("%d is answered as %s", r, problem_name(p));
}

static bool has(StoreReader *reader, const uint8_t *id, size_t n)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    uint64_t size = 0;
    int r = store_fetch(reader, test_kid(1), id, &body, &file, &size);
    file = store_file_free(file);
    g_assert_true(r == HMSG_ERROR_NOT_FOUND || (r == 0 && size == n));
    return r == 0;
}

static void copy(const char *from_folder, const char *to_folder, const char *name)
{
    g_autofree char *from = g_build_filename(from_folder, name, NULL);
    g_autofree char *to = g_build_filename(to_folder, name, NULL);
    g_autofree char *content = NULL;
    gsize n = 0;
    if (g_file_get_contents(from, &content, &n, NULL))
        g_assert_true(g_file_set_contents(to, content, (gssize)n, NULL));
}

/* What is in the files now is what the next relay finds when this one is killed here. */
static void check_crash(const Case *c, bool small, bool large)
{
    g_autofree char *from = g_build_filename(c->folder, "blobs", NULL);
    char *folder = test_folder_new();
    g_autofree char *to = g_build_filename(folder, "blobs", NULL);
    Store *store = NULL;
    StoreReader *reader = NULL;
    const char *name;
    g_assert_cmpint(mkdir(to, 0700), ==, 0);
    copy(c->folder, folder, "relay.sqlite");
    copy(c->folder, folder, "relay.sqlite-wal");
    GDir *d = g_dir_open(from, 0, NULL);
    while ((name = g_dir_read_name(d)))
        copy(from, to, name);
    g_dir_close(d);
    g_assert_cmpint(store_sqlite_open(folder, &c->limits, test_store_keeper(), &store), ==, 0);
    g_assert_cmpint(store_reader_new(store, &reader), ==, 0);
    g_assert_cmpint(store_sqlite_check(reader), ==, 0);
    StoreCounts counts = {};
    g_assert_cmpint(store_counts(reader, &counts), ==, 0);
    g_assert_cmpuint(test_count_files(folder, "blobs"), ==, counts.blobs);
    g_assert_true(has(reader, c->small.put.id, 5000) || !small);
    g_assert_true(has(reader, c->large.put.id, BLOB_SIZE) || !large);
    g_assert_cmpuint(counts.messages, >=, 1u + small + large);
    reader = store_reader_free(reader);
    store = store_free(store);
    test_folder_remove(folder);
}

/* The nth call fails; false: there were fewer. */
static bool run_case(int nth, int error, Way how)
{
    Case c;
    case_begin(&c);
    atomic_store(&failure, error);
    atomic_store(&way, how);
    atomic_store(&countdown, nth);
    int small = put_small(&c), large = put_large(&c);
    bool reached = atomic_exchange(&countdown, 0) <= (how == WAY_STAYS);
    expect_later(small);
    expect_later(large);
    check_crash(&c, small == 0, large == 0);
    /* The disk is well again. */
    g_assert_cmpint(put_large(&c), ==, 0);
    g_assert_cmpint(put_small(&c), ==, 0);
    g_assert_true(has(c.reader, c.small.put.id, 5000));
    g_assert_true(has(c.reader, c.large.put.id, BLOB_SIZE));
    g_assert_cmpuint(test_count_files(c.folder, "blobs"), ==, 1);
    g_assert_cmpint(store_sqlite_check(c.reader), ==, 0);
    check_crash(&c, true, true);
    case_end(&c);
    return reached;
}

static void test_faults(gconstpointer data)
{
    for (Way how = 0; how < WAY_MAX_; how++) {
        int n = 1;
        while (run_case(n, GPOINTER_TO_INT(data), how))
            n++;
        g_test_message("%d calls", n - 1);
        g_assert_cmpint(n, >, 8);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/store/faults/no-space", GINT_TO_POINTER(ENOSPC), test_faults);
    g_test_add_data_func("/store/faults/io", GINT_TO_POINTER(EIO), test_faults);
    g_test_add_data_func("/store/faults/read-only", GINT_TO_POINTER(EROFS), test_faults);
    return g_test_run();
}

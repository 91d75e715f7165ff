/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/store-sqlite.h"
#include "tests/unit/server/store-util.h"

/* The power goes before each call by which the store, or SQLite in it, changes the disk. What was synced is
 * on the disk then; what was not may be there or not: names of a folder all or none, content by sectors. What
 * comes up again must be whole, have all that was accepted, and nothing that was acknowledged. */

#define LATER 1000
#define SECTOR 512u
#define BLOB_SIZE 100000u
#define PUTS 8u
#define IMAGES_MAX 4096u

typedef enum Luck {
    LUCK_NONE, /* nothing more than what was synced */
    LUCK_SOME,
    LUCK_ALL,
} Luck;

typedef struct Image {
    char *folder;
    bool accepted[PUTS], acknowledged[PUTS];
} Image;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static GHashTable *contents; /* inode -> GByteArray, as it was last synced */
static GHashTable *names;    /* path -> GByteArray, of folders as they were last synced */
static char *root;           /* whose calls count; NULL: none */
static bool cutting;         /* make images */
static Luck luck;
static Image images[IMAGES_MAX];
static size_t n_images;
static bool accepted[PUTS], acknowledged[PUTS];
static _Thread_local bool inside;

static GByteArray *read_all(const char *path)
{
    char *data = NULL;
    gsize n = 0;
    g_assert_true(g_file_get_contents(path, &data, &n, NULL));
    return g_byte_array_new_take((guint8 *)data, n);
}

static gpointer inode(const struct stat *st)
{
    return GSIZE_TO_POINTER((gsize)st->st_ino);
}

/* What a file that has this name now holds for sure. */
static GByteArray *synced_content(const char *path)
{
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    GByteArray *b = g_hash_table_lookup(contents, inode(&st));
    if (!b) {
        b = g_byte_array_new();
        g_hash_table_insert(contents, inode(&st), b);
    }
    return g_byte_array_ref(b);
}

static void walk(const char *folder, void (*visit)(const char *path, void *userdata), void *userdata)
{
    const char *name;
    GDir *d = g_dir_open(folder, 0, NULL);
    g_assert_nonnull(d);
    while ((name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_REGULAR) && !g_str_has_suffix(path, "-shm"))
            visit(path, userdata);
    }
    g_dir_close(d);
}

static void remember_name(const char *path, void *userdata)
{
    g_hash_table_insert(names, g_strdup(path), synced_content(path));
}

static bool is_in(const char *path, const char *folder)
{
    g_autofree char *parent = g_path_get_dirname(path);
    return strcmp(parent, folder) == 0;
}

static gboolean name_is_in(gpointer path, gpointer content, gpointer folder)
{
    return is_in(path, folder);
}

static void synced(int fd)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autofree char *path = g_file_read_link(link, NULL);
    struct stat st;
    if (!root || !path || !g_str_has_prefix(path, root) || fstat(fd, &st) < 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        (void)g_hash_table_foreach_remove(names, name_is_in, path);
        walk(path, remember_name, NULL);
        return;
    }
    GByteArray *now = read_all(path), *b = synced_content(path);
    g_byte_array_set_size(b, 0);
    g_byte_array_append(b, now->data, now->len);
    g_byte_array_unref(b);
    g_byte_array_unref(now);
}

static bool lucky(void)
{
    return luck == LUCK_ALL || (luck == LUCK_SOME && g_random_boolean());
}

static void write_image(const Image *i, const char *path, const GByteArray *content)
{
    g_autofree char *to = g_strconcat(i->folder, path + strlen(root), NULL);
    FILE *f = fopen(to, "we");
    g_assert_nonnull(f);
    if (content->len > 0)
        g_assert_cmpuint(fwrite(content->data, 1, content->len, f), ==, content->len);
    g_assert_cmpint(fclose(f), ==, 0);
}

/* A file that has its name still: each sector as it was synced, or as it is. */
static void cut_file(const char *path, void *userdata)
{
    GByteArray *before = synced_content(path), *now = read_all(path), *cut = g_byte_array_new();
    guint size = lucky() ? now->len : before->len;
    g_byte_array_set_size(cut, size);
    if (size > 0)
        memset(cut->data, 0, size);
    for (guint at = 0; at < size; at += SECTOR) {
        const GByteArray *from = lucky() ? now : before;
        if (at < from->len)
            memcpy(cut->data + at, from->data + at, MIN(MIN(SECTOR, size - at), from->len - at));
    }
    write_image(userdata, path, cut);
    g_byte_array_unref(before);
    g_byte_array_unref(now);
    g_byte_array_unref(cut);
}

static void cut_folder(Image *i, const char *folder)
{
    GHashTableIter all;
    gpointer path, content;
    g_autofree char *to = g_strconcat(i->folder, folder + strlen(root), NULL);
    g_assert_cmpint(g_mkdir_with_parents(to, 0700), ==, 0);
    if (lucky()) {
        walk(folder, cut_file, i);
        return;
    }
    g_hash_table_iter_init(&all, names);
    while (g_hash_table_iter_next(&all, &path, &content))
        if (is_in(path, folder))
            write_image(i, path, content);
}

/* With the lock held: nothing changes meanwhile, and what is answered now was on the disk before. */
static void cut(void)
{
    Image *i = &images[n_images++];
    g_autofree char *blobs = g_build_filename(root, "blobs", NULL);
    g_assert_cmpuint(n_images, <, IMAGES_MAX);
    memcpy(i->accepted, accepted, sizeof(accepted));
    memcpy(i->acknowledged, acknowledged, sizeof(acknowledged));
    i->folder = test_folder_new();
    cut_folder(i, root);
    cut_folder(i, blobs);
}

static void enter(void)
{
    if (inside)
        return;
    (void)pthread_mutex_lock(&lock);
    inside = true;
    if (cutting)
        cut();
}

static void leave(void)
{
    inside = false;
    (void)pthread_mutex_unlock(&lock);
}

/* These stand before those of libc. */
#define CALL(type, call)                                                                                     \
    bool outer = !inside;                                                                                    \
    if (outer)                                                                                               \
        enter();                                                                                             \
    type r_ = (type)(call);                                                                                  \
    if (outer)                                                                                               \
        leave();                                                                                             \
    return r_

ssize_t write(int fd, const void *data, size_t n)
{
    CALL(ssize_t, syscall(SYS_write, fd, data, n));
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset)
{
    CALL(ssize_t, syscall(SYS_pwrite64, fd, data, n, offset));
}

int ftruncate64(int fd, off64_t size)
{
    CALL(int, syscall(SYS_ftruncate, fd, size));
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    CALL(int, syscall(SYS_renameat, from_fd, from, to_fd, to));
}

/* The number of a file that is gone may be given to another. */
static int remove_at(int fd, const char *path, int flags)
{
    struct stat st;
    if (root && fstatat(fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        (void)g_hash_table_remove(contents, inode(&st));
    return (int)syscall(SYS_unlinkat, fd, path, flags);
}

int unlinkat(int fd, const char *path, int flags)
{
    CALL(int, remove_at(fd, path, flags));
}

int unlink(const char *path)
{
    CALL(int, remove_at(AT_FDCWD, path, 0));
}

static int sync_fd(int fd, long call)
{
    int r = (int)syscall(call, fd);
    if (r == 0)
        synced(fd);
    return r;
}

int fsync(int fd)
{
    CALL(int, sync_fd(fd, SYS_fsync));
}

int fdatasync(int fd)
{
    CALL(int, sync_fd(fd, SYS_fdatasync));
}

static void set(bool *what, bool value)
{
    (void)pthread_mutex_lock(&lock);
    *what = value;
    (void)pthread_mutex_unlock(&lock);
}

static size_t size_of(unsigned number)
{
    return number % 3 == 2 ? BLOB_SIZE : 700u * (number + 1);
}

static void put(Store *s, unsigned number, StoreWrite *w)
{
    const char *body = test_body(number, size_of(number));
    test_put_init(w, 1, 2, 3, body, size_of(number), LATER);
    if (size_of(number) == BLOB_SIZE) {
        w->put.body = NULL;
        g_assert_cmpint(store_blob_new(s, &w->put.blob), ==, 0);
        g_assert_cmpint(store_blob_append(w->put.blob, body, BLOB_SIZE), ==, 0);
    }
    g_assert_cmpint(test_write(s, w), ==, 0);
    set(&accepted[number], true);
}

static void acknowledge(Store *s, unsigned number, const StoreWrite *put_before)
{
    StoreWrite w;
    set(&accepted[number], false); /* may go from now on */
    g_assert_cmpint(test_acknowledge(s, 1, put_before->put.id, 1, &w), ==, 0);
    store_write_done(&w);
    set(&acknowledged[number], true);
}

static void run(const char *folder, const StoreLimits *limits, uint8_t ids[PUTS][ID_SIZE])
{
    Store *s = NULL;
    StoreWrite w[PUTS];
    g_assert_cmpint(store_sqlite_open(folder, limits, test_store_keeper(), &s), ==, 0);
    g_assert_cmpint(test_register(s, 1, "alice"), ==, 0);
    g_assert_cmpint(test_register(s, 2, "bob"), ==, 0);
    set(&cutting, true);
    for (unsigned i = 0; i < PUTS; i++) {
        put(s, i, &w[i]);
        memcpy(ids[i], w[i].put.id, ID_SIZE);
        if (i >= 2 && i % 2 == 0)
            acknowledge(s, i - 2, &w[i - 2]);
        if (i == PUTS / 2) { /* the log is carried over, and begun anew */
            s = store_free(s);
            g_assert_cmpint(store_sqlite_open(folder, limits, test_store_keeper(), &s), ==, 0);
        }
    }
    s = store_free(s);
    set(&cutting, false);
}

static void check(const Image *i, const StoreLimits *limits, uint8_t ids[PUTS][ID_SIZE])
{
    Store *s = NULL;
    StoreReader *reader = NULL;
    g_assert_cmpint(store_sqlite_open(i->folder, limits, test_store_keeper(), &s), ==, 0);
    g_assert_cmpint(store_reader_new(s, &reader), ==, 0);
    g_assert_cmpint(store_sqlite_check(reader), ==, 0);
    for (unsigned k = 0; k < PUTS; k++) {
        _cleanup_(buf_done) Buf body = BUF_MAX(BLOB_SIZE + MESSAGE_SIZE_MAX);
        StoreFile *file = NULL;
        uint64_t size = 0;
        int r = store_fetch(reader, test_kid(1), ids[k], &body, &file, &size);
        if (r == 0)
            test_read_file(file, &body);
        if (i->accepted[k])
            g_assert_cmpint(r, ==, 0);
        if (i->acknowledged[k])
            g_assert_cmpint(r, ==, HMSG_ERROR_NOT_FOUND);
        if (r == 0)
            g_assert_cmpmem(body.data, body.size, test_body(k, size_of(k)), size_of(k));
    }
    reader = store_reader_free(reader);
    s = store_free(s);
}

static void test_power(gconstpointer data)
{
    StoreLimits limits;
    uint8_t ids[PUTS][ID_SIZE] = {};
    char *folder = test_folder_new();
    store_limits_init(&limits);
    limits.space_reserve = 0;
    luck = (Luck)GPOINTER_TO_INT(data);
    memset(accepted, 0, sizeof(accepted));
    memset(acknowledged, 0, sizeof(acknowledged));
    contents = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_byte_array_unref);
    names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_byte_array_unref);
    root = folder;
    run(folder, &limits, ids);
    root = NULL;
    g_test_message("%zu cuts", n_images);
    g_assert_cmpuint(n_images, >, 5 * PUTS);
    for (size_t i = 0; i < n_images; i++) {
        check(&images[i], &limits, ids);
        test_folder_remove(images[i].folder);
    }
    n_images = 0;
    g_hash_table_unref(contents);
    g_hash_table_unref(names);
    test_folder_remove(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/store/power/nothing-more", GINT_TO_POINTER(LUCK_NONE), test_power);
    g_test_add_data_func("/store/power/some", GINT_TO_POINTER(LUCK_SOME), test_power);
    g_test_add_data_func("/store/power/all", GINT_TO_POINTER(LUCK_ALL), test_power);
    return g_test_run();
}

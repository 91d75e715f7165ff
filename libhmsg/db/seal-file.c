/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A store in clear becomes a sealed one. Beside it are, while that goes on, STORE.new, which is not whole
 * yet, and STORE.clear, a second name of the store in clear. The rename of the first over the store is the
 * step: before it the store is as it was, after it it is sealed, and only what was in clear has to be wiped.
 */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/db/db-internal.h"

#define WIPE_PIECE 65536u
#define NEW_SUFFIX ".new"
#define CLEAR_SUFFIX ".clear"
#define LOG_SUFFIX "-wal"

static const char magic[16] = "SQLite format 3";

typedef struct Names {
    char *new, *clear, *log, *folder; /* folder: ends at folder_name */
    const char *folder_name;
} Names;

static void names_done(Names *n)
{
    free(n->new);
    free(n->clear);
    free(n->log);
    free(n->folder);
}

static int names_init(const char *path, Names *n)
{
    int r = string_printf(&n->new, "%s" NEW_SUFFIX, path);
    if (r == 0)
        r = string_printf(&n->clear, "%s" CLEAR_SUFFIX, path);
    if (r == 0)
        r = string_printf(&n->log, "%s" LOG_SUFFIX, path);
    if (r == 0)
        r = string_printf(&n->folder, "%s", path);
    if (r == 0)
        n->folder_name = dirname(n->folder);
    return r;
}

static int sync_folder(const Names *n)
{
    _cleanup_(fd_closep) int fd = open(n->folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int open_file(const char *path, int flags, int *ret)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

/* No file, and one without content, is neither. */
static int is_clear(const char *path, bool *ret)
{
    _cleanup_(fd_closep) int fd = -1;
    char begin[sizeof(magic)];
    int r = open_file(path, O_RDONLY, &fd);
    if (r == -ENOENT) {
        *ret = false;
        return 0;
    }
    if (r != 0)
        return r;
    ssize_t n = pread(fd, begin, sizeof(begin), 0);
    if (n < 0)
        return -errno;
    *ret = n == (ssize_t)sizeof(begin) && memcmp(begin, magic, sizeof(magic)) == 0; /* public */
    return 0;
}

static int overwrite(int fd, off_t size)
{
    _cleanup_(freep) void *zeros = calloc(1, WIPE_PIECE);
    if (!zeros)
        return -ENOMEM;
    for (off_t at = 0; at < size;) {
        size_t part = size - at < (off_t)WIPE_PIECE ? (size_t)(size - at) : WIPE_PIECE;
        int r = file_write_fd(fd, zeros, part);
        if (r != 0)
            return r;
        at += (off_t)part;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* What was in clear, unless it is the store still: then only its second name goes. */
static int wipe_former(const Names *n)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat st;
    int r = open_file(n->clear, O_WRONLY, &fd);
    if (r != 0)
        return r == -ENOENT ? 0 : r;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if (st.st_nlink == 1)
        r = overwrite(fd, st.st_size);
    if (r == 0 && unlink(n->clear) < 0)
        r = -errno;
    return r == 0 ? sync_folder(n) : r;
}

static int remove_new(const Names *n)
{
    return unlink(n->new) < 0 && errno != ENOENT ? -errno : 0;
}

/* The lock of the store stays with the caller. SQLite removes an empty log when nobody else has it. */
static int close_clear(Db **db, const Names *n, int *ret_lock)
{
    int r = db_checkpoint(*db);
    *ret_lock = TAKE_FD((*db)->lock_fd);
    *db = db_close(*db);
    if (r == 0 && access(n->log, F_OK) == 0)
        r = -EBUSY; /* somebody reads it */
    return r;
}

static int exchange(const char *path, const Names *n)
{
    if (link(path, n->clear) < 0)
        return -errno;
    int r = sync_folder(n);
    if (r == 0 && rename(n->new, path) < 0)
        r = -errno;
    if (r == 0)
        r = sync_folder(n);
    return r;
}

static int convert(const char *path, const DbSchema *schema, const DbSeal *seal, const Names *n)
{
    _cleanup_(fd_closep) int lock = -1;
    _cleanup_(db_closep) Db *db = NULL;
    int r = db_open(path, schema, NULL, &db);
    if (r == 0)
        r = db_copy_sealed(db, n->new, seal);
    if (r == 0)
        r = close_clear(&db, n, &lock);
    if (r == 0)
        r = exchange(path, n);
    int wiped = wipe_former(n);
    if (r != 0)
        (void)remove_new(n);
    return r != 0 ? r : wiped;
}

int db_seal_file(const char *path, const DbSchema *schema, const DbSeal *seal)
{
    _cleanup_(names_done) Names n = {.folder = NULL};
    bool clear = false;
    int r = names_init(path, &n);
    if (r == 0)
        r = remove_new(&n);
    if (r == 0)
        r = wipe_former(&n);
    if (r == 0)
        r = is_clear(path, &clear);
    return r == 0 && clear ? convert(path, schema, seal, &n) : r;
}

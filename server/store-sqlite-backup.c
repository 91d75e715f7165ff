/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/store-sqlite-internal.h"

#define ATTEMPTS_MAX 8u
#define COPY_SIZE 65536u
#define DATABASE "relay.sqlite"
#define BLOBS "blobs"
#define FOUND_MAX 4096u /* damaged rows of a store that is worth a copy */

/* A backup on its way, in a folder TO.part. */
typedef struct Backup {
    char *part, *database, *source; /* source: the database of the store */
    int from;                       /* blobs of the store */
    int folder, blobs;              /* of the backup */
    bool without;                   /* blobs that are not there are left out */
} Backup;

/* What a check has found in rows. */
typedef struct Found {
    struct {
        StoreDamageKind kind;
        int64_t number;
    } all[FOUND_MAX];
    size_t n;
    bool more; /* too much, or what is not of a row */
} Found;

static void remove_files(const Backup *b)
{
    static const char *const names[] = {DATABASE, DATABASE "-wal", DATABASE "-shm", DATABASE "-journal"};
    for (size_t i = 0; i < ELEMENTSOF(names); i++)
        (void)unlinkat(b->folder, names[i], 0);
}

static void backup_done(Backup *b)
{
    free(b->part);
    free(b->database);
    free(b->source);
    (void)fd_close(b->from);
    (void)fd_close(b->folder);
    (void)fd_close(b->blobs);
}

static int open_folder(int at, const char *path, int *ret)
{
    *ret = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *ret < 0 ? -errno : 0;
}

static int make_folder(int at, const char *path, int *ret)
{
    return mkdirat(at, path, 0700) < 0 ? -errno : open_folder(at, path, ret);
}

static int begin(Backup *b, const char *folder, const char *to)
{
    _cleanup_(freep) char *blobs = NULL;
    struct stat st;
    if (lstat(to, &st) == 0)
        return -EEXIST;
    int r = string_printf(&b->part, "%s.part", to);
    if (r == 0)
        r = string_printf(&b->database, "%s/" DATABASE, b->part);
    if (r == 0)
        r = string_printf(&b->source, "%s/" DATABASE, folder);
    if (r == 0)
        r = string_printf(&blobs, "%s/" BLOBS, folder);
    if (r == 0)
        r = open_folder(AT_FDCWD, blobs, &b->from);
    if (r == 0)
        r = make_folder(AT_FDCWD, b->part, &b->folder);
    return r == 0 ? make_folder(b->folder, BLOBS, &b->blobs) : r;
}

static int copy_bytes(int from, int to)
{
    uint8_t piece[COPY_SIZE];
    for (;;) {
        ssize_t n = read(from, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = file_write_fd(to, piece, (size_t)n);
        if (r != 0)
            return r;
    }
}

/* -EAGAIN: its message has gone, or it is lost. A blob never changes, so that one which was copied before is
 * whole. */
static int copy_blob(const Backup *b, const char *name)
{
    struct stat st;
    if (fstatat(b->blobs, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    _cleanup_(fd_closep) int from = openat(b->from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (from < 0 && errno == ENOENT)
        return b->without ? 0 : -EAGAIN;
    if (from < 0)
        return -errno;
    _cleanup_(fd_closep) int to = openat(b->blobs, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return -errno;
    int r = copy_bytes(from, to);
    return r == 0 && fsync(to) < 0 ? -errno : r;
}

/* Those that the copy of the database names. */
static int copy_blobs(const Backup *b)
{
    _cleanup_(db_closep) Db *db = NULL;
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    bool row = false;
    int r = db_open_reader(b->database, &store_sqlite_schema, &db);
    if (r == 0)
        r = db_prepare(db, "SELECT blob FROM messages WHERE blob IS NOT NULL", &sql);
    if (r == 0)
        r = db_step(sql, &row);
    while (r == 0 && row) {
        uint8_t name[BLOB_NAME_SIZE];
        char text[BLOB_TEXT_SIZE];
        if (db_column_exact(sql, 0, name, sizeof(name)) == 0) { /* else it has none */
            blob_text(name, text);
            r = copy_blob(b, text);
        }
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

/* The relay may delete a message between the copy of its row and that of its blob: then what it holds now is
 * copied anew. Blobs that are too many then go when the store is opened, as after a crash. */
static int copy_all(Backup *b)
{
    _cleanup_(db_closep) Db *db = NULL;
    int r = db_open_reader(b->source, &store_sqlite_schema, &db);
    if (r != 0)
        return r;
    r = -EAGAIN;
    for (unsigned i = 0; r == -EAGAIN && i < ATTEMPTS_MAX; i++) {
        b->without = i + 1 == ATTEMPTS_MAX; /* lost, if the check finds that */
        remove_files(b);
        r = db_copy(db, b->database);
        if (r == 0)
            r = copy_blobs(b);
    }
    return r;
}

static void note(const StoreDamage *d, void *userdata)
{
    Found *f = userdata;
    if (f->n == FOUND_MAX || d->kind == STORE_DAMAGED_DATABASE || d->kind == STORE_DAMAGED_TABLE) {
        f->more = true;
        return;
    }
    f->all[f->n].kind = d->kind;
    f->all[f->n++].number = d->number;
}

static int look(const char *folder, const StoreKeeper *keeper, Found *ret)
{
    _cleanup_(store_reader_freep) StoreReader *reader = NULL;
    int r = store_sqlite_open_reader(folder, keeper, &reader);
    return r == 0 ? store_sqlite_check_tell(reader, note, ret) : r;
}

static bool has(const Found *f, const Found *other, size_t i)
{
    for (size_t k = 0; k < f->n; k++)
        if (f->all[k].kind == other->all[i].kind && f->all[k].number == other->all[i].number)
            return true;
    return false;
}

/* A copy may hold what is damaged in the store as well; then it is as good as the store. -EAGAIN: a blob is
 * missing in it alone. */
static int check(const Backup *b, const char *folder, const StoreKeeper *keeper, bool *ret_damaged)
{
    _cleanup_(freep) Found *copy = calloc(1, sizeof(*copy)), *store = calloc(1, sizeof(*store));
    if (!copy || !store)
        return -ENOMEM;
    int r = look(b->part, keeper, copy);
    *ret_damaged = r == -EBADMSG;
    if (r != -EBADMSG || copy->more)
        return r;
    r = look(folder, keeper, store);
    if (r != 0 && r != -EBADMSG)
        return r;
    for (size_t i = 0; i < copy->n; i++)
        if (!has(store, copy, i))
            return copy->all[i].kind == STORE_DAMAGED_FILE ? -EAGAIN : -EBADMSG;
    return 0;
}

/* Its readers leave an empty log. */
static int finish(const Backup *b, const char *to)
{
    (void)unlinkat(b->folder, DATABASE "-wal", 0);
    (void)unlinkat(b->folder, DATABASE "-shm", 0);
    if (fsync(b->blobs) < 0 || fsync(b->folder) < 0 ||
        renameat2(AT_FDCWD, b->part, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
        return -errno;
    _cleanup_(fd_closep) int parent = -1;
    int r = open_folder(b->folder, "..", &parent);
    return r == 0 && fsync(parent) < 0 ? -errno : r;
}

static void remove_blobs(const Backup *b)
{
    int fd = b->blobs >= 0 ? openat(b->blobs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        (void)fd_close(fd);
        return;
    }
    for (const struct dirent *e; (e = readdir(folder));)
        (void)unlinkat(b->blobs, e->d_name, 0);
    (void)closedir(folder);
}

/* What was there before has not been opened. */
static void give_up(const Backup *b)
{
    if (b->folder < 0)
        return;
    remove_blobs(b);
    (void)unlinkat(b->folder, BLOBS, AT_REMOVEDIR);
    remove_files(b);
    (void)rmdir(b->part);
}

int store_sqlite_backup(const char *folder, const StoreKeeper *keeper, const char *to, bool *ret_damaged)
{
    _cleanup_(backup_done) Backup b = {.from = -1, .folder = -1, .blobs = -1};
    *ret_damaged = false;
    int r = begin(&b, folder, to);
    if (r == 0)
        r = copy_all(&b);
    if (r == 0)
        r = check(&b, folder, keeper, ret_damaged);
    if (r == 0)
        r = finish(&b, to);
    if (r != 0)
        give_up(&b);
    return r;
}

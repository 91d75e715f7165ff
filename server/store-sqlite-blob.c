/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/crypto.h"
#include "server/store-sqlite-internal.h"

/* While it is written a file has this behind its name, so that no name without it is ever incomplete. */
#define PART ".part"
#define FILE_NAME_SIZE (BLOB_TEXT_SIZE + sizeof(PART))

static int full_or(int error)
{
    return error == ENOSPC || error == EDQUOT ? HMSG_ERROR_STORAGE_FULL : -error;
}

void blob_text(const uint8_t name[static BLOB_NAME_SIZE], char ret[static BLOB_TEXT_SIZE])
{
    hex_encode(name, BLOB_NAME_SIZE, ret);
}

static void part_text(const SqliteBlob *b, char ret[static FILE_NAME_SIZE])
{
    char text[BLOB_TEXT_SIZE];
    blob_text(b->name, text);
    (void)snprintf(ret, FILE_NAME_SIZE, "%s" PART, text);
}

int blob_new(Store *store, StoreBlob **ret)
{
    SqliteStore *s = (SqliteStore *)store;
    _cleanup_(freep) SqliteBlob *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->base.ops = &store_sqlite_ops;
    b->store = s;
    char name[FILE_NAME_SIZE];
    if (store_sqlite_space_low(s))
        return HMSG_ERROR_STORAGE_FULL;
    _cleanup_(secret_freep) Secret *key = NULL;
    int r = crypto_random(b->name, sizeof(b->name));
    if (r == 0)
        r = secret_new_random(BODY_KEY_SIZE, &key);
    if (r != 0)
        return r;
    part_text(b, name);
    _cleanup_(fd_closep) int fd =
        s->remote ? openat(s->blobs, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600)
                  : openat(s->blobs, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return full_or(errno);
    r = body_writer_new(secret_bytes(key), fd, &b->writer);
    if (r != 0) {
        if (!s->remote)
            (void)unlinkat(s->blobs, name, 0);
        return r;
    }
    b->fd = TAKE_FD(fd);
    b->key = TAKE_PTR(key);
    *ret = &TAKE_PTR(b)->base;
    return 0;
}

int blob_append(StoreBlob *blob, const void *data, size_t n)
{
    SqliteBlob *b = (SqliteBlob *)blob;
    if (n > b->store->limits.body_bytes - b->size)
        return HMSG_ERROR_TOO_LARGE;
    /* Bodies that are still coming in must not take what deleting needs. */
    if (b->size / SPACE_CHECK_SIZE != (b->size + n) / SPACE_CHECK_SIZE && store_sqlite_space_low(b->store))
        return HMSG_ERROR_STORAGE_FULL;
    int r = body_writer_append(b->writer, data, n);
    if (r != 0)
        return r < 0 ? full_or(-r) : r;
    b->size += n;
    return 0;
}

static int run_named(SqliteStore *s, SqlWrite which, const uint8_t name[static BLOB_NAME_SIZE])
{
    db_bind_bytes(s->sql[which], 1, name, BLOB_NAME_SIZE);
    return db_run(s->sql[which]);
}

/* On the writer's thread, after its transaction; what fails is forgotten later with other uploads. A body
 * that is no upload any more has a message: a commit succeeded of which that was not known. */
static void drop_upload(const SqliteBlob *b)
{
    _cleanup_(db_rollbackp) Db *transaction = b->store->db;
    if (atomic_load(&b->store->given_up))
        return;
    int r = db_begin_shared(transaction);
    if (r == 0)
        r = run_named(b->store, SQL_KEEP_BODY, b->name);
    if (r != 0 || db_changes(b->store->db) == 0)
        return;
    r = run_named(b->store, SQL_DELETE_BODY, b->name);
    if (r == 0)
        (void)db_commit(transaction);
}

StoreBlob *blob_free(StoreBlob *blob)
{
    SqliteBlob *b = (SqliteBlob *)blob;
    char name[FILE_NAME_SIZE];
    b->writer = body_writer_free(b->writer);
    b->key = secret_free(b->key);
    (void)fd_close(b->fd);
    if (b->durable)
        blob_text(b->name, name);
    else
        part_text(b, name);
    if (b->store->remote && b->durable && !b->kept)
        drop_upload(b);
    else if (!b->store->remote && !b->kept)
        (void)unlinkat(b->store->blobs, name, 0);
    free(b);
    return NULL;
}

static int upload(const SqliteBlob *b)
{
    SqliteStore *s = b->store;
    RemoteUploads *u = s->uploads;
    int r = atomic_load(&s->given_up) ? -EIO : 0;
    if (r == 0 && !u) {
        r = remote_uploads_new(s->remote, &u);
        (void)pthread_mutex_lock(&s->lock);
        s->uploads = u;
        (void)pthread_mutex_unlock(&s->lock);
    }
    return r == 0 ? remote_upload(u, b->name, BLOB_NAME_SIZE, b->fd) : r;
}

int blob_make_durable(SqliteBlob *b)
{
    char part[FILE_NAME_SIZE], name[BLOB_TEXT_SIZE];
    part_text(b, part);
    blob_text(b->name, name);
    int r = body_writer_finish(b->writer);
    if (r != 0)
        return r < 0 ? full_or(-r) : r;
    if (b->store->remote) {
        r = upload(b);
        b->durable = r == 0;
        return r;
    }
    if (fsync(b->fd) < 0)
        return full_or(errno);
    if (renameat(b->store->blobs, part, b->store->blobs, name) < 0)
        return full_or(errno);
    b->durable = true;
    return fsync(b->store->blobs) < 0 ? full_or(errno) : 0;
}

/* An upload that was forgotten meanwhile, by a relay whose clock is ahead, has no body any more. */
int blob_keep(SqliteStore *s, const SqliteBlob *b)
{
    int r = s->remote ? run_named(s, SQL_KEEP_BODY, b->name) : 0;
    return r == 0 && s->remote && db_changes(s->db) == 0 ? -EIO : r;
}

int blob_delete_dead(SqliteStore *s)
{
    int r = 0;
    for (size_t at = 0; s->remote && r == 0 && at + BLOB_NAME_SIZE <= s->dead.size; at += BLOB_NAME_SIZE)
        r = run_named(s, SQL_DELETE_BODY, s->dead.data + at);
    return r;
}

int blob_forget_uploads(SqliteStore *s, int64_t now)
{
    int64_t before = now - REMOTE_UPLOAD_MAX;
    int r = s->remote ? store_sqlite_run_number(s, SQL_FORGET_UPLOADED, before) : 0;
    return r == 0 && s->remote ? store_sqlite_run_number(s, SQL_FORGET_UPLOADS, before) : r;
}

void blob_remove_dead(SqliteStore *s)
{
    if (s->remote)
        buf_clear(&s->dead);
    /* A file that stays because of an error is an orphan, which the next start removes. */
    for (size_t at = 0; at + BLOB_NAME_SIZE <= s->dead.size; at += BLOB_NAME_SIZE) {
        char name[BLOB_TEXT_SIZE];
        blob_text(s->dead.data + at, name);
        (void)unlinkat(s->blobs, name, 0);
    }
    buf_clear(&s->dead);
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_name(const char *text, uint8_t ret[static BLOB_NAME_SIZE])
{
    if (strlen(text) != (size_t)BLOB_NAME_SIZE * 2)
        return false;
    for (size_t i = 0; i < BLOB_NAME_SIZE; i++) {
        int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Whether a file is one of ours that nothing needs any more. What else lies there is left alone. */
static int is_orphan(DbStatement *s, const char *file, bool *ret)
{
    uint8_t name[BLOB_NAME_SIZE];
    char text[FILE_NAME_SIZE];
    bool used = false;
    size_t n = strlen(file);
    bool part = n > strlen(PART) && strcmp(file + n - strlen(PART), PART) == 0;
    *ret = false;
    if (n >= sizeof(text))
        return 0;
    (void)snprintf(text, sizeof(text), "%.*s", (int)(part ? n - strlen(PART) : n), file);
    if (!read_name(text, name))
        return 0;
    *ret = true;
    if (part)
        return 0;
    db_bind_bytes(s, 1, name, sizeof(name));
    int r = db_step(s, &used);
    db_reset(s);
    *ret = !used;
    return r;
}

int blob_remove_orphans(SqliteStore *s)
{
    _cleanup_(db_statement_freep) DbStatement *find = NULL;
    int r = db_prepare(s->db, "SELECT 1 FROM messages WHERE blob = ?1", &find);
    if (r != 0)
        return r;
    int fd = openat(s->blobs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        r = -errno;
        (void)fd_close(fd);
        return r;
    }
    for (const struct dirent *e; r == 0 && (e = readdir(folder));) {
        bool orphan = false;
        r = is_orphan(find, e->d_name, &orphan);
        if (r == 0 && orphan && unlinkat(s->blobs, e->d_name, 0) < 0 && errno != ENOENT)
            r = -errno;
    }
    (void)closedir(folder);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store-migrate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/store-migrate-internal.h"
#include "server/ticks.h"

#define DATABASE "relay.sqlite"
#define MIGRATE_FROM ".part.from" /* has the token of the migration into .part */

static void migration_done(Migration *m)
{
    (void)db_statement_free(m->keep);
    (void)remote_uploads_free(m->uploads);
    (void)remote_bodies_unref(m->bodies);
    (void)db_close(m->from);
    (void)db_close(m->into);
    (void)store_remote_unref(m->remote);
    (void)fd_close(m->blobs);
    free(m->path);
}

/* more: behind the name of the database. */
static int open_folder(Migration *m, const char *more)
{
    _cleanup_(freep) char *blobs = NULL;
    int r = string_printf(&blobs, "%s/blobs", m->options->data);
    if (r == 0)
        r = string_printf(&m->path, "%s/" DATABASE "%s", m->options->data, more);
    if (r == 0 && m->to == STORE_SQLITE)
        r = file_make_folders(blobs, 0700);
    if (r != 0)
        return r;
    m->blobs = open(blobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return m->blobs < 0 ? -errno : 0;
}

/* Whether there is a file of this name, with more behind it, in the folder. */
static int has_file(const Options *o, const char *more)
{
    _cleanup_(freep) char *path = NULL;
    int r = string_printf(&path, "%s/" DATABASE "%s", o->data, more);
    return r == 0 && access(path, F_OK) < 0 ? -errno : r;
}

static int open_sqlite(Migration *m, Db **ret)
{
    bool clear = false;
    int r = db_open(m->path, &store_sqlite_schema, NULL, ret);
    if (r == 0)
        r = store_sqlite_is_clear(*ret, &clear);
    if (r == 0 && clear)
        r = ret == &m->into ? store_sqlite_drop_clear(*ret) : -ESTALE;
    return r;
}

/* A file beside the database with the token of a migration; "" without one. */
static int read_token(const Options *o, const char *more, char ret[static MOVE_TOKEN_SIZE])
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(buf_done) Buf text = BUF_MAX(MOVE_TOKEN_SIZE - 1);
    int r = string_printf(&path, "%s/" DATABASE "%s", o->data, more);
    if (r == 0)
        r = file_read(AT_FDCWD, path, &text);
    if (r == 0)
        memcpy(ret, buf_text(&text), text.size + 1);
    else
        ret[0] = '\0';
    return r == -ENOENT ? 0 : r;
}

static int write_token(const Options *o, const char *more, const char *token)
{
    _cleanup_(freep) char *path = NULL;
    int r = string_printf(&path, "%s/" DATABASE "%s", o->data, more);
    return r == 0 ? file_write_atomic(AT_FDCWD, path, token, strlen(token), 0600, false) : r;
}

static int make_token(Migration *m)
{
    uint8_t bytes[(MOVE_TOKEN_SIZE - 1) / 2];
    int r = crypto_random(bytes, sizeof(bytes));
    if (r == 0)
        hex_encode(bytes, sizeof(bytes), m->token);
    return r;
}

static void remove_file(const Options *o, const char *more)
{
    _cleanup_(freep) char *path = NULL;
    if (string_printf(&path, "%s/" DATABASE "%s", o->data, more) == 0)
        (void)unlink(path);
}

/* What SQLite leaves beside a database that got another name while it was open; empty. */
static void remove_logs(const Options *o)
{
    remove_file(o, "-wal");
    remove_file(o, "-shm");
}

/* Both ends have the token of the same migration, and nobody has used the former store since: it goes on. */
static bool goes_on(const char *a, const char *b)
{
    return a[0] && strcmp(a, b) == 0;
}

static int fill_anew(Migration *m, StoreMove move)
{
    bool used = false;
    int r = store_postgres_used(m->into, &used);
    if (r == 0 && used && move != MOVE_IN && move != MOVE_MOVED)
        return -EEXIST;
    if (r == 0)
        r = make_token(m);
    if (r == 0)
        r = store_postgres_set_move(m->into, MOVE_IN, m->token);
    if (r == 0)
        r = store_postgres_wipe(m->into);
    return r == 0 ? write_token(m->options, MIGRATE_MOVING, m->token) : r;
}

/* Behind the last step of a migration to PostgreSQL. */
static void clean_folder(const Migration *m)
{
    remove_logs(m->options);
    remove_file(m->options, MIGRATE_MOVING);
}

static int begin_to_postgres(Migration *m, char *error)
{
    char own[MOVE_TOKEN_SIZE];
    StoreMove move = MOVE_NONE;
    int r = has_file(m->options, "");
    m->moved = r == -ENOENT && has_file(m->options, MIGRATE_MOVED) == 0; /* all but the last step was done */
    if (r == 0 || m->moved)
        r = open_folder(m, m->moved ? MIGRATE_MOVED : "");
    if (r == 0)
        r = open_sqlite(m, &m->from);
    if (r == 0)
        r = store_postgres_open_alone(&m->options->postgres, &m->into, &m->remote, error);
    if (r == 0)
        r = store_postgres_get_move(m->into, &move, m->token);
    if (r == 0)
        r = read_token(m->options, MIGRATE_MOVING, own);
    bool again = r == 0 && move == MOVE_IN && goes_on(own, m->token);
    if (r == 0 && !again && m->moved && move == MOVE_NONE) /* it had ended, but for this */
        clean_folder(m);
    if (r == 0 && !again)
        r = m->moved ? -ENOENT : fill_anew(m, move);
    if (r == 0)
        r = remote_uploads_new(m->remote, &m->uploads);
    return r == 0 ? db_prepare(m->into, "DELETE FROM uploads WHERE blob = ?1", &m->keep) : r;
}

static int begin_to_sqlite(Migration *m, char *error)
{
    static const char *const parts[] = {".part", ".part-wal", ".part-shm"};
    char own[MOVE_TOKEN_SIZE];
    StoreMove move = MOVE_NONE;
    bool used = false;
    int r = has_file(m->options, "");
    if (r == 0 && has_file(m->options, ".part") == -ENOENT)
        remove_file(m->options, MIGRATE_FROM); /* it had ended, but for this */
    if (r != -ENOENT)
        return r == 0 ? -EEXIST : r;
    remove_logs(m->options); /* of a database that was moved: the new one must not have them */
    r = store_postgres_open_alone(&m->options->postgres, &m->from, &m->remote, error);
    if (r == 0)
        r = store_postgres_get_move(m->from, &move, m->token);
    if (r == 0)
        r = store_postgres_used(m->from, &used);
    if (r == 0 && (!used || move == MOVE_IN))
        r = used ? -EINPROGRESS : -ENOENT;
    if (r == 0)
        r = read_token(m->options, MIGRATE_FROM, own);
    bool again = r == 0 && goes_on(own, m->token);
    if (r == 0 && !again && move == MOVE_MOVED)
        r = -ENOENT;
    for (size_t i = 0; r == 0 && !again && i < ELEMENTSOF(parts); i++)
        remove_file(m->options, parts[i]);
    if (r == 0 && !again)
        r = make_token(m);
    if (r == 0 && !again)
        r = open_folder(m, ".part");
    if (r == 0 && !again)
        r = write_token(m->options, MIGRATE_FROM, m->token);
    if (r == 0 && !again)
        r = store_postgres_set_move(m->from, MOVE_OUT, m->token);
    if (r == 0 && again)
        r = open_folder(m, ".part");
    if (r == 0)
        r = remote_bodies_new(m->remote, &m->bodies);
    return r == 0 ? open_sqlite(m, &m->into) : r;
}

static int move_file(const Migration *m, const char *from, const char *to)
{
    _cleanup_(freep) char *before = NULL, *after = NULL;
    int r = string_printf(&before, "%s/" DATABASE "%s", m->options->data, from);
    if (r == 0)
        r = string_printf(&after, "%s/" DATABASE "%s", m->options->data, to);
    if (r == 0 && rename(before, after) < 0)
        r = -errno;
    _cleanup_(fd_closep) int fd = r == 0 ? open(m->options->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return r == 0 && (fd < 0 || fsync(fd) < 0) ? -errno : r;
}

/* The former store goes first out of the way: at no time are there two that a relay would take. It is locked
 * until then. */
static int end_to_postgres(Migration *m)
{
    Ticks t = {0};
    int r = ticks_last(m->options->data, &t);
    if (r == 0 && t.number > 0)
        r = store_postgres_set_tick(m->into, &t);
    if (r == 0)
        r = db_checkpoint(m->from);
    if (r == 0 && !m->moved)
        r = move_file(m, "", MIGRATE_MOVED);
    if (r == 0)
        r = store_postgres_set_move(m->into, MOVE_NONE, NULL);
    m->from = db_close(m->from);
    if (r == 0)
        clean_folder(m);
    return r;
}

static int end_to_sqlite(Migration *m)
{
    Ticks t = {0};
    int r = store_postgres_last_tick(m->from, &t);
    if (r == 0 && t.number > 0)
        r = ticks_take(m->options->data, &t);
    if (r == 0)
        r = db_checkpoint(m->into);
    m->into = db_close(m->into);
    if (r == 0 && fsync(m->blobs) < 0)
        r = -errno;
    if (r == 0)
        r = store_postgres_set_move(m->from, MOVE_MOVED, m->token);
    if (r == 0)
        r = move_file(m, ".part", "");
    if (r == 0)
        remove_file(m->options, MIGRATE_FROM);
    return r;
}

int store_migrate(const Options *o, OptionStore to, const StoreKeeper *keeper, StoreCounts *ret,
                  char error[static POSTGRES_ERROR_SIZE])
{
    _cleanup_(migration_done) Migration m = {.options = o, .to = to, .blobs = -1};
    StoreCounts counts = {0};
    error[0] = '\0';
    int r = to == STORE_POSTGRES ? begin_to_postgres(&m, error) : begin_to_sqlite(&m, error);
    if (r == 0)
        r = migration_copy(&m);
    if (r == 0)
        r = migration_check(&m, keeper, &counts);
    /* on another connection somebody else may have been there meanwhile */
    if (r == 0 && m.remote->connection(to == STORE_POSTGRES ? m.into : m.from) != 1)
        r = -EIO;
    if (r == 0)
        r = to == STORE_POSTGRES ? end_to_postgres(&m) : end_to_sqlite(&m);
    if (r == 0)
        *ret = counts;
    return r;
}

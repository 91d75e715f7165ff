/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* SQLite as hmsg uses it: write-ahead log, synchronous=FULL (a commit is on disk when it returns), no memory
 * mapping, deleted content overwritten, files of mode 0600. A store has exactly one connection that writes
 * and checkpoints, held by a lock file beside it; any number of readers may look on, of other processes too.
 * Another database may stand behind the same functions (db-driver.h): what is said of files is of SQLite.
 * A Db and its statements are used by one thread at a time. Errors: HMSG_ERROR_STORAGE_FULL (no room),
 * HMSG_ERROR_ALREADY_EXISTS (a constraint), -EBADMSG (damaged, or no such store), -EBUSY, -ENOMEM, -EIO. */

#include "libhmsg/base/buf.h"
#include "libhmsg/db/seal.h"

#define DB_BUSY_TIMEOUT_MS 10000
#define DB_SQL_SIZE_MAX 65536u    /* bytes of one statement */
#define DB_CACHE_KIB 4096u        /* pages kept in memory by a connection; DbOptions may say otherwise */
#define DB_READER_CACHE_KIB 512u  /* by one that only reads: each commit of the writer empties it */
#define DB_CHECKPOINT_PAGES 1000u /* of the log, until it is carried over into the store */
#define DB_LOG_SIZE (64u << 20)   /* bytes to which the log file is cut back; more where it may be larger */
#define DB_CACHE_SHARE 16u        /* of the pages of the store, one part in so many */
#define DB_LOG_SHARE 4u
#define DB_VALUE_SIZE_MAX (64u << 20) /* bytes of one value */
#define DB_PROBLEMS_MAX 20u           /* that db_check_tell tells, of each of two kinds */

/* steps[i] is the SQL that leads from version i to i + 1; version 0 is an empty file. Each step runs in a
 * transaction of its own and may hold several statements. Never change a step that was released. */
typedef struct DbSchema {
    uint32_t application_id; /* four characters that tell whose file this is */
    const char *const *steps;
    unsigned n_steps;
} DbSchema;

typedef struct DbOptions {
    unsigned cache_kib;        /* 0: DB_CACHE_KIB */
    unsigned checkpoint_pages; /* 0: DB_CHECKPOINT_PAGES */
    /* With these both may have their shares of the store, from those above up to as many (db_fit). 0: not. */
    unsigned cache_kib_max, checkpoint_pages_max;
    DbSeal *seal;      /* NULL: the store is not encrypted. Else it has no readers */
    uint64_t size_max; /* of the store in bytes; more is HMSG_ERROR_STORAGE_FULL. 0: no limit */
} DbOptions;

typedef struct Db Db;

/* The one connection that writes; makes the file and brings its schema up to date. options may be NULL.
 * -EBUSY: another process or Db has it. -EBADMSG: another program's file. -ENOTSUP: made by a newer version.
 * -EMLINK: the file has another name as well, so that somebody else may mean it. */
int db_open(const char *path, const DbSchema *schema, const DbOptions *options, Db **ret);
/* A connection that only reads; never checkpoints. -ENOENT: no file. -ESTALE: an older schema, which a writer
 * has to bring up to date first. */
int db_open_reader(const char *path, const DbSchema *schema, Db **ret);
Db *db_close(Db *db); /* its statements must be gone */
DEFINE_CLEANUP(Db *, db_close)

/* Statements without parameters and results. */
int db_exec(Db *db, const char *sql);

/* One transaction at a time. db_begin takes the write lock at once. A failed commit leaves it open: roll
 * back. db_rollback does nothing when none is open. */
int db_begin(Db *db);
/* For changes that others with a shared lock may make at the same time, each in rows that it has locked; with
 * SQLite as db_begin. */
int db_begin_shared(Db *db);
int db_commit(Db *db);
void db_rollback(Db *db);
/* A snapshot for several reads that belong together; ended by db_rollback. */
int db_begin_read(Db *db);

/* Rolls back at the end of the scope unless it was committed: _cleanup_(db_rollbackp) Db *t = db; */
static inline void db_rollbackp(Db **db)
{
    if (*db)
        db_rollback(*db);
}

typedef struct DbStatement DbStatement;

int db_prepare(Db *db, const char *sql, DbStatement **ret);
DbStatement *db_statement_free(DbStatement *s);
DEFINE_CLEANUP(DbStatement *, db_statement_free)

/* Parameters are counted from 1. Data and text are not copied: they must stay until db_reset. The first error
 * is kept and returned by db_step. */
void db_bind_number(DbStatement *s, int index, int64_t value);
void db_bind_bytes(DbStatement *s, int index, const void *data, size_t n);
void db_bind_text(DbStatement *s, int index, const char *text); /* NULL binds NULL */
void db_bind_null(DbStatement *s, int index);

/* Sends what was bound on its way, so that several statements are; db_step waits for the first row then. All
 * of it happens in db_step with SQLite. */
int db_start(DbStatement *s);
/* Goes to the next row (*ret_row true) or to the end (false; the statement is then reset). */
int db_step(DbStatement *s, bool *ret_row);
/* Runs a statement that gives no rows to its end, and resets it. With another database it may be on its way
 * still: then the next db_step, db_changes or db_commit has its error. */
int db_run(DbStatement *s);
/* Ends the statement and drops what was bound; so that it can be used again and holds no lock. */
void db_reset(DbStatement *s);
static inline void db_resetp(DbStatement **s)
{
    if (*s)
        db_reset(*s);
}

/* Columns of the current row, counted from 0; pointers are valid until the next step or reset. */
int64_t db_column_number(DbStatement *s, int column);
const void *db_column_bytes(DbStatement *s, int column, size_t *ret_size); /* NULL when empty or NULL */
/* -EBADMSG unless the value has exactly size bytes. */
int db_column_exact(DbStatement *s, int column, void *ret, size_t size);
/* Text that holds no U+0000, "" when NULL; *ret_size may be NULL. */
const char *db_column_text(DbStatement *s, int column, size_t *ret_size);
bool db_column_null(DbStatement *s, int column);

/* Rows that the last statement changed; that all statements of this connection did. */
int64_t db_changes(const Db *db);
int64_t db_total_changes(const Db *db);
int64_t db_last_row_id(const Db *db);

/* Writes a sealed store anew, so that nothing in it needs the key of before (seal.h). No statement may be on
 * its way. What an error leaves, the next call goes on with. */
int db_reseal(Db *db);

/* Makes a store in clear a sealed one, to be opened with seal then; call it before each db_open of such a
 * store, for it also ends what a crash has interrupted. One that is sealed already, is empty or is not there
 * stays as it is. After an error or a crash the store is whole, sealed or as before. What was in clear is
 * overwritten; a disk may keep copies all the same (flash memory, snapshots), and those of its log.
 * -EBUSY: it is open somewhere. HMSG_ERROR_STORAGE_FULL, -ENOSPC: no room for both. */
int db_seal_file(const char *path, const DbSchema *schema, const DbSeal *seal);

/* PRAGMA integrity_check and foreign_key_check; -EBADMSG: damaged. Reads everything. */
int db_check(Db *db);
/* The same, and tells what it finds, in the words of SQLite, which hold no stored value; at most
 * DB_PROBLEMS_MAX of them. */
int db_check_tell(Db *db, void (*tell)(const char *problem, void *userdata), void *userdata);
/* Makes a new store of what this one holds at this moment, on disk when it returns; its name is not. Writers
 * go on meanwhile. -EEXIST. -ENOTSUP: it is sealed. What an error leaves of it is the caller's to remove. */
int db_copy(Db *db, const char *path);
/* Carries the log over and empties it. Only of the connection that writes. */
int db_checkpoint(Db *db);
/* The same without waiting: -EBUSY when somebody reads. */
int db_checkpoint_try(Db *db);
/* Lets cache and log grow with the store: DbOptions.cache_kib_max, checkpoint_pages_max. */
int db_fit(Db *db);

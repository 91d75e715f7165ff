/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/db/db-internal.h"
#include "libhmsg/db/wal-vfs.h"

#define PRAGMA_SIZE 128
#define PAGE_SIZE_DEFAULT 4096u
#define LOG_PAGE_SIZE (PAGE_SIZE_DEFAULT + 96u) /* with its head, and its part of what a last change adds */

static int errno_of(sqlite3 *handle)
{
    int e = handle ? sqlite3_system_errno(handle) : 0;
    return e > 0 ? e : 0;
}

int db_error(sqlite3 *handle, int code)
{
    int e = errno_of(handle);
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
    case SQLITE_TOOBIG:
        return (code & 0xff) == SQLITE_FULL ? HMSG_ERROR_STORAGE_FULL : HMSG_ERROR_TOO_LARGE;
    case SQLITE_CONSTRAINT:
        return HMSG_ERROR_ALREADY_EXISTS;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_DATA) /* of a sealed store: another key, or changed */
            return -EBADMSG;
        if (code == SQLITE_IOERR_NOMEM)
            return -ENOMEM;
        return e == ENOSPC || e == EDQUOT ? HMSG_ERROR_STORAGE_FULL : -EIO;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return e > 0 ? -e : -EACCES;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EBADMSG;
    default:
        return -EIO;
    }
}

int db_exec(Db *db, const char *sql)
{
    if (db_driver_of(db))
        return db_driver_of(db)->exec(db, sql);
    return db_error(db->handle, sqlite3_exec(db->handle, sql, NULL, NULL, NULL));
}

static int pragma(Db *db, const char *name, int64_t value)
{
    char sql[PRAGMA_SIZE];
    (void)snprintf(sql, sizeof(sql), "PRAGMA %s=%lld", name, (long long)value);
    return db_exec(db, sql);
}

/* What every connection has. */
static int configure(Db *db, const DbOptions *options)
{
    static const struct {
        int option, value;
    } switches[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    };
    for (size_t i = 0; i < ELEMENTSOF(switches); i++)
        if (sqlite3_db_config(db->handle, switches[i].option, switches[i].value, NULL) != SQLITE_OK)
            return -EIO;
    /* Only the writer carries the log over: SQLite before 3.51.3 may corrupt a log that two reset at once. */
    if (!db->writer && sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK)
        return -EIO;
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, (int)DB_VALUE_SIZE_MAX);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_SQL_LENGTH, (int)DB_SQL_SIZE_MAX);
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
    if (sqlite3_busy_timeout(db->handle, DB_BUSY_TIMEOUT_MS) != SQLITE_OK)
        return -EIO;
    db->cache_kib.min = options && options->cache_kib > 0 ? options->cache_kib : DB_CACHE_KIB;
    db->cache_kib.max = options ? options->cache_kib_max : 0;
    int r = pragma(db, "cache_size", -(int64_t)db->cache_kib.min);
    if (r == 0)
        r = pragma(db, "mmap_size", 0);
    if (r == 0)
        r = db_exec(db, "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY");
    return r;
}

static int query_text(Db *db, const char *sql, const char *expected)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    int r = db_prepare(db, sql, &s);
    if (r == 0)
        r = db_step(s, &row);
    if (r != 0)
        return r;
    return row && strcmp(db_column_text(s, 0, NULL), expected) == 0 ? 0 : -EIO;
}

static int64_t fit(int64_t share, const DbRange *range)
{
    if (share > range->max)
        share = range->max;
    return share > range->min ? share : range->min;
}

int db_fit(Db *db)
{
    int64_t pages = 0;
    if (db_driver_of(db))
        return 0;
    int r = db_query_number(db, "PRAGMA page_count", &pages);
    if (r != 0)
        return r;
    int64_t cache = fit(pages / DB_CACHE_SHARE * PAGE_SIZE_DEFAULT / 1024, &db->cache_kib);
    int64_t log = fit(pages / DB_LOG_SHARE, &db->checkpoint_pages), size = log * LOG_PAGE_SIZE;
    r = pragma(db, "cache_size", -cache);
    if (r == 0)
        r = pragma(db, "journal_size_limit", size > DB_LOG_SIZE ? size : DB_LOG_SIZE);
    return r == 0 ? pragma(db, "wal_autocheckpoint", log) : r;
}

static int configure_writer(Db *db, const DbOptions *options)
{
    db->checkpoint_pages.min =
        options && options->checkpoint_pages > 0 ? options->checkpoint_pages : DB_CHECKPOINT_PAGES;
    db->checkpoint_pages.max = options ? options->checkpoint_pages_max : 0;
    int r = query_text(db, "PRAGMA journal_mode=WAL", "wal");
    if (r == 0)
        r = db_exec(db, "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON");
    return r == 0 ? db_fit(db) : r;
}

/* Before anything is read: what is else in memory shared with others is in the heap of a connection that has
 * the store alone. And no journal before the log is there. */
static int configure_sealed(Db *db)
{
    int reserved = DB_SEAL_RESERVED;
    int r = query_text(db, "PRAGMA locking_mode=EXCLUSIVE", "exclusive");
    if (r == 0)
        r = pragma(db, "page_size", DB_SEAL_PAGE_SIZE);
    if (r == 0 &&
        sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved) != SQLITE_OK)
        r = -EIO;
    if (r == 0 && query_text(db, "PRAGMA journal_mode", "delete") == 0)
        r = query_text(db, "PRAGMA journal_mode=MEMORY", "memory");
    db->sealed = true;
    return r;
}

static int limit_size(Db *db, const DbOptions *options)
{
    if (!options || options->size_max == 0)
        return 0;
    uint64_t pages = options->size_max / PAGE_SIZE_DEFAULT;
    return pragma(db, "max_page_count", pages > 0 ? pages : 1);
}

/* A file of its own: closing a second descriptor of the store would drop SQLite's locks. */
static int lock_writer(const char *path, int *ret_fd)
{
    _cleanup_(freep) char *name = NULL;
    int r = string_printf(&name, "%s.lock", path);
    if (r < 0)
        return r;
    _cleanup_(fd_closep) int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* SQLite gives its log the mode of the store, so the store is made before SQLite sees it. A file that has
 * another name as well is not ours alone: -EMLINK. */
static int make_file(const char *path)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_nlink > 1)
        return -EMLINK;
    return fchmod(fd, 0600) < 0 ? -errno : 0;
}

static int open_handle(const char *path, bool writer, const DbSeal *seal, Db **ret)
{
    Db *db = calloc(1, sizeof(*db));
    if (!db)
        return -ENOMEM;
    db->lock_fd = -1;
    db->writer = writer;
    int flags = writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    const VfsLayer *layer = seal ? &seal->layer : &db->wal;
    int code = writer && !seal ? wal_vfs_register(&db->wal) : SQLITE_OK;
    if (code == SQLITE_OK)
        code = sqlite3_open_v2(path, &db->handle,
                               flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE,
                               layer->under ? layer->name : NULL);
    if (code != SQLITE_OK) {
        int r = db_error(db->handle, code);
        (void)db_close(db);
        return r;
    }
    *ret = db;
    return 0;
}

int db_open(const char *path, const DbSchema *schema, const DbOptions *options, Db **ret)
{
    _cleanup_(fd_closep) int lock = -1;
    _cleanup_(db_closep) Db *db = NULL;
    int r = lock_writer(path, &lock);
    if (r == 0)
        r = make_file(path);
    if (r == 0)
        r = open_handle(path, true, options ? options->seal : NULL, &db);
    if (r != 0)
        return r;
    db->lock_fd = TAKE_FD(lock);
    if (options && options->seal)
        r = configure_sealed(db);
    if (r == 0)
        r = configure(db, options);
    if (r == 0)
        r = configure_writer(db, options);
    if (r == 0)
        r = db_schema_upgrade(db, schema);
    if (r == 0)
        r = limit_size(db, options);
    if (r == 0)
        *ret = TAKE_PTR(db);
    return r;
}

int db_open_reader(const char *path, const DbSchema *schema, Db **ret)
{
    _cleanup_(db_closep) Db *db = NULL;
    const DbOptions options = {.cache_kib = DB_READER_CACHE_KIB};
    if (access(path, F_OK) < 0)
        return -errno;
    int r = open_handle(path, false, NULL, &db);
    if (r == 0)
        r = configure(db, &options);
    if (r == 0)
        r = db_schema_check(db, schema);
    if (r == 0)
        *ret = TAKE_PTR(db);
    return r;
}

Db *db_close(Db *db)
{
    if (!db)
        return NULL;
    if (db_driver_of(db))
        return db_driver_of(db)->close(db);
    (void)sqlite3_close_v2(db->handle);
    vfs_unregister(&db->wal);
    (void)fd_close(db->lock_fd);
    free(db);
    return NULL;
}

int db_begin(Db *db)
{
    if (db_driver_of(db))
        return db_driver_of(db)->begin(db, false);
    return db_exec(db, "BEGIN IMMEDIATE");
}

int db_begin_shared(Db *db)
{
    return db_driver_of(db) ? db_driver_of(db)->begin(db, true) : db_begin(db);
}

int db_begin_read(Db *db)
{
    if (db_driver_of(db))
        return db_driver_of(db)->begin_read(db);
    return db_exec(db, "BEGIN");
}

int db_commit(Db *db)
{
    if (db_driver_of(db))
        return db_driver_of(db)->commit(db);
    return db_exec(db, "COMMIT");
}

void db_rollback(Db *db)
{
    if (db_driver_of(db)) {
        db_driver_of(db)->rollback(db);
        return;
    }
    /* Some errors roll back by themselves. */
    if (!sqlite3_get_autocommit(db->handle))
        (void)db_exec(db, "ROLLBACK");
}

int64_t db_changes(const Db *db)
{
    if (db_driver_of(db))
        return db_driver_of(db)->changes(db);
    return sqlite3_changes64(db->handle);
}

int64_t db_total_changes(const Db *db)
{
    if (db_driver_of(db))
        return db_driver_of(db)->total_changes(db);
    return sqlite3_total_changes64(db->handle);
}

int64_t db_last_row_id(const Db *db)
{
    if (db_driver_of(db))
        return db_driver_of(db)->last_row_id(db);
    return sqlite3_last_insert_rowid(db->handle);
}

typedef struct Check {
    Db *db;
    void (*tell)(const char *problem, void *userdata);
    void *userdata;
    unsigned n; /* problems of the pragma at hand */
} Check;

static void find_problem(Check *c, const char *text)
{
    if (c->tell && c->n < DB_PROBLEMS_MAX)
        c->tell(text, c->userdata);
    c->n++;
}

/* "ok", or one row for each problem; what cannot be read at all is an error instead. */
static int check_pages(Check *c)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    c->n = 0;
    int r = db_prepare(c->db, "PRAGMA integrity_check(20)", &s); /* DB_PROBLEMS_MAX */
    if (r == 0)
        r = db_step(s, &row);
    if (r == 0 && !row)
        return -EBADMSG;
    while (r == 0 && row) {
        const char *text = db_column_text(s, 0, NULL);
        if (strcmp(text, "ok") != 0)
            find_problem(c, text);
        r = db_step(s, &row);
    }
    return r == 0 && c->n > 0 ? -EBADMSG : r;
}

/* Rows that name one of another table which is not there. */
static int check_references(Check *c)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    c->n = 0;
    int r = db_prepare(c->db, "PRAGMA foreign_key_check", &s);
    if (r == 0)
        r = db_step(s, &row);
    while (r == 0 && row && c->n < DB_PROBLEMS_MAX) {
        char text[200];
        (void)snprintf(text, sizeof(text), "row %lld of %.60s names none of %.60s",
                       (long long)db_column_number(s, 1), db_column_text(s, 0, NULL),
                       db_column_text(s, 2, NULL));
        find_problem(c, text);
        r = db_step(s, &row);
    }
    return r == 0 && c->n > 0 ? -EBADMSG : r;
}

int db_check_tell(Db *db, void (*tell)(const char *problem, void *userdata), void *userdata)
{
    Check c = {db, tell, userdata, 0};
    if (db_driver_of(db))
        return db_driver_of(db)->check(db);
    int pages = check_pages(&c);
    if ((pages == -EIO || pages == -EBADMSG) && c.n == 0)
        find_problem(&c, "it cannot be read");
    if (pages != 0 && pages != -EBADMSG && pages != -EIO)
        return pages;
    int references = check_references(&c);
    return pages != 0 ? -EBADMSG : references;
}

int db_check(Db *db)
{
    return db_check_tell(db, NULL, NULL);
}

/* All pages in one step, so that they are of one moment; their copy is committed by the end. */
static int copy_pages(Db *from, Db *to)
{
    sqlite3_backup *copy = sqlite3_backup_init(to->handle, "main", from->handle, "main");
    if (!copy)
        return db_error(to->handle, sqlite3_errcode(to->handle));
    int step = sqlite3_backup_step(copy, -1);
    int end = sqlite3_backup_finish(copy);
    if (step == SQLITE_DONE && end == SQLITE_OK)
        return 0;
    int r = db_error(to->handle, end != SQLITE_OK ? end : step);
    return r != 0 ? r : -EIO;
}

static int copy_to(Db *db, const char *path, const DbSeal *seal)
{
    _cleanup_(db_closep) Db *to = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    (void)fd_close(fd);
    int r = open_handle(path, true, seal, &to);
    if (r == 0 && seal)
        r = configure_sealed(to);
    if (r == 0)
        r = db_exec(to, "PRAGMA synchronous=FULL");
    return r == 0 ? copy_pages(db, to) : r;
}

int db_copy(Db *db, const char *path)
{
    return db->sealed ? -ENOTSUP : copy_to(db, path, NULL);
}

/* VACUUM attaches a store in memory. */
static int vacuum(Db *db)
{
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 1);
    int r = db_exec(db, "VACUUM");
    (void)sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
    return r;
}

/* Its pages have to be less full first: in memory, since the disk would have one more copy in clear. */
int db_copy_sealed(Db *db, const char *path, const DbSeal *seal)
{
    _cleanup_(db_closep) Db *between = NULL;
    int reserved = DB_SEAL_RESERVED;
    int r = open_handle(":memory:", true, NULL, &between);
    if (r == 0)
        r = copy_pages(db, between);
    if (r == 0 &&
        sqlite3_file_control(between->handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved) != SQLITE_OK)
        r = -EIO;
    if (r == 0)
        r = db_exec(between, "PRAGMA temp_store=MEMORY");
    if (r == 0)
        r = vacuum(between);
    return r == 0 ? copy_to(between, path, seal) : r;
}

int db_checkpoint(Db *db)
{
    if (db_driver_of(db))
        return 0;
    if (!db->writer)
        return -EROFS;
    return db_error(db->handle,
                    sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL));
}

int db_checkpoint_try(Db *db)
{
    if (db_driver_of(db))
        return 0;
    if (sqlite3_busy_timeout(db->handle, 0) != SQLITE_OK)
        return -EIO;
    int r = db_checkpoint(db);
    if (sqlite3_busy_timeout(db->handle, DB_BUSY_TIMEOUT_MS) != SQLITE_OK && r == 0)
        r = -EIO;
    return r;
}

int db_reseal(Db *db)
{
    if (!db->sealed)
        return -ENOTSUP;
    int r = vacuum(db);
    if (r == 0)
        r = db_checkpoint(db);
    (void)sqlite3_db_release_memory(db->handle); /* all pages went through it */
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/store-sqlite-internal.h"

#define IDENTITY                                                                                             \
    "SELECT skid, kid, name, sign, decrypt, statement, generation, created FROM identities WHERE "

typedef enum SqlRead {
    SQL_NAME,
    SQL_KEY,
    SQL_FORMER,
    SQL_CHAIN,
    SQL_LIST,
    SQL_FETCH,
    SQL_STATUS,
    SQL_ROOM,
    SQL_COUNTS,
    SQL_BLOBS,
    SQL_READ_MAX_,
} SqlRead;

static const char *const texts[SQL_READ_MAX_] = {
    [SQL_NAME] = IDENTITY "name = ?1",
    [SQL_KEY] = IDENTITY "kid = ?1 OR skid = ?1 LIMIT 1",
    [SQL_FORMER] = IDENTITY "number = (SELECT identity FROM former WHERE kid = ?1 OR skid = ?1 LIMIT 1)",
    [SQL_CHAIN] = "SELECT f.statement, f.steps, f.next FROM identities AS i"
                  " JOIN former AS g ON g.identity = i.number AND (g.kid = ?2 OR g.skid = ?2)"
                  " JOIN former AS f ON f.identity = i.number AND f.number >= g.number"
                  " WHERE i.skid = ?1 ORDER BY f.number",
    [SQL_LIST] = "SELECT m.seq, m.id, m.submitter, m.size, m.expires FROM identities AS i JOIN messages AS m"
                 " ON m.mailbox = i.number WHERE i.kid = ?1 AND m.state = 0 AND m.seq > ?2"
                 " ORDER BY m.seq LIMIT ?3",
    [SQL_FETCH] = "SELECT m.size, m.blob, m.body FROM messages AS m JOIN identities AS i"
                  " ON i.number = m.mailbox WHERE m.id = ?2 AND i.kid = ?1 AND m.state = 0",
    [SQL_STATUS] =
        "SELECT state FROM messages WHERE id = ?2 AND (submitter = ?1 OR submitter IN (SELECT f.skid"
        " FROM identities AS i JOIN former AS f ON f.identity = i.number WHERE i.skid = ?1))",
    [SQL_ROOM] = "SELECT bytes, count FROM mailboxes WHERE number = " KID_OR_FORMER("?2"),
    [SQL_COUNTS] = "SELECT (SELECT count(*) FROM identities), count(*), coalesce(sum(count), 0),"
                   " coalesce(sum(bytes), 0), (SELECT count(*) FROM messages WHERE blob IS NOT NULL)"
                   " FROM mailboxes",
    [SQL_BLOBS] = "SELECT blob, size FROM messages WHERE blob IS NOT NULL",
};

typedef struct SqliteReader {
    StoreReader base;
    StoreLimits limits;
    int blobs; /* folder */
    Db *db;
    DbStatement *sql[SQL_READ_MAX_];
} SqliteReader;

static int reader_open(const char *path, int blobs, const StoreLimits *limits, StoreReader **ret)
{
    SqliteReader *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->base.ops = &store_sqlite_ops;
    r->limits = *limits;
    _cleanup_(store_reader_freep) StoreReader *reader = &r->base;
    r->blobs = fcntl(blobs, F_DUPFD_CLOEXEC, 0);
    if (r->blobs < 0)
        return -errno;
    int e = db_open_reader(path, &store_sqlite_schema, &r->db);
    for (size_t i = 0; e == 0 && i < SQL_READ_MAX_; i++)
        e = db_prepare(r->db, texts[i], &r->sql[i]);
    if (e == 0)
        *ret = TAKE_PTR(reader);
    return e;
}

int reader_new(Store *store, StoreReader **ret)
{
    const SqliteStore *s = (const SqliteStore *)store;
    return reader_open(s->path, s->blobs, &s->limits, ret);
}

int store_sqlite_open_reader(const char *folder, StoreReader **ret)
{
    _cleanup_(freep) char *path = NULL, *blobs = NULL;
    StoreLimits limits;
    store_limits_init(&limits);
    int r = string_printf(&path, "%s/relay.sqlite", folder);
    if (r == 0)
        r = string_printf(&blobs, "%s/blobs", folder);
    if (r != 0)
        return r;
    _cleanup_(fd_closep) int fd = open(blobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : reader_open(path, fd, &limits, ret);
}

StoreReader *reader_free(StoreReader *reader)
{
    SqliteReader *r = (SqliteReader *)reader;
    for (size_t i = 0; i < SQL_READ_MAX_; i++)
        r->sql[i] = db_statement_free(r->sql[i]);
    r->db = db_close(r->db);
    (void)fd_close(r->blobs);
    free(r);
    return NULL;
}

static int read_spki(DbStatement *sql, int column, uint8_t ret[static SPKI_SIZE_MAX], size_t *ret_size)
{
    size_t n = 0;
    const void *data = db_column_bytes(sql, column, &n);
    if (n == 0 || n > SPKI_SIZE_MAX)
        return -EBADMSG;
    memcpy(ret, data, n);
    *ret_size = n;
    return 0;
}

static int read_text(DbStatement *sql, int column, char *ret, size_t max)
{
    size_t n = 0;
    const char *text = db_column_text(sql, column, &n);
    if (n > max)
        return -EBADMSG;
    memcpy(ret, text, n + 1);
    return 0;
}

/* ret is written to on failure as well: it is the caller's room, too large for the stack twice. */
static int read_identity(DbStatement *sql, StoreIdentity *ret)
{
    bool row = false;
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    r = db_column_exact(sql, 0, ret->skid, KID_SIZE);
    if (r == 0)
        r = db_column_exact(sql, 1, ret->kid, KID_SIZE);
    if (r == 0)
        r = read_text(sql, 2, ret->name, NAME_SIZE_MAX);
    if (r == 0)
        r = read_spki(sql, 3, ret->sign, &ret->sign_size);
    if (r == 0)
        r = read_spki(sql, 4, ret->decrypt, &ret->decrypt_size);
    if (r == 0)
        r = read_text(sql, 5, ret->statement, JWS_SIZE_MAX);
    ret->generation = (uint64_t)db_column_number(sql, 6);
    ret->created = db_column_number(sql, 7);
    return r;
}

int reader_find_name(StoreReader *reader, const char *name, StoreIdentity *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = ((SqliteReader *)reader)->sql[SQL_NAME];
    db_bind_text(sql, 1, name);
    return read_identity(sql, ret);
}

int reader_find_key(StoreReader *reader, const uint8_t *kid, StoreIdentity *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = ((SqliteReader *)reader)->sql[SQL_KEY];
    db_bind_bytes(sql, 1, kid, KID_SIZE);
    return read_identity(sql, ret);
}

int reader_find_former(StoreReader *reader, const uint8_t *kid, StoreIdentity *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = ((SqliteReader *)reader)->sql[SQL_FORMER];
    db_bind_bytes(sql, 1, kid, KID_SIZE);
    return read_identity(sql, ret);
}

int reader_chain(StoreReader *reader, const uint8_t *skid, const uint8_t *from,
                 int (*f)(const StoreLink *l, void *userdata), void *userdata)
{
    _cleanup_(db_resetp) DbStatement *sql = ((SqliteReader *)reader)->sql[SQL_CHAIN];
    bool row = false;
    db_bind_bytes(sql, 1, skid, KID_SIZE);
    db_bind_bytes(sql, 2, from, KID_SIZE);
    int r = db_step(sql, &row);
    while (r == 0 && row) {
        const StoreLink link = {db_column_text(sql, 0, NULL), db_column_text(sql, 1, NULL),
                                db_column_text(sql, 2, NULL)};
        r = f(&link, userdata);
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

int reader_snapshot(StoreReader *reader)
{
    return db_begin_read(((SqliteReader *)reader)->db);
}

void reader_snapshot_end(StoreReader *reader)
{
    db_rollback(((SqliteReader *)reader)->db);
}

int reader_list(StoreReader *reader, const uint8_t *mailbox, int64_t after, size_t max, StoreMessage *ret,
                size_t *ret_n)
{
    _cleanup_(db_resetp) DbStatement *sql = ((SqliteReader *)reader)->sql[SQL_LIST];
    bool row = false;
    size_t n = 0;
    db_bind_bytes(sql, 1, mailbox, KID_SIZE);
    db_bind_number(sql, 2, after);
    db_bind_number(sql, 3, (int64_t)max);
    int r = db_step(sql, &row);
    while (r == 0 && row && n < max) {
        StoreMessage *m = &ret[n++];
        m->seq = db_column_number(sql, 0);
        m->size = (uint64_t)db_column_number(sql, 3);
        m->expires = db_column_number(sql, 4);
        r = db_column_exact(sql, 1, m->id, ID_SIZE);
        if (r == 0)
            r = db_column_exact(sql, 2, m->submitter, KID_SIZE);
        if (r == 0)
            r = db_step(sql, &row);
    }
    if (r == 0)
        *ret_n = n;
    return r;
}

static int open_blob(const SqliteReader *r, DbStatement *sql, int column, uint64_t size, int *ret)
{
    uint8_t name[BLOB_NAME_SIZE];
    char text[BLOB_TEXT_SIZE];
    struct stat st;
    int e = db_column_exact(sql, column, name, sizeof(name));
    if (e != 0)
        return e;
    blob_text(name, text);
    _cleanup_(fd_closep) int fd = openat(r->blobs, text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? HMSG_ERROR_NOT_FOUND : -errno; /* acknowledged a moment ago */
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size != size)
        return -EBADMSG;
    *ret = TAKE_FD(fd);
    return 0;
}

int reader_fetch(StoreReader *reader, const uint8_t *mailbox, const uint8_t *id, Buf *ret, int *ret_fd,
                 uint64_t *ret_size)
{
    const SqliteReader *s = (const SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FETCH];
    bool row = false;
    int fd = -1;
    db_bind_bytes(sql, 1, mailbox, KID_SIZE);
    db_bind_bytes(sql, 2, id, ID_SIZE);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    uint64_t size = (uint64_t)db_column_number(sql, 0);
    if (!db_column_null(sql, 1)) {
        r = open_blob(s, sql, 1, size, &fd);
    } else {
        size_t n = 0;
        const void *body = db_column_bytes(sql, 2, &n);
        r = n == size ? buf_append(ret, body, n) : -EBADMSG;
    }
    if (r == 0) {
        *ret_fd = fd;
        *ret_size = size;
    }
    return r;
}

int reader_status(StoreReader *reader, const uint8_t *submitter, const uint8_t *id, StoreState *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = ((SqliteReader *)reader)->sql[SQL_STATUS];
    bool row = false;
    db_bind_bytes(sql, 1, submitter, KID_SIZE);
    db_bind_bytes(sql, 2, id, ID_SIZE);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    *ret = (StoreState)db_column_number(sql, 0);
    return 0;
}

int reader_room(StoreReader *reader, const uint8_t *mailbox, uint64_t size)
{
    const SqliteReader *s = (const SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_ROOM];
    bool row = false;
    if (size > s->limits.body_bytes)
        return HMSG_ERROR_TOO_LARGE;
    db_bind_bytes(sql, 1, mailbox, KID_SIZE);
    db_bind_number(sql, 2, clock_realtime() - (int64_t)s->limits.former_seconds);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    uint64_t bytes = (uint64_t)db_column_number(sql, 0), count = (uint64_t)db_column_number(sql, 1);
    bool fits = count < s->limits.mailbox_messages && size <= s->limits.mailbox_bytes &&
                bytes <= s->limits.mailbox_bytes - size;
    return fits ? 0 : HMSG_ERROR_QUOTA_EXCEEDED;
}

int reader_counts(StoreReader *reader, StoreCounts *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = ((SqliteReader *)reader)->sql[SQL_COUNTS];
    bool row = false;
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : -EBADMSG;
    *ret = (StoreCounts){(uint64_t)db_column_number(sql, 0), (uint64_t)db_column_number(sql, 1),
                         (uint64_t)db_column_number(sql, 2), (uint64_t)db_column_number(sql, 3),
                         (uint64_t)db_column_number(sql, 4)};
    return 0;
}

static int check_blobs(const SqliteReader *s)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_BLOBS];
    bool row = false;
    int r = db_step(sql, &row);
    while (r == 0 && row) {
        _cleanup_(fd_closep) int fd = -1;
        r = open_blob(s, sql, 0, (uint64_t)db_column_number(sql, 1), &fd);
        if (r == HMSG_ERROR_NOT_FOUND)
            r = -EBADMSG;
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

int store_sqlite_check(StoreReader *reader)
{
    const SqliteReader *s = (const SqliteReader *)reader;
    int r = db_check(s->db);
    /* While the relay runs, a message may go between the look at its row and the look at its file: then the
     * second look finds no row either. */
    if (r != 0)
        return r;
    r = check_blobs(s);
    return r == -EBADMSG ? check_blobs(s) : r;
}

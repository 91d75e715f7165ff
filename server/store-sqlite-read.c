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
    "SELECT root, key, wrapped, number, sealed, generation, created, blocked FROM identities WHERE "

#define FORMER "i.root, i.key, i.wrapped, i.number, f.skid, f.sealed"
/* Which transactions had ended at the last look. */
#define LOOK "CAST(convert_from(CAST(?1 AS BYTEA), 'UTF8') AS pg_snapshot)"
#define XID(x) "CAST(CAST(" x " AS TEXT) AS BIGINT)"
#define MESSAGE MESSAGE_KEY ", i.number, m.id, m.size, m.sealed"

static const char *const texts[SQL_READ_MAX_] = {
    [SQL_NAME] = IDENTITY "name = ?1",
    [SQL_KEY] = IDENTITY "kid = ?1 OR skid = ?1 LIMIT 1",
    [SQL_FORMER] = IDENTITY "number = (SELECT identity FROM former WHERE kid = ?1 OR skid = ?1 LIMIT 1)",
    [SQL_CHAIN] = "SELECT " FORMER " FROM identities AS i"
                  " JOIN former AS g ON g.identity = i.number AND (g.kid = ?2 OR g.skid = ?2)"
                  " JOIN former AS f ON f.identity = i.number AND f.number >= g.number"
                  " WHERE i.skid = ?1 ORDER BY f.number",
    [SQL_CLAIMS] = "SELECT f.skid, f.kid FROM identities AS i JOIN former AS f ON f.identity = i.number"
                   " WHERE i.skid = ?1 AND f.retired < 0",
    [SQL_SKIDS] = "SELECT f.skid FROM identities AS i JOIN former AS f ON f.identity = i.number"
                  " WHERE i.skid = ?1",
    [SQL_LIST] =
        "SELECT " MESSAGE ", m.seq, m.expires, m.number FROM identities AS i CROSS JOIN messages AS m"
        " ON m.mailbox = i.number" OLD_KEY "WHERE i.kid = ?1 AND m.state = 0 AND m.seq > ?2"
        " ORDER BY m.seq LIMIT ?3",
    [SQL_FETCH] = "SELECT " MESSAGE ", m.blob, m.body FROM" MESSAGE_KEY_TABLES
                  "WHERE" MESSAGE_IS("?2") "AND i.kid = ?1 AND m.state = 0",
    [SQL_STATUS] = "SELECT state, submitter FROM messages AS m WHERE" MESSAGE_IS("?1"),
    [SQL_ROOM] = "SELECT bytes, count FROM mailboxes WHERE number = " KID_OR_FORMER("?2"),
    [SQL_COUNTS] = "SELECT (SELECT count(*) FROM identities), count(*),"
                   " CAST(coalesce(sum(count), 0) AS BIGINT), CAST(coalesce(sum(bytes), 0) AS BIGINT),"
                   " (SELECT count(*) FROM messages WHERE blob IS NOT NULL),"
                   " (SELECT max(number) FROM roots),"
                   " (SELECT created FROM roots ORDER BY number DESC LIMIT 1),"
                   " (SELECT count(*) FROM identities WHERE root < (SELECT max(number) FROM roots))"
                   " + (SELECT count(*) FROM old_keys) FROM mailboxes",
    [SQL_EACH_IDENTITY] = IDENTITY "number > ?1 ORDER BY number LIMIT 1",
    [SQL_EACH_FORMER] = "SELECT " FORMER ", f.number FROM former AS f JOIN identities AS i"
                        " ON i.number = f.identity WHERE f.number > ?1 ORDER BY f.number LIMIT 1",
    [SQL_EACH_MESSAGE] = "SELECT " MESSAGE ", m.blob, m.body, m.number FROM" MESSAGE_KEY_TABLES
                         "WHERE m.number > ?1 AND m.state = 0 ORDER BY m.number LIMIT 1",
    [SQL_NEXT_INVITE] =
        "SELECT number, uses, created, expires FROM invites WHERE number > ?1 AND expires > ?2"
        " ORDER BY number LIMIT 1",
    [SQL_USE] =
        "SELECT count, bytes FROM mailboxes WHERE number = (SELECT number FROM identities WHERE kid = ?1)",
    [SQL_NEWS] =
        ("SELECT CAST(0 AS BIGINT) AS number, convert_to(CAST(pg_current_snapshot() AS TEXT), 'UTF8')"
         " AS nonce, CAST('' AS BYTEA) AS entries UNION ALL SELECT number, nonce, entries FROM"
         " (SELECT number, nonce, entries FROM news WHERE (tx >= " XID(
             "pg_snapshot_xmax(" LOOK
             ")") " OR tx = ANY(ARRAY(SELECT " XID("x") " FROM pg_snapshot_xip(" LOOK ") AS x)))"
                                                        " AND relay <> ?2 ORDER BY number LIMIT ?3) AS n "
                                                        "ORDER BY number"),
    [SQL_CAPABILITY] =
        "SELECT 1 FROM capabilities WHERE mailbox = " KID_OR_FORMER("?2") " AND code = ?3"
                                                                          " AND uses > 0 AND expires > ?4",
    [SQL_SETTINGS] = "SELECT revision, lifetime, rules FROM settings WHERE mailbox ="
                     " (SELECT number FROM identities WHERE kid = ?1)",
    [SQL_RULE_PARTIES] = "SELECT t.mailbox, s.number FROM identities AS s JOIN settings AS t ON t.mailbox ="
                         " coalesce((SELECT number FROM identities WHERE kid = ?1),"
                         " (SELECT identity FROM former WHERE kid = ?1)) WHERE s.skid = ?2 AND t.rules > 0",
    [SQL_RULE_SKIDS] = EACH_SKID,
    [SQL_RULE] = FIND_SENDER,
    [SQL_NEXT_CAPABILITY] = "SELECT number, uses, created, expires FROM capabilities WHERE mailbox ="
                            " (SELECT number FROM identities WHERE kid = ?1) AND number > ?2 AND uses >= 0"
                            " AND expires > ?3 ORDER BY number LIMIT 1",
};

#define LEFT_OUT_PAUSE 600000000u /* microseconds */

typedef struct SqliteFile {
    StoreFile base;
    BodyReader *reader;
} SqliteFile;

/* a NULL: the reader has keys of its own, from keeper. */
static int open_keys(SqliteReader *r, AtRest *a, const StoreKeeper *keeper)
{
    bool clear = false;
    int e = 0;
    r->keeper = a ? NULL : keeper;
    if (a)
        r->at_rest = at_rest_ref(a);
    else
        e = at_rest_new(&r->at_rest);
    if (e == 0 && !a && r->remote)
        e = keys_watch(r->at_rest, r->remote, keeper);
    if (e == 0 && !a && !r->remote)
        e = store_sqlite_is_clear(r->db, &clear);
    if (e == 0 && clear)
        e = -ESTALE;
    if (e == 0 && !a)
        e = keys_load(r->db, keeper, r->at_rest);
    if (e == 0)
        e = data_key_init(&r->key, r->at_rest);
    return e == 0 ? secret_new(MESSAGE_PLAIN_SIZE, &r->plain) : e;
}

int reader_open(const char *path, int blobs, StoreRemote *remote, const StoreLimits *limits, AtRest *a,
                const StoreKeeper *keeper, StoreReader **ret)
{
    SqliteReader *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->base.ops = &store_sqlite_ops;
    r->limits = *limits;
    _cleanup_(store_reader_freep) StoreReader *reader = &r->base;
    r->remote = remote ? store_remote_ref(remote) : NULL;
    r->news = BUF_MAX(NEWS_SNAPSHOT_MAX);
    r->blobs = remote ? -1 : fcntl(blobs, F_DUPFD_CLOEXEC, 0);
    if (!remote && r->blobs < 0)
        return -errno;
    int e =
        remote ? remote->connect(remote, false, &r->db) : db_open_reader(path, &store_sqlite_schema, &r->db);
    for (size_t i = 0; e == 0 && i < (remote ? SQL_READ_MAX_ : SQL_NEWS); i++)
        e = db_prepare(r->db, texts[i], &r->sql[i]);
    if (e == 0)
        e = open_keys(r, a, keeper);
    if (e == 0)
        *ret = TAKE_PTR(reader);
    return e;
}

int reader_new(Store *store, StoreReader **ret)
{
    const SqliteStore *s = (const SqliteStore *)store;
    int r = reader_open(s->path, s->blobs, s->remote, &s->limits, s->at_rest, NULL, ret);
    if (r == 0)
        memcpy(((SqliteReader *)*ret)->tag, s->tag, sizeof(s->tag));
    return r;
}

int store_sqlite_open_remote_reader(StoreRemote *remote, const StoreKeeper *keeper, StoreReader **ret)
{
    StoreLimits limits;
    store_limits_init(&limits);
    return reader_open(NULL, -1, remote, &limits, NULL, keeper, ret);
}

int store_sqlite_open_reader(const char *folder, const StoreKeeper *keeper, StoreReader **ret)
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
    return fd < 0 ? -errno : reader_open(path, fd, NULL, &limits, NULL, keeper, ret);
}

StoreReader *reader_free(StoreReader *reader)
{
    SqliteReader *r = (SqliteReader *)reader;
    for (size_t i = 0; i < SQL_READ_MAX_; i++)
        r->sql[i] = db_statement_free(r->sql[i]);
    r->db = db_close(r->db);
    data_key_done(&r->key);
    r->plain = secret_free(r->plain);
    r->at_rest = at_rest_unref(r->at_rest);
    r->bodies = remote_bodies_unref(r->bodies);
    buf_done(&r->news);
    r->remote = store_remote_unref(r->remote);
    (void)fd_close(r->blobs);
    free(r);
    return NULL;
}

static int bind_index(const SqliteReader *s, DbStatement *sql, int at, IndexKind kind, const void *data,
                      size_t n, uint8_t room[static AT_REST_INDEX_SIZE])
{
    int r = identity_index(s->at_rest, kind, data, n, room);
    if (r == 0)
        db_bind_bytes(sql, at, room, AT_REST_INDEX_SIZE);
    return r;
}

static int use_key(SqliteReader *s, DbStatement *sql, int owner_column)
{
    WrappedKey w;
    int r = wrapped_key_read(sql, 0, &w);
    return r == 0 ? data_key_use(&s->key, db_column_number(sql, owner_column), &w) : r;
}

/* Of the row at hand. ret is written to on failure as well: it is the caller's room, too large for the stack
 * twice. */
static int open_identity(SqliteReader *s, DbStatement *sql, StoreIdentity *ret)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(IDENTITY_PACKED_MAX);
    size_t n = 0;
    int r = use_key(s, sql, 3);
    const void *sealed = db_column_bytes(sql, 4, &n);
    if (r == 0)
        r = identity_open(&s->key, sealed, n, &packed);
    if (r == 0)
        r = identity_unpack(&packed, ret);
    ret->generation = (uint64_t)db_column_number(sql, 5);
    ret->created = db_column_number(sql, 6);
    ret->blocked = db_column_number(sql, 7) != 0;
    return r;
}

static int read_identity(SqliteReader *s, DbStatement *sql, StoreIdentity *ret)
{
    bool row = false;
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    return open_identity(s, sql, ret);
}

int reader_find_name(StoreReader *reader, const char *name, StoreIdentity *ret)
{
    SqliteReader *s = (SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_NAME];
    uint8_t index[AT_REST_INDEX_SIZE];
    int r = bind_index(s, sql, 1, INDEX_NAME, name, strlen(name), index);
    return r == 0 ? read_identity(s, sql, ret) : r;
}

int reader_find_key(StoreReader *reader, const uint8_t *kid, StoreIdentity *ret)
{
    SqliteReader *s = (SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_KEY];
    uint8_t index[AT_REST_INDEX_SIZE];
    int r = bind_index(s, sql, 1, INDEX_KEY, kid, KID_SIZE, index);
    return r == 0 ? read_identity(s, sql, ret) : r;
}

int reader_find_former(StoreReader *reader, const uint8_t *kid, StoreIdentity *ret)
{
    SqliteReader *s = (SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FORMER];
    uint8_t index[AT_REST_INDEX_SIZE];
    int r = bind_index(s, sql, 1, INDEX_KEY, kid, KID_SIZE, index);
    return r == 0 ? read_identity(s, sql, ret) : r;
}

int reader_next_identity(StoreReader *reader, int64_t *number, StoreIdentity *ret)
{
    SqliteReader *s = (SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EACH_IDENTITY];
    bool row = false;
    db_bind_number(sql, 1, *number);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    int64_t found = db_column_number(sql, 3);
    if (found <= *number) /* else a database that repeats itself would be looked at for ever */
        return -EBADMSG;
    *number = found;
    return open_identity(s, sql, ret);
}

DbStatement *reader_statement(StoreReader *reader, SqlRead which)
{
    return ((SqliteReader *)reader)->sql[which];
}

int reader_bind_index(StoreReader *reader, DbStatement *sql, int at, IndexKind kind, const uint8_t *value,
                      uint8_t room[static AT_REST_INDEX_SIZE])
{
    return bind_index((SqliteReader *)reader, sql, at, kind, value, KID_SIZE, room);
}

int reader_read_link(SqliteReader *s, DbStatement *sql, Buf *packed, StoreLink *ret)
{
    uint8_t index[AT_REST_INDEX_SIZE];
    size_t n = 0;
    int r = use_key(s, sql, 3);
    if (r == 0)
        r = db_column_exact(sql, 4, index, sizeof(index));
    const void *sealed = db_column_bytes(sql, 5, &n);
    if (r == 0)
        r = former_open(&s->key, index, sealed, n, packed);
    return r == 0 ? former_unpack(packed, ret) : r;
}

int reader_snapshot(StoreReader *reader)
{
    return db_begin_read(((SqliteReader *)reader)->db);
}

void reader_snapshot_end(StoreReader *reader)
{
    db_rollback(((SqliteReader *)reader)->db);
}

int reader_open_message(SqliteReader *s, DbStatement *sql)
{
    uint8_t index[AT_REST_INDEX_SIZE];
    size_t n = 0;
    int r = use_key(s, sql, 3);
    if (r == 0)
        r = db_column_exact(sql, 4, index, sizeof(index));
    const void *sealed = db_column_bytes(sql, 6, &n);
    return r == 0 ? message_open(&s->key, index, db_column_number(sql, 5), sealed, n, s->plain) : r;
}

/* Once in a while, for the recipient may ask often. */
static void tell_left_out(SqliteReader *s, int64_t number, int64_t client)
{
    uint64_t now = clock_boottime();
    if (s->told != 0 && now < s->told + LEFT_OUT_PAUSE)
        return;
    s->told = now;
    store_sqlite_tell_damage("Message", number, client, "is left out");
}

/* A list and where it goes on. */
typedef struct Listing {
    StoreMessage *list;
    size_t n, max;
    int64_t after;
    bool more; /* some were left out, and there may be others behind */
} Listing;

/* What is damaged is left out, so that the rest can be fetched. */
static int list_row(SqliteReader *s, DbStatement *sql, Listing *l)
{
    const uint8_t *plain = secret_bytes(s->plain);
    int64_t seq = db_column_number(sql, 7);
    if (seq <= l->after)
        return -EBADMSG;
    l->after = seq;
    int r = reader_open_message(s, sql);
    if (r == -EBADMSG) {
        tell_left_out(s, db_column_number(sql, 9), db_column_number(sql, 3));
        l->more = true;
        return 0;
    }
    if (r != 0)
        return r;
    StoreMessage *m = &l->list[l->n++];
    m->size = (uint64_t)db_column_number(sql, 5);
    m->seq = seq;
    m->expires = db_column_number(sql, 8);
    memcpy(m->id, plain, ID_SIZE);
    memcpy(m->submitter, plain + MESSAGE_AT_SUBMITTER, KID_SIZE);
    return 0;
}

static int list_some(SqliteReader *s, const uint8_t index[static AT_REST_INDEX_SIZE], Listing *l)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_LIST];
    bool row = false;
    l->more = false;
    db_bind_bytes(sql, 1, index, AT_REST_INDEX_SIZE);
    db_bind_number(sql, 2, l->after);
    db_bind_number(sql, 3, (int64_t)(l->max - l->n));
    int r = db_step(sql, &row);
    while (r == 0 && row && l->n < l->max) {
        r = list_row(s, sql, l);
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

int reader_list(StoreReader *reader, const uint8_t *mailbox, int64_t after, size_t max, StoreMessage *ret,
                size_t *ret_n)
{
    SqliteReader *s = (SqliteReader *)reader;
    Listing l = {.list = ret, .max = max, .after = after, .more = true};
    uint8_t index[AT_REST_INDEX_SIZE];
    int r = identity_index(s->at_rest, INDEX_KEY, mailbox, KID_SIZE, index);
    while (r == 0 && l.more && l.n < max)
        r = list_some(s, index, &l);
    if (r == 0)
        *ret_n = l.n;
    return r;
}

/* Of the message in s->plain. */
static int open_remote(SqliteReader *s, const uint8_t name[static BLOB_NAME_SIZE], uint64_t size,
                       StoreFile **ret)
{
    _cleanup_(freep) SqliteFile *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->base.ops = &store_sqlite_ops;
    int e = s->bodies ? 0 : remote_bodies_new(s->remote, &s->bodies);
    if (e == 0)
        e = remote_body_open(s->bodies, name, BLOB_NAME_SIZE, secret_bytes(s->plain) + MESSAGE_AT_KEY, size,
                             &f->reader);
    if (e == 0)
        *ret = &TAKE_PTR(f)->base;
    return e;
}

static int open_blob(SqliteReader *s, DbStatement *sql, int column, uint64_t size, StoreFile **ret)
{
    uint8_t name[BLOB_NAME_SIZE];
    char text[BLOB_TEXT_SIZE];
    struct stat st;
    int e = db_column_exact(sql, column, name, sizeof(name));
    if (e != 0)
        return e;
    if (s->remote)
        return open_remote(s, name, size, ret);
    blob_text(name, text);
    _cleanup_(fd_closep) int fd = openat(s->blobs, text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT ? HMSG_ERROR_NOT_FOUND : -errno; /* acknowledged a moment ago */
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size != body_sealed_size(size))
        return -EBADMSG;
    _cleanup_(freep) SqliteFile *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->base.ops = &store_sqlite_ops;
    e = body_reader_new(secret_bytes(s->plain) + MESSAGE_AT_KEY, fd, size, &f->reader);
    if (e != 0)
        return e;
    fd = -1; /* the reader's */
    *ret = &TAKE_PTR(f)->base;
    return 0;
}

int reader_read_body(SqliteReader *s, DbStatement *sql, Buf *ret, StoreFile **ret_file)
{
    uint64_t size = (uint64_t)db_column_number(sql, 5);
    size_t n = 0;
    int r = reader_open_message(s, sql);
    if (r != 0)
        return r;
    if (!db_column_null(sql, 7))
        return open_blob(s, sql, 7, size, ret_file);
    const void *sealed = db_column_bytes(sql, 8, &n);
    if (size > MESSAGE_SIZE_MAX)
        return -EBADMSG;
    r = body_open(secret_bytes(s->plain) + MESSAGE_AT_KEY, sealed, n, (size_t)size, ret);
    return r > 0 ? -EBADMSG : r;
}

ssize_t reader_file_read(StoreFile *file, uint64_t offset, void *to, size_t n)
{
    return body_reader_read(((SqliteFile *)file)->reader, offset, to, n);
}

StoreFile *reader_file_free(StoreFile *file)
{
    SqliteFile *f = (SqliteFile *)file;
    f->reader = body_reader_free(f->reader);
    free(f);
    return NULL;
}

int reader_fetch(StoreReader *reader, const uint8_t *mailbox, const uint8_t *id, Buf *ret,
                 StoreFile **ret_file, uint64_t *ret_size)
{
    SqliteReader *s = (SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FETCH];
    uint8_t owner[AT_REST_INDEX_SIZE], message[AT_REST_INDEX_SIZE];
    StoreFile *file = NULL;
    bool row = false;
    int r = bind_index(s, sql, 1, INDEX_KEY, mailbox, KID_SIZE, owner);
    if (r == 0)
        r = bind_index(s, sql, 2, INDEX_MESSAGE, id, ID_SIZE, message);
    if (r == 0)
        r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    r = reader_read_body(s, sql, ret, &file);
    if (r == 0) {
        *ret_file = file;
        *ret_size = (uint64_t)db_column_number(sql, 5);
    }
    return r;
}

/* Whether the message was submitted by the owner of a sign key, of which skid is the index. */
static int is_receipt(const SqliteReader *s, const uint8_t *id, const uint8_t *skid,
                      const uint8_t receipt[static AT_REST_INDEX_SIZE], bool *ret)
{
    const Chunk parts[] = {{id, ID_SIZE}, {skid, AT_REST_INDEX_SIZE}};
    uint8_t own[AT_REST_INDEX_SIZE];
    int r = at_rest_index(s->at_rest, INDEX_SUBMITTER, parts, ELEMENTSOF(parts), own);
    if (r == 0)
        *ret = bytes_equal(own, receipt, sizeof(own));
    return r;
}

/* Or of one that its owner had before. */
static int is_submitter(const SqliteReader *s, const uint8_t *submitter, const uint8_t *id,
                        const uint8_t receipt[static AT_REST_INDEX_SIZE], bool *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_SKIDS];
    uint8_t skid[AT_REST_INDEX_SIZE], former[AT_REST_INDEX_SIZE];
    bool row = false;
    int r = bind_index(s, sql, 1, INDEX_KEY, submitter, KID_SIZE, skid);
    if (r == 0)
        r = is_receipt(s, id, skid, receipt, ret);
    if (r == 0 && !*ret)
        r = db_step(sql, &row);
    while (r == 0 && row && !*ret) {
        r = db_column_exact(sql, 0, former, sizeof(former));
        if (r == 0)
            r = is_receipt(s, id, former, receipt, ret);
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

int reader_status(StoreReader *reader, const uint8_t *submitter, const uint8_t *id, StoreState *ret)
{
    SqliteReader *s = (SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_STATUS];
    uint8_t message[AT_REST_INDEX_SIZE], receipt[AT_REST_INDEX_SIZE];
    bool row = false, own = false;
    int r = bind_index(s, sql, 1, INDEX_MESSAGE, id, ID_SIZE, message);
    if (r == 0)
        r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    r = db_column_exact(sql, 1, receipt, sizeof(receipt));
    if (r == 0)
        r = is_submitter(s, submitter, id, receipt, &own);
    if (r != 0)
        return r;
    if (!own)
        return HMSG_ERROR_NOT_FOUND;
    *ret = (StoreState)db_column_number(sql, 0);
    return 0;
}

int reader_room(StoreReader *reader, const uint8_t *mailbox, uint64_t size)
{
    const SqliteReader *s = (const SqliteReader *)reader;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_ROOM];
    uint8_t index[AT_REST_INDEX_SIZE];
    bool row = false;
    if (size > s->limits.body_bytes)
        return HMSG_ERROR_TOO_LARGE;
    int r = bind_index(s, sql, 1, INDEX_KEY, mailbox, KID_SIZE, index);
    db_bind_number(sql, 2, clock_realtime() - (int64_t)s->limits.former_seconds);
    if (r == 0)
        r = db_step(sql, &row);
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
                         (uint64_t)db_column_number(sql, 4), (uint64_t)db_column_number(sql, 5),
                         db_column_number(sql, 6),           (uint64_t)db_column_number(sql, 7)};
    return 0;
}

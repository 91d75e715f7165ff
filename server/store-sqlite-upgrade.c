/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/store-sqlite-internal.h"

/* From the tables of the versions in clear, which the schema has renamed to clear_*, into those of now; in
 * transactions of which each moves some rows, so that a relay that is killed meanwhile goes on with the rest.
 * What is deleted is overwritten by SQLite (secure_delete) as long as its pages live, and the log is cut at
 * the end. */

#define BATCH_ROWS 64u

typedef struct Upgrade {
    SqliteStore *store;
    DbStatement *identity, *former, *mailbox, *shares, *share, *message, *insert, *delete;
} Upgrade;

static const char identity_sql[] =
    "SELECT i.number, i.skid, i.kid, i.name, i.sign, i.decrypt, i.statement, i.generation, i.created,"
    " m.next, m.bytes, m.count FROM clear_identities AS i LEFT JOIN clear_mailboxes AS m"
    " ON m.number = i.number WHERE i.number > (SELECT coalesce(max(number), 0) FROM identities)"
    " ORDER BY i.number LIMIT 1";
static const char former_sql[] = "SELECT skid, kid, statement, steps, next, retired FROM clear_former"
                                 " WHERE identity = ?1 ORDER BY number";
static const char mailbox_sql[] = "UPDATE mailboxes SET next = ?2, bytes = ?3, count = ?4 WHERE number = ?1";
static const char shares_sql[] = "SELECT submitter, bytes, count FROM clear_shares WHERE mailbox = ?1";
static const char share_sql[] = "INSERT INTO shares(mailbox, share, bytes, count) VALUES(?1, ?2, ?3, ?4)";
static const char message_sql[] = "SELECT number, mailbox, seq, id, submitter, share, size, accepted,"
                                  " expires, state, blob, body FROM clear_messages LIMIT 1";
static const char insert_sql[] = "INSERT INTO messages(mailbox, seq, id, submitter, size, accepted, expires, "
                                 "state, key, blob, sealed, body)"
                                 " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
static const char delete_sql[] = "DELETE FROM clear_messages WHERE number = ?1";
static const char end_sql[] =
    "INSERT INTO sqlite_sequence(name, seq) SELECT 'identities', 0 WHERE NOT EXISTS"
    " (SELECT 1 FROM sqlite_sequence WHERE name = 'identities');"
    "UPDATE sqlite_sequence SET seq = max(seq, (SELECT coalesce(max(seq), 0) FROM sqlite_sequence"
    " WHERE name = 'clear_identities')) WHERE name = 'identities';"
    "DROP TABLE clear_messages; DROP TABLE clear_shares; DROP TABLE clear_mailboxes; DROP TABLE "
    "clear_former; DROP TABLE "
    "clear_identities";

static int read_bytes(DbStatement *sql, int column, void *ret, size_t max, size_t *ret_size)
{
    size_t n = 0;
    const void *data = db_column_bytes(sql, column, &n);
    if (n > max)
        return -EBADMSG;
    if (n > 0)
        memcpy(ret, data, n);
    *ret_size = n;
    return 0;
}

static int read_identity(DbStatement *sql, StoreIdentity *ret)
{
    size_t n = 0;
    int r = db_column_exact(sql, 1, ret->skid, KID_SIZE);
    if (r == 0)
        r = db_column_exact(sql, 2, ret->kid, KID_SIZE);
    if (r == 0)
        r = read_bytes(sql, 3, ret->name, NAME_SIZE_MAX, &n);
    if (r == 0)
        r = read_bytes(sql, 4, ret->sign, SPKI_SIZE_MAX, &ret->sign_size);
    if (r == 0)
        r = read_bytes(sql, 5, ret->decrypt, SPKI_SIZE_MAX, &ret->decrypt_size);
    if (r == 0)
        r = read_bytes(sql, 6, ret->statement, JWS_SIZE_MAX, &n);
    ret->generation = (uint64_t)db_column_number(sql, 7);
    ret->created = db_column_number(sql, 8);
    return r;
}

/* Named by a sign key, or by none. */
static int read_share(const Upgrade *u, int64_t mailbox, DbStatement *sql, int column, Share *ret)
{
    uint8_t submitter[KID_SIZE] = {0}, index[AT_REST_INDEX_SIZE];
    size_t n = 0;
    int r = read_bytes(sql, column, submitter, sizeof(submitter), &n);
    if (r == 0)
        r = identity_index(u->store->at_rest, INDEX_KEY, submitter, KID_SIZE, index);
    return r == 0 ? store_sqlite_share(u->store, mailbox, index, n == 0, ret) : r;
}

static int move_formers(const Upgrade *u, int64_t identity)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    _cleanup_(db_resetp) DbStatement *sql = u->former;
    bool row = false;
    if (!i)
        return -ENOMEM;
    db_bind_number(sql, 1, identity);
    int r = db_step(sql, &row);
    while (r == 0 && row) {
        const StoreLink link = {db_column_text(sql, 2, NULL), db_column_text(sql, 3, NULL),
                                db_column_text(sql, 4, NULL)};
        r = db_column_exact(sql, 0, i->skid, KID_SIZE);
        if (r == 0)
            r = db_column_exact(sql, 1, i->kid, KID_SIZE);
        if (r == 0)
            r = store_sqlite_add_former(u->store, identity, i, &link, db_column_number(sql, 5));
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

static int move_shares(const Upgrade *u, int64_t mailbox)
{
    _cleanup_(db_resetp) DbStatement *sql = u->shares;
    bool row = false;
    db_bind_number(sql, 1, mailbox);
    int r = db_step(sql, &row);
    while (r == 0 && row) {
        Share share = {};
        r = read_share(u, mailbox, sql, 0, &share);
        if (r != 0)
            return r;
        db_bind_number(u->share, 1, mailbox);
        db_bind_bytes(u->share, 2, share.bytes, share.size);
        db_bind_number(u->share, 3, db_column_number(sql, 1));
        db_bind_number(u->share, 4, db_column_number(sql, 2));
        r = db_run(u->share);
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

static int move_identity(const Upgrade *u, bool *ret_more)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    _cleanup_(db_resetp) DbStatement *sql = u->identity;
    if (!i)
        return -ENOMEM;
    int r = db_step(sql, ret_more);
    if (r != 0 || !*ret_more)
        return r;
    int64_t number = db_column_number(sql, 0);
    r = read_identity(sql, i);
    if (r == 0)
        r = store_sqlite_add_identity(u->store, number, i);
    if (r == 0)
        r = move_formers(u, number);
    if (r != 0 || !i->name[0])
        return r;
    db_bind_number(u->mailbox, 1, number);
    for (int k = 2; k <= 4; k++)
        db_bind_number(u->mailbox, k, db_column_number(sql, 7 + k));
    r = db_run(u->mailbox);
    return r == 0 ? move_shares(u, number) : r;
}

typedef struct Message {
    StoreWrite put;
    int64_t number, mailbox, seq;
    StoreState state;
    Share share;
    bool has_blob;
    uint8_t blob[BLOB_NAME_SIZE]; /* of now, in clear */
    Buf body;
} Message;

static void message_done(Message *m)
{
    store_sqlite_unprepare(&m->put);
    (void)store_blob_free(m->put.put.blob);
    buf_done(&m->body);
}

static int read_message(const Upgrade *u, Message *ret, bool *ret_more)
{
    _cleanup_(db_resetp) DbStatement *sql = u->message;
    StoreWrite *w = &ret->put;
    size_t n = 0;
    int r = db_step(sql, ret_more);
    if (r != 0 || !*ret_more)
        return r;
    ret->number = db_column_number(sql, 0);
    ret->mailbox = db_column_number(sql, 1);
    ret->seq = db_column_number(sql, 2);
    w->put.size = (uint64_t)db_column_number(sql, 6);
    w->put.accepted = db_column_number(sql, 7);
    w->put.expires = db_column_number(sql, 8);
    ret->state = (StoreState)db_column_number(sql, 9);
    ret->has_blob = !db_column_null(sql, 10) && ret->state == STORE_ACCEPTED;
    r = db_column_exact(sql, 3, w->put.id, ID_SIZE);
    if (r == 0)
        r = db_column_exact(sql, 4, w->put.submitter, KID_SIZE);
    if (r == 0)
        r = read_share(u, ret->mailbox, sql, 5, &ret->share);
    if (r == 0 && ret->has_blob)
        r = db_column_exact(sql, 10, ret->blob, BLOB_NAME_SIZE);
    const void *body = db_column_bytes(sql, 11, &n);
    if (r == 0 && body)
        r = buf_append(&ret->body, body, n);
    return r;
}

static int copy_file(int fd, StoreBlob *to)
{
    uint8_t piece[BODY_CHUNK_SIZE];
    for (;;) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        int r = n > 0 ? store_blob_append(to, piece, (size_t)n) : 0;
        if (n <= 0 || r != 0)
            return n < 0 ? -errno : r;
    }
}

/* A file that is not there any more stays so: the message is then one that cannot be fetched, as before. */
static int seal_file(SqliteStore *s, Message *m)
{
    char text[BLOB_TEXT_SIZE];
    StoreLimits limits = s->limits;
    blob_text(m->blob, text);
    _cleanup_(fd_closep) int fd = openat(s->blobs, text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0 && errno != ENOENT)
        return -errno;
    s->limits.body_bytes = UINT64_MAX; /* it was accepted */
    int r = blob_new(&s->base, &m->put.put.blob);
    if (r == 0 && fd >= 0)
        r = copy_file(fd, m->put.put.blob);
    s->limits = limits;
    if (r == 0 && fd >= 0)
        r = blob_make_durable((SqliteBlob *)m->put.put.blob);
    return r;
}

static int seal_message(SqliteStore *s, Message *m, uint8_t ret[static MESSAGE_SEALED_SIZE])
{
    StoreWrite *w = &m->put;
    int r = m->has_blob ? seal_file(s, m) : 0;
    w->kind = STORE_PUT;
    w->put.body = m->body.data;
    if (r == 0 && !m->has_blob && m->body.size != w->put.size)
        r = -EBADMSG;
    if (r == 0)
        r = store_sqlite_prepare_write(s, w);
    if (r == 0)
        r = keys_use(s, m->mailbox);
    if (r != 0)
        return r;
    const Prepared *p = w->prepared;
    store_sqlite_put_share(&m->share, p->plain);
    return message_seal(&s->key, p->id, (int64_t)w->put.size, p->plain, ret);
}

static int insert_message(const Upgrade *u, const Message *m,
                          const uint8_t sealed[static MESSAGE_SEALED_SIZE])
{
    const StoreWrite *w = &m->put;
    const Prepared *p = w->prepared;
    bool waits = m->state == STORE_ACCEPTED;
    DbStatement *sql = u->insert;
    db_bind_number(sql, 1, m->mailbox);
    db_bind_number(sql, 2, m->seq);
    db_bind_bytes(sql, 3, p->id, sizeof(p->id));
    db_bind_bytes(sql, 4, p->receipt, sizeof(p->receipt));
    db_bind_number(sql, 5, (int64_t)w->put.size);
    db_bind_number(sql, 6, w->put.accepted);
    db_bind_number(sql, 7, w->put.expires);
    db_bind_number(sql, 8, m->state);
    db_bind_number(sql, 9, u->store->key.wrapped.number);
    if (m->has_blob)
        db_bind_bytes(sql, 10, ((const SqliteBlob *)w->put.blob)->name, BLOB_NAME_SIZE);
    if (waits)
        db_bind_bytes(sql, 11, sealed, MESSAGE_SEALED_SIZE);
    if (waits && !m->has_blob)
        db_bind_bytes(sql, 12, p->body.data, p->body.size);
    int r = db_run(sql);
    if (r != 0)
        return r;
    db_bind_number(u->delete, 1, m->number);
    return db_run(u->delete);
}

/* Within a transaction; its blob, if it has one, is to be kept when that is committed. */
static int move_message(const Upgrade *u, Message *m, bool *ret_more)
{
    uint8_t sealed[MESSAGE_SEALED_SIZE] = {0};
    int r = read_message(u, m, ret_more);
    if (r != 0 || !*ret_more)
        return r;
    /* of what has ended only the indexes are made use of */
    uint64_t size = m->put.put.size;
    if (m->state != STORE_ACCEPTED)
        m->put.put.size = 0;
    r = seal_message(u->store, m, sealed);
    m->put.put.size = size;
    return r == 0 ? insert_message(u, m, sealed) : r;
}

static int move_identities(const Upgrade *u, bool *ret_more)
{
    _cleanup_(db_rollbackp) Db *transaction = u->store->db;
    int r = db_begin(transaction);
    *ret_more = true;
    for (unsigned i = 0; r == 0 && *ret_more && i < BATCH_ROWS; i++)
        r = move_identity(u, ret_more);
    return r == 0 ? db_commit(transaction) : r;
}

/* Up to the first file. */
static int move_messages(const Upgrade *u, bool *ret_more)
{
    _cleanup_(db_rollbackp) Db *transaction = u->store->db;
    SqliteStore *s = u->store;
    Message m = {};
    int r = db_begin(transaction);
    *ret_more = true;
    for (unsigned i = 0; r == 0 && *ret_more && !m.has_blob && i < BATCH_ROWS; i++) {
        message_done(&m);
        m = (Message){.body = BUF_MAX(MESSAGE_SIZE_MAX)};
        r = move_message(u, &m, ret_more);
    }
    if (r == 0)
        r = db_commit(transaction);
    SqliteBlob *b = (SqliteBlob *)m.put.put.blob;
    if (b) {
        /* after a commit that failed the row may be found all the same: what is too much is an orphan */
        b->kept = b->durable;
        if (r == 0)
            r = buf_append(&s->dead, m.blob, BLOB_NAME_SIZE);
    }
    message_done(&m);
    blob_remove_dead(s);
    return r;
}

static int open_statements(Upgrade *u)
{
    Db *db = u->store->db;
    int r = db_prepare(db, identity_sql, &u->identity);
    if (r == 0)
        r = db_prepare(db, former_sql, &u->former);
    if (r == 0)
        r = db_prepare(db, mailbox_sql, &u->mailbox);
    if (r == 0)
        r = db_prepare(db, shares_sql, &u->shares);
    if (r == 0)
        r = db_prepare(db, share_sql, &u->share);
    if (r == 0)
        r = db_prepare(db, message_sql, &u->message);
    if (r == 0)
        r = db_prepare(db, insert_sql, &u->insert);
    return r == 0 ? db_prepare(db, delete_sql, &u->delete) : r;
}

static void upgrade_done(Upgrade *u)
{
    DbStatement *all[] = {u->identity, u->former,  u->mailbox, u->shares,
                          u->share,    u->message, u->insert,  u->delete};
    for (size_t i = 0; i < ELEMENTSOF(all); i++)
        (void)db_statement_free(all[i]);
}

static int move_all(SqliteStore *s)
{
    _cleanup_(upgrade_done) Upgrade u = {.store = s};
    bool more = true;
    int r = open_statements(&u);
    while (r == 0 && more)
        r = move_identities(&u, &more);
    more = true;
    while (r == 0 && more)
        r = move_messages(&u, &more);
    return r;
}

int store_sqlite_drop_clear(Db *db)
{
    _cleanup_(db_rollbackp) Db *transaction = db;
    int r = db_begin(transaction);
    if (r == 0)
        r = db_exec(db, end_sql);
    return r == 0 ? db_commit(transaction) : r;
}

static int end(SqliteStore *s)
{
    int r = store_sqlite_drop_clear(s->db);
    if (r == 0 && db_checkpoint(s->db) != 0)
        s->erase = true; /* somebody reads */
    return r;
}

int store_sqlite_is_clear(Db *db, bool *ret)
{
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    int r = db_prepare(db, "SELECT 1 FROM sqlite_schema WHERE name = 'clear_messages'", &sql);
    return r == 0 ? db_step(sql, ret) : r;
}

int store_sqlite_upgrade(SqliteStore *s)
{
    bool clear = false;
    int r = store_sqlite_is_clear(s->db, &clear);
    if (r != 0 || !clear)
        return r;
    r = move_all(s);
    return r == 0 ? end(s) : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"
#include "server/store-sqlite-internal.h"

static const char *const texts[SQL_WRITE_MAX_] = {
    [SQL_FIND_SKID] = "SELECT number, kid, name, generation FROM identities WHERE skid = ?1",
    [SQL_FIND_CONFLICT] = "SELECT 1 FROM identities WHERE skid <> ?1 AND (kid IN (?1, ?2) OR name = ?3)"
                          " UNION ALL SELECT 1 FROM identities WHERE skid = ?2"
                          " UNION ALL SELECT 1 FROM former WHERE skid IN (?1, ?2) OR kid IN (?1, ?2)",
    [SQL_ADD_IDENTITY] = "INSERT INTO identities(skid, kid, name, sign, decrypt, statement, generation,"
                         " created) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_UPDATE_IDENTITY] =
        "UPDATE identities SET statement = ?2, generation = ?3, name = ?4 WHERE number = ?1",
    [SQL_ADD_MAILBOX] = "INSERT INTO mailboxes(number, next, bytes, count) VALUES(?1, 1, 0, 0)",
    [SQL_FIND_MAILBOX] = "SELECT m.number, m.next, m.bytes, m.count FROM identities AS i JOIN mailboxes AS m"
                         " ON m.number = i.number WHERE i.kid = ?1",
    [SQL_FIND_PARTIES] = "SELECT m.number, m.next, m.bytes, m.count,"
                         " s.name IS NULL, i.kid, coalesce((SELECT f.skid FROM former AS f"
                         " WHERE f.identity = s.number ORDER BY f.number LIMIT 1), s.skid)"
                         " FROM identities AS s LEFT JOIN identities AS i ON i.number = " KID_OR_FORMER(
                             "?3") " LEFT JOIN mailboxes AS m ON m.number = i.number WHERE s.skid = ?2",
    [SQL_FIND_MESSAGE] = "SELECT number, seq, state, accepted, submitter, share, size, blob FROM messages"
                         " WHERE id = ?1 AND mailbox = ?2",
    [SQL_FIND_SHARE] = "SELECT bytes, count FROM shares WHERE mailbox = ?1 AND submitter = ?2",
    [SQL_ADD_MESSAGE] =
        "INSERT INTO messages(mailbox, seq, id, submitter, share, size, accepted, expires, state,"
        " blob, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10) ON CONFLICT DO NOTHING",
    [SQL_COUNT_MAILBOX] =
        "UPDATE mailboxes SET next = next + ?2, bytes = bytes + ?3, count = count + ?4 WHERE number = ?1",
    [SQL_COUNT_SHARE] =
        "INSERT INTO shares(mailbox, submitter, bytes, count) VALUES(?1, ?2, ?3, ?4)"
        " ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes, count = count + excluded.count",
    [SQL_DROP_SHARE] = "DELETE FROM shares WHERE mailbox = ?1 AND submitter = ?2 AND count <= 0",
    [SQL_END_MESSAGE] =
        "UPDATE messages SET state = ?2, expires = max(expires + ?3, accepted + ?4), blob = NULL, body = NULL"
        " WHERE number = ?1",
    [SQL_EXPIRED] = "SELECT number, mailbox, state, id, submitter, share, size, blob FROM messages"
                    " WHERE expires <= ?1 ORDER BY expires LIMIT ?2",
    [SQL_FORGET_MESSAGE] = "DELETE FROM messages WHERE number = ?1",
    [SQL_MAILBOX_BLOBS] = "SELECT blob FROM messages WHERE mailbox = ?1 AND blob IS NOT NULL",
    [SQL_DELETE_MESSAGES] = "DELETE FROM messages WHERE mailbox = ?1",
    [SQL_DELETE_SHARES] = "DELETE FROM shares WHERE mailbox = ?1",
    [SQL_DELETE_MAILBOX] = "DELETE FROM mailboxes WHERE number = ?1",
    [SQL_DELETE_IDENTITY] = "DELETE FROM identities WHERE number = ?1",
};

int store_sqlite_prepare(SqliteStore *s)
{
    _cleanup_(db_statement_freep) DbStatement *sum = NULL;
    bool row = false;
    int r = db_prepare(s->db, "SELECT coalesce(sum(bytes), 0) FROM mailboxes", &sum);
    if (r == 0)
        r = db_step(sum, &row);
    if (r == 0 && row)
        s->total = (uint64_t)db_column_number(sum, 0);
    for (size_t i = 0; r == 0 && i < SQL_WRITE_MAX_; i++)
        r = db_prepare(s->db, texts[i] ? texts[i] : store_sqlite_rotate_texts[i], &s->sql[i]);
    return r;
}

/* One statement with a number, as most of those that delete are. */
static int run_number(SqliteStore *s, SqlWrite which, int64_t number)
{
    db_bind_number(s->sql[which], 1, number);
    return db_run(s->sql[which]);
}

static void bind_name(DbStatement *sql, int index, const char *name)
{
    db_bind_text(sql, index, name[0] ? name : NULL);
}

typedef struct Known {
    int64_t number; /* 0: not registered */
    uint8_t kid[KID_SIZE];
    char name[NAME_SIZE_MAX + 1];
    int64_t generation;
} Known;

static int find_skid(SqliteStore *s, const uint8_t *skid, Known *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_SKID];
    Known k = {};
    bool row = false;
    db_bind_bytes(sql, 1, skid, KID_SIZE);
    int r = db_step(sql, &row);
    if (r == 0 && row) {
        size_t n = 0;
        const char *name = db_column_text(sql, 2, &n);
        r = n > NAME_SIZE_MAX ? -EBADMSG : db_column_exact(sql, 1, k.kid, KID_SIZE);
        if (r == 0) {
            memcpy(k.name, name, n);
            k.number = db_column_number(sql, 0);
            k.generation = db_column_number(sql, 3);
        }
    }
    if (r == 0)
        *ret = k;
    return r;
}

/* Whether one of the keys or the name is another's. */
static int find_conflict(SqliteStore *s, const StoreIdentity *i, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_CONFLICT];
    db_bind_bytes(sql, 1, i->skid, KID_SIZE);
    db_bind_bytes(sql, 2, i->kid, KID_SIZE);
    bind_name(sql, 3, i->name);
    return db_step(sql, ret);
}

static int add_identity(SqliteStore *s, const StoreIdentity *i)
{
    DbStatement *sql = s->sql[SQL_ADD_IDENTITY];
    db_bind_bytes(sql, 1, i->skid, KID_SIZE);
    db_bind_bytes(sql, 2, i->kid, KID_SIZE);
    bind_name(sql, 3, i->name);
    db_bind_bytes(sql, 4, i->sign, i->sign_size);
    db_bind_bytes(sql, 5, i->decrypt, i->decrypt_size);
    db_bind_text(sql, 6, i->statement);
    db_bind_number(sql, 7, (int64_t)i->generation);
    db_bind_number(sql, 8, i->created);
    int r = db_run(sql);
    if (r == 0 && i->name[0])
        r = run_number(s, SQL_ADD_MAILBOX, db_last_row_id(s->db));
    return r;
}

/* The same keys again: a newer statement takes the place of the older one, a guest may become a member. */
static int update_identity(SqliteStore *s, const Known *known, const StoreIdentity *i)
{
    DbStatement *sql = s->sql[SQL_UPDATE_IDENTITY];
    bool joins = i->name[0] && !known->name[0];
    /* A member who registers as guest is a member still, and his statement tells his address here. */
    if ((int64_t)i->generation < known->generation || (!i->name[0] && known->name[0]))
        return 0;
    db_bind_number(sql, 1, known->number);
    db_bind_text(sql, 2, i->statement);
    db_bind_number(sql, 3, (int64_t)i->generation);
    bind_name(sql, 4, i->name);
    int r = db_run(sql);
    return r == 0 && joins ? run_number(s, SQL_ADD_MAILBOX, known->number) : r;
}

static int do_register(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    const StoreIdentity *i = w->reg.identity;
    Known known = {};
    bool taken = false;
    *ret_rollback = true;
    int r = find_skid(s, i->skid, &known);
    if (r == 0)
        r = find_conflict(s, i, &taken);
    if (r != 0)
        return r;
    bool other = known.number != 0 && (!bytes_equal(known.kid, i->kid, KID_SIZE) ||
                                       (known.name[0] && i->name[0] && strcmp(known.name, i->name) != 0));
    *ret_rollback = false;
    if (taken || other)
        return HMSG_ERROR_ALREADY_EXISTS;
    w->reg.created = known.number == 0 || (!known.name[0] && i->name[0]);
    r = known.number == 0 ? add_identity(s, i) : update_identity(s, &known, i);
    *ret_rollback = r != 0;
    return r;
}

static int collect_blobs(SqliteStore *s, int64_t mailbox)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_MAILBOX_BLOBS];
    bool row = false;
    db_bind_number(sql, 1, mailbox);
    int r = db_step(sql, &row);
    while (r == 0 && row) {
        uint8_t name[BLOB_NAME_SIZE];
        r = db_column_exact(sql, 0, name, sizeof(name));
        if (r == 0)
            r = buf_append(&s->dead, name, sizeof(name));
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

typedef struct Mailbox {
    int64_t number, next, bytes, count;
} Mailbox;

static int find_mailbox(SqliteStore *s, const uint8_t *kid, Mailbox *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_MAILBOX];
    bool row = false;
    db_bind_bytes(sql, 1, kid, KID_SIZE);
    int r = db_step(sql, &row);
    if (r != 0)
        return r;
    if (!row)
        return HMSG_ERROR_NOT_FOUND;
    *ret = (Mailbox){db_column_number(sql, 0), db_column_number(sql, 1), db_column_number(sql, 2),
                     db_column_number(sql, 3)};
    return 0;
}

static int do_unregister(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    Known known = {};
    Mailbox mailbox = {};
    *ret_rollback = true;
    int r = find_skid(s, w->unregister.skid, &known);
    if (r != 0)
        return r;
    if (known.number == 0 || strcmp(known.name, w->unregister.name) != 0) {
        *ret_rollback = false;
        return HMSG_ERROR_NOT_FOUND;
    }
    if (known.name[0]) {
        r = find_mailbox(s, known.kid, &mailbox);
        if (r == 0)
            r = collect_blobs(s, known.number);
        if (r == 0)
            r = run_number(s, SQL_DELETE_MESSAGES, known.number);
        if (r == 0)
            r = run_number(s, SQL_DELETE_SHARES, known.number);
        if (r == 0)
            r = run_number(s, SQL_DELETE_MAILBOX, known.number);
    }
    if (r == 0)
        r = run_number(s, SQL_DELETE_FORMER, known.number);
    if (r == 0)
        r = run_number(s, SQL_DELETE_IDENTITY, known.number);
    if (r == 0)
        s->total -= (uint64_t)mailbox.bytes;
    *ret_rollback = r != 0;
    return r;
}

typedef struct Row {
    int64_t number, mailbox, seq, accepted, size;
    StoreState state;
    uint8_t id[ID_SIZE], submitter[KID_SIZE], share[KID_SIZE], blob[BLOB_NAME_SIZE];
    size_t share_size;
    bool has_blob;
} Row;

static int read_tail(DbStatement *sql, Row *m)
{
    const void *share = db_column_bytes(sql, 5, &m->share_size);
    if (m->share_size > sizeof(m->share))
        return -EBADMSG;
    if (m->share_size > 0)
        memcpy(m->share, share, m->share_size);
    m->size = db_column_number(sql, 6);
    m->has_blob = !db_column_null(sql, 7);
    int r = db_column_exact(sql, 4, m->submitter, KID_SIZE);
    return r == 0 && m->has_blob ? db_column_exact(sql, 7, m->blob, BLOB_NAME_SIZE) : r;
}

/* number is 0 when there is no such message. */
static int find_message(SqliteStore *s, int64_t mailbox, const uint8_t *id, Row *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_MESSAGE];
    Row m = {.mailbox = mailbox};
    bool row = false;
    db_bind_bytes(sql, 1, id, ID_SIZE);
    db_bind_number(sql, 2, mailbox);
    int r = db_step(sql, &row);
    if (r == 0 && row) {
        m.number = db_column_number(sql, 0);
        m.seq = db_column_number(sql, 1);
        m.state = (StoreState)db_column_number(sql, 2);
        m.accepted = db_column_number(sql, 3);
        memcpy(m.id, id, ID_SIZE);
        r = read_tail(sql, &m);
    }
    if (r == 0)
        *ret = m;
    return r;
}

static int count(SqliteStore *s, const Row *m, int64_t next, int64_t sign)
{
    DbStatement *sql = s->sql[SQL_COUNT_MAILBOX];
    db_bind_number(sql, 1, m->mailbox);
    db_bind_number(sql, 2, next);
    db_bind_number(sql, 3, sign * m->size);
    db_bind_number(sql, 4, sign);
    int r = db_run(sql);
    if (r != 0)
        return r;
    sql = s->sql[SQL_COUNT_SHARE];
    db_bind_number(sql, 1, m->mailbox);
    db_bind_bytes(sql, 2, m->share, m->share_size);
    db_bind_number(sql, 3, sign * m->size);
    db_bind_number(sql, 4, sign);
    r = db_run(sql);
    if (r == 0 && sign < 0) {
        sql = s->sql[SQL_DROP_SHARE];
        db_bind_number(sql, 1, m->mailbox);
        db_bind_bytes(sql, 2, m->share, m->share_size);
        r = db_run(sql);
    }
    s->total += (uint64_t)(sign * m->size);
    return r;
}

static bool over(int64_t bytes, int64_t n, uint64_t size, uint64_t bytes_max, uint64_t n_max)
{
    return (uint64_t)n >= n_max || size > bytes_max || (uint64_t)bytes > bytes_max - size;
}

/* The mailbox, and what the submitter is: of how many he has sent, a rotation makes nothing forgotten (share,
 * of size 0 for guests). */
static int find_parties(SqliteStore *s, StoreWrite *w, Mailbox *ret, Row *ret_row)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_PARTIES];
    bool row = false;
    db_bind_bytes(sql, 1, w->put.mailbox, KID_SIZE);
    db_bind_bytes(sql, 2, w->put.submitter, KID_SIZE);
    db_bind_number(sql, 3, w->put.accepted - (int64_t)s->limits.former_seconds);
    int r = db_step(sql, &row);
    if (r != 0)
        return r;
    if (!row)
        return HMSG_ERROR_DENIED;
    if (db_column_null(sql, 0))
        return HMSG_ERROR_NOT_FOUND;
    *ret = (Mailbox){db_column_number(sql, 0), db_column_number(sql, 1), db_column_number(sql, 2),
                     db_column_number(sql, 3)};
    ret_row->mailbox = ret->number;
    ret_row->share_size = db_column_number(sql, 4) != 0 ? 0 : KID_SIZE;
    r = db_column_exact(sql, 5, w->put.owner, KID_SIZE);
    return r == 0 ? db_column_exact(sql, 6, ret_row->share, KID_SIZE) : r;
}

/* *ret is the limit that it is over, or 0. All guests have one share, of no name. */
static int check_limits(SqliteStore *s, StoreWrite *w, const Mailbox *mailbox, const Row *m, int *ret)
{
    const StoreLimits *l = &s->limits;
    uint64_t size = w->put.size;
    bool stranger = m->share_size == 0;
    *ret = 0;
    if (over(mailbox->bytes, mailbox->count, size, l->mailbox_bytes, l->mailbox_messages))
        *ret = HMSG_ERROR_QUOTA_EXCEEDED;
    else if (l->total_bytes > 0 && (size > l->total_bytes || s->total > l->total_bytes - size))
        *ret = HMSG_ERROR_STORAGE_FULL;
    if (*ret != 0)
        return 0;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_SHARE];
    bool row = false;
    db_bind_number(sql, 1, mailbox->number);
    db_bind_bytes(sql, 2, m->share, m->share_size);
    int r = db_step(sql, &row);
    if (r != 0)
        return r;
    w->put.share = over(row ? db_column_number(sql, 0) : 0, row ? db_column_number(sql, 1) : 0, size,
                        stranger ? l->strangers_bytes : l->sender_bytes,
                        stranger ? l->strangers_messages : l->sender_messages);
    *ret = w->put.share ? HMSG_ERROR_QUOTA_EXCEEDED : 0;
    return 0;
}

/* Does nothing when it is here already. */
static int add_message(SqliteStore *s, StoreWrite *w, const Mailbox *mailbox, const Row *m)
{
    DbStatement *sql = s->sql[SQL_ADD_MESSAGE];
    db_bind_number(sql, 1, mailbox->number);
    db_bind_number(sql, 2, mailbox->next);
    db_bind_bytes(sql, 3, w->put.id, ID_SIZE);
    db_bind_bytes(sql, 4, w->put.submitter, KID_SIZE);
    db_bind_bytes(sql, 5, m->share, m->share_size);
    db_bind_number(sql, 6, (int64_t)w->put.size);
    db_bind_number(sql, 7, w->put.accepted);
    db_bind_number(sql, 8, w->put.expires);
    if (w->put.blob)
        db_bind_bytes(sql, 9, ((const SqliteBlob *)w->put.blob)->name, BLOB_NAME_SIZE);
    else
        db_bind_bytes(sql, 10, w->put.body, w->put.size);
    int r = db_run(sql);
    if (r != 0 || db_changes(s->db) == 0)
        return r;
    w->put.created = true;
    w->put.seq = mailbox->next;
    return count(s, m, 1, 1);
}

/* What was accepted before is answered as then, whatever the limits say now. */
static int recall(SqliteStore *s, StoreWrite *w, int64_t mailbox, bool *ret_found)
{
    Row m = {};
    int r = find_message(s, mailbox, w->put.id, &m);
    *ret_found = r == 0 && m.number != 0;
    if (*ret_found) {
        w->put.accepted = m.accepted;
        w->put.seq = m.seq;
    }
    return r;
}

/* Within the limits, or *ret_limit says over which. */
static int put(SqliteStore *s, StoreWrite *w, const Mailbox *mailbox, const Row *m, int *ret_limit)
{
    bool found = false;
    int limit = 0;
    int r = check_limits(s, w, mailbox, m, &limit);
    if (r == 0 && limit == 0)
        r = add_message(s, w, mailbox, m);
    if (r == 0 && !w->put.created)
        r = recall(s, w, mailbox->number, &found);
    if (r == 0 && !w->put.created && !found)
        *ret_limit = limit;
    return r;
}

static int do_put(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    Mailbox mailbox = {};
    Row m = {.size = (int64_t)w->put.size};
    int limit = 0;
    w->put.created = w->put.share = false;
    if (w->put.size > s->limits.body_bytes)
        return HMSG_ERROR_TOO_LARGE;
    int r = find_parties(s, w, &mailbox, &m);
    if (r == HMSG_ERROR_NOT_FOUND || r == HMSG_ERROR_DENIED)
        return r;
    if (r == 0)
        r = put(s, w, &mailbox, &m, &limit);
    *ret_rollback = r != 0;
    return r != 0 ? r : limit;
}

/* The message is no longer waiting: its body goes. What is known of it stays for as long as a message may
 * wait at most, however short it was to wait itself: a copy that comes again until then is not delivered
 * again. */
static int end_message(SqliteStore *s, StoreWrite *w, const Row *m, StoreState state)
{
    DbStatement *sql = s->sql[SQL_END_MESSAGE];
    db_bind_number(sql, 1, m->number);
    db_bind_number(sql, 2, state);
    db_bind_number(sql, 3, state == STORE_EXPIRED ? STORE_EXPIRED_RETENTION : 0);
    db_bind_number(sql, 4, MESSAGE_EXPIRY_MAX);
    int r = db_run(sql);
    if (r == 0)
        r = count(s, m, 0, -1);
    if (r == 0 && m->has_blob)
        r = buf_append(&s->dead, m->blob, BLOB_NAME_SIZE);
    if (r == 0) {
        StoreChange *c = &w->changes[w->n_changes++];
        memcpy(c->id, m->id, ID_SIZE);
        memcpy(c->submitter, m->submitter, KID_SIZE);
        c->state = state;
        r = store_sqlite_successor(s, c->submitter);
    }
    return r;
}

static int do_acknowledge(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    Mailbox mailbox = {};
    if (w->acknowledge.n > ACKNOWLEDGE_IDS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    int r = find_mailbox(s, w->acknowledge.mailbox, &mailbox);
    if (r == HMSG_ERROR_NOT_FOUND)
        return r;
    *ret_rollback = true;
    if (r == 0) {
        w->changes = calloc(w->acknowledge.n + 1, sizeof(*w->changes));
        r = w->changes ? 0 : -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < w->acknowledge.n; i++) {
        Row m = {};
        r = find_message(s, mailbox.number, w->acknowledge.ids + i * ID_SIZE, &m);
        if (r == 0 && m.number != 0 && m.state == STORE_ACCEPTED)
            r = end_message(s, w, &m, STORE_DELIVERED);
    }
    *ret_rollback = r != 0;
    return r;
}

static int find_expired(SqliteStore *s, int64_t now, Row *rows, size_t *ret_n)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EXPIRED];
    bool row = false;
    size_t n = 0;
    db_bind_number(sql, 1, now);
    db_bind_number(sql, 2, STORE_SWEEP_MAX);
    int r = db_step(sql, &row);
    while (r == 0 && row && n < STORE_SWEEP_MAX) {
        Row *m = &rows[n++];
        m->number = db_column_number(sql, 0);
        m->mailbox = db_column_number(sql, 1);
        m->state = (StoreState)db_column_number(sql, 2);
        r = db_column_exact(sql, 3, m->id, ID_SIZE);
        if (r == 0)
            r = read_tail(sql, m);
        if (r == 0)
            r = db_step(sql, &row);
    }
    *ret_n = n;
    return r;
}

static int do_sweep(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    _cleanup_(freep) Row *rows = calloc(STORE_SWEEP_MAX, sizeof(*rows));
    size_t n = 0;
    *ret_rollback = true;
    w->changes = calloc(STORE_SWEEP_MAX, sizeof(*w->changes));
    if (!rows || !w->changes)
        return -ENOMEM;
    int r = find_expired(s, w->sweep.now, rows, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = rows[i].state == STORE_ACCEPTED ? end_message(s, w, &rows[i], STORE_EXPIRED)
                                            : run_number(s, SQL_FORGET_MESSAGE, rows[i].number);
    w->sweep.more = n == STORE_SWEEP_MAX;
    *ret_rollback = r != 0;
    return r;
}

int store_sqlite_execute(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    *ret_rollback = false;
    switch (w->kind) {
    case STORE_REGISTER:
        return do_register(s, w, ret_rollback);
    case STORE_UNREGISTER:
        return do_unregister(s, w, ret_rollback);
    case STORE_ROTATE:
        return store_sqlite_rotate(s, w, ret_rollback);
    case STORE_PUT:
        return do_put(s, w, ret_rollback);
    case STORE_ACKNOWLEDGE:
        return do_acknowledge(s, w, ret_rollback);
    case STORE_SWEEP:
        return do_sweep(s, w, ret_rollback);
    default:
        return -EINVAL;
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"
#include "server/store-sqlite-internal.h"

static const char *const texts[SQL_WRITE_MAX_] = {
    [SQL_FIND_SKID] = ("SELECT number, kid = ?2, name = ?3, name IS NULL, generation FROM identities"
                       " WHERE skid = ?1"),
    [SQL_FIND_CONFLICT] = ("SELECT 1 FROM identities WHERE skid <> ?1 AND (kid IN (?1, ?2) OR name = ?3)"
                           " UNION ALL SELECT 1 FROM identities WHERE skid = ?2"
                           " UNION ALL SELECT 1 FROM former WHERE skid IN (?1, ?2) OR kid IN (?1, ?2)"),
    [SQL_ADD_IDENTITY] = ("INSERT INTO identities(skid, kid, name, generation, created, root, key, since,"
                          " wrapped, sealed) VALUES(?1, ?2, ?3, ?4, ?5, 0, 0, 0, ?6, ?6)"),
    [SQL_ADD_IDENTITY_AS] = ("INSERT INTO identities(skid, kid, name, generation, created, root, key, since,"
                             " wrapped, sealed, number) VALUES(?1, ?2, ?3, ?4, ?5, 0, 0, 0, ?6, ?6, ?7)"),
    [SQL_UPDATE_IDENTITY] = "UPDATE identities SET generation = ?2, name = ?3 WHERE number = ?1",
    [SQL_ADD_MAILBOX] = "INSERT INTO mailboxes(number, next, bytes, count) VALUES(?1, 1, 0, 0)",
    [SQL_FIND_MAILBOX] = ("SELECT m.number, m.next, m.bytes, m.count FROM identities AS i JOIN mailboxes AS m"
                          " ON m.number = i.number WHERE i.kid = ?1"),
    [SQL_FIND_PARTIES] =
        ("SELECT m.number, m.next, m.bytes, m.count, CASE WHEN s.name IS NOT NULL THEN 0 WHEN s.created <= ?4"
         " THEN s.number ELSE -1 END, i.root, i.key, i.wrapped,"
         " i.since, i.kid, s.blocked <> 0 OR i.blocked <> 0, coalesce((SELECT f.skid FROM former AS f"
         " WHERE f.identity = s.number ORDER BY f.number LIMIT 1), s.skid), t.lifetime, t.rules, s.number"
         " FROM identities AS s LEFT JOIN identities AS i ON i.number = " KID_OR_FORMER(
             "?3") " LEFT JOIN mailboxes AS m ON m.number = i.number LEFT JOIN settings AS t"
                   " ON t.mailbox = i.number WHERE s.skid = ?2"),
    [SQL_FIND_MESSAGE] =
        "SELECT m.number, m.mailbox, m.state, m.id, m.size, m.blob, m.sealed, " MESSAGE_KEY
        ", m.seq, m.accepted FROM" MESSAGE_KEY_TABLES "WHERE" MESSAGE_IS("?1") "AND m.mailbox = ?2",
    [SQL_FIND_SHARE] = "SELECT bytes, count FROM shares WHERE mailbox = ?1 AND share = ?2",
    [SQL_ADD_MESSAGE] =
        ("INSERT INTO messages(mailbox, seq, id, submitter, size, accepted, expires, state, key,"
         " blob, sealed, body) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11)"
         " ON CONFLICT DO NOTHING"),
    [SQL_COUNT_MAILBOX] =
        "UPDATE mailboxes SET next = next + ?2, bytes = bytes + ?3, count = count + ?4 WHERE number = ?1",
    [SQL_COUNT_SHARE] = ("INSERT INTO shares(mailbox, share, bytes, count) VALUES(?1, ?2, ?3, ?4)"
                         " ON CONFLICT(mailbox, share) DO UPDATE SET bytes = shares.bytes + excluded.bytes,"
                         " count = shares.count + excluded.count"),
    [SQL_DROP_SHARE] = "DELETE FROM shares WHERE mailbox = ?1 AND share = ?2 AND count <= 0",
    [SQL_END_MESSAGE] = ("UPDATE messages SET state = ?2, expires = CASE WHEN expires + ?3 > accepted + ?4"
                         " THEN expires + ?3 ELSE accepted + ?4 END, blob = NULL,"
                         " sealed = NULL, body = NULL WHERE number = ?1"),
    [SQL_EXPIRED] = "SELECT m.number, m.mailbox, m.state, m.id, m.size, m.blob, m.sealed, " MESSAGE_KEY
                    " FROM" MESSAGE_KEY_TABLES "WHERE m.expires <= ?1 ORDER BY m.expires LIMIT ?2",
    [SQL_FORGET_MESSAGE] = "DELETE FROM messages WHERE number = ?1",
    [SQL_MAILBOX_BLOBS] = "SELECT blob FROM messages WHERE mailbox = ?1 AND blob IS NOT NULL",
    [SQL_DELETE_MESSAGES] = "DELETE FROM messages WHERE mailbox = ?1",
    [SQL_DELETE_SHARES] = "DELETE FROM shares WHERE mailbox = ?1",
    [SQL_DELETE_MAILBOX] = "DELETE FROM mailboxes WHERE number = ?1",
    [SQL_DELETE_IDENTITY] = "DELETE FROM identities WHERE number = ?1",
    [SQL_FIND_KEY] =
        ("SELECT i.root, i.key, i.wrapped, i.since, i.sealed, m.next, m.bytes FROM identities AS i"
         " LEFT JOIN mailboxes AS m ON m.number = i.number WHERE i.number = ?1"),
    [SQL_SET_KEY] = ("UPDATE identities SET root = ?2, key = ?3, since = ?4, wrapped = ?5, sealed = ?6"
                     " WHERE number = ?1"),
    [SQL_ADD_OLD_KEY] = "INSERT INTO old_keys(owner, key, root, wrapped, resealed) VALUES(?1, ?2, ?3, ?4, 0)",
    [SQL_DELETE_OLD_KEY] = "DELETE FROM old_keys WHERE owner = ?1 AND (key = ?2 OR ?2 IS NULL)",
    [SQL_FIND_ROOT] = ("SELECT number, created, (SELECT count(*) FROM roots WHERE number > 0) FROM roots"
                       " WHERE number > 0 ORDER BY number DESC LIMIT 1"),
    [SQL_ADD_ROOT] = "INSERT INTO roots(number, kept, created) VALUES(?1, ?2, ?3)",
    [SQL_DELETE_ROOTS] = "DELETE FROM roots WHERE number > 0 AND number < ?1",
    [SQL_FIND_REKEY] = "SELECT number FROM identities WHERE root < ?1 LIMIT ?2",
    [SQL_FIND_OLD_KEY] = "SELECT owner, resealed, root, key, wrapped FROM old_keys LIMIT 1",
    [SQL_FIND_RESEAL] = ("SELECT number, size, seq, id, sealed FROM messages WHERE mailbox = ?1 AND state = 0"
                         " AND seq > ?2 AND key = ?3 ORDER BY seq LIMIT ?4"),
    [SQL_RESEAL] = "UPDATE messages SET key = ?2, sealed = ?3 WHERE number = ?1",
    [SQL_KEEP_BODY] = "DELETE FROM uploads WHERE blob = ?1",
    [SQL_DELETE_BODY] = "DELETE FROM bodies WHERE blob = ?1",
    [SQL_FORGET_UPLOADED] = "DELETE FROM bodies WHERE blob IN (SELECT blob FROM uploads WHERE created < ?1)",
    [SQL_FORGET_UPLOADS] = "DELETE FROM uploads WHERE created < ?1",
    [SQL_RESEALED] = "UPDATE old_keys SET resealed = ?3 WHERE owner = ?1 AND key = ?2",
};

int store_sqlite_prepare(SqliteStore *s)
{
    const char *const *const tables[] = {texts,
                                         store_sqlite_rotate_texts,
                                         store_sqlite_admin_texts,
                                         store_sqlite_capability_texts,
                                         store_sqlite_settings_texts,
                                         store_sqlite_guest_texts,
                                         store_sqlite_damage_texts,
                                         store_sqlite_chain_texts,
                                         store_news_texts,
                                         store_total_texts};
    int r = 0;
    size_t n = s->remote ? SQL_WRITE_MAX_ : SQL_REMOTE_MIN_;
    for (size_t i = 0; r == 0 && i < n; i++)
        for (size_t t = 0; r == 0 && t < ELEMENTSOF(tables); t++)
            if (tables[t][i])
                r = db_prepare(s->db, tables[t][i], &s->sql[i]);
    return r;
}

typedef struct Mailbox {
    int64_t number, next, bytes, count;
    int64_t since;      /* next when it got its data key */
    int64_t capability; /* by which a message comes; 0: by none */
    int64_t guest;      /* the sender's number when it is to be noted that he is here; 0: it is not */
} Mailbox;

static int find_mailbox(SqliteStore *s, const uint8_t *index, Mailbox *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_MAILBOX];
    bool row = false;
    db_bind_bytes(sql, 1, index, AT_REST_INDEX_SIZE);
    int r = db_step(sql, &row);
    if (r != 0)
        return r;
    if (!row)
        return HMSG_ERROR_NOT_FOUND;
    *ret = (Mailbox){.number = db_column_number(sql, 0),
                     .next = db_column_number(sql, 1),
                     .bytes = db_column_number(sql, 2),
                     .count = db_column_number(sql, 3)};
    return 0;
}

int store_sqlite_share(const SqliteStore *s, int64_t mailbox,
                       const uint8_t submitter[static AT_REST_INDEX_SIZE], bool stranger, Share *ret)
{
    *ret = (Share){.size = stranger ? 0 : sizeof(ret->bytes)};
    return stranger
               ? 0
               : mailbox_index(s->at_rest, INDEX_SHARE, mailbox, submitter, AT_REST_INDEX_SIZE, ret->bytes);
}

void store_sqlite_put_share(const Share *share, Secret *plain)
{
    memcpy(secret_data(plain) + MESSAGE_AT_SHARE, share->bytes, sizeof(share->bytes));
    secret_data(plain)[MESSAGE_AT_SHARED] = share->size > 0;
}

Share store_sqlite_get_share(const Secret *plain)
{
    Share share = {.size = secret_bytes(plain)[MESSAGE_AT_SHARED] != 0 ? AT_REST_INDEX_SIZE : 0};
    memcpy(share.bytes, secret_bytes(plain) + MESSAGE_AT_SHARE, sizeof(share.bytes));
    return share;
}

typedef struct Row {
    int64_t number, mailbox, seq, accepted, size;
    StoreState state;
    uint8_t index[AT_REST_INDEX_SIZE], blob[BLOB_NAME_SIZE], sealed[MESSAGE_SEALED_SIZE];
    WrappedKey key;
    bool has_blob, damaged;
} Row;

/* Of a message that is no longer waiting all that is sealed is gone. */
static void read_row(DbStatement *sql, Row *m)
{
    m->number = db_column_number(sql, 0);
    m->mailbox = db_column_number(sql, 1);
    m->state = (StoreState)db_column_number(sql, 2);
    m->size = db_column_number(sql, 4);
    m->has_blob = db_column_exact(sql, 5, m->blob, BLOB_NAME_SIZE) == 0;
    m->damaged = db_column_exact(sql, 3, m->index, sizeof(m->index)) != 0 ||
                 (m->state == STORE_ACCEPTED && db_column_exact(sql, 6, m->sealed, sizeof(m->sealed)) != 0) ||
                 wrapped_key_read(sql, 7, &m->key) != 0;
}

/* number is 0 when there is no such message. */
static int find_message(SqliteStore *s, int64_t mailbox, const uint8_t *index, Row *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_MESSAGE];
    Row m = {};
    bool row = false;
    db_bind_bytes(sql, 1, index, AT_REST_INDEX_SIZE);
    db_bind_number(sql, 2, mailbox);
    int r = db_step(sql, &row);
    if (r == 0 && row) {
        m.seq = db_column_number(sql, 10);
        m.accepted = db_column_number(sql, 11);
        read_row(sql, &m);
    }
    if (r == 0)
        *ret = m;
    return r;
}

static int count(SqliteStore *s, int64_t mailbox, const Share *share, int64_t size, int64_t next,
                 int64_t sign)
{
    DbStatement *sql = s->sql[SQL_COUNT_MAILBOX];
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, next);
    db_bind_number(sql, 3, sign * size);
    db_bind_number(sql, 4, sign);
    int r = db_run(sql);
    if (r != 0)
        return r;
    sql = s->sql[SQL_COUNT_SHARE];
    db_bind_number(sql, 1, mailbox);
    db_bind_bytes(sql, 2, share->bytes, share->size);
    db_bind_number(sql, 3, sign * size);
    db_bind_number(sql, 4, sign);
    r = db_run(sql);
    if (r == 0 && sign < 0) {
        sql = s->sql[SQL_DROP_SHARE];
        db_bind_number(sql, 1, mailbox);
        db_bind_bytes(sql, 2, share->bytes, share->size);
        r = db_run(sql);
    }
    if (sign > 0)
        store_total_add(s, (uint64_t)size);
    else
        store_total_subtract(s, (uint64_t)size);
    return r;
}

static bool over(int64_t bytes, int64_t n, uint64_t size, uint64_t bytes_max, uint64_t n_max)
{
    return (uint64_t)n >= n_max || size > bytes_max || (uint64_t)bytes > bytes_max - size;
}

static int find_owner(SqliteStore *s, StoreWrite *w, const Mailbox *mailbox, const uint8_t *index)
{
    const Prepared *p = w->prepared;
    _cleanup_(buf_done) Buf packed = BUF_MAX(IDENTITY_PACKED_MAX);
    if (memcmp(index, p->mailbox, AT_REST_INDEX_SIZE) == 0) { /* public */
        memcpy(w->put.owner, w->put.mailbox, KID_SIZE);
        return 0;
    }
    int r = keys_read(s, mailbox->number, &packed);
    if (r == 0 && packed.size < 2 * KID_SIZE)
        r = -EBADMSG;
    if (r == 0)
        memcpy(w->put.owner, packed.data + KID_SIZE, KID_SIZE); /* identity_pack */
    return r;
}

/* Strangers have one share together; all who use a capability have one of its own. */
static int find_share(SqliteStore *s, const StoreWrite *w, bool stranger, const uint8_t *submitter,
                      Mailbox *mailbox, Share *ret)
{
    const Prepared *p = w->prepared;
    int r = 0;
    mailbox->capability = 0;
    if (stranger && w->put.has_capability)
        r = store_sqlite_find_capability(s, mailbox->number, p->capability, w->put.accepted,
                                         &mailbox->capability);
    bool capable = mailbox->capability != 0;
    return r == 0 ? store_sqlite_share(s, mailbox->number, capable ? p->capability : submitter,
                                       stranger && !capable, ret)
                  : r;
}

/* The mailbox, its data key (s->key), and the submitter's share: of how many he has sent, a rotation makes
 * nothing forgotten. */
static int find_parties(SqliteStore *s, StoreWrite *w, Mailbox *ret, Share *ret_share)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_PARTIES];
    const Prepared *p = w->prepared;
    uint8_t owner[AT_REST_INDEX_SIZE], submitter[AT_REST_INDEX_SIZE];
    StoreRule rule = STORE_RULE_NONE;
    WrappedKey key;
    bool row = false;
    db_bind_bytes(sql, 1, p->mailbox, sizeof(p->mailbox));
    db_bind_bytes(sql, 2, p->submitter, sizeof(p->submitter));
    db_bind_number(sql, 3, w->put.accepted - (int64_t)s->limits.former_seconds);
    db_bind_number(sql, 4, w->put.accepted - STORE_GUEST_STEP);
    int r = db_step(sql, &row);
    if (r != 0)
        return r;
    if (!row)
        return HMSG_ERROR_DENIED;
    if (db_column_null(sql, 0))
        return HMSG_ERROR_NOT_FOUND;
    w->put.blocked = db_column_number(sql, 10) != 0;
    if (w->put.blocked)
        return HMSG_ERROR_DENIED;
    *ret = (Mailbox){db_column_number(sql, 0), db_column_number(sql, 1), db_column_number(sql, 2),
                     db_column_number(sql, 3), db_column_number(sql, 8)};
    ret->guest = db_column_number(sql, 4) > 0 ? db_column_number(sql, 4) : 0;
    r = wrapped_key_read(sql, 5, &key);
    if (r == 0)
        r = data_key_use(&s->key, ret->number, &key);
    if (r == 0)
        r = db_column_exact(sql, 9, owner, sizeof(owner));
    if (r == 0)
        r = db_column_exact(sql, 11, submitter, sizeof(submitter));
    if (r == 0)
        r = find_owner(s, w, ret, owner);
    if (r == 0)
        r = store_sqlite_follow(s, w, ret->number, sql, 12, &rule);
    bool stranger = db_column_number(sql, 4) != 0 && rule != STORE_RULE_ALLOWED;
    return r == 0 ? find_share(s, w, stranger, submitter, ret, ret_share) : r;
}

/* The same, with another data key when the one of now has sealed as much as it may. */
static int find_fresh_parties(SqliteStore *s, StoreWrite *w, Mailbox *ret, Share *ret_share)
{
    int r = find_parties(s, w, ret, ret_share);
    if (r != 0 || (uint64_t)ret->next - (uint64_t)ret->since < s->limits.key_seals)
        return r;
    r = keys_replace(s, ret->number);
    r = r > 0 ? -EBADMSG : r;
    return r == 0 ? find_parties(s, w, ret, ret_share) : r;
}

/* *ret is the limit that it is over, or 0. All guests have one share, of no name. */
static int check_limits(SqliteStore *s, StoreWrite *w, const Mailbox *mailbox, const Share *share, int *ret)
{
    const StoreLimits *l = &s->limits;
    uint64_t size = w->put.size;
    bool stranger = share->size == 0;
    *ret = 0;
    /* what never fits is not to be tried again */
    if (w->put.refused)
        *ret = HMSG_ERROR_DENIED;
    else if (size > (stranger ? l->strangers_bytes : l->sender_bytes))
        *ret = HMSG_ERROR_TOO_LARGE;
    else if (over(mailbox->bytes, mailbox->count, size, l->mailbox_bytes, l->mailbox_messages))
        *ret = HMSG_ERROR_QUOTA_EXCEEDED;
    else if (l->total_bytes > 0 && (size > l->total_bytes || s->total > l->total_bytes - size))
        *ret = HMSG_ERROR_STORAGE_FULL;
    if (*ret != 0)
        return 0;
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_SHARE];
    bool row = false;
    db_bind_number(sql, 1, mailbox->number);
    db_bind_bytes(sql, 2, share->bytes, share->size);
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
static int add_message(SqliteStore *s, StoreWrite *w, const Mailbox *mailbox, const Share *share)
{
    DbStatement *sql = s->sql[SQL_ADD_MESSAGE];
    const Prepared *p = w->prepared;
    uint8_t sealed[MESSAGE_SEALED_SIZE];
    store_sqlite_put_share(share, p->plain);
    int r = message_seal(&s->key, p->id, (int64_t)w->put.size, p->plain, sealed);
    if (r != 0)
        return r;
    db_bind_number(sql, 1, mailbox->number);
    db_bind_number(sql, 2, mailbox->next);
    db_bind_bytes(sql, 3, p->id, sizeof(p->id));
    db_bind_bytes(sql, 4, p->receipt, sizeof(p->receipt));
    db_bind_number(sql, 5, (int64_t)w->put.size);
    db_bind_number(sql, 6, w->put.accepted);
    db_bind_number(sql, 7, w->put.expires);
    db_bind_number(sql, 8, s->key.wrapped.number);
    if (w->put.blob)
        db_bind_bytes(sql, 9, ((const SqliteBlob *)w->put.blob)->name, BLOB_NAME_SIZE);
    db_bind_bytes(sql, 10, sealed, sizeof(sealed));
    if (!w->put.blob)
        db_bind_bytes(sql, 11, p->body.data, p->body.size);
    r = db_run(sql);
    if (r != 0 || db_changes(s->db) == 0)
        return r;
    w->put.created = true;
    w->put.seq = mailbox->next;
    r = mailbox->capability != 0 ? store_sqlite_use_capability(s, mailbox->number, mailbox->capability) : 0;
    if (r == 0 && mailbox->guest != 0)
        r = store_sqlite_use_guest(s, mailbox->guest, w->put.accepted);
    if (r == 0 && w->put.blob)
        r = blob_keep(s, (const SqliteBlob *)w->put.blob);
    return r != 0 ? r : count(s, mailbox->number, share, (int64_t)w->put.size, 1, 1);
}

/* What was accepted before is answered as then, whatever the limits say now. */
static int recall(SqliteStore *s, StoreWrite *w, int64_t mailbox, bool *ret_found)
{
    Row m = {};
    int r = find_message(s, mailbox, ((const Prepared *)w->prepared)->id, &m);
    *ret_found = r == 0 && m.number != 0;
    if (*ret_found) {
        w->put.accepted = m.accepted;
        w->put.seq = m.seq;
    }
    return r;
}

/* Within the limits, or *ret_limit says over which. */
static int put(SqliteStore *s, StoreWrite *w, const Mailbox *mailbox, const Share *share, int *ret_limit)
{
    bool found = false;
    int limit = 0;
    int r = check_limits(s, w, mailbox, share, &limit);
    if (r == 0 && limit == 0)
        r = add_message(s, w, mailbox, share);
    if (r == 0 && !w->put.created)
        r = recall(s, w, mailbox->number, &found);
    if (r != 0 || w->put.created || found)
        return r;
    *ret_limit = limit;
    return limit != 0 ? 0 : -EIO; /* neither new nor there: it must not be called accepted */
}

static int do_put(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    Mailbox mailbox = {};
    Share share = {};
    int limit = 0;
    w->put.created = w->put.share = w->put.refused = false;
    if (w->put.size > s->limits.body_bytes)
        return HMSG_ERROR_TOO_LARGE;
    int r = find_fresh_parties(s, w, &mailbox, &share);
    if (r == HMSG_ERROR_NOT_FOUND || r == HMSG_ERROR_DENIED)
        return r;
    if (r == 0)
        r = put(s, w, &mailbox, &share, &limit);
    *ret_rollback = r != 0;
    return r != 0 ? r : limit;
}

/* The message is no longer waiting: its body goes. What is known of it stays for as long as a message may
 * wait at most, however short it was to wait itself: a copy that comes again until then is not delivered
 * again. */
static int end_row(SqliteStore *s, const Row *m, StoreState state)
{
    DbStatement *sql = s->sql[SQL_END_MESSAGE];
    db_bind_number(sql, 1, m->number);
    db_bind_number(sql, 2, state);
    db_bind_number(sql, 3, state == STORE_EXPIRED ? STORE_EXPIRED_RETENTION : 0);
    db_bind_number(sql, 4, MESSAGE_EXPIRY_MAX);
    int r = db_run(sql);
    if (r == 0 && m->has_blob)
        r = buf_append(&s->dead, m->blob, BLOB_NAME_SIZE);
    s->erased = true;
    return r;
}

/* Who submitted it cannot be told of it, and is answered when he asks. */
static int end_damaged(SqliteStore *s, const Row *m, StoreState state)
{
    store_sqlite_tell_damage("Message", m->number, m->mailbox, "has ended undelivered");
    store_total_subtract(s, m->size > 0 ? (uint64_t)m->size : 0);
    return end_row(s, m, state);
}

static int end_message(SqliteStore *s, StoreWrite *w, Row *m, StoreState state)
{
    const uint8_t *plain = secret_bytes(s->plain);
    int r = m->damaged ? -EBADMSG : data_key_use(&s->key, m->mailbox, &m->key);
    if (r == 0)
        r = message_open(&s->key, m->index, m->size, m->sealed, sizeof(m->sealed), s->plain);
    m->damaged = store_sqlite_is_damage(s, r);
    if (r != 0)
        return m->damaged ? end_damaged(s, m, state) : r;
    const Share share = store_sqlite_get_share(s->plain);
    r = end_row(s, m, state);
    if (r == 0)
        r = count(s, m->mailbox, &share, m->size, 0, -1);
    if (r == 0) {
        StoreChange *c = &w->changes[w->n_changes++];
        memcpy(c->id, plain, ID_SIZE);
        memcpy(c->submitter, plain + MESSAGE_AT_SUBMITTER, KID_SIZE);
        c->state = state;
        r = store_sqlite_successor(s, c->submitter);
    }
    return r;
}

static int do_acknowledge(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    const Prepared *p = w->prepared;
    Mailbox mailbox = {};
    bool damaged = false;
    if (w->acknowledge.n > ACKNOWLEDGE_IDS_MAX)
        return HMSG_ERROR_TOO_LARGE;
    int r = find_mailbox(s, p->mailbox, &mailbox);
    if (r == HMSG_ERROR_NOT_FOUND)
        return r;
    *ret_rollback = true;
    if (r == 0) {
        w->changes = calloc(w->acknowledge.n + 1, sizeof(*w->changes));
        r = w->changes ? 0 : -ENOMEM;
    }
    for (size_t i = 0; r == 0 && i < w->acknowledge.n; i++) {
        Row m = {};
        r = find_message(s, mailbox.number, p->ids + i * AT_REST_INDEX_SIZE, &m);
        if (r == 0 && m.number != 0 && m.state == STORE_ACCEPTED) {
            r = end_message(s, w, &m, STORE_DELIVERED);
            damaged = damaged || m.damaged;
        }
    }
    if (r == 0 && damaged)
        r = store_sqlite_recount(s, mailbox.number);
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
        read_row(sql, &rows[n++]);
        r = db_step(sql, &row);
    }
    *ret_n = n;
    return r;
}

/* Each mailbox once in which one has ended that was damaged. */
static int recount(SqliteStore *s, const Row *rows, size_t n)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        bool again = !rows[i].damaged || rows[i].state != STORE_ACCEPTED;
        for (size_t k = 0; !again && k < i; k++)
            again = rows[k].damaged && rows[k].mailbox == rows[i].mailbox && rows[k].state == STORE_ACCEPTED;
        r = again ? 0 : store_sqlite_recount(s, rows[i].mailbox);
    }
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
                                            : store_sqlite_run_number(s, SQL_FORGET_MESSAGE, rows[i].number);
    w->sweep.more = n == STORE_SWEEP_MAX;
    if (r == 0)
        r = recount(s, rows, n);
    if (r == 0)
        r = store_sqlite_forget_guests(s, w->sweep.now);
    if (r == 0)
        r = blob_forget_uploads(s, w->sweep.now);
    if (r == 0)
        r = store_forget_news(s, w->sweep.now);
    if (r == 0 && s->remote && s->limits.total_bytes > 0)
        r = store_total_renew(s); /* relays that have ended have rows there */
    if (r == 0)
        r = db_fit(s->db);
    s->erase = s->erase || s->erased;
    s->erased = false;
    *ret_rollback = r != 0;
    return r;
}

int store_sqlite_execute(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    *ret_rollback = false;
    switch (w->kind) {
    case STORE_REGISTER:
        return store_sqlite_register(s, w, ret_rollback);
    case STORE_UNREGISTER:
        return store_sqlite_unregister(s, w, ret_rollback);
    case STORE_ROTATE:
        return store_sqlite_rotate(s, w, ret_rollback);
    case STORE_PUT:
        return do_put(s, w, ret_rollback);
    case STORE_ACKNOWLEDGE:
        return do_acknowledge(s, w, ret_rollback);
    case STORE_SWEEP:
        return do_sweep(s, w, ret_rollback);
    case STORE_REKEY: {
        int r = store_sqlite_rekey(s, w);
        *ret_rollback = r != 0;
        return r;
    }
    case STORE_INVITE:
        return store_sqlite_invite(s, w, ret_rollback);
    case STORE_REVOKE:
        return store_sqlite_revoke(s, w, ret_rollback);
    case STORE_BLOCK:
        return store_sqlite_block(s, w, ret_rollback);
    case STORE_GRANT:
        return store_sqlite_grant(s, w, ret_rollback);
    case STORE_WITHDRAW:
        return store_sqlite_withdraw(s, w, ret_rollback);
    case STORE_SETTINGS:
        return store_sqlite_settings(s, w, ret_rollback);
    default:
        return -EINVAL;
    }
}

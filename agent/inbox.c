/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/inbox.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"

#define COLUMNS                                                                                              \
    "serial, id, relay, state, skid, submitter, received, size, file, reason, acknowledged, kid,"            \
    " kept, created, sent"

enum { /* of COLUMNS */
       COLUMN_SERIAL,
       COLUMN_ID,
       COLUMN_RELAY,
       COLUMN_STATE,
       COLUMN_SKID,
       COLUMN_SUBMITTER,
       COLUMN_RECEIVED,
       COLUMN_SIZE,
       COLUMN_FILE,
       COLUMN_REASON,
       COLUMN_ACKNOWLEDGED,
       COLUMN_KID,
       COLUMN_KEPT,
       COLUMN_CREATED,
       COLUMN_SENT,
};

typedef enum Query {
    Q_GET,
    Q_EACH,
    Q_NEXT,
    Q_UNREAD,
    Q_UNCHECKED,
    Q_INSERT,
    Q_UPDATE,
    Q_READ,
    Q_DELETE,
    Q_BODY,
    Q_DONE_PUT,
    Q_DUE_AGAIN,
    Q_DUE_AGAIN_DONE,
    Q_DUE,
    Q_ACKNOWLEDGED,
    Q_ACKNOWLEDGED_DONE,
    Q_SEEN,
    Q_SEEN_PUT,
    Q_EXPIRE_DONE,
    Q_EXPIRE_SEEN,
    Q_QUARANTINE,
    Q_HANGING,
    Q_NEEDS,
    Q_SET_KID,
    Q_KEEP,
    Q_MAX_,
} Query;

static const char *const queries[Q_MAX_] = {
    [Q_GET] = "SELECT " COLUMNS " FROM inbox WHERE id = ?1",
    [Q_EACH] = "SELECT " COLUMNS " FROM inbox WHERE serial > ?1 ORDER BY serial",
    [Q_NEXT] = "SELECT " COLUMNS " FROM inbox WHERE state = ?1 AND serial > ?2 ORDER BY serial LIMIT 1",
    [Q_UNREAD] = "SELECT count(*) FROM inbox WHERE state IN (0, 1)",
    [Q_UNCHECKED] = "SELECT count(*), total(size) FROM inbox WHERE state = 0",
    [Q_INSERT] = "INSERT INTO inbox(id, relay, state, skid, submitter, received, size, file, reason,"
                 " acknowledged, body, kid) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [Q_UPDATE] = "UPDATE inbox SET state = ?2, skid = ?3, reason = ?4,"
                 " acknowledged = iif(acknowledged = 1, 1, ?5), kid = coalesce(?6, kid) WHERE serial = ?1",
    [Q_READ] = "UPDATE inbox SET state = 2 WHERE id = ?1 AND state = 1",
    [Q_DELETE] = "DELETE FROM inbox WHERE id = ?1",
    [Q_BODY] = "SELECT body FROM inbox WHERE serial = ?1",
    [Q_DONE_PUT] = "INSERT OR REPLACE INTO done(id, relay, until, acknowledged) VALUES(?1, ?2, ?3, ?4)",
    [Q_DUE_AGAIN] = "UPDATE inbox SET acknowledged = iif(acknowledged = 1, 0, acknowledged) WHERE id = ?1",
    [Q_DUE_AGAIN_DONE] = "UPDATE done SET acknowledged = 0 WHERE id = ?1",
    [Q_DUE] = "SELECT id FROM inbox WHERE relay = ?1 AND acknowledged = 0"
              " UNION ALL SELECT id FROM done WHERE relay = ?1 AND acknowledged = 0 LIMIT ?2",
    [Q_ACKNOWLEDGED] = "UPDATE inbox SET acknowledged = 1 WHERE id = ?1",
    [Q_ACKNOWLEDGED_DONE] = "UPDATE done SET acknowledged = 1 WHERE id = ?1",
    [Q_SEEN] = "SELECT high, window FROM replay WHERE skid = ?1 AND sid = ?2",
    [Q_SEEN_PUT] = "INSERT OR REPLACE INTO replay(skid, sid, high, window, until) VALUES(?1, ?2, ?3, ?4, ?5)",
    [Q_EXPIRE_DONE] = "DELETE FROM done WHERE until < ?1",
    [Q_EXPIRE_SEEN] = "DELETE FROM replay WHERE until < ?1",
    [Q_QUARANTINE] = "SELECT " COLUMNS " FROM inbox WHERE state = 3 ORDER BY serial DESC",
    [Q_HANGING] = "SELECT " COLUMNS " FROM inbox WHERE (kid IS NULL OR kid < ?1 OR kid > ?1)"
                  " AND kid IS NOT '" INBOX_KID_NONE "' AND serial > ?2"
                  " AND (state IN (1, 2) OR (state = 3 AND reason = ?3)) ORDER BY serial LIMIT 1",
    [Q_NEEDS] = "SELECT 1 FROM inbox WHERE (kid IS NULL OR kid = ?1) AND (state <> 3 OR reason = ?2) LIMIT 1",
    [Q_SET_KID] = "UPDATE inbox SET kid = ?2 WHERE serial = ?1",
    [Q_KEEP] = "UPDATE inbox SET kept = 1, kid = ?2, skid = ?3, created = ?4, sent = ?5, file = ?6, body = ?7"
               " WHERE serial = ?1",
};

struct Inbox {
    Store *store;
    Db *db;
    DbStatement *q[Q_MAX_];
};

int inbox_new(Store *s, Inbox **ret)
{
    _cleanup_(inbox_freep) Inbox *i = calloc(1, sizeof(*i));
    int r = 0;

    if (!i)
        return -ENOMEM;
    i->store = s;
    i->db = store_db(s);
    for (unsigned k = 0; k < Q_MAX_ && r == 0; k++)
        r = db_prepare(i->db, queries[k], &i->q[k]);
    if (r == 0)
        r = inbox_expire(i, clock_realtime());
    if (r == 0)
        *ret = TAKE_PTR(i);
    return r;
}

Inbox *inbox_free(Inbox *i)
{
    if (!i)
        return NULL;
    for (unsigned k = 0; k < Q_MAX_; k++)
        (void)db_statement_free(i->q[k]);
    free(i);
    return NULL;
}

static void copy(char *to, size_t room, DbStatement *s, int column)
{
    (void)snprintf(to, room, "%s", db_column_text(s, column, NULL));
}

static void read_row(DbStatement *s, InboxRow *ret)
{
    InboxRow row = {.serial = db_column_number(s, COLUMN_SERIAL)};

    copy(row.id, sizeof(row.id), s, COLUMN_ID);
    copy(row.relay, sizeof(row.relay), s, COLUMN_RELAY);
    copy(row.skid, sizeof(row.skid), s, COLUMN_SKID);
    copy(row.submitter, sizeof(row.submitter), s, COLUMN_SUBMITTER);
    copy(row.file, sizeof(row.file), s, COLUMN_FILE);
    row.state = (InboxState)db_column_number(s, COLUMN_STATE);
    row.acknowledge = (InboxAcknowledge)db_column_number(s, COLUMN_ACKNOWLEDGED);
    row.received = db_column_number(s, COLUMN_RECEIVED);
    row.size = (uint64_t)db_column_number(s, COLUMN_SIZE);
    row.reason = (int)db_column_number(s, COLUMN_REASON);
    copy(row.kid, sizeof(row.kid), s, COLUMN_KID);
    row.kept = db_column_number(s, COLUMN_KEPT) != 0;
    row.created = db_column_number(s, COLUMN_CREATED);
    row.sent = db_column_number(s, COLUMN_SENT);
    *ret = row;
}

static int read_one(DbStatement *s, InboxRow *ret)
{
    bool row = false;
    int r;

    r = db_step(s, &row);
    if (r == 0 && row)
        read_row(s, ret);
    db_reset(s);
    return r == 0 && !row ? HMSG_ERROR_NOT_FOUND : r;
}

int inbox_get(Inbox *i, const char *id, InboxRow *ret)
{
    db_bind_text(i->q[Q_GET], 1, id);
    return read_one(i->q[Q_GET], ret);
}

int inbox_next(Inbox *i, InboxState state, int64_t after, InboxRow *ret)
{
    db_bind_number(i->q[Q_NEXT], 1, state);
    db_bind_number(i->q[Q_NEXT], 2, after);
    return read_one(i->q[Q_NEXT], ret);
}

static int run_with_id(DbStatement *s, const char *id)
{
    db_bind_text(s, 1, id);
    return db_run(s);
}

int inbox_knows(Inbox *i, const char *id, bool *ret)
{
    int64_t changed;
    int r;

    r = run_with_id(i->q[Q_DUE_AGAIN], id);
    changed = db_changes(i->db);
    if (r == 0 && changed == 0) {
        r = run_with_id(i->q[Q_DUE_AGAIN_DONE], id);
        changed = db_changes(i->db);
    }
    if (r == 0)
        *ret = changed > 0;
    return r;
}

/* The window of a session; found false: none yet. */
static int read_window(Inbox *i, const InboxSeen *seen, bool *ret_found, uint64_t *ret_high,
                       uint64_t *ret_window)
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_SEEN];
    int r;

    db_bind_text(s, 1, seen->skid);
    db_bind_bytes(s, 2, seen->sid, SESSION_ID_SIZE);
    r = db_step(s, ret_found);
    if (r == 0 && *ret_found) {
        *ret_high = (uint64_t)db_column_number(s, 0);
        *ret_window = (uint64_t)db_column_number(s, 1);
    }
    return r;
}

int inbox_seen(Inbox *i, const InboxSeen *seen, bool *ret)
{
    uint64_t high = 0, window = 0;
    bool found = false;
    int r;

    *ret = false;
    if (!seen->skid)
        return 0;
    r = read_window(i, seen, &found, &high, &window);
    if (r == 0 && found && seen->seq <= high)
        *ret = high - seen->seq >= REPLAY_WINDOW || (window >> (high - seen->seq) & 1);
    return r;
}

static int record_seen(Inbox *i, const InboxSeen *seen)
{
    DbStatement *s = i->q[Q_SEEN_PUT];
    uint64_t high = 0, window = 0, ahead;
    bool found = false;
    int r;

    r = read_window(i, seen, &found, &high, &window);
    if (r != 0)
        return r;
    if (!found) {
        high = seen->seq;
        window = 1;
    } else if (seen->seq > high) {
        ahead = seen->seq - high;
        window = ahead >= REPLAY_WINDOW ? 1 : window << ahead | 1;
        high = seen->seq;
    } else if (high - seen->seq < REPLAY_WINDOW) {
        window |= UINT64_C(1) << (high - seen->seq);
    }
    db_bind_text(s, 1, seen->skid);
    db_bind_bytes(s, 2, seen->sid, SESSION_ID_SIZE);
    db_bind_number(s, 3, (int64_t)high);
    db_bind_number(s, 4, (int64_t)window);
    db_bind_number(s, 5, seen->session_expires + (int64_t)SESSION_RETENTION);
    return db_run(s);
}

static int insert(Inbox *i, InboxRow *row, const StoreBody *body)
{
    DbStatement *s = i->q[Q_INSERT];
    int r;

    db_bind_text(s, 1, row->id);
    db_bind_text(s, 2, row->relay);
    db_bind_number(s, 3, row->state);
    db_bind_text(s, 4, *row->skid ? row->skid : NULL);
    db_bind_text(s, 5, row->submitter);
    db_bind_number(s, 6, row->received);
    db_bind_number(s, 7, (int64_t)row->size);
    db_bind_text(s, 8, *body->file ? body->file : NULL);
    db_bind_number(s, 9, row->reason);
    db_bind_number(s, 10, row->acknowledge);
    if (*body->file)
        db_bind_null(s, 11);
    else
        db_bind_bytes(s, 11, body->bytes.data, body->bytes.size);
    db_bind_text(s, 12, *row->kid ? row->kid : NULL);
    r = db_run(s);
    if (r == 0)
        row->serial = db_last_row_id(i->db);
    return r;
}

static int update(Inbox *i, const InboxRow *row)
{
    DbStatement *s = i->q[Q_UPDATE];

    db_bind_number(s, 1, row->serial);
    db_bind_number(s, 2, row->state);
    db_bind_text(s, 3, *row->skid ? row->skid : NULL);
    db_bind_number(s, 4, row->reason);
    db_bind_number(s, 5, row->acknowledge);
    db_bind_text(s, 6, *row->kid ? row->kid : NULL);
    return db_run(s);
}

/* The oldest that is beyond the limits, or NOT_FOUND. */
static int over_quarantine(Inbox *i, char ret[static HASH_TEXT_SIZE])
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_QUARANTINE];
    uint64_t bytes = 0, n = 0;
    bool row = false;
    int r;

    while ((r = db_step(s, &row)) == 0 && row) {
        InboxRow found;

        read_row(s, &found);
        n++;
        bytes += found.size;
        if (n > 1 && (n > INBOX_QUARANTINE_MAX || bytes > INBOX_QUARANTINE_BYTES_MAX)) {
            memcpy(ret, found.id, sizeof(found.id));
            return 0;
        }
    }
    return r == 0 ? HMSG_ERROR_NOT_FOUND : r;
}

static int limit_quarantine(Inbox *i)
{
    char id[HASH_TEXT_SIZE];
    int r;

    while ((r = over_quarantine(i, id)) == 0) {
        r = inbox_delete(i, id);
        if (r != 0)
            return r;
    }
    return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
}

int inbox_put(Inbox *i, InboxRow *row, StoreBody *body, const InboxSeen *seen)
{
    _cleanup_(db_rollbackp) Db *t = i->db;
    InboxRow written = *row;
    int r;

    r = db_begin(t);
    if (r == 0)
        r = written.serial == 0 ? insert(i, &written, body) : update(i, &written);
    if (r == 0 && seen && seen->skid)
        r = record_seen(i, seen);
    if (r == 0)
        r = db_commit(t);
    if (r != 0)
        return r;
    if (row->serial == 0) {
        memcpy(written.file, body->file, sizeof(written.file));
        store_body_done(body);
    }
    *row = written;
    return row->state == INBOX_QUARANTINED ? limit_quarantine(i) : 0;
}

int inbox_mark_read(Inbox *i, const char *id)
{
    return run_with_id(i->q[Q_READ], id);
}

int inbox_body(Inbox *i, const InboxRow *row, Buf *ret_bytes, int *ret_fd)
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_BODY];
    bool found = false;
    const void *data;
    size_t n = 0;
    int r;

    if (*row->file)
        return store_body_open(i->store, row->file, ret_fd);
    db_bind_number(s, 1, row->serial);
    r = db_step(s, &found);
    if (r != 0)
        return r;
    if (!found)
        return HMSG_ERROR_NOT_FOUND;
    data = db_column_bytes(s, 0, &n);
    return buf_append(ret_bytes, data, n);
}

int inbox_next_hanging(Inbox *i, const char *kid, int64_t after, InboxRow *ret)
{
    DbStatement *s = i->q[Q_HANGING];

    db_bind_text(s, 1, kid);
    db_bind_number(s, 2, after);
    db_bind_number(s, 3, HMSG_ERROR_UNTRUSTED);
    return read_one(s, ret);
}

int inbox_needs(Inbox *i, const char *kid, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_NEEDS];

    db_bind_text(s, 1, kid);
    db_bind_number(s, 2, HMSG_ERROR_UNTRUSTED);
    return db_step(s, ret);
}

int inbox_set_kid(Inbox *i, const InboxRow *row, const char *kid)
{
    db_bind_number(i->q[Q_SET_KID], 1, row->serial);
    db_bind_text(i->q[Q_SET_KID], 2, kid);
    return db_run(i->q[Q_SET_KID]);
}

int inbox_keep(Inbox *i, const InboxRow *row, StoreBody *body)
{
    DbStatement *s = i->q[Q_KEEP];
    int r;

    db_bind_number(s, 1, row->serial);
    db_bind_text(s, 2, row->kid);
    db_bind_text(s, 3, *row->skid ? row->skid : NULL);
    db_bind_number(s, 4, row->created);
    db_bind_number(s, 5, row->sent);
    db_bind_text(s, 6, *body->file ? body->file : NULL);
    if (*body->file)
        db_bind_null(s, 7);
    else
        db_bind_bytes(s, 7, body->bytes.data, body->bytes.size);
    r = db_run(s);
    if (r == 0 && db_changes(i->db) == 0)
        r = HMSG_ERROR_NOT_FOUND;
    if (r != 0)
        return r;
    store_body_remove(i->store, row->file);
    store_body_done(body);
    return 0;
}

int inbox_delete(Inbox *i, const char *id)
{
    _cleanup_(db_rollbackp) Db *t = i->db;
    DbStatement *s = i->q[Q_DONE_PUT];
    InboxRow row;
    int r;

    r = inbox_get(i, id, &row);
    if (r == 0)
        r = db_begin(t);
    if (r != 0)
        return r;
    r = run_with_id(i->q[Q_DELETE], id);
    db_bind_text(s, 1, id);
    db_bind_text(s, 2, row.relay);
    db_bind_number(s, 3, clock_realtime() + (int64_t)INBOX_DONE_SECONDS);
    db_bind_number(s, 4, row.acknowledge == INBOX_ACK_DONE);
    if (r == 0)
        r = db_run(s);
    if (r == 0)
        r = db_commit(t);
    if (r == 0)
        store_body_remove(i->store, row.file);
    db_reset(s);
    return r;
}

int inbox_each(Inbox *i, uint64_t after, int (*f)(const InboxRow *row, void *userdata), void *userdata)
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_EACH];
    bool row = false;
    int r;

    db_bind_number(s, 1, after > INT64_MAX ? INT64_MAX : (int64_t)after);
    while ((r = db_step(s, &row)) == 0 && row) {
        InboxRow found;

        read_row(s, &found);
        r = f(&found, userdata);
        if (r != 0)
            return r;
    }
    return r;
}

int inbox_count_unread(Inbox *i, uint64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_UNREAD];
    bool row = false;
    int r;

    r = db_step(s, &row);
    if (r == 0)
        *ret = row ? (uint64_t)db_column_number(s, 0) : 0;
    return r;
}

int inbox_has_room(Inbox *i, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_UNCHECKED];
    bool row = false;
    int r;

    r = db_step(s, &row);
    if (r == 0)
        *ret = !row || (db_column_number(s, 0) < (int64_t)INBOX_UNCHECKED_MAX &&
                        db_column_number(s, 1) < (int64_t)INBOX_UNCHECKED_BYTES_MAX);
    return r;
}

int inbox_due(Inbox *i, const char *relay, char (*ret)[HASH_TEXT_SIZE], size_t max, size_t *ret_n)
{
    _cleanup_(db_resetp) DbStatement *s = i->q[Q_DUE];
    bool row = false;
    size_t n = 0;
    int r;

    db_bind_text(s, 1, relay);
    db_bind_number(s, 2, (int64_t)max);
    while ((r = db_step(s, &row)) == 0 && row && n < max)
        copy(ret[n++], HASH_TEXT_SIZE, s, 0);
    if (r == 0)
        *ret_n = n;
    return r;
}

int inbox_acknowledged(Inbox *i, const char *const *ids)
{
    _cleanup_(db_rollbackp) Db *t = i->db;
    int r;

    r = db_begin(t);
    for (; *ids && r == 0; ids++) {
        r = run_with_id(i->q[Q_ACKNOWLEDGED], *ids);
        if (r == 0)
            r = run_with_id(i->q[Q_ACKNOWLEDGED_DONE], *ids);
    }
    return r == 0 ? db_commit(t) : r;
}

int inbox_expire(Inbox *i, int64_t now)
{
    int r;

    db_bind_number(i->q[Q_EXPIRE_DONE], 1, now);
    r = db_run(i->q[Q_EXPIRE_DONE]);
    if (r != 0)
        return r;
    db_bind_number(i->q[Q_EXPIRE_SEEN], 1, now);
    return db_run(i->q[Q_EXPIRE_SEEN]);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/outbox-store.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define COLUMNS                                                                                              \
    "serial, id, message, kid, recipient, relay, file, body_sha256, state, queued, expires, next_attempt,"   \
    " size, attempts, error"

enum { /* of COLUMNS */
       COLUMN_SERIAL,
       COLUMN_ID,
       COLUMN_MESSAGE,
       COLUMN_KID,
       COLUMN_RECIPIENT,
       COLUMN_RELAY,
       COLUMN_FILE,
       COLUMN_BODY_SHA256,
       COLUMN_STATE,
       COLUMN_QUEUED,
       COLUMN_EXPIRES,
       COLUMN_NEXT_ATTEMPT,
       COLUMN_SIZE,
       COLUMN_ATTEMPTS,
       COLUMN_ERROR,
};

typedef enum Query {
    Q_INSERT,
    Q_UPDATE,
    Q_UPDATE_BODYLESS,
    Q_DELETE,
    Q_BODY,
    Q_EACH,
    Q_NEXT_OF,
    Q_FIND,
    Q_NEXT_DUE,
    Q_NEXT_AT,
    Q_NEXT_EXPIRED,
    Q_POSTPONE,
    Q_HURRY,
    Q_MOVE,
    Q_WHEN,
    Q_PENDING,
    Q_FINISHED,
    Q_MAX_,
} Query;

#define SELECT "SELECT " COLUMNS " FROM outbox "

static const char *const queries[Q_MAX_] = {
    [Q_INSERT] = "INSERT INTO outbox(id, message, kid, recipient, relay, file, body_sha256, state, queued,"
                 " expires, next_attempt, size, body)"
                 " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [Q_UPDATE] =
        "UPDATE outbox SET state = ?2, attempts = ?3, next_attempt = ?4, error = ?5 WHERE serial = ?1",
    [Q_UPDATE_BODYLESS] = "UPDATE outbox SET state = ?2, attempts = ?3, next_attempt = ?4, error = ?5,"
                          " body = NULL, file = NULL WHERE serial = ?1",
    [Q_DELETE] = "DELETE FROM outbox WHERE serial = ?1",
    [Q_BODY] = "SELECT body FROM outbox WHERE serial = ?1",
    [Q_EACH] = SELECT "WHERE serial > ?1 ORDER BY serial",
    [Q_NEXT_OF] = SELECT "WHERE id = ?1 AND serial > ?2 ORDER BY serial LIMIT 1",
    [Q_FIND] = SELECT "WHERE message = ?1 AND relay = ?2",
    [Q_NEXT_DUE] = SELECT "WHERE state = 0 AND next_attempt <= ?1 AND serial > ?2 ORDER BY serial LIMIT 1",
    [Q_NEXT_AT] = SELECT "WHERE (?1 IS NULL OR relay = ?1) AND state = ?2 AND serial > ?3"
                         " ORDER BY serial LIMIT 1",
    [Q_NEXT_EXPIRED] = SELECT "WHERE (state = 0 AND expires <= ?1) OR (state = 1 AND expires <= ?2)"
                              " ORDER BY serial LIMIT 1",
    [Q_POSTPONE] = "UPDATE outbox SET next_attempt = max(next_attempt, ?2)"
                   " WHERE state = 0 AND (?1 IS NULL OR relay = ?1)",
    [Q_HURRY] = "UPDATE outbox SET next_attempt = 0 WHERE state = 0 AND (?1 IS NULL OR relay = ?1)",
    [Q_MOVE] = "UPDATE outbox SET relay = ?1, next_attempt = 0, attempts = 0"
               " WHERE state = 0 AND relay != ?1 AND substr(relay, 1, ?2) = substr(?1, 1, ?2)",
    [Q_WHEN] = "SELECT min(iif(state = 0, min(next_attempt, expires), expires + ?1)) FROM outbox"
               " WHERE state IN (0, 1)",
    [Q_PENDING] = "SELECT count(*), total(size) FROM outbox WHERE state = 0",
    [Q_FINISHED] = "DELETE FROM outbox WHERE state IN (2, 4) AND queued < ?1",
};

struct OutboxStore {
    Store *store;
    Db *db;
    DbStatement *q[Q_MAX_];
};

const char *outbox_state_name(OutboxState s)
{
    static const char *const names[] = {
        [OUTBOX_QUEUED] = "queued", [OUTBOX_ACCEPTED] = "accepted", [OUTBOX_DELIVERED] = "delivered",
        [OUTBOX_FAILED] = "failed", [OUTBOX_EXPIRED] = "expired",
    };

    return (unsigned)s < ELEMENTSOF(names) ? names[s] : "";
}

int outbox_store_new(Store *s, OutboxStore **ret)
{
    _cleanup_(outbox_store_freep) OutboxStore *o = calloc(1, sizeof(*o));
    int r = 0;

    if (!o)
        return -ENOMEM;
    o->store = s;
    o->db = store_db(s);
    for (unsigned k = 0; k < Q_MAX_ && r == 0; k++)
        r = db_prepare(o->db, queries[k], &o->q[k]);
    if (r != 0)
        return r;
    db_bind_number(o->q[Q_FINISHED], 1,
                   clock_realtime() - (int64_t)(PACKAGE_EXPIRY_MAX + OUTBOX_FINISHED_SECONDS));
    r = db_run(o->q[Q_FINISHED]);
    if (r == 0)
        *ret = TAKE_PTR(o);
    return r;
}

OutboxStore *outbox_store_free(OutboxStore *o)
{
    if (!o)
        return NULL;
    for (unsigned k = 0; k < Q_MAX_; k++)
        (void)db_statement_free(o->q[k]);
    free(o);
    return NULL;
}

static void copy(char *to, size_t room, DbStatement *s, int column)
{
    (void)snprintf(to, room, "%s", db_column_text(s, column, NULL));
}

static int read_row(DbStatement *s, OutboxRow *ret)
{
    OutboxRow row = {.serial = db_column_number(s, COLUMN_SERIAL)};
    int r;

    r = db_column_exact(s, COLUMN_BODY_SHA256, row.body_sha256, SHA256_SIZE);
    if (r != 0)
        return r;
    copy(row.id, sizeof(row.id), s, COLUMN_ID);
    copy(row.message, sizeof(row.message), s, COLUMN_MESSAGE);
    copy(row.kid, sizeof(row.kid), s, COLUMN_KID);
    copy(row.recipient, sizeof(row.recipient), s, COLUMN_RECIPIENT);
    copy(row.relay, sizeof(row.relay), s, COLUMN_RELAY);
    copy(row.file, sizeof(row.file), s, COLUMN_FILE);
    copy(row.error, sizeof(row.error), s, COLUMN_ERROR);
    row.state = (OutboxState)db_column_number(s, COLUMN_STATE);
    row.queued = db_column_number(s, COLUMN_QUEUED);
    row.expires = db_column_number(s, COLUMN_EXPIRES);
    row.next_attempt = db_column_number(s, COLUMN_NEXT_ATTEMPT);
    row.size = (uint64_t)db_column_number(s, COLUMN_SIZE);
    row.attempts = (unsigned)db_column_number(s, COLUMN_ATTEMPTS);
    *ret = row;
    return 0;
}

static int read_one(DbStatement *s, OutboxRow *ret)
{
    bool row = false;
    int r;

    r = db_step(s, &row);
    if (r == 0)
        r = row ? read_row(s, ret) : HMSG_ERROR_NOT_FOUND;
    db_reset(s);
    return r;
}

static int insert(OutboxStore *o, const OutboxRow *row, const StoreBody *body)
{
    DbStatement *s = o->q[Q_INSERT];

    db_bind_text(s, 1, row->id);
    db_bind_text(s, 2, row->message);
    db_bind_text(s, 3, row->kid);
    db_bind_text(s, 4, row->recipient);
    db_bind_text(s, 5, row->relay);
    db_bind_text(s, 6, *body->file ? body->file : NULL);
    db_bind_bytes(s, 7, row->body_sha256, SHA256_SIZE);
    db_bind_number(s, 8, row->state);
    db_bind_number(s, 9, row->queued);
    db_bind_number(s, 10, row->expires);
    db_bind_number(s, 11, row->next_attempt);
    db_bind_number(s, 12, (int64_t)row->size);
    if (*body->file)
        db_bind_null(s, 13);
    else
        db_bind_bytes(s, 13, body->bytes.data, body->bytes.size);
    return db_run(s);
}

int outbox_store_pending(OutboxStore *o, uint64_t *ret_n, uint64_t *ret_bytes)
{
    _cleanup_(db_resetp) DbStatement *s = o->q[Q_PENDING];
    bool row = false;
    int r;

    r = db_step(s, &row);
    if (r == 0) {
        *ret_n = row ? (uint64_t)db_column_number(s, 0) : 0;
        *ret_bytes = row ? (uint64_t)db_column_number(s, 1) : 0;
    }
    return r;
}

int outbox_store_add(OutboxStore *o, OutboxRow *rows, StoreBody *bodies, size_t n)
{
    _cleanup_(db_rollbackp) Db *t = o->db;
    uint64_t pending = 0, bytes = 0;
    int r;

    r = outbox_store_pending(o, &pending, &bytes);
    for (size_t i = 0; i < n; i++)
        bytes += rows[i].size;
    if (r == 0 && (pending + n > OUTBOX_PENDING_MAX || bytes > OUTBOX_PENDING_BYTES_MAX))
        r = HMSG_ERROR_QUOTA_EXCEEDED;
    if (r == 0)
        r = db_begin(t);
    for (size_t i = 0; i < n && r == 0; i++) {
        r = insert(o, &rows[i], &bodies[i]);
        rows[i].serial = db_last_row_id(o->db);
    }
    if (r == 0)
        r = db_commit(t);
    for (size_t i = 0; i < n && r == 0; i++)
        store_body_done(&bodies[i]); /* the rows have them */
    return r;
}

static bool needs_body(OutboxState s)
{
    return s == OUTBOX_QUEUED || s == OUTBOX_ACCEPTED || s == OUTBOX_FAILED;
}

int outbox_store_update(OutboxStore *o, OutboxRow *row)
{
    DbStatement *s = o->q[needs_body(row->state) ? Q_UPDATE : Q_UPDATE_BODYLESS];
    int r;

    db_bind_number(s, 1, row->serial);
    db_bind_number(s, 2, row->state);
    db_bind_number(s, 3, row->attempts);
    db_bind_number(s, 4, row->next_attempt);
    db_bind_text(s, 5, *row->error ? row->error : NULL);
    r = db_run(s);
    if (r == 0 && !needs_body(row->state)) {
        store_body_remove(o->store, row->file);
        row->file[0] = 0;
    }
    return r;
}

int outbox_store_remove(OutboxStore *o, const OutboxRow *row)
{
    int r;

    db_bind_number(o->q[Q_DELETE], 1, row->serial);
    r = db_run(o->q[Q_DELETE]);
    if (r == 0)
        store_body_remove(o->store, row->file);
    return r;
}

int outbox_store_body(OutboxStore *o, const OutboxRow *row, int *ret_fd)
{
    _cleanup_(db_resetp) DbStatement *s = o->q[Q_BODY];
    _cleanup_(fd_closep) int fd = -1;
    bool found = false;
    const void *data;
    size_t n = 0;
    int r;

    if (*row->file)
        return store_body_open(o->store, row->file, ret_fd);
    db_bind_number(s, 1, row->serial);
    r = db_step(s, &found);
    if (r != 0)
        return r;
    data = found ? db_column_bytes(s, 0, &n) : NULL;
    if (!data)
        return HMSG_ERROR_NOT_FOUND;
    fd = memfd_create("hmsg-mail", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = file_write_fd(fd, data, n);
    if (r == 0)
        *ret_fd = TAKE_FD(fd);
    return r;
}

int outbox_store_each(OutboxStore *o, uint64_t after, outbox_row_t f, void *userdata)
{
    _cleanup_(db_resetp) DbStatement *s = o->q[Q_EACH];
    bool row = false;
    int r;

    db_bind_number(s, 1, after > INT64_MAX ? INT64_MAX : (int64_t)after);
    while ((r = db_step(s, &row)) == 0 && row) {
        OutboxRow found;

        r = read_row(s, &found);
        if (r == 0)
            r = f(&found, userdata);
        if (r != 0)
            return r;
    }
    return r;
}

int outbox_store_next_of(OutboxStore *o, const char *id, int64_t after, OutboxRow *ret)
{
    db_bind_text(o->q[Q_NEXT_OF], 1, id);
    db_bind_number(o->q[Q_NEXT_OF], 2, after);
    return read_one(o->q[Q_NEXT_OF], ret);
}

int outbox_store_find(OutboxStore *o, const char *relay, const char *message, OutboxRow *ret)
{
    db_bind_text(o->q[Q_FIND], 1, message);
    db_bind_text(o->q[Q_FIND], 2, relay);
    return read_one(o->q[Q_FIND], ret);
}

int outbox_store_next_due(OutboxStore *o, int64_t now, int64_t after, OutboxRow *ret)
{
    db_bind_number(o->q[Q_NEXT_DUE], 1, now);
    db_bind_number(o->q[Q_NEXT_DUE], 2, after);
    return read_one(o->q[Q_NEXT_DUE], ret);
}

int outbox_store_next_at(OutboxStore *o, const char *relay, OutboxState state, int64_t after, OutboxRow *ret)
{
    db_bind_text(o->q[Q_NEXT_AT], 1, relay);
    db_bind_number(o->q[Q_NEXT_AT], 2, state);
    db_bind_number(o->q[Q_NEXT_AT], 3, after);
    return read_one(o->q[Q_NEXT_AT], ret);
}

int outbox_store_next_expired(OutboxStore *o, int64_t now, OutboxRow *ret)
{
    db_bind_number(o->q[Q_NEXT_EXPIRED], 1, now);
    db_bind_number(o->q[Q_NEXT_EXPIRED], 2, now - OUTBOX_LOST_SECONDS);
    return read_one(o->q[Q_NEXT_EXPIRED], ret);
}

int outbox_store_postpone(OutboxStore *o, const char *relay, int64_t then)
{
    db_bind_text(o->q[Q_POSTPONE], 1, relay);
    db_bind_number(o->q[Q_POSTPONE], 2, then);
    return db_run(o->q[Q_POSTPONE]);
}

int outbox_store_hurry(OutboxStore *o, const char *relay)
{
    db_bind_text(o->q[Q_HURRY], 1, relay);
    return db_run(o->q[Q_HURRY]);
}

int outbox_store_move(OutboxStore *o, const char *relay)
{
    db_bind_text(o->q[Q_MOVE], 1, relay);
    db_bind_number(o->q[Q_MOVE], 2, (int64_t)strcspn(relay, "#") + 1);
    return db_run(o->q[Q_MOVE]);
}

int outbox_store_when(OutboxStore *o, int64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *s = o->q[Q_WHEN];
    bool row = false;
    int r;

    db_bind_number(s, 1, OUTBOX_LOST_SECONDS);
    r = db_step(s, &row);
    if (r == 0)
        *ret = row && !db_column_null(s, 0) ? db_column_number(s, 0) : INT64_MAX;
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sending capabilities of a mailbox, by the index of their hash. One that was revoked stays, as -1 uses,
 * until its time is over, so that a grant which is repeated does not bring it back, and a revocation which is
 * repeated finds it. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

const char *const store_sqlite_capability_texts[SQL_WRITE_MAX_] = {
    [SQL_COUNT_CAPABILITIES] = "SELECT count(*) FROM capabilities WHERE mailbox = ?1",
    [SQL_FIND_GRANT] = "SELECT number, uses, expires FROM capabilities WHERE mailbox = ?1 AND code = ?2",
    [SQL_ADD_CAPABILITY] = ("INSERT INTO capabilities(mailbox, number, code, uses, created, expires)"
                            " VALUES(?1, ?2, ?3, ?4, ?5, ?6)"),
    [SQL_FIND_CAPABILITY] = ("SELECT number FROM capabilities WHERE mailbox = ?1 AND code = ?2 AND uses > 0"
                             " AND expires > ?3"),
    [SQL_USE_CAPABILITY] = ("UPDATE capabilities SET uses = uses - 1 WHERE mailbox = ?1 AND number = ?2"
                            " AND uses > 0"),
    [SQL_END_CAPABILITY] = "UPDATE capabilities SET uses = -1 WHERE mailbox = ?1 AND number = ?2",
    [SQL_DROP_CAPABILITIES] = "DELETE FROM capabilities WHERE mailbox = ?1 AND expires <= ?2",
    [SQL_DELETE_CAPABILITIES] = "DELETE FROM capabilities WHERE mailbox = ?1",
};

int store_sqlite_mailbox(SqliteStore *s, const uint8_t kid[static KID_SIZE], int64_t *ret, int64_t *ret_next)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_MAILBOX];
    uint8_t index[AT_REST_INDEX_SIZE];
    bool row = false;
    int r = identity_index(s->at_rest, INDEX_KEY, kid, KID_SIZE, index);
    db_bind_bytes(sql, 1, index, sizeof(index));
    if (r == 0)
        r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    *ret = db_column_number(sql, 0);
    *ret_next = db_column_number(sql, 1);
    return 0;
}

/* Of those whose time is not over. */
static int count(SqliteStore *s, int64_t mailbox, int64_t now, uint64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_COUNT_CAPABILITIES];
    DbStatement *drop = s->sql[SQL_DROP_CAPABILITIES];
    bool row = false;
    db_bind_number(drop, 1, mailbox);
    db_bind_number(drop, 2, now);
    int r = db_run(drop);
    db_bind_number(sql, 1, mailbox);
    if (r == 0)
        r = db_step(sql, &row);
    if (r == 0 && row)
        *ret = (uint64_t)db_column_number(sql, 0);
    return r;
}

static int find_grant(SqliteStore *s, int64_t mailbox, const uint8_t *index, int64_t *ret_number,
                      int64_t *ret_uses, int64_t *ret_expires)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_GRANT];
    bool row = false;
    db_bind_number(sql, 1, mailbox);
    db_bind_bytes(sql, 2, index, AT_REST_INDEX_SIZE);
    int r = db_step(sql, &row);
    *ret_number = r == 0 && row ? db_column_number(sql, 0) : 0;
    if (*ret_number != 0) {
        *ret_uses = db_column_number(sql, 1);
        *ret_expires = db_column_number(sql, 2);
    }
    return r;
}

/* Its number is one of those that messages get: none comes twice in a mailbox. */
static int add(SqliteStore *s, const StoreWrite *w, int64_t mailbox, int64_t number, const uint8_t *index)
{
    DbStatement *sql = s->sql[SQL_COUNT_MAILBOX];
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, 1);
    db_bind_number(sql, 3, 0);
    db_bind_number(sql, 4, 0);
    int r = db_run(sql);
    if (r != 0)
        return r;
    sql = s->sql[SQL_ADD_CAPABILITY];
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, number);
    db_bind_bytes(sql, 3, index, AT_REST_INDEX_SIZE);
    db_bind_number(sql, 4, (int64_t)w->grant.uses);
    db_bind_number(sql, 5, w->grant.now);
    db_bind_number(sql, 6, w->grant.expires);
    return db_run(sql);
}

/* The same again changes nothing; one that was revoked, or is another, is refused. */
static int repeat(StoreWrite *w, int64_t number, int64_t uses, int64_t expires)
{
    w->grant.number = number;
    return uses >= 0 && expires == w->grant.expires ? 0 : HMSG_ERROR_ALREADY_EXISTS;
}

int store_sqlite_grant(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    uint8_t index[AT_REST_INDEX_SIZE];
    int64_t mailbox = 0, next = 0, number = 0, uses = 0, expires = 0;
    uint64_t n = 0;
    w->grant.created = false;
    int r = store_sqlite_mailbox(s, w->grant.mailbox, &mailbox, &next);
    if (r == HMSG_ERROR_NOT_FOUND)
        return r;
    if (r == 0)
        r = identity_index(s->at_rest, INDEX_CAPABILITY, w->grant.hash, SHA256_SIZE, index);
    if (r == 0)
        r = count(s, mailbox, w->grant.now, &n);
    if (r == 0)
        r = find_grant(s, mailbox, index, &number, &uses, &expires);
    if (r == 0 && number != 0)
        return repeat(w, number, uses, expires);
    if (r == 0 && n >= CAPABILITIES_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    if (r == 0)
        r = add(s, w, mailbox, next, index);
    *ret_rollback = r != 0;
    w->grant.number = next;
    w->grant.created = r == 0;
    return r;
}

int store_sqlite_withdraw(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    DbStatement *sql = s->sql[SQL_END_CAPABILITY];
    int64_t mailbox = 0, next = 0;
    int r = store_sqlite_mailbox(s, w->withdraw.mailbox, &mailbox, &next);
    if (r == HMSG_ERROR_NOT_FOUND)
        return r;
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, w->withdraw.number);
    if (r == 0)
        r = db_run(sql);
    *ret_rollback = r != 0;
    return r == 0 && db_changes(s->db) == 0 ? HMSG_ERROR_NOT_FOUND : r;
}

int store_sqlite_find_capability(SqliteStore *s, int64_t mailbox, const uint8_t *index, int64_t now,
                                 int64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_CAPABILITY];
    bool row = false;
    db_bind_number(sql, 1, mailbox);
    db_bind_bytes(sql, 2, index, AT_REST_INDEX_SIZE);
    db_bind_number(sql, 3, now);
    int r = db_step(sql, &row);
    *ret = r == 0 && row ? db_column_number(sql, 0) : 0;
    return r;
}

int store_sqlite_use_capability(SqliteStore *s, int64_t mailbox, int64_t number)
{
    DbStatement *sql = s->sql[SQL_USE_CAPABILITY];
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, number);
    return db_run(sql);
}

int reader_capability(StoreReader *reader, const uint8_t *mailbox, const uint8_t *hash)
{
    _cleanup_(db_resetp) DbStatement *sql = reader_statement(reader, SQL_CAPABILITY);
    uint8_t kid[AT_REST_INDEX_SIZE], index[AT_REST_INDEX_SIZE];
    bool row = false;
    int r = reader_bind_index(reader, sql, 1, INDEX_KEY, mailbox, kid);
    if (r == 0)
        r = reader_bind_index(reader, sql, 3, INDEX_CAPABILITY, hash, index);
    db_bind_number(sql, 2, 0); /* any former key: put knows until when those count */
    db_bind_number(sql, 4, clock_realtime());
    if (r == 0)
        r = db_step(sql, &row);
    return r == 0 && !row ? HMSG_ERROR_NOT_FOUND : r;
}

int reader_next_capability(StoreReader *reader, const uint8_t *mailbox, StoreCapability *c)
{
    _cleanup_(db_resetp) DbStatement *sql = reader_statement(reader, SQL_NEXT_CAPABILITY);
    uint8_t kid[AT_REST_INDEX_SIZE];
    bool row = false;
    int r = reader_bind_index(reader, sql, 1, INDEX_KEY, mailbox, kid);
    db_bind_number(sql, 2, c->number);
    db_bind_number(sql, 3, clock_realtime());
    if (r == 0)
        r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    if (db_column_number(sql, 0) <= c->number) /* else one that repeats itself would be looked at for ever */
        return -EBADMSG;
    *c = (StoreCapability){db_column_number(sql, 0), (uint64_t)db_column_number(sql, 1),
                           db_column_number(sql, 2), db_column_number(sql, 3)};
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

const char *const store_sqlite_admin_texts[SQL_WRITE_MAX_] = {
    [SQL_COUNT_INVITES] = "SELECT count(*) FROM invites",
    [SQL_FIND_INVITE] = "SELECT number FROM invites WHERE code = ?1",
    [SQL_ADD_INVITE] = "INSERT INTO invites(code, uses, created, expires) VALUES(?1, ?2, ?3, ?4)",
    [SQL_USE_INVITE] = "UPDATE invites SET uses = uses - 1 WHERE code = ?1 AND uses > 0 AND expires > ?2",
    [SQL_DROP_INVITES] = "DELETE FROM invites WHERE uses <= 0 OR expires <= ?1",
    [SQL_DELETE_INVITE] = "DELETE FROM invites WHERE number = ?1",
    [SQL_BLOCK] = "UPDATE identities SET blocked = ?2 WHERE skid = ?1",
};

static int make_index(const SqliteStore *s, const char *code, uint8_t ret[static AT_REST_INDEX_SIZE])
{
    return identity_index(s->at_rest, INDEX_INVITE, code, strlen(code), ret);
}

/* Those whose time is over as well. */
static int count_invites(SqliteStore *s, int64_t now, uint64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_COUNT_INVITES];
    bool row = false;
    int r = store_sqlite_run_number(s, SQL_DROP_INVITES, now);
    if (r == 0)
        r = db_step(sql, &row);
    if (r == 0 && row)
        *ret = (uint64_t)db_column_number(sql, 0);
    return r;
}

/* Number 0: there is none of this code yet. */
static int find_invite(SqliteStore *s, const uint8_t index[static AT_REST_INDEX_SIZE], int64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_INVITE];
    bool row = false;
    db_bind_bytes(sql, 1, index, AT_REST_INDEX_SIZE);
    int r = db_step(sql, &row);
    *ret = r == 0 && row ? db_column_number(sql, 0) : 0;
    return r;
}

int store_sqlite_invite(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    DbStatement *sql = s->sql[SQL_ADD_INVITE];
    uint8_t index[AT_REST_INDEX_SIZE];
    uint64_t n = 0;
    int r = make_index(s, w->invite.code, index);
    if (r == 0)
        r = count_invites(s, w->invite.now, &n);
    if (r == 0)
        r = find_invite(s, index, &w->invite.number);
    if (r == 0 && w->invite.number != 0) /* by a commit whose answer was lost */
        return 0;
    if (r == 0 && n >= STORE_INVITES_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    *ret_rollback = true;
    if (r != 0)
        return r;
    db_bind_bytes(sql, 1, index, sizeof(index));
    db_bind_number(sql, 2, (int64_t)w->invite.uses);
    db_bind_number(sql, 3, w->invite.now);
    db_bind_number(sql, 4, w->invite.expires);
    r = db_run(sql);
    if (r == 0)
        w->invite.number = db_last_row_id(s->db);
    *ret_rollback = r != 0;
    return r;
}

int store_sqlite_use_invite(SqliteStore *s, const char *code, int64_t now)
{
    DbStatement *sql = s->sql[SQL_USE_INVITE];
    uint8_t index[AT_REST_INDEX_SIZE];
    if (!code)
        return HMSG_ERROR_DENIED;
    int r = make_index(s, code, index);
    if (r != 0)
        return r;
    db_bind_bytes(sql, 1, index, sizeof(index));
    db_bind_number(sql, 2, now);
    r = db_run(sql);
    if (r == 0 && db_changes(s->db) == 0)
        return HMSG_ERROR_DENIED;
    return r == 0 ? store_sqlite_run_number(s, SQL_DROP_INVITES, now) : r;
}

/* Of a change of one row. */
static int finish(SqliteStore *s, int r, bool *ret_rollback)
{
    *ret_rollback = r != 0;
    return r == 0 && db_changes(s->db) == 0 ? HMSG_ERROR_NOT_FOUND : r;
}

int store_sqlite_revoke(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    return finish(s, store_sqlite_run_number(s, SQL_DELETE_INVITE, w->revoke.number), ret_rollback);
}

int store_sqlite_block(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    DbStatement *sql = s->sql[SQL_BLOCK];
    uint8_t index[AT_REST_INDEX_SIZE];
    int r = identity_index(s->at_rest, INDEX_KEY, w->block.skid, KID_SIZE, index);
    *ret_rollback = true;
    if (r != 0)
        return r;
    db_bind_bytes(sql, 1, index, sizeof(index));
    db_bind_number(sql, 2, w->block.blocked);
    return finish(s, db_run(sql), ret_rollback);
}

int reader_next_invite(StoreReader *reader, StoreInvite *i)
{
    _cleanup_(db_resetp) DbStatement *sql = reader_statement(reader, SQL_NEXT_INVITE);
    bool row = false;
    db_bind_number(sql, 1, i->number);
    db_bind_number(sql, 2, clock_realtime());
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    if (db_column_number(sql, 0) <= i->number) /* else one that repeats itself would be looked at for ever */
        return -EBADMSG;
    *i = (StoreInvite){db_column_number(sql, 0), (uint64_t)db_column_number(sql, 1), db_column_number(sql, 2),
                       db_column_number(sql, 3)};
    return 0;
}

int reader_use(StoreReader *reader, const uint8_t *mailbox, StoreUse *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = reader_statement(reader, SQL_USE);
    uint8_t index[AT_REST_INDEX_SIZE];
    bool row = false;
    int r = reader_bind_index(reader, sql, 1, INDEX_KEY, mailbox, index);
    if (r == 0)
        r = db_step(sql, &row);
    *ret = (StoreUse){};
    if (r == 0 && row)
        *ret = (StoreUse){(uint64_t)db_column_number(sql, 0), (uint64_t)db_column_number(sql, 1)};
    return r;
}

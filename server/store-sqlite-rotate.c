/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* New keys for somebody who is registered. Name, mailbox and messages hang on the number of the identity, so
 * they stay where they are; the former keys go into a table of their own. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

const char *const store_sqlite_rotate_texts[SQL_WRITE_MAX_] = {
    [SQL_FIND_REGISTERED] = "SELECT number, generation, statement FROM identities WHERE skid = ?1",
    [SQL_FIND_REPEATED] = "SELECT 1 FROM identities AS i JOIN former AS f ON f.identity = i.number"
                          " WHERE i.skid = ?1 AND i.kid = ?2 AND f.skid = ?3",
    [SQL_FIND_USED] = "SELECT 1 FROM identities WHERE skid IN (?1, ?2) OR kid IN (?1, ?2)"
                      " UNION ALL SELECT 1 FROM former WHERE skid IN (?1, ?2) OR kid IN (?1, ?2)",
    [SQL_ADD_FORMER] = "INSERT INTO former(identity, skid, kid, statement, steps, next, retired)"
                       " SELECT number, skid, kid, statement, ?2, ?3, ?4 FROM identities WHERE number = ?1",
    [SQL_TRIM_FORMER] = "DELETE FROM former WHERE number IN (SELECT number FROM former WHERE identity = ?1"
                        " ORDER BY number DESC LIMIT -1 OFFSET ?2)",
    [SQL_REPLACE_KEYS] = "UPDATE identities SET skid = ?2, kid = ?3, sign = ?4, decrypt = ?5, statement = ?6,"
                         " generation = ?7 WHERE number = ?1",
    [SQL_FIND_SUCCESSOR] = "SELECT i.skid FROM former AS f JOIN identities AS i ON i.number = f.identity"
                           " WHERE f.skid = ?1",
    [SQL_DELETE_FORMER] = "DELETE FROM former WHERE identity = ?1",
};

/* 0 as number: not registered by this sign key. HMSG_ERROR_ALREADY_EXISTS: the steps do not begin here. */
static int find_registered(SqliteStore *s, const StoreWrite *w, int64_t *ret_number)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_REGISTERED];
    bool row = false;
    db_bind_bytes(sql, 1, w->rotate.from, KID_SIZE);
    int r = db_step(sql, &row);
    if (r != 0)
        return r;
    *ret_number = row ? db_column_number(sql, 0) : 0;
    if (!row)
        return 0;
    bool later = db_column_number(sql, 1) < (int64_t)w->rotate.identity->generation;
    bool same = strcmp(db_column_text(sql, 2, NULL), w->rotate.from_statement) == 0;
    return later && same ? 0 : HMSG_ERROR_ALREADY_EXISTS;
}

static int find_keys(SqliteStore *s, SqlWrite which, const StoreWrite *w, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[which];
    db_bind_bytes(sql, 1, w->rotate.identity->skid, KID_SIZE);
    db_bind_bytes(sql, 2, w->rotate.identity->kid, KID_SIZE);
    if (which == SQL_FIND_REPEATED)
        db_bind_bytes(sql, 3, w->rotate.from, KID_SIZE);
    return db_step(sql, ret);
}

static int add_former(SqliteStore *s, const StoreWrite *w, int64_t number)
{
    DbStatement *sql = s->sql[SQL_ADD_FORMER];
    db_bind_number(sql, 1, number);
    db_bind_text(sql, 2, w->rotate.steps);
    db_bind_text(sql, 3, w->rotate.identity->statement);
    db_bind_number(sql, 4, clock_realtime());
    int r = db_run(sql);
    if (r != 0)
        return r;
    sql = s->sql[SQL_TRIM_FORMER];
    db_bind_number(sql, 1, number);
    db_bind_number(sql, 2, ROTATION_CHAIN_MAX);
    return db_run(sql);
}

static int replace_keys(SqliteStore *s, const StoreIdentity *i, int64_t number)
{
    DbStatement *sql = s->sql[SQL_REPLACE_KEYS];
    db_bind_number(sql, 1, number);
    db_bind_bytes(sql, 2, i->skid, KID_SIZE);
    db_bind_bytes(sql, 3, i->kid, KID_SIZE);
    db_bind_bytes(sql, 4, i->sign, i->sign_size);
    db_bind_bytes(sql, 5, i->decrypt, i->decrypt_size);
    db_bind_text(sql, 6, i->statement);
    db_bind_number(sql, 7, (int64_t)i->generation);
    return db_run(sql);
}

int store_sqlite_rotate(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    int64_t number = 0;
    bool found = false;
    w->rotate.created = false;
    int r = find_registered(s, w, &number);
    if (r == 0)
        r = find_keys(s, number == 0 ? SQL_FIND_REPEATED : SQL_FIND_USED, w, &found);
    if (r == 0 && number == 0)
        return found ? 0 : HMSG_ERROR_NOT_FOUND;
    if (r == 0 && found)
        r = HMSG_ERROR_ALREADY_EXISTS;
    if (r != 0) {
        *ret_rollback = r != HMSG_ERROR_ALREADY_EXISTS;
        return r;
    }
    r = add_former(s, w, number);
    if (r == 0)
        r = replace_keys(s, w->rotate.identity, number);
    w->rotate.created = r == 0;
    *ret_rollback = r != 0;
    return r;
}

int store_sqlite_successor(SqliteStore *s, uint8_t skid[static KID_SIZE])
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_SUCCESSOR];
    bool row = false;
    db_bind_bytes(sql, 1, skid, KID_SIZE);
    int r = db_step(sql, &row);
    return r == 0 && row ? db_column_exact(sql, 0, skid, KID_SIZE) : r;
}

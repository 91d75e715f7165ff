/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* New keys for somebody who is registered. Name, mailbox and messages hang on the number of the identity, so
 * they stay where they are; the former keys go into a table of their own. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

const char *const store_sqlite_rotate_texts[SQL_WRITE_MAX_] = {
    [SQL_FIND_REGISTERED] = "SELECT number, generation FROM identities WHERE skid = ?1",
    [SQL_FIND_REPEATED] = ("SELECT 1 FROM identities AS i JOIN former AS f ON f.identity = i.number"
                           " WHERE i.skid = ?1 AND i.kid = ?2 AND f.skid = ?3"),
    [SQL_FIND_USED] = ("SELECT 1 FROM identities WHERE skid IN (?1, ?2) OR kid IN (?1, ?2)"
                       " UNION ALL SELECT 1 FROM former WHERE skid IN (?1, ?2) OR kid IN (?1, ?2)"),
    [SQL_ADD_FORMER] = "INSERT INTO former(identity, skid, kid, sealed, retired) VALUES(?1, ?2, ?3, ?4, ?5)",
    [SQL_NEXT_FORMER] = ("SELECT number, skid, sealed FROM former WHERE identity = ?1 AND number > ?2"
                         " ORDER BY number LIMIT 1"),
    [SQL_RESEAL_FORMER] = "UPDATE former SET sealed = ?2 WHERE number = ?1",
    [SQL_TRIM_FORMER] = ("DELETE FROM former WHERE number IN (SELECT number FROM former WHERE identity = ?1"
                         " ORDER BY number DESC LIMIT 9223372036854775807 OFFSET ?2)"),
    [SQL_REPLACE_KEYS] = "UPDATE identities SET skid = ?2, kid = ?3, generation = ?4 WHERE number = ?1",
    [SQL_FIND_SUCCESSOR] = "SELECT identity FROM former WHERE skid = ?1",
    [SQL_DELETE_FORMER] = "DELETE FROM former WHERE identity = ?1",
};

/* The keys of a rotation, as the statements know them. */
typedef struct Keys {
    uint8_t from[AT_REST_INDEX_SIZE], skid[AT_REST_INDEX_SIZE], kid[AT_REST_INDEX_SIZE];
} Keys;

static int make_keys(const SqliteStore *s, const StoreWrite *w, Keys *ret)
{
    const StoreIdentity *i = w->rotate.identity;
    int r = identity_index(s->at_rest, INDEX_KEY, w->rotate.from, KID_SIZE, ret->from);
    return r == 0 ? identity_key_indexes(s->at_rest, i->skid, i->kid, ret->skid, ret->kid) : r;
}

static int read_identity(SqliteStore *s, int64_t number, StoreIdentity *ret)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(IDENTITY_PACKED_MAX);
    int r = keys_read(s, number, &packed);
    return r == 0 ? identity_unpack(&packed, ret) : r;
}

/* 0 as number: not registered by this sign key. HMSG_ERROR_ALREADY_EXISTS: the steps do not begin here. */
static int find_registered(SqliteStore *s, const StoreWrite *w, const Keys *keys, int64_t *ret_number,
                           StoreIdentity *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_REGISTERED];
    bool row = false;
    db_bind_bytes(sql, 1, keys->from, sizeof(keys->from));
    int r = db_step(sql, &row);
    if (r != 0)
        return r;
    *ret_number = row ? db_column_number(sql, 0) : 0;
    if (!row)
        return 0;
    bool later = db_column_number(sql, 1) < (int64_t)w->rotate.identity->generation;
    r = read_identity(s, *ret_number, ret);
    if (r != 0)
        return r;
    return later && strcmp(ret->statement, w->rotate.from_statement) == 0 ? 0 : HMSG_ERROR_ALREADY_EXISTS;
}

static int find_keys(SqliteStore *s, SqlWrite which, const Keys *keys, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[which];
    db_bind_bytes(sql, 1, keys->skid, sizeof(keys->skid));
    db_bind_bytes(sql, 2, keys->kid, sizeof(keys->kid));
    if (which == SQL_FIND_REPEATED)
        db_bind_bytes(sql, 3, keys->from, sizeof(keys->from));
    return db_step(sql, ret);
}

/* before: what is registered now. */
static int add_former(SqliteStore *s, const StoreWrite *w, int64_t number, const StoreIdentity *before)
{
    const StoreLink link = {before->statement, w->rotate.steps, w->rotate.identity->statement};
    int r = store_sqlite_add_former(s, number, before, &link, clock_realtime());
    if (r != 0)
        return r;
    DbStatement *sql = s->sql[SQL_TRIM_FORMER];
    db_bind_number(sql, 1, number);
    db_bind_number(sql, 2, ROTATION_CHAIN_MAX);
    return db_run(sql);
}

/* The name stays. i is room that serves no more afterwards. */
static int replace_keys(SqliteStore *s, const StoreWrite *w, const Keys *keys, int64_t number,
                        StoreIdentity *i)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(IDENTITY_PACKED_MAX);
    DbStatement *sql = s->sql[SQL_REPLACE_KEYS];
    char name[sizeof(i->name)];
    memcpy(name, i->name, sizeof(name));
    *i = *w->rotate.identity;
    memcpy(i->name, name, sizeof(name));
    db_bind_number(sql, 1, number);
    db_bind_bytes(sql, 2, keys->skid, sizeof(keys->skid));
    db_bind_bytes(sql, 3, keys->kid, sizeof(keys->kid));
    db_bind_number(sql, 4, (int64_t)i->generation);
    int r = db_run(sql);
    if (r == 0)
        r = identity_pack(i, &packed);
    return r == 0 ? keys_reseal(s, number, &packed) : r;
}

int store_sqlite_rotate(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    int64_t number = 0;
    bool found = false;
    Keys keys;
    w->rotate.created = false;
    int r = i ? make_keys(s, w, &keys) : -ENOMEM;
    if (r == 0)
        r = find_registered(s, w, &keys, &number, i);
    if (r == 0)
        r = find_keys(s, number == 0 ? SQL_FIND_REPEATED : SQL_FIND_USED, &keys, &found);
    if (r == 0 && number == 0)
        return found ? 0 : HMSG_ERROR_NOT_FOUND;
    if (r == 0 && found)
        r = HMSG_ERROR_ALREADY_EXISTS;
    if (r != 0) {
        *ret_rollback = r != HMSG_ERROR_ALREADY_EXISTS;
        return r;
    }
    r = add_former(s, w, number, i);
    if (r == 0)
        r = replace_keys(s, w, &keys, number, i);
    w->rotate.created = r == 0;
    *ret_rollback = r != 0;
    return r;
}

int store_sqlite_successor(SqliteStore *s, uint8_t skid[static KID_SIZE])
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_SUCCESSOR];
    uint8_t index[AT_REST_INDEX_SIZE];
    bool row = false;
    int r = identity_index(s->at_rest, INDEX_KEY, skid, KID_SIZE, index);
    db_bind_bytes(sql, 1, index, sizeof(index));
    if (r == 0)
        r = db_step(sql, &row);
    if (r != 0 || !row)
        return r;
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    if (!i)
        return -ENOMEM;
    r = read_identity(s, db_column_number(sql, 0), i);
    if (r == 0)
        memcpy(skid, i->skid, KID_SIZE);
    return r == -EBADMSG ? 0 : r; /* then nobody is told */
}

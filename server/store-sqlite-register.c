/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

/* One statement with a number, as most of those that delete are. */
int store_sqlite_run_number(SqliteStore *s, SqlWrite which, int64_t number)
{
    db_bind_number(s->sql[which], 1, number);
    return db_run(s->sql[which]);
}

/* What the statements know an identity by. */
typedef struct Indexes {
    uint8_t skid[AT_REST_INDEX_SIZE], kid[AT_REST_INDEX_SIZE], name[AT_REST_INDEX_SIZE];
    bool named;
} Indexes;

static int make_indexes(const SqliteStore *s, const uint8_t *skid, const uint8_t *kid, const char *name,
                        Indexes *ret)
{
    Indexes x = {.named = name[0] != '\0'};
    int r = identity_index(s->at_rest, INDEX_KEY, skid, KID_SIZE, x.skid);
    if (r == 0 && kid)
        r = identity_index(s->at_rest, INDEX_KEY, kid, KID_SIZE, x.kid);
    if (r == 0 && x.named)
        r = identity_index(s->at_rest, INDEX_NAME, name, strlen(name), x.name);
    if (r == 0)
        *ret = x;
    return r;
}

static void bind_name(DbStatement *sql, int index, const Indexes *x)
{
    if (x->named)
        db_bind_bytes(sql, index, x->name, sizeof(x->name));
    else
        db_bind_null(sql, index);
}

typedef struct Known {
    int64_t number; /* 0: not registered */
    bool same_kid, same_name, guest;
    int64_t generation;
} Known;

static int find_skid(SqliteStore *s, const Indexes *x, Known *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_SKID];
    bool row = false;
    *ret = (Known){0};
    db_bind_bytes(sql, 1, x->skid, sizeof(x->skid));
    db_bind_bytes(sql, 2, x->kid, sizeof(x->kid));
    bind_name(sql, 3, x);
    int r = db_step(sql, &row);
    if (r == 0 && row)
        *ret = (Known){db_column_number(sql, 0), db_column_number(sql, 1) != 0, db_column_number(sql, 2) != 0,
                       db_column_number(sql, 3) != 0, db_column_number(sql, 4)};
    return r;
}

/* Whether one of the keys or the name is another's. */
static int find_conflict(SqliteStore *s, const Indexes *x, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_CONFLICT];
    db_bind_bytes(sql, 1, x->skid, sizeof(x->skid));
    db_bind_bytes(sql, 2, x->kid, sizeof(x->kid));
    bind_name(sql, 3, x);
    return db_step(sql, ret);
}

static int insert_identity(SqliteStore *s, int64_t number, const StoreIdentity *i, const Indexes *x)
{
    DbStatement *sql = s->sql[number > 0 ? SQL_ADD_IDENTITY_AS : SQL_ADD_IDENTITY];
    db_bind_bytes(sql, 1, x->skid, sizeof(x->skid));
    db_bind_bytes(sql, 2, x->kid, sizeof(x->kid));
    bind_name(sql, 3, x);
    db_bind_number(sql, 4, (int64_t)i->generation);
    db_bind_number(sql, 5, i->created);
    db_bind_bytes(sql, 6, "", 0);
    if (number > 0)
        db_bind_number(sql, 7, number);
    return db_run(sql);
}

int store_sqlite_add_identity(SqliteStore *s, int64_t number, const StoreIdentity *i)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(IDENTITY_PACKED_MAX);
    Indexes x;
    int r = make_indexes(s, i->skid, i->kid, i->name, &x);
    if (r == 0)
        r = identity_pack(i, &packed);
    if (r == 0)
        r = insert_identity(s, number, i, &x);
    if (r != 0)
        return r;
    number = db_last_row_id(s->db);
    r = keys_new(s, number, 1, 1, &packed);
    return r == 0 && i->name[0] ? store_sqlite_run_number(s, SQL_ADD_MAILBOX, number) : r;
}

/* The same keys again: a newer statement takes the place of the older one, a guest may become a member. */
static int update_identity(SqliteStore *s, const Known *known, const StoreIdentity *i, const Indexes *x)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(IDENTITY_PACKED_MAX);
    DbStatement *sql = s->sql[SQL_UPDATE_IDENTITY];
    /* A member who registers as guest is a member still, and his statement tells his address here. */
    if ((int64_t)i->generation < known->generation || (!x->named && !known->guest))
        return 0;
    db_bind_number(sql, 1, known->number);
    db_bind_number(sql, 2, (int64_t)i->generation);
    bind_name(sql, 3, x);
    int r = db_run(sql);
    if (r == 0 && known->guest)
        r = store_sqlite_use_guest(s, known->number, i->created);
    if (r == 0)
        r = identity_pack(i, &packed);
    if (r == 0)
        r = keys_reseal(s, known->number, &packed);
    return r == 0 && x->named && known->guest ? store_sqlite_run_number(s, SQL_ADD_MAILBOX, known->number)
                                              : r;
}

int store_sqlite_register(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    const StoreIdentity *i = w->reg.identity;
    Known known = {};
    Indexes x;
    bool taken = false;
    *ret_rollback = true;
    int r = make_indexes(s, i->skid, i->kid, i->name, &x);
    if (r == 0)
        r = find_skid(s, &x, &known);
    if (r == 0)
        r = find_conflict(s, &x, &taken);
    if (r != 0)
        return r;
    bool other = known.number != 0 && (!known.same_kid || (!known.guest && x.named && !known.same_name));
    *ret_rollback = false;
    if (taken || other)
        return HMSG_ERROR_ALREADY_EXISTS;
    bool created = known.number == 0 || (known.guest && x.named);
    if (created && x.named && w->reg.by_invite)
        r = store_sqlite_use_invite(s, w->reg.invite, w->reg.now);
    if (r != 0) {
        *ret_rollback = r != HMSG_ERROR_DENIED;
        return r;
    }
    w->reg.created = created;
    r = known.number == 0 ? store_sqlite_add_identity(s, 0, i) : update_identity(s, &known, i, &x);
    if (r == 0 && known.number == 0 && w->reg.n_former > 0)
        r = find_skid(s, &x, &known);
    if (r == 0)
        r = store_sqlite_claim(s, known.number, w->reg.former, w->reg.n_former);
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
        if (db_column_exact(sql, 0, name, sizeof(name)) == 0) /* else it has no file */
            r = buf_append(&s->dead, name, sizeof(name));
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

static int find_number(SqliteStore *s, int64_t number, Known *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_KEY];
    bool row = false;
    db_bind_number(sql, 1, number);
    int r = db_step(sql, &row);
    ret->number = r == 0 && row ? number : 0;
    return r;
}

/* number 0: not registered, or not by this name. */
static int find_leaving(SqliteStore *s, const StoreWrite *w, Known *ret)
{
    Indexes x;
    if (w->unregister.number != 0)
        return find_number(s, w->unregister.number, ret);
    int r = make_indexes(s, w->unregister.skid, NULL, w->unregister.name, &x);
    if (r == 0)
        r = find_skid(s, &x, ret);
    if (r == 0 && (x.named ? !ret->same_name : !ret->guest))
        ret->number = 0;
    return r;
}

static int mailbox_bytes(SqliteStore *s, int64_t owner, uint64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_KEY];
    bool row = false;
    db_bind_number(sql, 1, owner);
    int r = db_step(sql, &row);
    if (r == 0 && row)
        *ret = (uint64_t)db_column_number(sql, 6);
    return r;
}

/* With its data keys: what is left of it elsewhere, in a backup of blobs or on a worn block of the disk, is
 * noise then. */
int store_sqlite_forget(SqliteStore *s, int64_t owner)
{
    static const SqlWrite statements[] = {SQL_DELETE_MESSAGES, SQL_DELETE_SHARES,   SQL_DELETE_CAPABILITIES,
                                          SQL_DELETE_SENDERS,  SQL_DELETE_SETTINGS, SQL_DELETE_MAILBOX,
                                          SQL_DELETE_OLD_KEY,  SQL_DELETE_FORMER,   SQL_DELETE_IDENTITY};
    int r = collect_blobs(s, owner);
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(statements); i++)
        r = store_sqlite_run_number(s, statements[i], owner);
    s->erase = s->erase || r == 0;
    return r;
}

int store_sqlite_unregister(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    Known known = {};
    uint64_t bytes = 0;
    *ret_rollback = true;
    int r = find_leaving(s, w, &known);
    if (r != 0)
        return r;
    if (known.number == 0) {
        *ret_rollback = false;
        return HMSG_ERROR_NOT_FOUND;
    }
    r = mailbox_bytes(s, known.number, &bytes);
    if (r == 0)
        r = store_sqlite_forget(s, known.number);
    if (r == 0)
        store_total_subtract(s, bytes);
    *ret_rollback = r != 0;
    return r;
}

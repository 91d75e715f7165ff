/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/store-postgres-internal.h"

int store_postgres_get_move(Db *db, StoreMove *ret, char token[static MOVE_TOKEN_SIZE])
{
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    bool row = false;
    size_t n = 0;
    *ret = MOVE_NONE;
    token[0] = '\0';
    int r = db_prepare(db, "SELECT kind, token FROM moves", &sql);
    if (r == 0)
        r = db_step(sql, &row);
    if (r != 0 || !row)
        return r;
    const char *text = db_column_bytes(sql, 1, &n);
    if (n >= MOVE_TOKEN_SIZE || n == 0)
        return -EBADMSG;
    *ret = (StoreMove)db_column_number(sql, 0);
    memcpy(token, text, n);
    token[n] = '\0';
    return 0;
}

static int add_move(Db *db, StoreMove move, const char *token)
{
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    int r = db_prepare(db, "INSERT INTO moves(kind, token) VALUES(?1, ?2)", &sql);
    if (r != 0)
        return r;
    db_bind_number(sql, 1, move);
    db_bind_bytes(sql, 2, token, strlen(token));
    return db_run(sql);
}

int store_postgres_set_move(Db *db, StoreMove move, const char *token)
{
    _cleanup_(db_rollbackp) Db *transaction = db;
    int r = db_begin(transaction);
    if (r == 0)
        r = db_exec(db, "DELETE FROM moves");
    if (r == 0 && move != MOVE_NONE)
        r = add_move(db, move, token);
    return r == 0 ? db_commit(transaction) : r;
}

int store_postgres_used(Db *db, bool *ret)
{
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    int r = db_prepare(db, "SELECT 1 FROM roots LIMIT 1", &sql);
    return r == 0 ? db_step(sql, ret) : r;
}

int store_postgres_wipe(Db *db)
{
    _cleanup_(db_rollbackp) Db *transaction = db;
    int r = db_begin(transaction);
    if (r == 0)
        r = db_exec(
            db, "TRUNCATE roots, identities, old_keys, mailboxes, shares, messages, former, invites,"
                " capabilities, settings, senders, uploads, bodies, news, ticks, totals RESTART IDENTITY");
    return r == 0 ? db_commit(transaction) : r;
}

int store_postgres_refused(Db *db, char error[static POSTGRES_ERROR_SIZE])
{
    char token[MOVE_TOKEN_SIZE];
    StoreMove move;
    int r = store_postgres_get_move(db, &move, token);
    if (r != 0 || move == MOVE_NONE)
        return r;
    if (move == MOVE_OUT) /* it was given up; it must not go on with what is older than this */
        return store_postgres_set_move(db, MOVE_NONE, NULL);
    (void)snprintf(error, POSTGRES_ERROR_SIZE, "%s",
                   move == MOVE_IN ? "a migration into it has not ended (hmsg-relay store migrate postgres)"
                                   : "what it held was moved to files (store = sqlite)");
    return move == MOVE_IN ? -EINPROGRESS : -ENODATA;
}

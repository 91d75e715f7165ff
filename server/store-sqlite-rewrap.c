/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <unistd.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/store-sqlite-internal.h"

static int rewrap_row(const StoreKeeper *keeper, DbStatement *row, DbStatement *update)
{
    _cleanup_(secret_freep) Secret *key = NULL, *again = NULL;
    _cleanup_(buf_done) Buf kept = BUF_MAX(AT_REST_KEPT_SIZE_MAX);
    size_t n = 0;
    const void *before = db_column_bytes(row, 1, &n);
    int r = store_keeper_open(keeper, before ? before : "", n, &key);
    if (r == 0)
        r = keeper->wrap(keeper->userdata, key, &kept);
    if (r == 0)
        r = store_keeper_open(keeper, kept.data, kept.size, &again);
    if (r == 0 && !secret_equal(key, again))
        r = -EIO;
    if (r != 0)
        return r;
    db_bind_number(update, 1, db_column_number(row, 0));
    db_bind_bytes(update, 2, kept.data, kept.size);
    return db_run(update);
}

static int rewrap_all(Db *db, const StoreKeeper *keeper)
{
    _cleanup_(db_statement_freep) DbStatement *next = NULL, *update = NULL;
    bool row = true;
    int64_t number = -1;
    int r = db_prepare(db, "SELECT number, kept FROM roots WHERE number > ?1 ORDER BY number LIMIT 1", &next);
    if (r == 0)
        r = db_prepare(db, "UPDATE roots SET kept = ?2 WHERE number = ?1", &update);
    while (r == 0 && row) {
        db_bind_number(next, 1, number);
        r = db_step(next, &row);
        if (r == 0 && row) {
            number = db_column_number(next, 0);
            r = rewrap_row(keeper, next, update);
        }
        db_reset(next);
    }
    return r;
}

int store_sqlite_rewrap_in(Db *db, const StoreKeeper *keeper)
{
    _cleanup_(db_rollbackp) Db *transaction = db;
    int r = db_begin(transaction);
    if (r == 0)
        r = rewrap_all(db, keeper);
    return r == 0 ? db_commit(transaction) : r;
}

int store_sqlite_rewrap(const char *folder, const StoreKeeper *keeper)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(db_closep) Db *db = NULL;
    const DbOptions options = {0};
    int r = string_printf(&path, "%s/relay.sqlite", folder);
    if (r == 0 && access(path, F_OK) < 0)
        r = -errno;
    if (r == 0)
        r = db_open(path, &store_sqlite_schema, &options, &db);
    if (r != 0)
        return r;
    r = store_sqlite_rewrap_in(db, keeper);
    return r == 0 ? db_checkpoint(db) : r; /* what was there before is in the log too */
}

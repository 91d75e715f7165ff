/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/db/db-internal.h"

struct DbStatement {
    DbBase base;
    Db *db;
    sqlite3_stmt *handle;
    int error; /* first code of a bind that failed */
};

int db_prepare(Db *db, const char *sql, DbStatement **ret)
{
    if (db_driver_of(db))
        return db_driver_of(db)->prepare(db, sql, ret);
    DbStatement *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->db = db;
    int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, NULL);
    if (code != SQLITE_OK || !s->handle) {
        free(s);
        return code == SQLITE_OK ? -EINVAL : db_error(db->handle, code);
    }
    *ret = s;
    return 0;
}

DbStatement *db_statement_free(DbStatement *s)
{
    if (s && db_driver_of(s))
        return db_driver_of(s)->statement_free(s);
    if (s) {
        (void)sqlite3_finalize(s->handle);
        free(s);
    }
    return NULL;
}

static void keep(DbStatement *s, int code)
{
    if (s->error == SQLITE_OK)
        s->error = code;
}

void db_bind_number(DbStatement *s, int index, int64_t value)
{
    if (db_driver_of(s)) {
        db_driver_of(s)->bind_number(s, index, value);
        return;
    }
    keep(s, sqlite3_bind_int64(s->handle, index, value));
}

void db_bind_bytes(DbStatement *s, int index, const void *data, size_t n)
{
    if (db_driver_of(s)) {
        db_driver_of(s)->bind_bytes(s, index, data ? data : "", n);
        return;
    }
    /* A NULL pointer would bind NULL. */
    keep(s, sqlite3_bind_blob64(s->handle, index, data ? data : "", n, SQLITE_STATIC));
}

void db_bind_text(DbStatement *s, int index, const char *text)
{
    keep(s, sqlite3_bind_text64(s->handle, index, text, text ? strlen(text) : 0, SQLITE_STATIC, SQLITE_UTF8));
}

void db_bind_null(DbStatement *s, int index)
{
    if (db_driver_of(s)) {
        db_driver_of(s)->bind_bytes(s, index, NULL, 0);
        return;
    }
    keep(s, sqlite3_bind_null(s->handle, index));
}

int db_start(DbStatement *s)
{
    return db_driver_of(s) ? db_driver_of(s)->start(s) : 0;
}

int db_step(DbStatement *s, bool *ret_row)
{
    if (db_driver_of(s))
        return db_driver_of(s)->step(s, ret_row);
    int code = s->error != SQLITE_OK ? s->error : sqlite3_step(s->handle);
    if (code == SQLITE_ROW) {
        *ret_row = true;
        return 0;
    }
    int r = db_error(s->db->handle, code);
    db_reset(s);
    if (r == 0)
        *ret_row = false;
    return r;
}

int db_run(DbStatement *s)
{
    if (db_driver_of(s))
        return db_driver_of(s)->run(s);
    bool row = false;
    int r = db_step(s, &row);
    db_reset(s);
    return r;
}

void db_reset(DbStatement *s)
{
    if (db_driver_of(s)) {
        db_driver_of(s)->reset(s);
        return;
    }
    (void)sqlite3_reset(s->handle);
    (void)sqlite3_clear_bindings(s->handle);
    s->error = SQLITE_OK;
}

int64_t db_column_number(DbStatement *s, int column)
{
    if (db_driver_of(s))
        return db_driver_of(s)->column_number(s, column);
    return sqlite3_column_int64(s->handle, column);
}

const void *db_column_bytes(DbStatement *s, int column, size_t *ret_size)
{
    if (db_driver_of(s))
        return db_driver_of(s)->column_bytes(s, column, ret_size);
    const void *data = sqlite3_column_blob(s->handle, column);
    *ret_size = data ? (size_t)sqlite3_column_bytes(s->handle, column) : 0;
    return data;
}

int db_column_exact(DbStatement *s, int column, void *ret, size_t size)
{
    size_t n = 0;
    const void *data = db_column_bytes(s, column, &n);
    if (n != size || !data)
        return -EBADMSG;
    memcpy(ret, data, size);
    return 0;
}

const char *db_column_text(DbStatement *s, int column, size_t *ret_size)
{
    const char *text = (const char *)sqlite3_column_text(s->handle, column);
    if (!text)
        text = "";
    if (ret_size)
        *ret_size = strlen(text);
    return text;
}

bool db_column_null(DbStatement *s, int column)
{
    if (db_driver_of(s))
        return db_driver_of(s)->column_null(s, column);
    return sqlite3_column_type(s->handle, column) == SQLITE_NULL;
}

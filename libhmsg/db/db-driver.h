/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Another database behind the functions of db.h, so that what is written for SQLite runs on it as it is: a
 * program makes a Db of its own that begins with DbBase. Errors and the life of what is bound are as db.h has
 * them. SQL is what both understand; parameters are written ?1, ?2, ... Text is not supported. */

#include "libhmsg/db/db.h"

typedef struct DbDriver {
    Db *(*close)(Db *db);
    int (*exec)(Db *db, const char *sql);
    int (*begin)(Db *db, bool shared);
    int (*begin_read)(Db *db);
    int (*commit)(Db *db);
    void (*rollback)(Db *db);
    int (*prepare)(Db *db, const char *sql, DbStatement **ret);
    DbStatement *(*statement_free)(DbStatement *s);
    void (*bind_number)(DbStatement *s, int index, int64_t value);
    void (*bind_bytes)(DbStatement *s, int index, const void *data, size_t n); /* data NULL: NULL */
    int (*start)(DbStatement *s);
    int (*step)(DbStatement *s, bool *ret_row);
    int (*run)(DbStatement *s);
    void (*reset)(DbStatement *s);
    int64_t (*column_number)(DbStatement *s, int column);
    const void *(*column_bytes)(DbStatement *s, int column, size_t *ret_size);
    bool (*column_null)(DbStatement *s, int column);
    int64_t (*changes)(const Db *db);
    int64_t (*total_changes)(const Db *db);
    int64_t (*last_row_id)(const Db *db);
    int (*check)(Db *db);
} DbDriver;

/* The beginning of a Db, and of a DbStatement. driver NULL: SQLite. */
typedef struct DbBase {
    const DbDriver *driver;
} DbBase;

static inline const DbDriver *db_driver_of(const void *db_or_statement)
{
    return ((const DbBase *)db_or_statement)->driver;
}

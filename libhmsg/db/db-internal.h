/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/db. */

#include <sqlite3.h>

#include "libhmsg/db/db-driver.h"
#include "libhmsg/db/seal-internal.h"

typedef struct DbRange {
    unsigned min, max;
} DbRange;

struct Db {
    DbBase base;
    sqlite3 *handle;
    VfsLayer wal; /* of a writer that is not sealed */
    int lock_fd;
    bool writer, sealed;
    DbRange cache_kib, checkpoint_pages; /* db_fit */
};

/* What an SQLite result code means in the convention of error.h; 0 for OK, ROW and DONE. */
int db_error(sqlite3 *handle, int code);
int db_query_number(Db *db, const char *sql, int64_t *ret); /* one row of one column */
/* Brings the schema to the version of the program, or (readers) checks that it is. */
int db_schema_upgrade(Db *db, const DbSchema *schema);
int db_schema_check(Db *db, const DbSchema *schema);
/* As db_copy does, but the new store is sealed and the old one is not. All of it is in memory meanwhile. */
int db_copy_sealed(Db *db, const char *path, const DbSeal *seal);

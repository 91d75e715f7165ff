/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "libhmsg/db/db-internal.h"

#define PRAGMA_SIZE 128

int db_query_number(Db *db, const char *sql, int64_t *ret)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    int r = db_prepare(db, sql, &s);
    if (r == 0)
        r = db_step(s, &row);
    if (r == 0)
        *ret = row ? db_column_number(s, 0) : 0;
    return r;
}

/* Whose file this is and of which version; an empty file is nobody's and of version 0. */
static int read_version(Db *db, const DbSchema *schema, unsigned *ret)
{
    int64_t id = 0, version = 0, tables = 0;
    int r = db_query_number(db, "PRAGMA application_id", &id);
    if (r == 0)
        r = db_query_number(db, "PRAGMA user_version", &version);
    if (r == 0)
        r = db_query_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (r != 0)
        return r;
    if (id == 0 && version == 0 && tables == 0) {
        *ret = 0;
        return 0;
    }
    if ((uint32_t)id != schema->application_id || version < 1)
        return -EBADMSG;
    if (version > (int64_t)schema->n_steps)
        return -ENOTSUP;
    *ret = (unsigned)version;
    return 0;
}

static int run_step(Db *db, const DbSchema *schema, unsigned step)
{
    char sql[PRAGMA_SIZE];
    (void)snprintf(sql, sizeof(sql), "PRAGMA application_id=%d; PRAGMA user_version=%u",
                   (int)schema->application_id, step + 1);
    int r = db_begin(db);
    if (r == 0)
        r = db_exec(db, schema->steps[step]);
    if (r == 0)
        r = db_exec(db, sql);
    if (r == 0)
        r = db_commit(db);
    if (r != 0)
        db_rollback(db);
    return r;
}

int db_schema_upgrade(Db *db, const DbSchema *schema)
{
    unsigned version = 0;
    int r = read_version(db, schema, &version);
    for (; r == 0 && version < schema->n_steps; version++)
        r = run_step(db, schema, version);
    return r;
}

int db_schema_check(Db *db, const DbSchema *schema)
{
    unsigned version = 0;
    int r = read_version(db, schema, &version);
    return r == 0 && version < schema->n_steps ? -ESTALE : r;
}

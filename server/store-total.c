/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How many bytes all mailboxes hold, which may be limited. Relays that share a database add what each of
 * their transactions changes to a row of their own, so that none waits for another; the sum of the rows is
 * what there is, but for transactions that have not ended. While there is room for the largest ones of many
 * relays that does not matter; then each is alone with the database, and nothing is taken that does not fit.
 */

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

#define SHARED_BYTES_MAX (STORE_BATCH_BYTES_MAX + MESSAGE_SIZE_MAX) /* of a transaction beside others */
#define RELAYS_MAX 64u                                              /* docs/scale.md, relay.conf(5) */

const char *const store_total_texts[SQL_WRITE_MAX_] = {
    [SQL_ADD_TOTAL] = ("INSERT INTO totals(relay, bytes) VALUES(?1, ?2) ON CONFLICT(relay)"
                       " DO UPDATE SET bytes = totals.bytes + EXCLUDED.bytes"),
    [SQL_READ_TOTAL] = "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM totals",
    [SQL_DROP_TOTALS] = "DELETE FROM totals",
};

/* s->total, from the mailboxes. */
static int sum_up(SqliteStore *s)
{
    _cleanup_(db_statement_freep) DbStatement *sum = NULL;
    bool row = false;
    int r = db_prepare(s->db, "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM mailboxes", &sum);
    if (r == 0)
        r = db_step(sum, &row);
    if (r == 0 && row)
        s->total = (uint64_t)db_column_number(sum, 0);
    return r;
}

void store_total_add(SqliteStore *s, uint64_t bytes)
{
    s->total += bytes;
    s->total_change += (int64_t)bytes;
}

void store_total_subtract(SqliteStore *s, uint64_t bytes)
{
    s->total -= bytes < s->total ? bytes : s->total;
    s->total_change -= (int64_t)bytes;
}

int store_total_read(SqliteStore *s)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_READ_TOTAL];
    bool row = false;
    int r = db_step(sql, &row);
    int64_t total = r == 0 && row ? db_column_number(sql, 0) : 0;
    if (r == 0)
        s->total = total > 0 ? (uint64_t)total : 0;
    return r;
}

bool store_total_is_scarce(const SqliteStore *s, StoreWrite **batch, size_t n)
{
    const uint64_t beside = (uint64_t)RELAYS_MAX * SHARED_BYTES_MAX, limit = s->limits.total_bytes;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += batch[i]->kind == STORE_PUT ? batch[i]->put.size : 0;
    return bytes > SHARED_BYTES_MAX || limit < beside || s->total > limit - beside;
}

int store_total_write(SqliteStore *s)
{
    DbStatement *sql = s->sql[SQL_ADD_TOTAL];
    if (!s->remote || s->total_change == 0)
        return 0;
    db_bind_bytes(sql, 1, s->tag, sizeof(s->tag));
    db_bind_number(sql, 2, s->total_change);
    return db_run(sql);
}

int store_total_renew(SqliteStore *s)
{
    int r = sum_up(s);
    if (r == 0)
        r = db_run(s->sql[SQL_DROP_TOTALS]);
    s->total_change = (int64_t)s->total;
    if (r == 0)
        r = store_total_write(s);
    s->total_change = 0;
    return r;
}

int store_total_begin(SqliteStore *s)
{
    _cleanup_(db_rollbackp) Db *transaction = s->db;
    if (!s->remote || s->limits.total_bytes == 0)
        return sum_up(s);
    int r = db_begin(transaction);
    if (r == 0)
        r = store_total_renew(s);
    return r == 0 ? db_commit(transaction) : r;
}

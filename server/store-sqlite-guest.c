/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Guests, who are registered to write to others here. What is kept of one that sends nothing any more goes:
 * anybody can make as many as he likes. */

#include <errno.h>

#include "server/store-sqlite-internal.h"

const char *const store_sqlite_guest_texts[SQL_WRITE_MAX_] = {
    [SQL_USE_GUEST] = "UPDATE identities SET created = ?2 WHERE number = ?1 AND created < ?2",
    [SQL_EACH_GUEST] = ("SELECT number, name IS NULL AND blocked = 0 AND created < ?2 FROM identities"
                        " WHERE number > ?1 ORDER BY number LIMIT ?3"),
};

int store_sqlite_use_guest(SqliteStore *s, int64_t number, int64_t now)
{
    DbStatement *sql = s->sql[SQL_USE_GUEST];
    db_bind_number(sql, 1, number);
    db_bind_number(sql, 2, now);
    return db_run(sql);
}

/* The next rows, so that no sweep is long; which of them are guests' to be forgotten. */
static int find_guests(SqliteStore *s, int64_t now, int64_t numbers[static STORE_SWEEP_MAX], size_t *ret_n,
                       bool *ret_end)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EACH_GUEST];
    size_t n = 0, rows = 0;
    bool row = false;
    db_bind_number(sql, 1, s->guests_at);
    db_bind_number(sql, 2, now - (int64_t)STORE_GUEST_SECONDS);
    db_bind_number(sql, 3, STORE_SWEEP_MAX);
    int r = db_step(sql, &row);
    while (r == 0 && row && rows < STORE_SWEEP_MAX) {
        s->guests_at = db_column_number(sql, 0);
        if (db_column_number(sql, 1) != 0)
            numbers[n++] = s->guests_at;
        rows++;
        r = db_step(sql, &row);
    }
    *ret_n = n;
    *ret_end = rows < STORE_SWEEP_MAX;
    return r;
}

int store_sqlite_forget_guests(SqliteStore *s, int64_t now)
{
    _cleanup_(freep) int64_t *numbers = calloc(STORE_SWEEP_MAX, sizeof(*numbers));
    size_t n = 0;
    bool end = false;
    int r = numbers ? find_guests(s, now, numbers, &n, &end) : -ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = store_sqlite_forget(s, numbers[i]);
    if (end)
        s->guests_at = 0; /* from the beginning at the next sweep */
    return r;
}

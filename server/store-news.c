/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What relays that share a database tell each other: each transaction adds a row with what it has changed for
 * people who may be connected elsewhere, and each relay reads what others have added. A row has the number of
 * its transaction. Readers begin at the oldest transaction that ran when they read last, so that what was
 * committed late is not missed, and leave out what they had then. Who is meant is named by the index of a
 * key; the id of a message is hidden by an HMAC. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

#define ENTRY_SIZE (2u + AT_REST_INDEX_SIZE + ID_SIZE) /* kind, state, key, id */
#define ENTRIES_SIZE_MAX (4096u * ENTRY_SIZE)          /* of one row */
#define NEWS_NONCE_SIZE 16u

const char *const store_news_texts[SQL_WRITE_MAX_] = {
    [SQL_LOCK_MAILBOXES] =
        ("SELECT number FROM mailboxes WHERE number = ANY(ARRAY(SELECT coalesce("
         "(SELECT i.number FROM identities AS i WHERE i.kid = k.kid),"
         " (SELECT f.identity FROM former AS f WHERE f.kid = k.kid)) FROM"
         " (SELECT substring(CAST(?1 AS BYTEA) FROM CAST(g.n * 16 + 1 AS INTEGER) FOR 16) AS kid"
         " FROM generate_series(0, ?2 - 1) AS g(n)) AS k)) ORDER BY number FOR NO KEY UPDATE"),
    [SQL_ADD_NEWS] = "INSERT INTO news(relay, created, nonce, entries) VALUES(?1, ?2, ?3, ?4)",
    [SQL_FORGET_NEWS] = "DELETE FROM news WHERE created < ?1",
};

int store_lock_mailboxes(SqliteStore *s, StoreWrite **batch, size_t n)
{
    _cleanup_(buf_done) Buf kids = BUF_MAX(STORE_BATCH_MAX * AT_REST_INDEX_SIZE);
    DbStatement *sql = s->sql[SQL_LOCK_MAILBOXES];
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = buf_append(&kids, ((const Prepared *)batch[i]->prepared)->mailbox, AT_REST_INDEX_SIZE);
    if (r != 0)
        return r;
    db_bind_bytes(sql, 1, kids.data, kids.size);
    db_bind_number(sql, 2, (int64_t)n);
    return db_run(sql);
}

/* Hides or shows an id, the one at this place of a row. */
static int mask(const AtRest *a, const uint8_t nonce[static NEWS_NONCE_SIZE], size_t at,
                uint8_t id[static ID_SIZE])
{
    for (size_t half = 0; half < ID_SIZE; half += AT_REST_INDEX_SIZE) {
        const uint8_t place[] = {(uint8_t)(at >> 16), (uint8_t)(at >> 8), (uint8_t)at, (uint8_t)half};
        const Chunk parts[] = {{nonce, NEWS_NONCE_SIZE}, {place, sizeof(place)}};
        uint8_t pad[AT_REST_INDEX_SIZE];
        int r = at_rest_index(a, INDEX_NEWS, parts, ELEMENTSOF(parts), pad);
        if (r != 0)
            return r;
        for (size_t i = 0; i < sizeof(pad); i++)
            id[half + i] ^= pad[i];
    }
    return 0;
}

typedef struct Row {
    SqliteStore *store;
    uint8_t nonce[NEWS_NONCE_SIZE];
    Buf entries;
} Row;

static void row_done(Row *row)
{
    buf_done(&row->entries);
}

/* Starts the next one. */
static int finish_row(Row *row)
{
    DbStatement *sql = row->store->sql[SQL_ADD_NEWS];
    if (row->entries.size == 0)
        return 0;
    db_bind_bytes(sql, 1, row->store->tag, sizeof(row->store->tag));
    db_bind_number(sql, 2, clock_realtime());
    db_bind_bytes(sql, 3, row->nonce, sizeof(row->nonce));
    db_bind_bytes(sql, 4, row->entries.data, row->entries.size);
    int r = db_run(sql);
    buf_clear(&row->entries);
    return r == 0 ? crypto_random(row->nonce, sizeof(row->nonce)) : r;
}

/* id may be NULL. */
static int add_entry(Row *row, StoreNewsKind kind, const uint8_t *key, StoreState state, const uint8_t *id)
{
    uint8_t entry[ENTRY_SIZE] = {(uint8_t)kind, (uint8_t)state};
    uint8_t *hidden = entry + 2 + AT_REST_INDEX_SIZE;
    int r = row->entries.size + ENTRY_SIZE > ENTRIES_SIZE_MAX ? finish_row(row) : 0;
    if (r == 0)
        r = identity_index(row->store->at_rest, INDEX_KEY, key, KID_SIZE, entry + 2);
    if (id)
        memcpy(hidden, id, ID_SIZE);
    if (r == 0)
        r = mask(row->store->at_rest, row->nonce, row->entries.size, hidden);
    return r == 0 ? buf_append(&row->entries, entry, sizeof(entry)) : r;
}

static int add_write(Row *row, const StoreWrite *w)
{
    int r = 0;
    if (w->result != 0)
        return 0;
    if (w->kind == STORE_PUT && w->put.created)
        r = add_entry(row, STORE_NEWS_MAIL, w->put.owner, STORE_ACCEPTED, NULL);
    else if (w->kind == STORE_UNREGISTER)
        r = add_entry(row, STORE_NEWS_GONE, w->unregister.skid, STORE_ACCEPTED, NULL);
    else if (w->kind == STORE_ROTATE && w->rotate.created)
        r = add_entry(row, STORE_NEWS_GONE, w->rotate.from, STORE_ACCEPTED, NULL);
    else if (w->kind == STORE_BLOCK && w->block.blocked)
        r = add_entry(row, STORE_NEWS_GONE, w->block.skid, STORE_ACCEPTED, NULL);
    for (size_t i = 0; r == 0 && i < w->n_changes; i++)
        r = add_entry(row, STORE_NEWS_STATE, w->changes[i].submitter, w->changes[i].state, w->changes[i].id);
    return r;
}

int store_add_news(SqliteStore *s, StoreWrite **batch, size_t n)
{
    _cleanup_(row_done) Row row = {.store = s, .entries = BUF_MAX(ENTRIES_SIZE_MAX)};
    int r = crypto_random(row.nonce, sizeof(row.nonce));
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_write(&row, batch[i]);
    return r == 0 ? finish_row(&row) : r;
}

int store_forget_news(SqliteStore *s, int64_t now)
{
    return s->remote ? store_sqlite_run_number(s, SQL_FORGET_NEWS, now - NEWS_KEPT) : 0;
}

int reader_index(StoreReader *reader, const uint8_t *kid, uint8_t *ret)
{
    const SqliteReader *s = (const SqliteReader *)reader;
    if (!s->remote)
        return -EOPNOTSUPP;
    memset(ret, 0, KID_SIZE);
    return identity_index(s->at_rest, INDEX_KEY, kid, KID_SIZE, ret);
}

static int tell(const SqliteReader *s, const uint8_t *nonce, const uint8_t *entries, size_t n,
                void (*f)(const StoreNews *news, void *userdata), void *userdata)
{
    for (size_t at = 0; at + ENTRY_SIZE <= n; at += ENTRY_SIZE) {
        const uint8_t *entry = entries + at;
        StoreNews news = {.kind = (StoreNewsKind)entry[0], .state = (StoreState)entry[1]};
        memcpy(news.key, entry + 2, AT_REST_INDEX_SIZE);
        memcpy(news.id, entry + 2 + AT_REST_INDEX_SIZE, ID_SIZE);
        int r = mask(s->at_rest, nonce, at, news.id);
        if (r != 0)
            return r;
        if (entry[0] < STORE_NEWS_LOST && entry[1] < STORE_STATE_MAX_)
            f(&news, userdata);
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

/* They are in order. */
static bool is_known(const Buf *numbers, int64_t number)
{
    return numbers->size > 0 &&
           bsearch(&number, numbers->data, numbers->size / sizeof(number), sizeof(number), compare) != NULL;
}

/* The row at hand, unless it was there the last time; into now in any case. */
static int read_row(const SqliteReader *s, DbStatement *sql, Buf *now,
                    void (*f)(const StoreNews *news, void *userdata), void *userdata)
{
    uint8_t nonce[NEWS_NONCE_SIZE];
    int64_t number = db_column_number(sql, 1);
    size_t n = 0;
    if (db_column_null(sql, 1)) /* none, but the column before */
        return 0;
    int r = buf_append(now, &number, sizeof(number));
    if (r != 0 || is_known(&s->news, number))
        return r;
    r = db_column_exact(sql, 2, nonce, sizeof(nonce));
    const uint8_t *entries = db_column_bytes(sql, 3, &n);
    return r == 0 ? tell(s, nonce, entries, n, f, userdata) : r;
}

/* After another connection, perhaps to another server, the numbers mean nothing. */
static bool begins_anew(SqliteReader *s)
{
    uint64_t connection = s->remote->connection(s->db);
    bool anew = s->news_connection != connection;
    s->news_connection = connection;
    if (anew)
        s->news_since = INT64_MAX;
    return anew;
}

int reader_news(StoreReader *reader, void (*f)(const StoreNews *news, void *userdata), void *userdata)
{
    SqliteReader *s = (SqliteReader *)reader;
    _cleanup_(buf_done) Buf now = BUF_MAX(NEWS_ROWS_MAX * sizeof(int64_t));
    int64_t since = 0;
    bool row = false;
    if (!s->remote)
        return -EOPNOTSUPP;
    (void)begins_anew(s);
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_NEWS];
    db_bind_number(sql, 1, s->news_since);
    db_bind_bytes(sql, 2, s->tag, sizeof(s->tag));
    int r = db_step(sql, &row);
    bool lost = r == 0 && begins_anew(s);
    if (r == 0 && s->news_since == INT64_MAX)
        f(&(StoreNews){.kind = STORE_NEWS_LOST}, userdata);
    while (r == 0 && row) {
        since = db_column_number(sql, 0);
        r = lost ? 0 : read_row(s, sql, &now, f, userdata);
        if (r == 0)
            r = db_step(sql, &row);
    }
    if (r != 0) {
        s->news_since = INT64_MAX;
        return r;
    }
    s->news_since = since;
    buf_done(&s->news);
    s->news = now;
    now = BUF_MAX(0);
    return 0;
}

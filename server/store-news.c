/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What relays that share a database tell each other: each transaction adds a row with what it has changed for
 * people who may be connected elsewhere, and each relay reads what others have added. A row has the number of
 * its transaction. Readers keep which transactions had ended at their last look, and take the rows of those
 * that have ended since, so that what was committed late is not missed. A relay leaves out its own rows by
 * its tag. When one of its commits failed that may be found all the same, the tag becomes another, so that it
 * hears of that one too. Who is meant is named by the index of a key; the id of a message is hidden by an
 * HMAC.
 *
 * Rows are forgotten when all relays have had time to see them: those of transactions that had ended some
 * time ago, whatever clock they were written by. One row of no relay says up to where: who looked last before
 * that may have missed something. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

#define ENTRY_SIZE (2u + AT_REST_INDEX_SIZE + ID_SIZE) /* kind, state, key, id */
#define ENTRIES_SIZE_MAX (4096u * ENTRY_SIZE)          /* of one row */
#define NEWS_NONCE_SIZE 16u
#define NOTHING_BEFORE "9223372036854775807:9223372036854775807:" /* all transactions have ended */

const char *const store_news_texts[SQL_WRITE_MAX_] = {
    [SQL_LOCK_MAILBOXES] =
        ("SELECT number FROM mailboxes WHERE number = ANY(ARRAY(SELECT coalesce("
         "(SELECT i.number FROM identities AS i WHERE i.kid = k.kid),"
         " (SELECT f.identity FROM former AS f WHERE f.kid = k.kid)) FROM"
         " (SELECT substring(CAST(?1 AS BYTEA) FROM CAST(g.n * 16 + 1 AS INTEGER) FOR 16) AS kid"
         " FROM generate_series(0, ?2 - 1) AS g(n)) AS k)) ORDER BY number FOR NO KEY UPDATE"),
    [SQL_ADD_NEWS] = "INSERT INTO news(relay, created, nonce, entries) VALUES(?1, ?2, ?3, ?4)",
    [SQL_FIND_OLDEST] = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)",
    [SQL_FORGET_NEWS] = "DELETE FROM news WHERE tx < ?1 OR relay = ''",
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

/* Of a relay that was in doubt so many times. */
static void make_tag(const uint8_t tag[static STORE_TAG_SIZE], unsigned doubts,
                     uint8_t ret[static STORE_TAG_SIZE])
{
    memcpy(ret, tag, STORE_TAG_SIZE);
    for (unsigned i = 0; i < 4; i++)
        ret[STORE_TAG_SIZE - 1 - i] = (uint8_t)(doubts >> (8 * i));
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

static int insert(SqliteStore *s, const uint8_t *tag, size_t n_tag, const uint8_t *nonce, size_t n_nonce,
                  const uint8_t *entries, size_t n)
{
    DbStatement *sql = s->sql[SQL_ADD_NEWS];
    db_bind_bytes(sql, 1, tag, n_tag);
    db_bind_number(sql, 2, clock_realtime());
    db_bind_bytes(sql, 3, nonce, n_nonce);
    db_bind_bytes(sql, 4, entries, n);
    return db_run(sql);
}

/* Starts the next one. */
static int finish_row(Row *row)
{
    SqliteStore *s = row->store;
    uint8_t tag[STORE_TAG_SIZE];
    if (row->entries.size == 0)
        return 0;
    make_tag(s->tag, atomic_load(&s->remote->doubts), tag);
    int r = insert(s, tag, sizeof(tag), row->nonce, sizeof(row->nonce), row->entries.data, row->entries.size);
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

/* The number of the oldest transaction that has not ended. */
static int find_oldest(SqliteStore *s, int64_t *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_OLDEST];
    bool row = false;
    int r = db_step(sql, &row);
    if (r == 0 && row)
        *ret = db_column_number(sql, 0);
    return r;
}

static int forget_until(SqliteStore *s, int64_t end)
{
    uint8_t entries[8];
    for (unsigned i = 0; i < sizeof(entries); i++)
        entries[i] = (uint8_t)((uint64_t)end >> (56 - 8 * i));
    int r = store_sqlite_run_number(s, SQL_FORGET_NEWS, end);
    return r == 0 ? insert(s, entries, 0, entries, 0, entries, sizeof(entries)) : r;
}

int store_forget_news(SqliteStore *s, int64_t now)
{
    bool begins = s->news_end == 0 || now < s->news_end_found;
    if (!s->remote || (!begins && now - s->news_end_found < NEWS_KEPT))
        return 0;
    int r = begins ? 0 : forget_until(s, s->news_end);
    if (r == 0)
        r = find_oldest(s, &s->news_end);
    s->news_end_found = now;
    return r;
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

static int64_t read_end(const uint8_t entries[static 8])
{
    uint64_t n = 0;
    for (unsigned i = 0; i < 8; i++)
        n = n << 8 | entries[i];
    return (int64_t)n;
}

/* What the rows of one look say. */
typedef struct Look {
    Buf now;        /* which transactions have ended */
    int64_t oldest; /* had not ended at the last look */
    size_t n;
    bool lost;
} Look;

/* The row at hand: the first is no news. */
static int read_row(const SqliteReader *s, DbStatement *sql, Look *look,
                    void (*f)(const StoreNews *news, void *userdata), void *userdata)
{
    size_t n_nonce = 0, n = 0;
    const uint8_t *nonce = db_column_bytes(sql, 1, &n_nonce), *entries = db_column_bytes(sql, 2, &n);
    if (db_column_number(sql, 0) == 0)
        return n_nonce > 0 ? buf_append(&look->now, nonce, n_nonce) : -EBADMSG;
    if (++look->n > NEWS_ROWS_MAX)
        look->lost = true;
    if (n_nonce == 0 && n == 8)
        look->lost = look->lost || read_end(entries) > look->oldest;
    else if (n_nonce != NEWS_NONCE_SIZE)
        return -EBADMSG;
    else if (!look->lost)
        return tell(s, nonce, entries, n, f, userdata);
    return 0;
}

/* After another connection, perhaps to another server, the numbers mean nothing; and a commit of this relay
 * may have been taken for one that was told already. */
static void look_at_connection(SqliteReader *s)
{
    uint64_t connection = s->remote->connection(s->db);
    unsigned doubts = atomic_load(&s->remote->doubts);
    if (connection != s->news_connection || doubts != s->news_doubts)
        buf_clear(&s->news);
    s->news_connection = connection;
    s->news_doubts = doubts;
}

static int look(SqliteReader *s, Look *ret, void (*f)(const StoreNews *news, void *userdata), void *userdata)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_NEWS];
    const char *last = s->news.size > 0 ? buf_text(&s->news) : NOTHING_BEFORE;
    uint8_t tag[STORE_TAG_SIZE];
    bool row = false;
    make_tag(s->tag, s->news_doubts, tag);
    db_bind_bytes(sql, 1, last, strlen(last));
    db_bind_bytes(sql, 2, tag, sizeof(tag));
    db_bind_number(sql, 3, (int64_t)NEWS_ROWS_MAX + 1);
    int r = db_step(sql, &row);
    ret->oldest = strtoll(last, NULL, 10);
    if (r == 0)
        look_at_connection(s); /* it was made for this, perhaps */
    ret->lost = s->news.size == 0;
    while (r == 0 && row) {
        r = read_row(s, sql, ret, f, userdata);
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r == 0 && ret->now.size == 0 ? -EBADMSG : r;
}

int reader_news(StoreReader *reader, void (*f)(const StoreNews *news, void *userdata), void *userdata)
{
    SqliteReader *s = (SqliteReader *)reader;
    Look l = {.now = BUF_MAX(NEWS_SNAPSHOT_MAX)};
    if (!s->remote)
        return -EOPNOTSUPP;
    look_at_connection(s);
    int r = look(s, &l, f, userdata);
    if (r == 0 && l.lost)
        f(&(StoreNews){.kind = STORE_NEWS_LOST}, userdata);
    buf_done(&s->news);
    s->news = r == 0 ? l.now : BUF_MAX(NEWS_SNAPSHOT_MAX);
    if (r != 0)
        buf_done(&l.now);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "libhmsg/base/log.h"
#include "server/store-sqlite-internal.h"

/* What does not open must not keep from the rest whoever comes upon it. */

#define RECOUNT_MAX 500u /* messages that are looked at at a time */

const char *const store_sqlite_damage_texts[SQL_WRITE_MAX_] = {
    [SQL_EACH_SEALED] = "SELECT " MESSAGE_KEY ", m.seq, m.size, m.id, m.sealed FROM" MESSAGE_KEY_TABLES
                        "WHERE m.mailbox = ?1 AND m.state = 0 AND m.seq > ?2 ORDER BY m.seq LIMIT ?3",
    [SQL_SET_USE] = "UPDATE mailboxes SET bytes = ?2, count = ?3 WHERE number = ?1",
    [SQL_LEAVE_KEY] = "UPDATE identities SET root = ?2 WHERE number = ?1",
};

/* A root key that a store of one machine does not know is in no row; one that is shared may have come just
 * now. */
bool store_sqlite_is_damage(const SqliteStore *s, int r)
{
    return r == -EBADMSG || (r == -ESTALE && !s->remote);
}

void store_sqlite_tell_damage(const char *what, int64_t number, int64_t client, const char *then)
{
    log_warning("%s %" PRIi64 " of client %" PRIi64 " is damaged and %s: see hmsg-relay store check", what,
                number, client, then);
}

typedef struct Sealed {
    WrappedKey key;
    int64_t seq, size;
    uint8_t index[AT_REST_INDEX_SIZE], sealed[MESSAGE_SEALED_SIZE];
    bool damaged;
} Sealed;

static int find_sealed(SqliteStore *s, int64_t mailbox, int64_t after, Sealed *ret, size_t *ret_n)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EACH_SEALED];
    bool row = false;
    size_t n = 0;
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, after);
    db_bind_number(sql, 3, RECOUNT_MAX);
    int r = db_step(sql, &row);
    while (r == 0 && row && n < RECOUNT_MAX) {
        Sealed *m = &ret[n++];
        m->seq = db_column_number(sql, 3);
        m->size = db_column_number(sql, 4);
        m->damaged = wrapped_key_read(sql, 0, &m->key) != 0 ||
                     db_column_exact(sql, 5, m->index, sizeof(m->index)) != 0 ||
                     db_column_exact(sql, 6, m->sealed, sizeof(m->sealed)) != 0;
        r = db_step(sql, &row);
    }
    *ret_n = n;
    return r;
}

/* Whose share one that is damaged counts to is not known. */
static int count_share(SqliteStore *s, int64_t mailbox, const Sealed *m)
{
    DbStatement *sql = s->sql[SQL_COUNT_SHARE];
    int r = m->damaged ? -EBADMSG : data_key_use(&s->key, mailbox, &m->key);
    if (r == 0)
        r = message_open(&s->key, m->index, m->size, m->sealed, sizeof(m->sealed), s->plain);
    if (r != 0)
        return store_sqlite_is_damage(s, r) ? 0 : r;
    const Share share = store_sqlite_get_share(s->plain);
    db_bind_number(sql, 1, mailbox);
    db_bind_bytes(sql, 2, share.bytes, share.size);
    db_bind_number(sql, 3, m->size);
    db_bind_number(sql, 4, 1);
    return db_run(sql);
}

/* A size that is damaged itself counts for none. */
static int64_t sound_size(const SqliteStore *s, const Sealed *m)
{
    return m->size >= 0 && (uint64_t)m->size <= s->limits.body_bytes ? m->size : 0;
}

static int set_use(SqliteStore *s, int64_t mailbox, int64_t bytes, int64_t count)
{
    DbStatement *sql = s->sql[SQL_SET_USE];
    db_bind_number(sql, 1, mailbox);
    db_bind_number(sql, 2, bytes);
    db_bind_number(sql, 3, count);
    return db_run(sql);
}

int store_sqlite_recount(SqliteStore *s, int64_t mailbox)
{
    _cleanup_(freep) Sealed *all = calloc(RECOUNT_MAX, sizeof(*all));
    int64_t bytes = 0, count = 0, after = 0;
    size_t n = RECOUNT_MAX;
    int r = all ? store_sqlite_run_number(s, SQL_DELETE_SHARES, mailbox) : -ENOMEM;
    while (r == 0 && n == RECOUNT_MAX) {
        r = find_sealed(s, mailbox, after, all, &n);
        for (size_t i = 0; r == 0 && i < n; i++) {
            bytes += sound_size(s, &all[i]);
            r = count_share(s, mailbox, &all[i]);
        }
        count += (int64_t)n;
        if (n > 0 && all[n - 1].seq <= after)
            break; /* a database that repeats itself */
        after = n > 0 ? all[n - 1].seq : after;
    }
    return r == 0 ? set_use(s, mailbox, bytes, count) : r;
}

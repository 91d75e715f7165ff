/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-migrate-internal.h"

#define BATCH_ROWS 256u
#define BATCH_BYTES (4u << 20)
#define COLUMNS_MAX 13u
#define SQL_SIZE 768u
/* Its columns, of which the first ones are its key, each a number or bytes. Tables stand behind those that
 * they refer to. */
typedef struct Table {
    const char *name, *columns[COLUMNS_MAX], *types;
    unsigned n_key;
} Table;

static const Table tables[] = {
    {"roots", {"number", "kept", "created"}, "nbn", 1},
    {"identities",
     {"number", "skid", "kid", "name", "generation", "created", "root", "key", "since", "wrapped", "sealed",
      "blocked"},
     "nbbbnnnnnbbn",
     1},
    {"old_keys", {"owner", "key", "root", "wrapped", "resealed"}, "nnnbn", 2},
    {"former", {"number", "identity", "skid", "kid", "sealed", "retired"}, "nnbbbn", 1},
    {"mailboxes", {"number", "next", "bytes", "count"}, "nnnn", 1},
    {"shares", {"mailbox", "share", "bytes", "count"}, "nbnn", 2},
    {"capabilities", {"mailbox", "number", "code", "uses", "created", "expires"}, "nnbnnn", 2},
    {"settings", {"mailbox", "revision", "lifetime", "rules", "digest"}, "nnnnb", 1},
    {"senders", {"mailbox", "sender", "allowed"}, "nbn", 2},
    {"messages",
     {"number", "mailbox", "seq", "id", "submitter", "size", "accepted", "expires", "state", "key", "blob",
      "sealed", "body"},
     "nnnbbnnnnnbbb",
     1},
    {"invites", {"number", "code", "uses", "created", "expires"}, "nbnnn", 1},
};
#define MESSAGES_BLOB 10u /* column */

/* The first n columns, parameters or both as "a = ?1", into text. */
static void list(char *text, const Table *t, size_t n, bool parameters)
{
    size_t used = strlen(text);
    for (size_t i = 0; i < n; i++) {
        int k = parameters ? snprintf(text + used, SQL_SIZE - used, "%s?%zu", i > 0 ? ", " : "", i + 1)
                           : snprintf(text + used, SQL_SIZE - used, "%s%s", i > 0 ? ", " : "", t->columns[i]);
        used += k > 0 ? (size_t)k : 0;
    }
}

static void add(char *text, const char *more)
{
    size_t used = strlen(text);
    (void)snprintf(text + used, SQL_SIZE - used, "%s", more);
}

static size_t columns(const Table *t)
{
    return strlen(t->types);
}

/* Behind a key, in its order. */
static int prepare_next(Db *db, const Table *t, bool first, DbStatement **ret)
{
    char sql[SQL_SIZE] = "SELECT ";
    list(sql, t, columns(t), false);
    add(sql, " FROM ");
    add(sql, t->name);
    if (!first) {
        add(sql, " WHERE (");
        list(sql, t, t->n_key, false);
        add(sql, ") > (");
        list(sql, t, t->n_key, true);
        add(sql, ")");
    }
    add(sql, " ORDER BY ");
    list(sql, t, t->n_key, false);
    add(sql, " LIMIT 256"); /* BATCH_ROWS */
    return db_prepare(db, sql, ret);
}

static int prepare_insert(Db *db, const Table *t, DbStatement **ret)
{
    char sql[SQL_SIZE] = "INSERT INTO ";
    add(sql, t->name);
    add(sql, "(");
    list(sql, t, columns(t), false);
    add(sql, ") VALUES(");
    list(sql, t, columns(t), true);
    add(sql, ")");
    return db_prepare(db, sql, ret);
}

/* The highest key; with one of two columns the second decides within the first. */
static int prepare_last(Db *db, const Table *t, DbStatement **ret)
{
    char sql[SQL_SIZE] = "SELECT ";
    list(sql, t, t->n_key, false);
    add(sql, " FROM ");
    add(sql, t->name);
    add(sql, " ORDER BY ");
    for (size_t i = 0; i < t->n_key; i++) {
        add(sql, i > 0 ? ", " : "");
        add(sql, t->columns[i]);
        add(sql, " DESC");
    }
    add(sql, " LIMIT 1");
    return db_prepare(db, sql, ret);
}

/* A row's key that outlives the row. */
typedef struct Key {
    bool some;
    int64_t numbers[2];
    uint8_t bytes[AT_REST_INDEX_SIZE];
    size_t size;
} Key;

static int read_key(DbStatement *sql, const Table *t, Key *ret)
{
    *ret = (Key){.some = true};
    for (unsigned i = 0; i < t->n_key; i++)
        if (t->types[i] == 'n')
            ret->numbers[i] = db_column_number(sql, (int)i);
        else {
            const void *data = db_column_bytes(sql, (int)i, &ret->size);
            if (ret->size > sizeof(ret->bytes))
                return -EBADMSG;
            if (ret->size > 0)
                memcpy(ret->bytes, data, ret->size);
        }
    return 0;
}

static void bind_key(DbStatement *sql, const Table *t, const Key *key)
{
    for (unsigned i = 0; i < t->n_key; i++)
        if (t->types[i] == 'n')
            db_bind_number(sql, (int)i + 1, key->numbers[i]);
        else
            db_bind_bytes(sql, (int)i + 1, key->bytes, key->size);
}

/* Where the copy is. */
static int find_last(Db *db, const Table *t, Key *ret)
{
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    bool row = false;
    *ret = (Key){};
    int r = prepare_last(db, t, &sql);
    if (r == 0)
        r = db_step(sql, &row);
    return r == 0 && row ? read_key(sql, t, ret) : r;
}

static int run_named(DbStatement *sql, const uint8_t name[static BLOB_NAME_SIZE])
{
    db_bind_bytes(sql, 1, name, BLOB_NAME_SIZE);
    return db_run(sql);
}

static int upload(Migration *m, const uint8_t name[static BLOB_NAME_SIZE])
{
    char text[BLOB_TEXT_SIZE];
    blob_text(name, text);
    _cleanup_(fd_closep) int fd = openat(m->blobs, text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    if (fd < 0)
        return -errno;
    return remote_upload(m->uploads, name, BLOB_NAME_SIZE, fd);
}

static int download(Migration *m, const uint8_t name[static BLOB_NAME_SIZE])
{
    char text[BLOB_TEXT_SIZE], part[BLOB_TEXT_SIZE + sizeof(".part")];
    blob_text(name, text);
    (void)snprintf(part, sizeof(part), "%s.part", text);
    _cleanup_(fd_closep) int fd =
        openat(m->blobs, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (fd < 0)
        return -errno;
    int r = remote_download(m->bodies, name, BLOB_NAME_SIZE, fd);
    if (r == 0 && (fsync(fd) < 0 || renameat(m->blobs, part, m->blobs, text) < 0))
        r = -errno;
    return r;
}

/* The large body of the message at hand, if it has one. */
static int copy_body(Migration *m, DbStatement *row)
{
    uint8_t name[BLOB_NAME_SIZE];
    if (db_column_null(row, MESSAGES_BLOB))
        return 0;
    int r = db_column_exact(row, MESSAGES_BLOB, name, sizeof(name));
    if (r != 0 || m->to == STORE_SQLITE)
        return r == 0 ? download(m, name) : r;
    r = upload(m, name);
    return r == 0 ? run_named(m->keep, name) : r;
}

static int copy_row(const Table *t, DbStatement *from, DbStatement *insert, size_t *bytes)
{
    for (size_t i = 0; i < columns(t); i++) {
        size_t n = 0;
        if (db_column_null(from, (int)i))
            db_bind_null(insert, (int)i + 1);
        else if (t->types[i] == 'n')
            db_bind_number(insert, (int)i + 1, db_column_number(from, (int)i));
        else {
            const void *data = db_column_bytes(from, (int)i, &n);
            db_bind_bytes(insert, (int)i + 1, data, n);
            *bytes += n;
        }
    }
    return db_run(insert);
}

/* One transaction. key: where it is, before and afterwards. */
static int copy_some(Migration *m, const Table *t, DbStatement *insert, Key *key, bool *ret_more)
{
    _cleanup_(db_rollbackp) Db *transaction = m->into;
    _cleanup_(db_statement_freep) DbStatement *next = NULL;
    Key at = *key;
    size_t n = 0, bytes = 0;
    bool row = false;
    int r = prepare_next(m->from, t, !at.some, &next);
    if (r == 0 && at.some)
        bind_key(next, t, &at);
    if (r == 0)
        r = db_step(next, &row);
    if (r == 0)
        r = db_begin_shared(transaction); /* bodies have a connection of their own */
    while (r == 0 && row && bytes < BATCH_BYTES) {
        if (strcmp(t->name, "messages") == 0)
            r = copy_body(m, next);
        if (r == 0)
            r = copy_row(t, next, insert, &bytes);
        if (r == 0)
            r = read_key(next, t, &at);
        n++;
        if (r == 0)
            r = db_step(next, &row);
    }
    if (r == 0)
        r = db_commit(transaction);
    if (r == 0)
        *key = at;
    *ret_more = n == BATCH_ROWS || row;
    return r;
}

static int copy_table(Migration *m, const Table *t)
{
    _cleanup_(db_statement_freep) DbStatement *insert = NULL;
    bool more = true;
    Key key;
    int r = find_last(m->into, t, &key);
    if (r == 0)
        r = prepare_insert(m->into, t, &insert);
    while (r == 0 && more)
        r = copy_some(m, t, insert, &key, &more);
    return r;
}

static int ask_number(Db *db, const char *sql, int64_t *ret)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    int r = db_prepare(db, sql, &s);
    if (r == 0)
        r = db_step(s, &row);
    *ret = r == 0 && row ? db_column_number(s, 0) : 0;
    return r;
}

static int run_with(Db *db, const char *sql, int64_t number)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = true;
    int r = db_prepare(db, sql, &s);
    if (r != 0)
        return r;
    db_bind_number(s, 1, number);
    while (r == 0 && row)
        r = db_step(s, &row);
    return r;
}

/* Numbers that were given once are given to nobody else, though what had them is gone. */
static int copy_numbers_to_postgres(Migration *m)
{
    static const char *const names[] = {"identities", "invites", "messages", "former"};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(names); i++) {
        char sql[SQL_SIZE] = "";
        int64_t used = 0, max = 0;
        (void)snprintf(sql, sizeof(sql),
                       "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '%s'", names[i]);
        r = ask_number(m->from, sql, &used);
        (void)snprintf(sql, sizeof(sql), "SELECT coalesce(max(number), 0) FROM %s", names[i]);
        if (r == 0)
            r = ask_number(m->from, sql, &max);
        (void)snprintf(sql, sizeof(sql), "SELECT setval('%s_number_seq', ?1)", names[i]);
        if (r == 0 && (used > 0 || max > 0))
            r = run_with(m->into, sql, used > max ? used : max);
    }
    return r;
}

static int copy_numbers_to_sqlite(Migration *m)
{
    static const char *const names[] = {"identities", "invites"};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(names); i++) {
        char sql[SQL_SIZE] = "";
        int64_t used = 0;
        (void)snprintf(sql, sizeof(sql),
                       "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM %s_number_seq", names[i]);
        r = ask_number(m->from, sql, &used);
        (void)snprintf(sql, sizeof(sql),
                       "INSERT INTO sqlite_sequence(name, seq) SELECT '%s', 0 WHERE NOT EXISTS"
                       " (SELECT 1 FROM sqlite_sequence WHERE name = '%s')",
                       names[i], names[i]);
        if (r == 0)
            r = db_exec(m->into, sql);
        (void)snprintf(sql, sizeof(sql), "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = '%s'",
                       names[i]);
        if (r == 0)
            r = run_with(m->into, sql, used);
    }
    return r;
}

int migration_copy(Migration *m)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(tables); i++)
        r = copy_table(m, &tables[i]);
    if (r != 0)
        return r;
    return m->to == STORE_POSTGRES ? copy_numbers_to_postgres(m) : copy_numbers_to_sqlite(m);
}

/* All of it is there, and opens. */
int migration_check(const Migration *m, const StoreKeeper *keeper, StoreCounts *ret)
{
    _cleanup_(store_reader_freep) StoreReader *reader = NULL;
    StoreLimits limits;
    int r = 0;
    for (size_t i = 0; r == 0 && i < ELEMENTSOF(tables); i++) {
        char sql[SQL_SIZE] = "SELECT count(*) FROM ";
        int64_t before = 0, now = 0;
        add(sql, tables[i].name);
        r = ask_number(m->from, sql, &before);
        if (r == 0)
            r = ask_number(m->into, sql, &now);
        if (r == 0 && before != now)
            r = -EBADMSG;
    }
    store_limits_init(&limits);
    if (r == 0)
        r = reader_open(m->to == STORE_POSTGRES ? NULL : m->path, m->blobs,
                        m->to == STORE_POSTGRES ? m->remote : NULL, &limits, NULL, keeper, &reader);
    if (r == 0)
        r = store_sqlite_check(reader);
    return r == 0 ? store_counts(reader, ret) : r;
}

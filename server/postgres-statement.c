/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/postgres-internal.h"

#define OID_BYTES 17 /* of pg_type.dat, which never change */
#define OID_NUMBER 20
/* What the commit before it is worth. */
#define WORTH "SELECT current_setting('fsync') = 'on', current_setting('synchronous_standby_names') <> ''"
#define COMMIT_MARK "SELECT pg_logical_emit_message(true, 'hmsg', '')"

/* Of all changes that relays make in this database. */
#define LOCK "SELECT pg_advisory_xact_lock(1213026898)"
#define LOCK_SHARED "SELECT pg_advisory_xact_lock_shared(1213026898)"

static PgDb *of(const Db *db)
{
    return (PgDb *)(uintptr_t)db;
}

static PgStatement *statement(const DbStatement *s)
{
    return (PgStatement *)(uintptr_t)s;
}

static int pg_exec(Db *base, const char *sql)
{
    PgDb *db = of(base);
    int r = db->transaction ? 0 : postgres_ensure(db);
    if (r == 0)
        r = postgres_send_command(db, PG_COMMAND, sql);
    if (db->transaction)
        return r == 0 ? postgres_receive(db, NULL) : r;
    if (r == 0)
        r = postgres_send_sync(db);
    return r == 0 ? postgres_settle(db) : r;
}

static void pg_rollback(Db *base)
{
    PgDb *db = of(base);
    if (!db->transaction)
        return;
    /* after an error the server reads on from the next synchronisation */
    int r = postgres_usable(db) ? postgres_send_sync(db) : -EIO;
    (void)postgres_settle(db);
    if (r == 0 && postgres_usable(db) && postgres_send_command(db, PG_COMMAND, "ROLLBACK") == 0 &&
        postgres_send_sync(db) == 0)
        (void)postgres_settle(db);
    postgres_forget_sent(db);
    db->error = 0;
    db->transaction = false;
}

static int begin(PgDb *db, const char *how, const char *lock)
{
    int r = postgres_ensure(db);
    if (r != 0)
        return r;
    db->transaction = true;
    db->warned = db->committed = db->answered = db->doubtful = false;
    r = postgres_send_command(db, PG_COMMAND, how);
    if (r == 0 && lock)
        r = postgres_send_command(db, PG_COMMAND, lock);
    if (r != 0)
        pg_rollback((Db *)db);
    return r;
}

static int pg_begin(Db *base, bool shared)
{
    return begin(of(base), "BEGIN ISOLATION LEVEL READ COMMITTED", shared ? LOCK_SHARED : LOCK);
}

static int pg_begin_read(Db *base)
{
    return begin(of(base), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL);
}

/* A transaction that only reads waits for no standby, and what it answers by may not be on any: the mark has
 * each commit write, so that it waits for all before it in the log as well. */
static int pg_commit(Db *base)
{
    PgDb *db = of(base);
    int r = postgres_send_command(db, PG_COMMAND, COMMIT_MARK);
    if (r != 0)
        return r;
    r = postgres_send_command(db, PG_COMMIT, "COMMIT");
    if (r == 0)
        r = postgres_send_command(db, PG_WORTH, WORTH);
    if (r == 0)
        r = postgres_send_sync(db);
    if (r == 0)
        r = postgres_receive(db, NULL);
    if (r == 0)
        db->transaction = !db->committed;
    if (r == 0 && (!db->committed || db->warned))
        r = -EIO;
    db->doubtful = r != 0 && (!db->answered || db->committed);
    return r;
}

/* ?1 is $1, and which table of a join comes first is for the server to find out. */
static int translate(const char *sql, char **ret, int *ret_parameters)
{
    static const char cross[] = "CROSS JOIN";
    char *text = malloc(strlen(sql) + 1), *to = text;
    int n = 0;
    if (!text)
        return -ENOMEM;
    while (*sql) {
        if (strncmp(sql, cross, strlen(cross)) == 0)
            sql += strlen("CROSS ");
        if (*sql == '?' && isdigit((unsigned char)sql[1])) {
            int k = (int)strtol(sql + 1, NULL, 10);
            n = k > n ? k : n;
            *to++ = '$';
            sql++;
        } else
            *to++ = *sql++;
    }
    *to = '\0';
    *ret = text;
    *ret_parameters = n;
    return n <= (int)POSTGRES_PARAMETERS_MAX ? 0 : -EINVAL;
}

static int find_text(PgDb *db, const char *sql, PgText **ret)
{
    for (PgText *t = db->texts; t; t = t->next)
        if (strcmp(t->sql, sql) == 0) {
            *ret = t;
            return 0;
        }
    PgText *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->next = db->texts;
    db->texts = t; /* freed with db */
    t->sql = strdup(sql);
    int r = t->sql ? translate(sql, &t->translated, &t->n_parameters) : -ENOMEM;
    (void)snprintf(t->name, sizeof(t->name), "s%u", ++db->n_texts);
    if (r == 0)
        *ret = t;
    return r;
}

static int pg_prepare(Db *base, const char *sql, DbStatement **ret)
{
    PgStatement *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->base.driver = &postgres_driver;
    s->db = of(base);
    s->row = -1;
    int r = find_text(s->db, sql, &s->text);
    if (r != 0) {
        free(s);
        return r;
    }
    *ret = (DbStatement *)s;
    return 0;
}

static void pg_reset(DbStatement *base)
{
    PgStatement *s = statement(base);
    for (size_t i = 0; s->started && !s->received && i < s->db->n_sent; i++) {
        PgSent *sent = &s->db->sent[s->db->first_sent + i];
        if (sent->statement == s)
            sent->statement = NULL;
    }
    PQclear(s->result);
    s->result = NULL;
    s->row = -1;
    s->started = s->received = false;
    s->error = 0;
    memset(s->values, 0, sizeof(s->values));
    memset(s->lengths, 0, sizeof(s->lengths));
    memset(s->types, 0, sizeof(s->types));
}

static DbStatement *pg_statement_free(DbStatement *base)
{
    pg_reset(base);
    free(base);
    return NULL;
}

static void bind(PgStatement *s, int index, const void *data, size_t n, Oid type)
{
    if (index < 1 || index > s->text->n_parameters || n > INT32_MAX) {
        s->error = -EINVAL;
        return;
    }
    s->values[index - 1] = data;
    s->lengths[index - 1] = (int)n;
    s->types[index - 1] = type;
}

static void pg_bind_number(DbStatement *base, int index, int64_t value)
{
    PgStatement *s = statement(base);
    if (index < 1 || index > (int)POSTGRES_PARAMETERS_MAX) {
        s->error = -EINVAL;
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        s->numbers[index - 1][i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
    bind(s, index, s->numbers[index - 1], 8, OID_NUMBER);
}

static void pg_bind_bytes(DbStatement *base, int index, const void *data, size_t n)
{
    bind(statement(base), index, data, n, data ? OID_BYTES : 0);
}

/* Without a transaction each statement is one by itself. */
static int send(PgStatement *s, bool rows)
{
    PgDb *db = s->db;
    int r = s->error;
    if (r == 0 && !db->transaction)
        r = postgres_ensure(db);
    if (r == 0)
        r = postgres_send_statement(db, s, rows);
    return r == 0 && !db->transaction ? postgres_send_sync(db) : r;
}

static int pg_start(DbStatement *base)
{
    PgStatement *s = statement(base);
    int r = send(s, true);
    s->started = r == 0;
    return r;
}

static int fetch(PgStatement *s)
{
    PgDb *db = s->db;
    int r = s->started ? 0 : pg_start((DbStatement *)s);
    if (r == 0)
        r = postgres_receive(db, s);
    if (r == 0)
        r = s->error;
    if (db->transaction)
        return r;
    int settled = postgres_settle(db);
    return r == 0 ? settled : r;
}

static int pg_step(DbStatement *base, bool *ret_row)
{
    PgStatement *s = statement(base);
    int r = s->received ? s->error : fetch(s);
    if (r == 0 && s->result && s->row + 1 < PQntuples(s->result)) {
        s->row++;
        *ret_row = true;
        return 0;
    }
    pg_reset(base);
    if (r == 0)
        *ret_row = false;
    return r;
}

static int pg_run(DbStatement *base)
{
    PgStatement *s = statement(base);
    int r = send(s, false);
    if (r == 0 && !s->db->transaction)
        r = postgres_settle(s->db);
    pg_reset(base);
    return r;
}

static const char *value(DbStatement *base, int column, int *ret_size)
{
    const PgStatement *s = statement(base);
    if (!s->result || s->row < 0 || column >= PQnfields(s->result) ||
        PQgetisnull(s->result, s->row, column)) {
        *ret_size = 0;
        return NULL;
    }
    *ret_size = PQgetlength(s->result, s->row, column);
    return PQgetvalue(s->result, s->row, column);
}

/* int8, int4, int2 or bool. */
static int64_t pg_column_number(DbStatement *base, int column)
{
    int n = 0;
    const char *data = value(base, column, &n);
    if (!data || n < 1 || n > 8)
        return 0;
    uint64_t result = (data[0] & 0x80) != 0 && n > 1 ? UINT64_MAX : 0;
    for (int i = 0; i < n; i++)
        result = result << 8 | (uint8_t)data[i];
    return (int64_t)result;
}

static const void *pg_column_bytes(DbStatement *base, int column, size_t *ret_size)
{
    int n = 0;
    const char *data = value(base, column, &n);
    *ret_size = (size_t)n;
    return n > 0 ? data : NULL;
}

static bool pg_column_null(DbStatement *base, int column)
{
    int n = 0;
    return !value(base, column, &n);
}

static int64_t pg_changes(const Db *base)
{
    PgDb *db = of(base);
    return postgres_receive(db, NULL) == 0 ? db->changes : 0;
}

static int64_t pg_total_changes(const Db *base)
{
    return of(base)->total_changes;
}

static int64_t pg_last_row_id(const Db *base)
{
    PgStatement *s = NULL;
    bool row = false;
    int64_t number = 0;
    if (pg_prepare((Db *)of(base), "SELECT lastval()", (DbStatement **)&s) != 0)
        return 0;
    if (pg_step((DbStatement *)s, &row) == 0 && row)
        number = pg_column_number((DbStatement *)s, 0);
    (void)pg_statement_free((DbStatement *)s);
    return number;
}

/* The server's pages are its own matter (data checksums, pg_amcheck). */
static int pg_check(Db *base)
{
    return pg_exec(base, "SELECT 1");
}

static Db *pg_close(Db *base)
{
    PgDb *db = of(base);
    (void)postgres_attempt_unref(db->attempt);
    PQfreeCancel(db->cancel);
    PQfinish(db->c);
    for (PgText *t = db->texts, *next; t; t = next) {
        next = t->next;
        free(t->sql);
        free(t->translated);
        free(t);
    }
    free(db->sent);
    postgres_options_done(&db->options);
    (void)pthread_mutex_destroy(&db->lock);
    free(db);
    return NULL;
}

const DbDriver postgres_driver = {
    .close = pg_close,
    .exec = pg_exec,
    .begin = pg_begin,
    .begin_read = pg_begin_read,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .prepare = pg_prepare,
    .statement_free = pg_statement_free,
    .bind_number = pg_bind_number,
    .bind_bytes = pg_bind_bytes,
    .start = pg_start,
    .step = pg_step,
    .run = pg_run,
    .reset = pg_reset,
    .column_number = pg_column_number,
    .column_bytes = pg_column_bytes,
    .column_null = pg_column_null,
    .changes = pg_changes,
    .total_changes = pg_total_changes,
    .last_row_id = pg_last_row_id,
    .check = pg_check,
};

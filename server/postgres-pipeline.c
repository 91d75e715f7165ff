/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "server/postgres-internal.h"

#define SENT_MAX 1024u /* answers that may be outstanding; they are small, but not nothing */

static int push(PgDb *db, const PgSent *sent)
{
    if (db->first_sent > 0 && db->first_sent + db->n_sent == db->room) {
        memmove(db->sent, db->sent + db->first_sent, db->n_sent * sizeof(*db->sent));
        db->first_sent = 0;
    }
    if (db->n_sent == db->room) {
        size_t room = db->room > 0 ? 2 * db->room : 64;
        PgSent *larger = reallocarray(db->sent, room, sizeof(*larger));
        if (!larger)
            return -ENOMEM;
        db->sent = larger;
        db->room = room;
    }
    db->sent[db->first_sent + db->n_sent++] = *sent;
    return 0;
}

static int lost(PgDb *db)
{
    if (db->error == 0)
        db->error = -EIO;
    return db->error;
}

void postgres_forget_sent(PgDb *db)
{
    for (size_t i = 0; i < db->n_sent; i++) {
        PgStatement *s = db->sent[db->first_sent + i].statement;
        if (s) {
            s->received = true;
            s->error = -EIO;
        }
    }
    db->n_sent = db->first_sent = 0;
}

int postgres_send_command(PgDb *db, PgSentKind kind, const char *sql)
{
    if (db->error != 0)
        return db->error;
    int r = push(db, &(PgSent){.kind = kind});
    if (r == 0 && PQsendQueryParams(db->c, sql, 0, NULL, NULL, NULL, NULL, 1) != 1) {
        db->n_sent--;
        r = lost(db);
    }
    return r;
}

int postgres_send_sync(PgDb *db)
{
    int r = push(db, &(PgSent){.kind = PG_SYNC});
    if (r == 0 && PQpipelineSync(db->c) != 1) {
        db->n_sent--;
        r = lost(db);
    }
    return r;
}

static int prepare(PgDb *db, const PgStatement *s)
{
    PgText *t = s->text;
    if (t->prepared == db->connection)
        return 0;
    int r = push(db, &(PgSent){.kind = PG_PREPARE, .text = t});
    if (r == 0 && PQsendPrepare(db->c, t->name, t->translated, t->n_parameters, s->types) != 1) {
        db->n_sent--;
        r = lost(db);
    }
    if (r == 0)
        t->prepared = db->connection; /* until the answer says otherwise */
    return r;
}

int postgres_send_statement(PgDb *db, PgStatement *s, bool rows)
{
    static const int binary[POSTGRES_PARAMETERS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    if (db->error != 0)
        return db->error;
    int r = db->n_sent >= SENT_MAX ? postgres_receive(db, NULL) : 0;
    if (r == 0)
        r = prepare(db, s);
    if (r == 0)
        r = push(db, &(PgSent){.kind = PG_STATEMENT, .statement = rows ? s : NULL});
    if (r == 0 && PQsendQueryPrepared(db->c, s->text->name, s->text->n_parameters, s->values, s->lengths,
                                      binary, 1) != 1) {
        db->n_sent--;
        r = lost(db);
    }
    return r;
}

static void note_changes(PgDb *db, PGresult *result)
{
    const char *n = PQcmdTuples(result);
    db->changes = n[0] ? strtoll(n, NULL, 10) : 0;
    db->total_changes += db->changes;
}

/* Takes result; NULL: the connection is lost. */
static void answer(PgDb *db, const PgSent *sent, PGresult *result)
{
    ExecStatusType status = result ? PQresultStatus(result) : PGRES_FATAL_ERROR;
    bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_PIPELINE_SYNC;
    if (!good && db->error == 0)
        db->error = status == PGRES_PIPELINE_ABORTED ? -EIO : postgres_result_error(db, result);
    if (!good && sent->text)
        sent->text->prepared = 0;
    if (good && sent->kind == PG_STATEMENT && status == PGRES_COMMAND_OK)
        note_changes(db, result);
    if (sent->kind == PG_COMMIT)
        db->committed = good && strcmp(PQcmdStatus(result), "COMMIT") == 0;
    if (sent->statement) {
        sent->statement->received = true;
        sent->statement->error = good ? 0 : db->error;
        sent->statement->result = result;
        return;
    }
    PQclear(result);
}

static int receive_one(PgDb *db)
{
    const PgSent sent = db->sent[db->first_sent];
    PGresult *result = PQgetResult(db->c), *end;
    if (!result || PQstatus(db->c) == CONNECTION_BAD) {
        PQclear(result);
        (void)lost(db);
        postgres_forget_sent(db);
        return db->error;
    }
    db->first_sent++;
    db->n_sent--;
    if (db->n_sent == 0)
        db->first_sent = 0;
    answer(db, &sent, result);
    if (sent.kind != PG_SYNC) /* NULL stands between the answers */
        while ((end = PQgetResult(db->c)))
            PQclear(end);
    return 0;
}

static bool wanted(const PgDb *db, const PgStatement *s)
{
    return s ? !s->received : db->n_sent > 0;
}

int postgres_receive(PgDb *db, const PgStatement *s)
{
    int r = 0;
    if (wanted(db, s) && PQsendFlushRequest(db->c) != 1)
        r = lost(db);
    while (r == 0 && wanted(db, s) && db->n_sent > 0)
        r = receive_one(db);
    if (r != 0)
        postgres_forget_sent(db);
    return db->error;
}

int postgres_settle(PgDb *db)
{
    int r = postgres_receive(db, NULL);
    db->error = 0;
    return r;
}

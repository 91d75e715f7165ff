/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/log.h"
#include "server/postgres-internal.h"

#define SENT_MAX 1024u             /* answers that may be outstanding; they are small, but not nothing */
#define GATHERED_MAX (256u * 1024) /* bytes that libpq may keep of what is to be sent */
#define LOOK_AGAIN 250000u         /* microseconds; whether somebody else wants it to end */

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

uint64_t postgres_time_left(const PgEnd *end, uint64_t deadline)
{
    const uint64_t now = clock_boottime(), time = end ? atomic_load(&end->time) : 0;
    uint64_t left = LOOK_AGAIN;
    if (deadline > 0 && (deadline <= now || deadline - now < left))
        left = deadline > now ? deadline - now : 0;
    if (time > 0 && (time <= now || time - now < left))
        left = time > now ? time - now : 0;
    return left;
}

/* For something to read, or to write what is left to be sent. */
static int await_socket(PGconn *c, const PgEnd *end, uint64_t deadline)
{
    const int unsent = PQflush(c);
    const uint64_t left = postgres_time_left(end, deadline);
    struct pollfd p = {.fd = PQsocket(c), .events = (short)(POLLIN | (unsent > 0 ? POLLOUT : 0))};
    if (left == 0)
        return -ETIMEDOUT;
    if (unsent < 0 || (poll(&p, 1, (int)(left / 1000) + 1) < 0 && errno != EINTR))
        return -EIO;
    return (p.revents & ~POLLOUT) != 0 && PQconsumeInput(c) != 1 ? -EIO : 0;
}

/* libpq would wait for ever. */
PGresult *postgres_next_answer(PGconn *c, const PgEnd *end, uint64_t deadline, int *ret_error)
{
    *ret_error = 0;
    while (*ret_error == 0 && PQisBusy(c))
        *ret_error = await_socket(c, end, deadline);
    return *ret_error == 0 ? PQgetResult(c) : NULL;
}

/* What comes from it after this would be taken for something else. */
static int lost(PgDb *db)
{
    db->broken = true;
    if (db->error == 0)
        db->error = -EIO;
    return db->error;
}

static uint64_t find_deadline(const PgDb *db)
{
    const uint64_t patience = (uint64_t)db->options.patience * 1000000;
    return patience > 0 ? clock_boottime() + patience : 0;
}

/* Nobody waits again at once for a server that does not answer. */
static void note_silence(PgDb *db)
{
    log_warning("The database does not answer: its connection is given up");
    db->retry = clock_boottime() + (uint64_t)db->options.patience * 1000000;
}

/* What a slow server has not taken yet is in memory. */
static int send_gathered(PgDb *db)
{
    const uint64_t deadline = find_deadline(db);
    int r = 0;
    if (db->gathered < GATHERED_MAX)
        return 0;
    db->gathered = 0;
    while (r == 0 && PQflush(db->c) > 0)
        r = await_socket(db->c, &db->end, deadline);
    if (r == -ETIMEDOUT)
        note_silence(db);
    return r == 0 ? 0 : lost(db);
}

void postgres_forget_sent(PgDb *db)
{
    db->gathered = 0;
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
    for (int i = 0; r == 0 && i < s->text->n_parameters; i++)
        db->gathered += (size_t)s->lengths[i];
    return r == 0 ? send_gathered(db) : r;
}

static void note_changes(PgDb *db, PGresult *result)
{
    const char *n = PQcmdTuples(result);
    db->changes = n[0] ? strtoll(n, NULL, 10) : 0;
    db->total_changes += db->changes;
}

/* What the server is set to may have changed since it was asked, also while a commit waited for a standby:
 * then it waits no more, and nobody has what was committed but the primary. */
static void note_worth(PgDb *db, PGresult *result)
{
    bool safe = PQgetvalue(result, 0, 0)[0] != 0, waits = PQgetvalue(result, 0, 1)[0] != 0;
    if (safe && (waits || !db->options.quorum))
        return;
    db->warned = true;
    log_warning("The database's commits are no longer what is asked for: %s",
                safe ? "it has no synchronous_standby_names, and quorum = yes" : "it runs with fsync = off");
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
    if (sent->kind == PG_COMMIT) {
        db->answered = true;
        db->committed = good && strcmp(PQcmdStatus(result), "COMMIT") == 0;
    }
    if (sent->kind == PG_WORTH && good)
        note_worth(db, result);
    if (sent->statement) {
        sent->statement->received = true;
        sent->statement->error = good ? 0 : db->error;
        sent->statement->result = result;
        return;
    }
    PQclear(result);
}

static int receive_one(PgDb *db, uint64_t deadline)
{
    const PgSent sent = db->sent[db->first_sent];
    int r = 0;
    PGresult *result = postgres_next_answer(db->c, &db->end, deadline, &r), *end;
    if (!result || PQstatus(db->c) == CONNECTION_BAD) {
        PQclear(result);
        if (r == -ETIMEDOUT)
            note_silence(db);
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
        while ((end = postgres_next_answer(db->c, &db->end, deadline, &r)))
            PQclear(end);
    return r == 0 ? 0 : lost(db);
}

static bool wanted(const PgDb *db, const PgStatement *s)
{
    return s ? !s->received : db->n_sent > 0;
}

int postgres_receive(PgDb *db, const PgStatement *s)
{
    const uint64_t deadline = find_deadline(db);
    int r = 0;
    if (wanted(db, s) && PQsendFlushRequest(db->c) != 1)
        r = lost(db);
    while (r == 0 && wanted(db, s) && db->n_sent > 0)
        r = receive_one(db, deadline);
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

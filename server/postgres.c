/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "server/postgres-internal.h"

#define RETRY_AFTER 1000000u    /* microseconds between two attempts to connect */
#define RECONNECT_WAIT 1000000u /* that a call waits for a connection that is made again */
#define INTERRUPT_WAIT 3000000u /* for the answer to what was cancelled */
#define CANCEL_ERROR_SIZE 256

static int copy(const char *text, char **ret)
{
    *ret = text ? strdup(text) : NULL;
    return text && !*ret ? -ENOMEM : 0;
}

int postgres_options_copy(const PostgresOptions *o, PostgresOptions *ret)
{
    PostgresOptions new = {
        .quorum = o->quorum, .alone = o->alone, .patience = o->patience, .guard = o->guard};
    int r = copy(o->connection, &new.connection);
    if (r == 0)
        r = copy(o->passfile, &new.passfile);
    if (r == 0)
        r = copy(o->certificate, &new.certificate);
    if (r != 0)
        postgres_options_done(&new);
    else
        *ret = new;
    return r;
}

void postgres_options_done(PostgresOptions *o)
{
    free(o->connection);
    free(o->passfile);
    free(o->certificate);
    *o = (PostgresOptions){};
}

static void on_notice(void *userdata, const PGresult *result)
{
    PgDb *db = userdata;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (!severity || strcmp(severity, "WARNING") != 0)
        return;
    db->warned = true;
    log_warning("The database warns: %.200s", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
}

static int state_error(const char *state)
{
    if (strncmp(state, "23", 2) == 0)
        return HMSG_ERROR_ALREADY_EXISTS;
    if (strcmp(state, "53100") == 0)
        return HMSG_ERROR_STORAGE_FULL;
    if (strcmp(state, "53200") == 0)
        return -ENOMEM;
    if (strcmp(state, "25006") == 0)
        return -EROFS;
    if (strncmp(state, "XX0", 3) == 0)
        return -EBADMSG;
    if (strcmp(state, "42501") == 0 || strncmp(state, "28", 2) == 0)
        return -EACCES;
    return -EIO;
}

/* The primary message tells no values; its detail would. */
int postgres_result_error(const PgDb *db, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    int r = state_error(state ? state : "");
    if (r != HMSG_ERROR_ALREADY_EXISTS)
        log_warning("The database fails: %.5s %.200s", state ? state : "",
                    text ? text : PQerrorMessage(db->c));
    return r;
}

static void drop_connection(PgDb *db)
{
    (void)pthread_mutex_lock(&db->lock);
    PQfreeCancel(db->cancel);
    db->cancel = NULL;
    (void)pthread_mutex_unlock(&db->lock);
    PQfinish(db->c);
    db->c = NULL;
}

static int take_connection(PgDb *db, char error[static POSTGRES_ERROR_SIZE])
{
    int r = postgres_attempt_take(TAKE_PTR(db->attempt), &db->c, error);
    if (r != 0) {
        db->retry = clock_boottime() + RETRY_AFTER;
        return r;
    }
    (void)PQsetNoticeReceiver(db->c, on_notice, db);
    db->connection++;
    (void)pthread_mutex_lock(&db->lock);
    db->cancel = PQgetCancel(db->c);
    (void)pthread_mutex_unlock(&db->lock);
    return 0;
}

/* -EINPROGRESS: it is still being made. */
static int renew(PgDb *db, uint64_t deadline, char error[static POSTGRES_ERROR_SIZE])
{
    int r = 0;
    if (!db->attempt) {
        drop_connection(db);
        postgres_forget_sent(db);
        db->error = 0;
        db->broken = false;
        r = postgres_attempt_start(&db->options, &db->attempt);
    }
    if (r == 0 && !postgres_attempt_wait(db->attempt, &db->end, deadline))
        return -EINPROGRESS;
    return r == 0 ? take_connection(db, error) : r;
}

bool postgres_usable(const PgDb *db)
{
    return db->c && !db->broken && PQstatus(db->c) == CONNECTION_OK;
}

/* How long to wait for a connection, 0 for ever: the first time as long as for an answer, then less, and for
 * one that was waited for already no more. */
static uint64_t find_deadline(PgDb *db)
{
    uint64_t wait = (uint64_t)db->options.patience * 1000000;
    if (wait == 0)
        return 0;
    if (db->tried && wait > RECONNECT_WAIT)
        wait = RECONNECT_WAIT;
    db->tried = true;
    return clock_boottime() + (db->attempt ? 0 : wait);
}

int postgres_ensure(PgDb *db)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (postgres_usable(db))
        return 0;
    if (clock_boottime() < db->retry || postgres_time_left(&db->end, 0) == 0)
        return -EIO;
    if (db->c)
        log_warning("The connection to the database is lost");
    bool first = db->connection == 0;
    int r = renew(db, find_deadline(db), error);
    if (r != 0 && r != -EINPROGRESS)
        log_warning("The database: %s", error[0] ? error : strerror(-r));
    else if (r == 0 && !first)
        log_info("The database answers again");
    return r == 0 ? 0 : -EIO;
}

int postgres_new(const PostgresOptions *o, Db **ret)
{
    PgDb *db = calloc(1, sizeof(*db));
    if (!db)
        return -ENOMEM;
    db->base.driver = &postgres_driver;
    (void)pthread_mutex_init(&db->lock, NULL);
    _cleanup_(db_closep) Db *made = (Db *)db;
    int r = postgres_options_copy(o, &db->options);
    if (r == 0)
        *ret = TAKE_PTR(made);
    return r;
}

int postgres_open(const PostgresOptions *o, Db **ret, char error[static POSTGRES_ERROR_SIZE])
{
    _cleanup_(db_closep) Db *made = NULL;
    int r = postgres_new(o, &made);
    if (r == 0)
        r = renew((PgDb *)made, find_deadline((PgDb *)made), error);
    if (r == -EINPROGRESS) {
        (void)snprintf(error, POSTGRES_ERROR_SIZE, "it does not answer");
        return -ECONNREFUSED;
    }
    if (r == 0)
        *ret = TAKE_PTR(made);
    return r;
}

static void *cancel(void *userdata)
{
    PGcancel *c = userdata;
    char error[CANCEL_ERROR_SIZE];
    (void)PQcancel(c, error, sizeof(error));
    PQfreeCancel(c);
    return NULL;
}

/* PQcancel makes a connection of its own, and waits for its end as long as that takes. */
void postgres_interrupt(Db *base)
{
    PgDb *db = (PgDb *)base;
    uint_least64_t none = 0;
    pthread_t thread;
    (void)atomic_compare_exchange_strong(&db->end.time, &none, clock_boottime() + INTERRUPT_WAIT);
    (void)pthread_mutex_lock(&db->lock);
    PGcancel *c = TAKE_PTR(db->cancel);
    (void)pthread_mutex_unlock(&db->lock);
    if (!c)
        return;
    if (pthread_create(&thread, NULL, cancel, c) == 0)
        (void)pthread_detach(thread);
    else
        PQfreeCancel(c);
}

bool postgres_doubtful(const Db *base)
{
    return ((const PgDb *)base)->doubtful;
}

uint64_t postgres_connections(const Db *base)
{
    return ((const PgDb *)base)->connection;
}

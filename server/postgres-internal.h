/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to server/postgres*.c. */

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>

#include "libhmsg/db/db-driver.h"
#include "server/postgres.h"

#define POSTGRES_PARAMETERS_MAX 16u
#define POSTGRES_NAME_SIZE 16u

/* One text, prepared once on a connection, whatever number of statements have it. */
typedef struct PgText {
    char *sql, *translated;
    char name[POSTGRES_NAME_SIZE];
    int n_parameters;
    uint64_t prepared; /* on which connection, by its number */
    struct PgText *next;
} PgText;

typedef struct PgStatement {
    DbBase base;
    struct PgDb *db;
    PgText *text;
    const char *values[POSTGRES_PARAMETERS_MAX];
    int lengths[POSTGRES_PARAMETERS_MAX];
    Oid types[POSTGRES_PARAMETERS_MAX];
    uint8_t numbers[POSTGRES_PARAMETERS_MAX][8];
    bool started, received;
    int error;
    PGresult *result;
    int row; /* -1: before the first */
} PgStatement;

/* What was sent, in the order in which the answers come. */
typedef enum PgSentKind { PG_COMMAND, PG_STATEMENT, PG_PREPARE, PG_COMMIT, PG_WORTH, PG_SYNC } PgSentKind;
typedef struct PgSent {
    PgSentKind kind;
    PgStatement *statement; /* who wants the rows; NULL: nobody */
    PgText *text;           /* of PG_PREPARE */
} PgSent;

/* When waiting ends because somebody else wants it: microseconds of CLOCK_BOOTTIME; 0: not yet. */
typedef struct PgEnd {
    atomic_uint_least64_t time;
} PgEnd;

/* A connection that is being made. */
typedef struct PgAttempt PgAttempt;

typedef struct PgDb {
    DbBase base;
    PostgresOptions options;
    PGconn *c;
    PgAttempt *attempt;   /* the next one */
    bool tried;           /* to make one */
    PgEnd end;            /* postgres_interrupt */
    pthread_mutex_t lock; /* over cancel */
    PGcancel *cancel;
    uint64_t connection; /* its number; 0: there was none yet */
    uint64_t retry;      /* when to connect again, microseconds of CLOCK_BOOTTIME */
    bool broken;         /* it is out of step with what was sent, or took too long: no more use */
    bool transaction, warned, committed;
    bool answered; /* the commit was, well or not */
    bool doubtful;
    size_t gathered; /* bytes that libpq was given since it was last seen to that they are sent */
    int error;       /* the first of what was sent since the last synchronisation */
    int64_t changes, total_changes;
    PgSent *sent;
    size_t n_sent, first_sent, room;
    PgText *texts;
    unsigned n_texts;
} PgDb;

extern const DbDriver postgres_driver;

/* postgres.c */
/* Makes the connection when there is none that can be used. */
int postgres_ensure(PgDb *db);
bool postgres_usable(const PgDb *db);
/* Says in the log what result tells, without what was bound, and returns its error. */
int postgres_result_error(const PgDb *db, const PGresult *result);

/* postgres-connect.c: begins to make a connection as o says. */
int postgres_attempt_start(const PostgresOptions *o, PgAttempt **ret);
/* Until then, or end. Whether it has ended. */
bool postgres_attempt_wait(PgAttempt *a, const PgEnd *end, uint64_t deadline);
/* Of one that has ended: its result and its connection, which is in pipeline mode and never blocks. Frees a.
 */
int postgres_attempt_take(PgAttempt *a, PGconn **ret, char error[static POSTGRES_ERROR_SIZE]);
/* Nobody waits for it any more: it ends by itself, some time. */
PgAttempt *postgres_attempt_unref(PgAttempt *a);

/* postgres-pipeline.c. */
/* How long to wait now, in microseconds, until one of the two is looked at again, of which end may be NULL
 * and deadline 0 (for ever). 0: it is over. */
uint64_t postgres_time_left(const PgEnd *end, uint64_t deadline);
/* The next answer, if it comes in time; NULL with 0 as *ret_error: there are no more of this request. */
PGresult *postgres_next_answer(PGconn *c, const PgEnd *end, uint64_t deadline, int *ret_error);

/* Errors of what is sent are those of later calls, until postgres_settle. */
int postgres_send_command(PgDb *db, PgSentKind kind, const char *sql);
int postgres_send_statement(PgDb *db, PgStatement *s, bool rows);
int postgres_send_sync(PgDb *db);
/* Until the answer of s is there; NULL: all. */
int postgres_receive(PgDb *db, const PgStatement *s);
/* All answers, the error that there was is returned and forgotten. */
int postgres_settle(PgDb *db);
/* Nobody waits for what was sent any more. */
void postgres_forget_sent(PgDb *db);

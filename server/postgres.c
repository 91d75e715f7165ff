/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "server/postgres-internal.h"

#define RETRY_AFTER 1000000u /* microseconds between two attempts to connect */
#define SETTINGS_MAX 48
#define SETTINGS_TIMEOUT 15000000u /* microseconds for each of them */
#define CANCEL_ERROR_SIZE 256

/* What a connection has unless its text says otherwise: a server that went away without a word is noticed
 * within half a minute, on both sides. */
static const char *const defaults[][2] = {
    {"application_name", "hmsg-relay"}, {"client_encoding", "UTF8"},   {"target_session_attrs", "read-write"},
    {"connect_timeout", "10"},          {"keepalives_idle", "10"},     {"keepalives_interval", "5"},
    {"keepalives_count", "3"},          {"tcp_user_timeout", "30000"}, {"gssencmode", "disable"},
};

static const char *const settings[] = {
    "SET synchronous_commit = on",
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET idle_in_transaction_session_timeout = 30000",
    "SET statement_timeout = 0",
    "SET client_min_messages = warning",
};

/* Who has it alone, to move or to wrap what is there, is waited for a little, for it may just be ending. */
static const char *const presence[] = {
    "SET lock_timeout = 5000",
    "SELECT pg_advisory_lock_shared" POSTGRES_PRESENCE,
    "SET lock_timeout = 0",
};

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

static void say(char error[static POSTGRES_ERROR_SIZE], const char *text)
{
    size_t n = strcspn(text, "\n");
    (void)snprintf(error, POSTGRES_ERROR_SIZE, "%.*s", (int)n, text);
}

typedef struct Settings {
    const char *keys[SETTINGS_MAX + 1], *values[SETTINGS_MAX + 1];
    int n;
} Settings;

static const char *find(const Settings *s, const char *key)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->keys[i], key) == 0)
            return s->values[i];
    return NULL;
}

static void set(Settings *s, const char *key, const char *value)
{
    if (s->n < SETTINGS_MAX && value && !find(s, key)) {
        s->keys[s->n] = key;
        s->values[s->n++] = value;
    }
}

/* All hosts are sockets of this machine, whose peers the kernel tells. */
static bool is_local(const Settings *s)
{
    const char *host = find(s, "host");
    if (!host || find(s, "hostaddr"))
        return !find(s, "hostaddr");
    for (; *host; host += strspn(host, ",")) {
        if (*host != '/' && *host != '@')
            return false;
        host += strcspn(host, ",");
    }
    return true;
}

/* parsed must outlive *ret. */
static void gather(const PostgresOptions *o, const PQconninfoOption *parsed, Settings *ret)
{
    *ret = (Settings){};
    for (const PQconninfoOption *p = parsed; p->keyword; p++)
        if (p->val && p->val[0])
            set(ret, p->keyword, p->val);
    for (size_t i = 0; i < ELEMENTSOF(defaults); i++)
        set(ret, defaults[i][0], defaults[i][1]);
    set(ret, "passfile", o->passfile);
    set(ret, "sslrootcert", o->certificate);
    if (!is_local(ret))
        set(ret, "sslmode", "verify-full");
}

int postgres_options_check(const PostgresOptions *o, char error[static POSTGRES_ERROR_SIZE])
{
    char *why = NULL;
    PQconninfoOption *parsed = PQconninfoParse(o->connection, &why);
    const char *wrong = NULL;
    Settings s;
    if (!parsed) {
        say(error, why ? why : "out of memory");
        PQfreemem(why);
        return HMSG_ERROR_INVALID_ARGS;
    }
    gather(o, parsed, &s);
    if (find(&s, "password") || find(&s, "sslpassword"))
        wrong = "holds a password, which belongs in the passfile";
    else if (getenv("PGPASSWORD"))
        wrong = "the environment holds a password (PGPASSWORD), which belongs in the passfile";
    else if (find(&s, "service") || getenv("PGSERVICE"))
        wrong = "names a service; all that is needed is written here";
    if (wrong)
        say(error, wrong);
    PQconninfoFree(parsed);
    return wrong ? HMSG_ERROR_INVALID_ARGS : 0;
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

/* Not in pipeline mode. What went wrong is NULL, or an answer that says so. */
static PGresult *ask(PGconn *c, const char *sql)
{
    const uint64_t deadline = clock_boottime() + SETTINGS_TIMEOUT;
    PGresult *last = NULL, *next;
    int r = PQsendQuery(c, sql) == 1 ? 0 : -EIO;
    while (r == 0 && (next = postgres_next_answer(c, deadline, &r))) {
        PQclear(last);
        last = next;
    }
    if (r == 0)
        return last;
    PQclear(last);
    return NULL;
}

static const char *why(const PGconn *c)
{
    const char *text = PQerrorMessage(c);
    return text[0] ? text : "it does not answer";
}

static int run_all(PGconn *c, const char *const *all, size_t n, char error[static POSTGRES_ERROR_SIZE])
{
    for (size_t i = 0; i < n; i++) {
        PGresult *result = ask(c, all[i]);
        bool good = PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK;
        PQclear(result);
        if (!good) {
            say(error, why(c));
            return -EIO;
        }
    }
    return 0;
}

/* Whoever opened the database has asked this itself; afterwards it may have changed. */
static int ask_guard(PGconn *c, const char *question, char error[static POSTGRES_ERROR_SIZE])
{
    PGresult *result = ask(c, question);
    bool good = PQresultStatus(result) == PGRES_TUPLES_OK, free = good && PQntuples(result) == 0;
    PQclear(result);
    if (!good)
        say(error, why(c));
    else if (!free)
        say(error, "what it holds is being moved, or was: stop the relay, and see store migrate");
    return free ? 0 : -EROFS;
}

/* What commits are worth here. */
static int check_server(PGconn *c, bool quorum, char error[static POSTGRES_ERROR_SIZE])
{
    static const char question[] =
        "SELECT pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),"
        " current_setting('synchronous_standby_names'), current_setting('synchronous_commit')";
    PGresult *result = ask(c, question);
    const char *wrong = NULL;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
        wrong = why(c);
    else if (strcmp(PQgetvalue(result, 0, 0), "f") != 0)
        wrong = "the server is a standby";
    else if (strcmp(PQgetvalue(result, 0, 1), "on") != 0)
        wrong = "the server runs with fsync = off";
    else if (strcmp(PQgetvalue(result, 0, 2), "on") != 0)
        wrong = "the server runs with full_page_writes = off";
    else if (quorum && PQgetvalue(result, 0, 3)[0] == '\0')
        wrong = "the server has no synchronous_standby_names, and quorum = yes";
    else if (strcmp(PQgetvalue(result, 0, 4), "on") != 0)
        wrong = "the server does not take synchronous_commit = on";
    if (wrong)
        say(error, wrong);
    PQclear(result);
    return wrong ? -EROFS : 0;
}

static int make_connection(PgDb *db, char error[static POSTGRES_ERROR_SIZE])
{
    PQconninfoOption *parsed = PQconninfoParse(db->options.connection, NULL);
    Settings s;
    if (!parsed) {
        say(error, "the connection's text is not of its form");
        return -EINVAL;
    }
    gather(&db->options, parsed, &s);
    db->c = PQconnectdbParams(s.keys, s.values, 0);
    PQconninfoFree(parsed);
    if (PQstatus(db->c) != CONNECTION_OK) {
        say(error, db->c ? PQerrorMessage(db->c) : "out of memory");
        return PQconnectionNeedsPassword(db->c) || PQconnectionUsedPassword(db->c) ? -EACCES : -ECONNREFUSED;
    }
    PQsetNoticeReceiver(db->c, on_notice, db);
    int r = run_all(db->c, settings, ELEMENTSOF(settings), error);
    if (r == 0 && !db->options.alone)
        r = run_all(db->c, presence, ELEMENTSOF(presence), error);
    if (r == 0)
        r = check_server(db->c, db->options.quorum, error);
    if (r == 0 && db->options.guard)
        r = ask_guard(db->c, db->options.guard, error);
    if (r == 0 && PQenterPipelineMode(db->c) != 1)
        r = -EIO;
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

static int renew(PgDb *db, char error[static POSTGRES_ERROR_SIZE])
{
    const uint64_t begun = clock_boottime();
    drop_connection(db);
    postgres_forget_sent(db);
    db->error = 0;
    db->broken = false;
    db->connection++;
    int r = make_connection(db, error);
    if (r != 0) {
        uint64_t now = clock_boottime();
        drop_connection(db);
        /* whoever waits here serves others too: half of the time at least is theirs */
        db->retry = now + (now - begun > RETRY_AFTER ? now - begun : RETRY_AFTER);
        return r;
    }
    (void)pthread_mutex_lock(&db->lock);
    db->cancel = PQgetCancel(db->c);
    (void)pthread_mutex_unlock(&db->lock);
    return 0;
}

bool postgres_usable(const PgDb *db)
{
    return db->c && !db->broken && PQstatus(db->c) == CONNECTION_OK;
}

int postgres_ensure(PgDb *db)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (postgres_usable(db))
        return 0;
    if (clock_boottime() < db->retry)
        return -EIO;
    if (db->c)
        log_warning("The connection to the database is lost");
    int r = renew(db, error);
    if (r != 0)
        log_warning("The database: %s", error);
    else
        log_info("The database answers again");
    return r == 0 ? 0 : -EIO;
}

int postgres_open(const PostgresOptions *o, Db **ret, char error[static POSTGRES_ERROR_SIZE])
{
    PgDb *db = calloc(1, sizeof(*db));
    if (!db)
        return -ENOMEM;
    db->base.driver = &postgres_driver;
    (void)pthread_mutex_init(&db->lock, NULL);
    _cleanup_(db_closep) Db *made = (Db *)db;
    int r = postgres_options_copy(o, &db->options);
    if (r == 0)
        r = renew(db, error);
    if (r == 0)
        *ret = TAKE_PTR(made);
    return r;
}

void postgres_interrupt(Db *base)
{
    PgDb *db = (PgDb *)base;
    char error[CANCEL_ERROR_SIZE];
    (void)pthread_mutex_lock(&db->lock);
    if (db->cancel)
        (void)PQcancel(db->cancel, error, sizeof(error));
    (void)pthread_mutex_unlock(&db->lock);
}

bool postgres_doubtful(const Db *base)
{
    return ((const PgDb *)base)->doubtful;
}

uint64_t postgres_connections(const Db *base)
{
    return ((const PgDb *)base)->connection;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes connections, each on a thread of its own: neither libpq nor the resolver of names can be told to wait
 * no longer, and whoever wants the connection serves others too. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "server/postgres-internal.h"

#define SETTINGS_MAX 48
#define SETTINGS_TIMEOUT 15000000u /* microseconds for each of them */
#define CONNECT_TIMEOUT_MAX 60     /* seconds, of each server */

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
    "SET tcp_user_timeout = 30000", /* keepalives are not sent while an answer is not acknowledged */
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

/* One that is not waited for, or for too long, would keep relays that are told to end. */
static const char *find_unbounded(const Settings *s)
{
    const long seconds = strtol(find(s, "connect_timeout"), NULL, 10);
    const char *keepalives = find(s, "keepalives");
    if (seconds < 1 || seconds > CONNECT_TIMEOUT_MAX)
        return "has a connect_timeout that is not from 1 to 60 seconds";
    if (keepalives && strtol(keepalives, NULL, 10) == 0)
        return "says keepalives=0: a server that went away would not be noticed";
    return strtol(find(s, "tcp_user_timeout"), NULL, 10) <= 0
               ? "says tcp_user_timeout=0: a server that went away would not be noticed"
               : NULL;
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
    else
        wrong = find_unbounded(&s);
    if (wrong)
        say(error, wrong);
    PQconninfoFree(parsed);
    return wrong ? HMSG_ERROR_INVALID_ARGS : 0;
}

/* Not in pipeline mode. What went wrong is NULL, or an answer that says so. */
static PGresult *ask(PGconn *c, const char *sql)
{
    const uint64_t deadline = clock_boottime() + SETTINGS_TIMEOUT;
    PGresult *last = NULL, *next;
    int r = PQsendQuery(c, sql) == 1 ? 0 : -EIO;
    while (r == 0 && (next = postgres_next_answer(c, NULL, deadline, &r))) {
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

/* What these say is said to whoever asked. */
static void ignore_notice(void *userdata, const PGresult *result)
{
}

static int prepare_connection(const PostgresOptions *o, PGconn *c, char error[static POSTGRES_ERROR_SIZE])
{
    if (PQstatus(c) != CONNECTION_OK) {
        say(error, c ? PQerrorMessage(c) : "out of memory");
        return PQconnectionNeedsPassword(c) || PQconnectionUsedPassword(c) ? -EACCES : -ECONNREFUSED;
    }
    (void)PQsetNoticeReceiver(c, ignore_notice, NULL);
    int r = PQsetnonblocking(c, 1) == 0 ? run_all(c, settings, ELEMENTSOF(settings), error) : -EIO;
    if (r == 0 && !o->alone)
        r = run_all(c, presence, ELEMENTSOF(presence), error);
    if (r == 0)
        r = check_server(c, o->quorum, error);
    if (r == 0 && o->guard)
        r = ask_guard(c, o->guard, error);
    return r == 0 && PQenterPipelineMode(c) != 1 ? -EIO : r;
}

static int make_connection(const PostgresOptions *o, PGconn **ret, char error[static POSTGRES_ERROR_SIZE])
{
    PQconninfoOption *parsed = PQconninfoParse(o->connection, NULL);
    Settings s;
    if (!parsed) {
        say(error, "the connection's text is not of its form");
        return -EINVAL;
    }
    gather(o, parsed, &s);
    PGconn *c = PQconnectdbParams(s.keys, s.values, 0);
    PQconninfoFree(parsed);
    int r = prepare_connection(o, c, error);
    if (r == 0)
        *ret = c;
    else
        PQfinish(c);
    return r;
}

/* Of its thread, and of who waits for it: the last one frees it. */
struct PgAttempt {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned refs;
    bool ended;
    PostgresOptions options;
    PGconn *c;
    int result;
    char error[POSTGRES_ERROR_SIZE];
};

PgAttempt *postgres_attempt_unref(PgAttempt *a)
{
    if (!a)
        return NULL;
    (void)pthread_mutex_lock(&a->lock);
    unsigned refs = --a->refs;
    (void)pthread_mutex_unlock(&a->lock);
    if (refs > 0)
        return NULL;
    PQfinish(a->c);
    postgres_options_done(&a->options);
    (void)pthread_cond_destroy(&a->changed);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
    return NULL;
}

static void *attempt(void *userdata)
{
    PgAttempt *a = userdata;
    char error[POSTGRES_ERROR_SIZE] = "";
    PGconn *c = NULL;
    int r = make_connection(&a->options, &c, error);
    (void)pthread_mutex_lock(&a->lock);
    a->c = c;
    a->result = r;
    memcpy(a->error, error, sizeof(error));
    a->ended = true;
    (void)pthread_cond_signal(&a->changed);
    (void)pthread_mutex_unlock(&a->lock);
    (void)postgres_attempt_unref(a);
    return NULL;
}

int postgres_attempt_start(const PostgresOptions *o, PgAttempt **ret)
{
    pthread_t thread;
    PgAttempt *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->changed, NULL);
    a->refs = 2;
    int r = postgres_options_copy(o, &a->options);
    if (r == 0)
        r = -pthread_create(&thread, NULL, attempt, a);
    if (r != 0) {
        a->refs = 1;
        (void)postgres_attempt_unref(a);
        return r;
    }
    (void)pthread_detach(thread);
    *ret = a;
    return 0;
}

bool postgres_attempt_wait(PgAttempt *a, const PgEnd *end, uint64_t deadline)
{
    (void)pthread_mutex_lock(&a->lock);
    for (uint64_t left; !a->ended && (left = postgres_time_left(end, deadline)) > 0;) {
        struct timespec until = {0};
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)left * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_clockwait(&a->changed, &a->lock, CLOCK_MONOTONIC, &until);
    }
    bool ended = a->ended;
    (void)pthread_mutex_unlock(&a->lock);
    return ended;
}

int postgres_attempt_take(PgAttempt *a, PGconn **ret, char error[static POSTGRES_ERROR_SIZE])
{
    (void)pthread_mutex_lock(&a->lock);
    int r = a->result;
    *ret = TAKE_PTR(a->c);
    memcpy(error, a->error, sizeof(a->error));
    (void)pthread_mutex_unlock(&a->lock);
    (void)postgres_attempt_unref(a);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "agent/store.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define SECONDS_PER_DAY 86400

typedef struct Entry {
    UT_hash_handle hh;
    char key[RULES_KEY_SIZE];
    Rule rule;
} Entry;

typedef struct Gathered {
    UT_hash_handle hh;
    char key[APP_ID_SIZE + APP_PROGRAM_SIZE + 16];
    char app[APP_ID_SIZE], program[APP_PROGRAM_SIZE], permission[RULES_PERMISSION_SIZE];
    bool allowed;
    int64_t first, last;
    uint64_t n;
} Gathered;

struct Rules {
    Manager *m;
    Entry *entries;
    Gathered *gathered;
    sd_event_source *timer; /* while something is gathered */
    DbStatement *set, *remove, *add_use, *more_use, *drop_uses, *list_uses;
};

static const char *const verdicts[] = {"", "allow", "ask", "deny"};

const char *verdict_name(Verdict v)
{
    return verdicts[v];
}

int verdict_parse(const char *text, Verdict *ret)
{
    for (Verdict v = VERDICT_ALLOW; v <= VERDICT_DENY; v++)
        if (strcmp(text, verdicts[v]) == 0) {
            *ret = v;
            return 0;
        }
    return HMSG_ERROR_INVALID_ARGS;
}

static bool permission_is_valid(const char *permission)
{
    return strcmp(permission, "decrypt") == 0 || strcmp(permission, "sign") == 0;
}

void rules_key(const char *app, const char *permission, char ret[static RULES_KEY_SIZE])
{
    (void)snprintf(ret, RULES_KEY_SIZE, "%s %s", app, permission);
}

static int entry_add(Rules *r, const char *app, const char *permission, Verdict verdict, int64_t since)
{
    Entry *e = calloc(1, sizeof(*e));

    if (!e)
        return -ENOMEM;
    (void)snprintf(e->rule.app, sizeof(e->rule.app), "%s", app);
    (void)snprintf(e->rule.permission, sizeof(e->rule.permission), "%s", permission);
    rules_key(app, permission, e->key);
    e->rule.verdict = verdict;
    e->rule.since = since;
    HASH_ADD_STR(r->entries, key, e);
    return 0;
}

static Entry *entry_find(const Rules *r, const char *key)
{
    Entry *e = NULL;

    HASH_FIND_STR(r->entries, key, e);
    return e;
}

static int load(Rules *r)
{
    _cleanup_(db_statement_freep) DbStatement *all = NULL;
    Verdict verdict;
    bool row;
    int q;

    q = db_prepare(store_db(r->m->store), "SELECT app, permission, verdict, since FROM access_rules", &all);
    while (q == 0 && (q = db_step(all, &row)) == 0 && row) {
        const char *app = db_column_text(all, 0, NULL), *permission = db_column_text(all, 1, NULL);

        if (!app_id_is_valid(app) || !permission_is_valid(permission) ||
            verdict_parse(db_column_text(all, 2, NULL), &verdict) != 0)
            return -EBADMSG;
        q = entry_add(r, app, permission, verdict, db_column_number(all, 3));
    }
    return q;
}

static int prepare(Rules *r)
{
    const struct {
        DbStatement **where;
        const char *sql;
    } statements[] = {
        {&r->set, "INSERT INTO access_rules VALUES(?1, ?2, ?3, ?4)"
                  " ON CONFLICT(app, permission) DO UPDATE SET verdict = ?3, since = ?4"},
        {&r->remove, "DELETE FROM access_rules WHERE app = ?1 AND permission = ?2"},
        {&r->more_use, "UPDATE access_uses SET last = ?5, uses = uses + ?6 WHERE serial ="
                       " (SELECT max(serial) FROM access_uses WHERE app = ?1 AND program = ?2 AND"
                       " permission = ?3 AND allowed = ?4) AND first > ?7"},
        {&r->add_use, "INSERT INTO access_uses(app, program, permission, allowed, first, last, uses)"
                      " VALUES(?1, ?2, ?3, ?4, ?7, ?5, ?6)"},
        {&r->drop_uses, "DELETE FROM access_uses WHERE last < ?1 OR serial <="
                        " (SELECT max(serial) FROM access_uses) - ?2"},
        {&r->list_uses, "SELECT app, program, permission, allowed, first, last, uses FROM access_uses"
                        " ORDER BY last DESC, serial DESC LIMIT ?1"},
    };
    int q = 0;

    for (size_t i = 0; q == 0 && i < ELEMENTSOF(statements); i++)
        q = db_prepare(store_db(r->m->store), statements[i].sql, statements[i].where);
    return q;
}

int rules_new(Manager *m, Rules **ret)
{
    _cleanup_(rules_freep) Rules *r = calloc(1, sizeof(*r));
    int q;

    if (!r)
        return -ENOMEM;
    r->m = m;
    q = prepare(r);
    if (q == 0)
        q = load(r);
    if (q != 0)
        return q;
    *ret = TAKE_PTR(r);
    return 0;
}

static void bind_use(DbStatement *s, const Gathered *g, int64_t first)
{
    db_bind_text(s, 1, g->app);
    db_bind_text(s, 2, g->program);
    db_bind_text(s, 3, g->permission);
    db_bind_number(s, 4, g->allowed);
    db_bind_number(s, 5, g->last);
    db_bind_number(s, 6, (int64_t)g->n);
    db_bind_number(s, 7, first);
}

static int write_use(Rules *r, const Gathered *g)
{
    Db *db = store_db(r->m->store);
    int q;

    bind_use(r->more_use, g, g->last - RULES_LOG_SPAN);
    q = db_run(r->more_use);
    if (q != 0 || db_changes(db) > 0)
        return q;
    bind_use(r->add_use, g, g->first);
    return db_run(r->add_use);
}

static int write_all(Rules *r)
{
    Db *db = store_db(r->m->store);
    _cleanup_(db_rollbackp) Db *transaction = db;
    int q = db_begin(db);

    for (const Gathered *g = r->gathered; q == 0 && g; g = g->hh.next)
        q = write_use(r, g);
    if (q == 0) {
        db_bind_number(r->drop_uses, 1, clock_realtime() - (int64_t)RULES_LOG_DAYS * SECONDS_PER_DAY);
        db_bind_number(r->drop_uses, 2, RULES_LOG_MAX);
        q = db_run(r->drop_uses);
    }
    return q == 0 ? db_commit(db) : q;
}

static void drop_gathered(Rules *r)
{
    Gathered *g, *next;

    HASH_ITER (hh, r->gathered, g, next) {
        HASH_DEL(r->gathered, g);
        free(g);
    }
}

/* What cannot be written stays, and is tried again. */
static int flush(Rules *r)
{
    int q;

    r->timer = sd_event_source_disable_unref(r->timer);
    if (!r->gathered)
        return 0;
    q = write_all(r);
    if (q != 0) {
        log_warning("The log of uses cannot be written: %s", error_message(q));
        return q;
    }
    drop_gathered(r);
    return 0;
}

Rules *rules_free(Rules *r)
{
    Entry *e, *next;

    if (!r)
        return NULL;
    (void)flush(r);
    drop_gathered(r);
    HASH_ITER (hh, r->entries, e, next) {
        HASH_DEL(r->entries, e);
        free(e);
    }
    db_statement_free(r->set);
    db_statement_free(r->remove);
    db_statement_free(r->add_use);
    db_statement_free(r->more_use);
    db_statement_free(r->drop_uses);
    db_statement_free(r->list_uses);
    free(r);
    return NULL;
}

Verdict rules_find(const Rules *r, const char *key)
{
    const Entry *e = entry_find(r, key);

    return e ? e->rule.verdict : VERDICT_NONE;
}

static int rule_remove(Rules *r, Entry *e)
{
    int q;

    if (!e)
        return HMSG_ERROR_NOT_FOUND;
    db_bind_text(r->remove, 1, e->rule.app);
    db_bind_text(r->remove, 2, e->rule.permission);
    q = db_run(r->remove);
    if (q == 0) {
        HASH_DEL(r->entries, e);
        free(e);
    }
    return q;
}

int rules_set(Rules *r, const char *app, const char *permission, Verdict verdict)
{
    int64_t now = clock_realtime();
    char key[RULES_KEY_SIZE];
    Entry *e;
    int q;

    if (!app_id_is_valid(app) || !permission_is_valid(permission))
        return HMSG_ERROR_INVALID_ARGS;
    rules_key(app, permission, key);
    e = entry_find(r, key);
    if (verdict == VERDICT_NONE)
        return rule_remove(r, e);
    if (!e && HASH_COUNT(r->entries) >= RULES_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    db_bind_text(r->set, 1, app);
    db_bind_text(r->set, 2, permission);
    db_bind_text(r->set, 3, verdict_name(verdict));
    db_bind_number(r->set, 4, now);
    q = db_run(r->set);
    if (q == 0 && !e)
        return entry_add(r, app, permission, verdict, now);
    if (q == 0) {
        e->rule.verdict = verdict;
        e->rule.since = now;
    }
    return q;
}

int rules_each(const Rules *r, int (*f)(const Rule *rule, void *userdata), void *userdata)
{
    for (const Entry *e = r->entries; e; e = e->hh.next) {
        int q = f(&e->rule, userdata);

        if (q != 0)
            return q;
    }
    return 0;
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata)
{
    (void)flush(userdata);
    return 0;
}

void rules_note(Rules *r, const char *app, const char *program, const char *permission, bool allowed)
{
    char key[sizeof(((Gathered *)NULL)->key)];
    Gathered *g = NULL;

    (void)snprintf(key, sizeof(key), "%s %s %d %s", app, permission, allowed, program);
    HASH_FIND_STR(r->gathered, key, g);
    if (!g) {
        if (HASH_COUNT(r->gathered) >= RULES_LOG_GATHERED_MAX && flush(r) != 0)
            return;
        g = calloc(1, sizeof(*g));
        if (!g)
            return;
        (void)snprintf(g->key, sizeof(g->key), "%s", key);
        (void)snprintf(g->app, sizeof(g->app), "%s", app);
        (void)snprintf(g->program, sizeof(g->program), "%s", program);
        (void)snprintf(g->permission, sizeof(g->permission), "%s", permission);
        g->allowed = allowed;
        g->first = clock_realtime();
        HASH_ADD_STR(r->gathered, key, g);
    }
    g->last = clock_realtime();
    g->n++;
    if (!r->timer)
        (void)sd_event_add_time_relative(r->m->event, &r->timer, CLOCK_BOOTTIME, RULES_LOG_DELAY,
                                         RULES_LOG_DELAY, on_time, r);
}

int rules_each_use(Rules *r, unsigned max, int (*f)(const Use *u, void *userdata), void *userdata)
{
    _cleanup_(db_resetp) DbStatement *s = r->list_uses;
    bool row;
    int q = flush(r);

    if (q == 0)
        db_bind_number(s, 1, max);
    while (q == 0 && (q = db_step(s, &row)) == 0 && row) {
        const Use u = {
            .app = db_column_text(s, 0, NULL),
            .program = db_column_text(s, 1, NULL),
            .permission = db_column_text(s, 2, NULL),
            .allowed = db_column_number(s, 3) != 0,
            .first = db_column_number(s, 4),
            .last = db_column_number(s, 5),
            .n = (uint64_t)db_column_number(s, 6),
        };

        q = f(&u, userdata);
    }
    return q;
}

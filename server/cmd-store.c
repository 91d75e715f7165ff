/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/json.h"
#include "server/cmd.h"
#include "server/handlers.h"
#include "server/store-migrate.h"
#include "server/store-open.h"
#include "server/store-sqlite.h"
#include "server/ticks.h"

static int fail(const Options *o, int r)
{
    fprintf(stderr, "hmsg-relay: %s: %s\n", store_name(o), store_problem(r));
    return CMD_FAILED;
}

static int print_counts(const StoreCounts *c, bool json)
{
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"identities", c->identities},
        {"mailboxes", c->mailboxes},
        {"messages", c->messages},
        {"bytes", c->bytes},
        {"blobs", c->blobs},
        {"key", c->key},
        {"key-created", c->key_created > 0 ? (uint64_t)c->key_created : 0},
        {"key-pending", c->key_pending},
    };
    json_t *j = json ? json_object() : NULL;
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(counts); i++)
        if (!json)
            printf("%s: %" PRIu64 "\n", counts[i].name, counts[i].value);
        else if (r == 0)
            r = json_put_number(j, counts[i].name, (int64_t)counts[i].value);
    return json ? cmd_print_json(j, r) : CMD_DONE;
}

int cmd_store_check(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    _cleanup_(store_reader_freep) StoreReader *reader = NULL;
    StoreCounts counts = {0};
    CmdArguments a;
    int r;

    r = cmd_begin(argc, argv, true, NULL, &a, &o, &key);
    if (r != CMD_DONE)
        return r;
    const StoreKeeper keeper = handlers_keeper(key);
    r = store_open_reader(&o, &keeper, &reader);
    if (r == 0)
        r = store_check(reader);
    if (r == 0)
        r = store_counts(reader, &counts);
    if (r != 0)
        return fail(&o, r);
    return print_counts(&counts, a.json);
}

/* One step, waited for. */
static int run_step(Store *store, bool *ret_more)
{
    StoreWrite w = {.kind = STORE_REKEY, .rekey.now = clock_realtime()};
    int r = store_write_wait(store, &w);
    *ret_more = r == 0 && w.rekey.more;
    return r;
}

static int rekey(const Options *o, RelayKey *key)
{
    const StoreKeeper keeper = handlers_keeper(key);
    _cleanup_(store_freep) Store *store = NULL;
    StoreLimits limits;
    bool more = true;
    store_limits_init(&limits);
    int r = store_open(o, &limits, &keeper, &store);
    bool runs = r == -EBUSY;
    if (r == 0 || runs)
        r = store_sqlite_request_rekey(o->data);
    if (r == 0 && runs) {
        puts("The relay that runs changes its keys within a minute; store check tells when it has.");
        return CMD_DONE;
    }
    while (r == 0 && more)
        r = run_step(store, &more);
    if (r != 0)
        return fail(o, r);
    puts("The keys are changed.");
    return CMD_DONE;
}

int cmd_store_rekey(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    CmdArguments a;
    int r = cmd_begin(argc, argv, false, NULL, &a, &o, &key);

    if (r != CMD_DONE)
        return r;
    return rekey(&o, key);
}

int cmd_store_backup(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    CmdArguments a;
    int r = cmd_begin(argc, argv, false, "DIR", &a, &o, &key);

    if (r != CMD_DONE)
        return r;
    if (o.store != STORE_SQLITE) {
        fputs("hmsg-relay: a database is copied with the tools of PostgreSQL (pg_basebackup)\n", stderr);
        return CMD_FAILED;
    }
    const StoreKeeper keeper = handlers_keeper(key);
    const char *to = a.operand;
    Ticks ticks;
    r = ticks_before(o.data, &ticks);
    if (r == 0)
        r = store_sqlite_backup(o.data, &keeper, to);
    if (r == 0)
        r = ticks_save(to, &ticks);
    if (r == -EEXIST)
        fprintf(stderr, "hmsg-relay: %s: it, or %s.part, is there already\n", to, to);
    else if (r == -EAGAIN)
        fputs("hmsg-relay: messages went faster than they could be copied, or one has lost its file in "
              "blobs: try again, and see store check\n",
              stderr);
    else if (r != 0)
        fprintf(stderr, "hmsg-relay: backup of %s to %s: %s\n", o.data, to, store_problem(r));
    return r == 0 ? CMD_DONE : CMD_FAILED;
}

/* One line for people. */
static const char *migration_problem(int r)
{
    switch (r) {
    case -EEXIST:
        return "there is another store already";
    case -ENOENT:
        return "there is nothing to be moved";
    case -EBUSY:
        return "a relay uses it: stop it first";
    case -EINPROGRESS:
        return "a migration in the other direction has not ended";
    default:
        return store_problem(r);
    }
}

int cmd_store_migrate(int argc, char **argv)
{
    _cleanup_(options_done) Options o = {0};
    _cleanup_(relay_key_freep) RelayKey *key = NULL;
    char error[POSTGRES_ERROR_SIZE] = "";
    StoreCounts counts = {0};
    CmdArguments a;

    if (!cmd_arguments(argc, argv, false, "postgres or sqlite", &a))
        return CMD_USAGE;
    if (strcmp(a.operand, "postgres") != 0 && strcmp(a.operand, "sqlite") != 0)
        return cmd_usage(argv[0], "neither postgres nor sqlite: %s", a.operand);
    if (!cmd_load_options(a.config, &o) || !cmd_load_key(&o, &key))
        return CMD_FAILED;
    const OptionStore to = strcmp(a.operand, "postgres") == 0 ? STORE_POSTGRES : STORE_SQLITE;
    if (!o.postgres.connection) {
        fprintf(stderr, "hmsg-relay: %s: [postgres] connection: is missing: where the database is\n",
                a.config);
        return CMD_FAILED;
    }
    const StoreKeeper keeper = handlers_keeper(key);
    int r = store_migrate(&o, to, &keeper, &counts, error);
    if (r != 0) {
        fprintf(stderr, "hmsg-relay: store migrate: %s%s%s\n", error, error[0] ? ": " : "",
                migration_problem(r));
        return CMD_FAILED;
    }
    if (o.store != to)
        printf("Now set store = %s in %s.\n", a.operand, a.config);
    return print_counts(&counts, false);
}

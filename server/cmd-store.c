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

#define DAMAGE_TEXT_SIZE 512u /* of what the database says of itself, with the final 0 */

static int fail(const Options *o, int r)
{
    fprintf(stderr, "hmsg-relay: %s: %s\n", store_name(o), store_problem(r));
    return CMD_FAILED;
}

/* extra: more members of the JSON, taken over; may be NULL. */
static int print_counts(const StoreCounts *c, bool json, json_t *extra)
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
    json_t *j = json ? extra ? extra : json_object() : NULL;
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(counts); i++)
        if (!json)
            printf("%s: %" PRIu64 "\n", counts[i].name, counts[i].value);
        else if (r == 0)
            r = json_put_number(j, counts[i].name, (int64_t)counts[i].value);
    return json ? cmd_print_json(j, r) : CMD_DONE;
}

/* What is told of the damage. */
typedef struct Damage {
    StoreReader *reader;
    const Relay *relay;
    json_t *list; /* with --json */
    uint64_t n;
    int r;
} Damage;

/* As client list does; nothing of one that is damaged, or is gone. */
static int name_client(const Damage *damage, int64_t client, json_t *j)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    Address address = {.relay = *damage->relay};
    int64_t number = client - 1;
    if (!i)
        return -ENOMEM;
    if (client < 1 || store_next_identity(damage->reader, &number, i) != 0 || number != client)
        return 0;
    memcpy(address.name, i->name, sizeof(address.name));
    int r = i->name[0] ? address_format(&address, false, &text) : 0;
    if (r == 0)
        r = json_put_text(j, "address", buf_text(&text));
    return r == 0 ? json_put_bytes(j, "key", i->kid, KID_SIZE) : r;
}

static int describe(const Damage *damage, const StoreDamage *d, json_t *j)
{
    static const char *const kinds[STORE_DAMAGE_MAX_] = {
        [STORE_DAMAGED_DATABASE] = "database", [STORE_DAMAGED_TABLE] = "table",
        [STORE_DAMAGED_CLIENT] = "client",     [STORE_DAMAGED_FORMER] = "former",
        [STORE_DAMAGED_MESSAGE] = "message",   [STORE_DAMAGED_FILE] = "file",
    };
    int r = json_put_text(j, "kind", kinds[d->kind]);
    if (r == 0 && d->kind != STORE_DAMAGED_DATABASE)
        r = json_put_number(j, "number", d->number);
    if (r == 0 && d->client > 0)
        r = json_put_number(j, "client", d->client);
    if (r == 0 && d->text && d->text[0])
        r = json_put_text(j, d->kind == STORE_DAMAGED_FILE ? "file" : "text", d->text);
    return r == 0 ? name_client(damage, d->client, j) : r;
}

static const char *text_of(const json_t *j, const char *name)
{
    const char *text = json_string_value(json_object_get(j, name));
    return text ? text : "";
}

/* "client 3 (bob@relay.example)" */
static void print_client(const StoreDamage *d, const json_t *j)
{
    const char *address = text_of(j, "address"), *key = text_of(j, "key");
    fprintf(stderr, "client %" PRIi64, d->client);
    if (address[0] || key[0])
        fprintf(stderr, " (%s)", address[0] ? address : key);
}

static void print_damage(const StoreDamage *d, const json_t *j)
{
    fputs("hmsg-relay: damaged: ", stderr);
    switch (d->kind) {
    case STORE_DAMAGED_DATABASE:
        fprintf(stderr, "the database: %s", d->text);
        break;
    case STORE_DAMAGED_TABLE:
        fprintf(stderr, "the database: table %s cannot be read behind row %" PRIi64, d->text, d->number);
        break;
    case STORE_DAMAGED_CLIENT:
        fprintf(stderr, "client %" PRIi64, d->number);
        break;
    case STORE_DAMAGED_FILE:
        fprintf(stderr, "file blobs/%s, of message %" PRIi64 " to ", d->text[0] ? d->text : "?", d->number);
        print_client(d, j);
        break;
    default:
        fprintf(stderr,
                d->kind == STORE_DAMAGED_FORMER ? "former keys %" PRIi64 " of " : "message %" PRIi64 " to ",
                d->number);
        print_client(d, j);
    }
    fputc('\n', stderr);
}

/* A database that somebody else has written may have names in it that are not for a terminal, nor JSON. */
static void make_printable(const char *text, char ret[static DAMAGE_TEXT_SIZE])
{
    size_t n = 0;
    for (; text && text[n] && n < DAMAGE_TEXT_SIZE - 1; n++)
        ret[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : text[n] == '\n' ? ' ' : '?';
    ret[n] = 0;
}

static void on_damage(const StoreDamage *found, void *userdata)
{
    Damage *damage = userdata;
    char text[DAMAGE_TEXT_SIZE];
    const StoreDamage printable = {found->kind, found->number, found->client, text}, *d = &printable;
    _cleanup_(json_decrefp) json_t *j = json_object();
    make_printable(found->text, text);
    int r = j ? describe(damage, d, j) : -ENOMEM;
    damage->n++;
    if (r == 0 && damage->list)
        r = json_array_append(damage->list, j) == 0 ? 0 : -ENOMEM;
    else if (r == 0)
        print_damage(d, j);
    damage->r = damage->r != 0 ? damage->r : r;
}

/* Counts and damage; of a database that cannot even be counted the damage alone. */
static int print_check(const Damage *damage, const StoreCounts *counts, bool json)
{
    _cleanup_(json_decrefp) json_t *extra = json ? json_object() : NULL;
    if (json && (!extra || json_object_set(extra, "damaged", damage->list) != 0))
        return CMD_FAILED;
    if (damage->n > 0)
        fprintf(stderr, "hmsg-relay: %" PRIu64 " damaged: see store check in hmsg-relay(8)\n", damage->n);
    int printed = counts ? print_counts(counts, json, TAKE_PTR(extra))
                         : (json ? cmd_print_json(TAKE_PTR(extra), 0) : CMD_DONE);
    return damage->n > 0 ? CMD_FAILED : printed;
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
    if (r != 0)
        return fail(&o, r);
    _cleanup_(json_decrefp) json_t *list = a.json ? json_array() : NULL;
    Damage damage = {.reader = reader, .relay = &o.relay, .list = list};
    r = store_check(reader, on_damage, &damage);
    if (r == -EBADMSG && damage.n > 0)
        r = 0;
    if (r == 0)
        r = damage.r;
    int counted = r == 0 ? store_counts(reader, &counts) : r;
    if (r != 0 || (counted != 0 && damage.n == 0))
        return fail(&o, r != 0 ? r : counted);
    return print_check(&damage, counted == 0 ? &counts : NULL, a.json);
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
    bool damaged = false;
    Ticks ticks;
    r = ticks_before(o.data, &ticks);
    if (r == 0)
        r = store_sqlite_backup(o.data, &keeper, to, &damaged);
    if (r == 0)
        r = ticks_save(to, &ticks);
    if (r == -EEXIST)
        fprintf(stderr, "hmsg-relay: %s: it, or %s.part, is there already\n", to, to);
    else if (r == -EAGAIN)
        fputs("hmsg-relay: messages went faster than they could be copied: try again\n", stderr);
    else if (r != 0)
        fprintf(stderr, "hmsg-relay: backup of %s to %s: %s\n", o.data, to, store_problem(r));
    else if (damaged)
        fprintf(stderr,
                "hmsg-relay: %s is made, but the store is damaged, and so is the copy: see store check\n",
                to);
    return r == 0 && !damaged ? CMD_DONE : CMD_FAILED;
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
    return print_counts(&counts, false, NULL);
}

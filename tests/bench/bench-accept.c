/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Durable accepts: clients that submit 4 KiB messages, each the next one when the last is answered, to a real
 * relay over TLS and HTTP/2; against the same bodies in bare SQLite transactions of as many messages, in the
 * same folder. Then the same messages fetched and acknowledged by as many clients. And the same messages
 * refused, for their ids are others': what clients and relay need to say anything at all, with nothing stored
 * and nothing signed. Before it, what a connected agent that waits for events costs the relay in memory. */

#include <string.h>

#include "libhmsg/db/db.h"
#include "libhmsg/wire/proof.h"
#include "tests/bench/load.h"
#include "tests/bench/measure.h"

#define SENDERS 4u /* identities; each has as many connections */
#define RECIPIENTS 16u
#define MESSAGES 12800u
#define ROUNDS 3u
#define IDLE_CLIENTS 512u
#define BAR_RATIO 0.60
#define BAR_FETCH 1.0
#define BAR_IDLE_KIB 40.0
#define CONFIG_TAIL "\n[limits]\nsender-rate = 100000000\nmailbox-messages = 1000000\nmailbox-size = 16G\n"

static LoadCost run_bare(const BenchRelay *b, const LoadMail *m, unsigned round)
{
    static const char *const steps[] = {
        "CREATE TABLE bodies(number INTEGER PRIMARY KEY, body BLOB NOT NULL)"};
    static const DbSchema schema = {0x42454e43, steps, 1};
    g_autofree char *path = g_strdup_printf("%s/bare-%u.sqlite", b->folder, round);
    Db *db = NULL;
    DbStatement *s = NULL;
    g_assert_cmpint(db_open(path, &schema, &(DbOptions){.cache_kib = 16384, .checkpoint_pages = 4000}, &db),
                    ==, 0);
    g_assert_cmpint(db_prepare(db, "INSERT INTO bodies(body) VALUES(?1)", &s), ==, 0);
    LoadCost begin = load_cost_now(b);
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (i % LOAD_CLIENTS == 0)
            g_assert_cmpint(db_begin(db), ==, 0);
        db_bind_bytes(s, 1, m->bodies + (size_t)i * LOAD_BODY_SIZE, LOAD_BODY_SIZE);
        g_assert_cmpint(db_run(s), ==, 0);
        if (i % LOAD_CLIENTS == LOAD_CLIENTS - 1 || i == MESSAGES - 1)
            g_assert_cmpint(db_commit(db), ==, 0);
    }
    LoadCost cost = load_cost_since(b, begin, MESSAGES);
    (void)db_statement_free(s);
    (void)db_close(db);
    return cost;
}

static double resident_kib(const BenchRelay *b)
{
    return (double)bench_status_kib(test_process_pid(b->process), "VmRSS");
}

/* Agents that wait for events, and nothing comes. */
static double measure_idle(const BenchRelay *b, TestPerson *const people[])
{
    H2 *all[IDLE_CLIENTS];
    g_autofree H2Answer *events = g_new0(H2Answer, IDLE_CLIENTS);
    double before = resident_kib(b);
    for (unsigned i = 0; i < IDLE_CLIENTS; i++) {
        all[i] = bench_relay_log_in(b, people[i / 16], NULL);
        h2_start(all[i], "GET", "/v1/events", NULL, NULL, 0, &events[i]);
        h2_wait(all[i], &events[i], false);
        g_assert_cmpint(events[i].status, ==, 200);
    }
    double each = (resident_kib(b) - before) / IDLE_CLIENTS;
    for (unsigned i = 0; i < IDLE_CLIENTS; i++) {
        h2_close(all[i]);
        buf_done(&events[i].body);
    }
    return each;
}

typedef struct Ratios {
    double accept, fetch, refuse; /* the best of all rounds: accepts against bare, fetches against accepts */
} Ratios;

/* The same paths with other bodies. */
static LoadCost run_refused(const BenchRelay *b, H2 *const submitters[], const LoadMail *m)
{
    LoadMail other = *m;
    other.bodies = g_malloc0((size_t)m->n * LOAD_BODY_SIZE);
    LoadCost cost = load_submit(b, submitters, &other, 400);
    g_free(other.bodies);
    return cost;
}

typedef struct Clients {
    H2 *submitters[LOAD_CLIENTS], *fetchers[LOAD_CLIENTS];
    Secret *acks[LOAD_CLIENTS];
} Clients;

static Ratios run_rounds(const BenchRelay *b, const Clients *c, const uint8_t *kids)
{
    Ratios best = {};
    for (unsigned i = 0; i < ROUNDS; i++) {
        LoadMail *m = load_mail_new(kids, RECIPIENTS, MESSAGES);
        LoadCost relay = load_submit(b, c->submitters, m, 201), bare = run_bare(b, m, i),
                 out = load_fetch(b, c->fetchers, c->acks, m), refused = run_refused(b, c->submitters, m);
        Ratios now = {bare.wall / relay.wall, relay.wall / out.wall, bare.wall / refused.wall};
        g_print("accepts of %u B by %u clients: %.0f/s, bare SQLite in batches of %u: %.0f/s, ratio %.2f\n",
                LOAD_BODY_SIZE, LOAD_CLIENTS, 1e6 / relay.wall, LOAD_CLIENTS, 1e6 / bare.wall, now.accept);
        g_print("fetched and acknowledged: %.0f/s, %.2f of the accepts\n", 1e6 / out.wall, now.fetch);
        g_print("the same refused, with nothing stored or signed: %.0f/s, ratio %.2f\n", 1e6 / refused.wall,
                now.refuse);
        g_print("processor for each: relay %.0f us, clients %.0f us, bare %.0f us; fetch: relay %.0f us, "
                "clients %.0f us; refused: relay %.0f us, clients %.0f us\n",
                relay.relay, relay.own, bare.own, out.relay, out.own, refused.relay, refused.own);
        best =
            (Ratios){MAX(best.accept, now.accept), MAX(best.fetch, now.fetch), MAX(best.refuse, now.refuse)};
        load_mail_free(m);
    }
    return best;
}

static Ratios measure_ratios(const BenchRelay *b, TestPerson *const senders[], TestPerson *const recipients[])
{
    Clients c = {};
    uint8_t kids[RECIPIENTS * KID_SIZE];
    for (unsigned i = 0; i < RECIPIENTS; i++)
        memcpy(kids + (size_t)i * KID_SIZE, rsa_key_thumbprint(recipients[i]->decrypt), KID_SIZE);
    for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
        c.submitters[i] = bench_relay_log_in(b, senders[i % SENDERS], NULL);
        c.fetchers[i] = bench_relay_log_in(b, recipients[i % RECIPIENTS], &c.acks[i]);
    }
    Ratios best = run_rounds(b, &c, kids);
    for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
        h2_close(c.submitters[i]);
        h2_close(c.fetchers[i]);
        (void)secret_free(c.acks[i]);
    }
    return best;
}

int main(void)
{
    TestPerson *people[IDLE_CLIENTS / 16 + 1];
    BenchRelay b = {.folder = test_folder_new()};
    bench_relay_start(&b, CONFIG_TAIL);
    H2 *h = h2_connect(b.host, b.port);
    for (unsigned i = 0; i < G_N_ELEMENTS(people); i++) {
        g_autofree char *name = g_strdup_printf("user%u", i);
        people[i] = test_person_new();
        bench_relay_enrol(&b, h, people[i], name);
    }
    h2_close(h);
    double each = measure_idle(&b, people);
    bench_at_most("idle agent, resident", each, BAR_IDLE_KIB, "KiB");
    Ratios best = measure_ratios(&b, people, people + SENDERS);
    bench_at_least("accepts against bare SQLite", best.accept, BAR_RATIO, "");
    g_print("refusals against bare SQLite: %.2f\n", best.refuse);
    bench_at_least("fetched and acknowledged against accepts", best.fetch, BAR_FETCH, "");
    (void)bench_relay_stop(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(people); i++)
        test_person_free(people[i]);
    test_folder_remove(b.folder);
    return 0;
}

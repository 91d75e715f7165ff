/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Durable accepts: clients that submit 4 KiB messages, each the next one when the last is answered, to a real
 * relay over TLS and HTTP/2; against the same bodies in bare SQLite transactions of as many messages, in the
 * same folder. Then the same messages fetched and acknowledged by as many clients. Before it, what a
 * connected agent that waits for events costs the relay in memory. */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/db/db.h"
#include "libhmsg/wire/proof.h"
#include "tests/bench/measure.h"
#include "tests/bench/relay-client.h"

#define CLIENTS 64u
#define SENDERS 4u /* identities; each has as many connections */
#define RECIPIENTS 16u
#define ACKNOWLEDGED_AT_ONCE 8u
#define MESSAGES 12800u
#define BODY_SIZE 4096u
#define ROUNDS 3u
#define IDLE_CLIENTS 512u
#define BAR_RATIO 0.60
#define BAR_FETCH 1.0
#define BAR_IDLE_KIB 40.0
#define CONFIG_TAIL "\n[limits]\nsender-rate = 100000000\nmailbox-messages = 1000000\nmailbox-size = 16G\n"

typedef struct Submitter {
    H2 *h;
    H2Answer answer;
    bool busy;
} Submitter;

/* All bodies, their ids and paths, made before the clock runs. Message i is for recipient i % RECIPIENTS. */
typedef struct Mail {
    uint8_t *bodies, *ids;
    char **paths;
} Mail;

static Mail make_mail(TestPerson *const recipients[])
{
    Mail m = {g_malloc((size_t)MESSAGES * BODY_SIZE), g_malloc((size_t)MESSAGES * ID_SIZE),
              g_new0(char *, MESSAGES + 1)};
    g_assert_cmpint(crypto_random(m.bodies, (size_t)MESSAGES * BODY_SIZE), ==, 0);
    for (unsigned i = 0; i < MESSAGES; i++) {
        const TestPerson *to = recipients[i % RECIPIENTS];
        uint8_t *id = m.ids + (size_t)i * ID_SIZE;
        char text[HASH_TEXT_SIZE];
        g_assert_cmpint(
            message_id(rsa_key_thumbprint(to->decrypt), m.bodies + (size_t)i * BODY_SIZE, BODY_SIZE, id), ==,
            0);
        base64url_encode(id, ID_SIZE, text);
        m.paths[i] = g_strdup_printf("/v1/mailboxes/%s/messages/%s", to->kid, text);
    }
    return m;
}

static void free_mail(Mail *m)
{
    g_free(m->bodies);
    g_free(m->ids);
    g_strfreev(m->paths);
}

static void next_one(Submitter *s, const Mail *m, unsigned *sent)
{
    unsigned i = *sent;
    s->busy = i < MESSAGES;
    if (!s->busy)
        return;
    (*sent)++;
    h2_start(s->h, "PUT", m->paths[i], "application/octet-stream", m->bodies + (size_t)i * BODY_SIZE,
             BODY_SIZE, &s->answer);
}

/* Sends and receives until nothing is there: what was read already wakes no poll. Returns how many were
 * answered. */
static unsigned work(Submitter *s, const Mail *m, unsigned *sent)
{
    unsigned done = 0;
    for (;; done++) {
        h2_work(s->h);
        if (!s->busy || !s->answer.done)
            return done;
        if (s->answer.status != 201)
            g_error("%d %s", s->answer.status, buf_text(&s->answer.body));
        next_one(s, m, sent);
    }
}

/* What a measurement took for each message, microseconds: of the clock, and of the processor. */
typedef struct Cost {
    double wall, own, relay;
} Cost;

static double clock_us(clockid_t id)
{
    struct timespec t;
    g_assert_cmpint(clock_gettime(id, &t), ==, 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static Cost cost_now(const BenchRelay *b)
{
    clockid_t relay;
    g_assert_cmpint(clock_getcpuclockid(test_process_pid(b->process), &relay), ==, 0);
    return (Cost){clock_us(CLOCK_MONOTONIC), clock_us(CLOCK_PROCESS_CPUTIME_ID), clock_us(relay)};
}

static Cost cost_since(const BenchRelay *b, Cost begin)
{
    Cost now = cost_now(b);
    return (Cost){(now.wall - begin.wall) / MESSAGES, (now.own - begin.own) / MESSAGES,
                  (now.relay - begin.relay) / MESSAGES};
}

static Cost run_relay(const BenchRelay *b, Submitter *all, const Mail *m)
{
    struct pollfd polls[CLIENTS];
    unsigned sent = 0, done = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        polls[i] = (struct pollfd){.fd = h2_fd(all[i].h), .events = POLLIN};
    Cost begin = cost_now(b);
    for (unsigned i = 0; i < CLIENTS; i++) {
        next_one(&all[i], m, &sent);
        done += work(&all[i], m, &sent);
    }
    while (done < MESSAGES) {
        if (poll(polls, CLIENTS, -1) < 0 && errno != EINTR)
            g_error("poll: %s", g_strerror(errno));
        for (unsigned i = 0; i < CLIENTS; i++)
            if (polls[i].revents)
                done += work(&all[i], m, &sent);
    }
    return cost_since(b, begin);
}

/* One that takes the messages i, i + CLIENTS, ... of its recipient. */
typedef struct Fetcher {
    H2 *h;
    Secret *ack;
    unsigned next;
    uint8_t ids[ACKNOWLEDGED_AT_ONCE * ID_SIZE]; /* fetched, to be acknowledged */
    unsigned held;
    bool acknowledging, busy;
    Buf text;
    char path[64 + HASH_TEXT_SIZE];
    H2Answer answer;
} Fetcher;

static void fetch_next(const BenchRelay *b, Fetcher *f, const Mail *m)
{
    f->acknowledging = f->held == ACKNOWLEDGED_AT_ONCE || (f->held > 0 && f->next >= MESSAGES);
    f->busy = f->acknowledging || f->next < MESSAGES;
    buf_clear(&f->text);
    if (f->acknowledging) {
        bench_relay_acknowledge(b, f->h, f->ack, f->ids, f->held, &f->text, &f->answer);
    } else if (f->busy) {
        (void)g_snprintf(f->path, sizeof(f->path), "/v1/mailbox/messages%s", strrchr(m->paths[f->next], '/'));
        h2_start(f->h, "GET", f->path, NULL, NULL, 0, &f->answer);
    }
}

/* Returns how many were acknowledged. */
static unsigned fetch(const BenchRelay *b, Fetcher *f, const Mail *m)
{
    unsigned done = 0;
    for (;;) {
        h2_work(f->h);
        if (!f->busy || !f->answer.done)
            return done;
        if (f->answer.status != 200)
            g_error("%d %s", f->answer.status, buf_text(&f->answer.body));
        if (f->acknowledging) {
            done += f->held;
            f->held = 0;
        } else {
            g_assert_cmpuint(f->answer.body.size, ==, BODY_SIZE);
            memcpy(f->ids + f->held++ * ID_SIZE, m->ids + (size_t)f->next * ID_SIZE, ID_SIZE);
            f->next += CLIENTS;
        }
        fetch_next(b, f, m);
    }
}

static Cost run_fetch(const BenchRelay *b, Fetcher *all, const Mail *m)
{
    struct pollfd polls[CLIENTS];
    unsigned done = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        polls[i] = (struct pollfd){.fd = h2_fd(all[i].h), .events = POLLIN};
    Cost begin = cost_now(b);
    for (unsigned i = 0; i < CLIENTS; i++) {
        all[i].next = i;
        fetch_next(b, &all[i], m);
        done += fetch(b, &all[i], m);
    }
    while (done < MESSAGES) {
        if (poll(polls, CLIENTS, -1) < 0 && errno != EINTR)
            g_error("poll: %s", g_strerror(errno));
        for (unsigned i = 0; i < CLIENTS; i++)
            if (polls[i].revents)
                done += fetch(b, &all[i], m);
    }
    return cost_since(b, begin);
}

static Cost run_bare(const BenchRelay *b, const Mail *m, unsigned round)
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
    Cost begin = cost_now(b);
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (i % CLIENTS == 0)
            g_assert_cmpint(db_begin(db), ==, 0);
        db_bind_bytes(s, 1, m->bodies + (size_t)i * BODY_SIZE, BODY_SIZE);
        g_assert_cmpint(db_run(s), ==, 0);
        if (i % CLIENTS == CLIENTS - 1 || i == MESSAGES - 1)
            g_assert_cmpint(db_commit(db), ==, 0);
    }
    Cost cost = cost_since(b, begin);
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
    double accept, fetch; /* the best of all rounds: accepts against bare, fetches against accepts */
} Ratios;

static Ratios run_rounds(const BenchRelay *b, Submitter *submitters, Fetcher *fetchers,
                         TestPerson *const recipients[])
{
    Ratios best = {};
    for (unsigned i = 0; i < ROUNDS; i++) {
        Mail m = make_mail(recipients);
        Cost relay = run_relay(b, submitters, &m), bare = run_bare(b, &m, i),
             out = run_fetch(b, fetchers, &m);
        Ratios now = {bare.wall / relay.wall, relay.wall / out.wall};
        g_print("accepts of %u B by %u clients: %.0f/s, bare SQLite in batches of %u: %.0f/s, ratio %.2f\n",
                BODY_SIZE, CLIENTS, 1e6 / relay.wall, CLIENTS, 1e6 / bare.wall, now.accept);
        g_print("fetched and acknowledged: %.0f/s, %.2f of the accepts\n", 1e6 / out.wall, now.fetch);
        g_print("processor for each: relay %.0f us, clients %.0f us, bare %.0f us; fetch: relay %.0f us, "
                "clients %.0f us\n",
                relay.relay, relay.own, bare.own, out.relay, out.own);
        best = (Ratios){MAX(best.accept, now.accept), MAX(best.fetch, now.fetch)};
        free_mail(&m);
    }
    return best;
}

static Ratios measure_ratios(const BenchRelay *b, TestPerson *const senders[], TestPerson *const recipients[])
{
    Submitter submitters[CLIENTS] = {};
    g_autofree Fetcher *fetchers = g_new0(Fetcher, CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        submitters[i].h = bench_relay_log_in(b, senders[i % SENDERS], NULL);
        fetchers[i].h = bench_relay_log_in(b, recipients[i % RECIPIENTS], &fetchers[i].ack);
        fetchers[i].text = BUF_MAX(MESSAGE_SIZE_MAX);
    }
    Ratios best = run_rounds(b, submitters, fetchers, recipients);
    for (unsigned i = 0; i < CLIENTS; i++) {
        h2_close(submitters[i].h);
        h2_close(fetchers[i].h);
        buf_done(&submitters[i].answer.body);
        buf_done(&fetchers[i].answer.body);
        buf_done(&fetchers[i].text);
        (void)secret_free(fetchers[i].ack);
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
    bench_at_least("fetched and acknowledged against accepts", best.fetch, BAR_FETCH, "");
    bench_relay_stop(&b);
    for (unsigned i = 0; i < G_N_ELEMENTS(people); i++)
        test_person_free(people[i]);
    test_folder_remove(b.folder);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a relay does when its store is full against what it does when it is empty: durable accepts of 4 KiB
 * into mailboxes at random, then fetching and acknowledging; by the whole relay, with its clients on the same
 * processors, and by its store alone. There are two relays, which take turns, so that both have the machine
 * as it is at that time; the empty one is made as it was before each of its turns. With
 * HMSG_BENCH_MAILBOXES=100000 HMSG_BENCH_MESSAGES=1000000 HMSG_BENCH_ROUNDS=12 it takes 9 GiB of disk and
 * some ten minutes. */

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/proof.h"
#include "server/handlers.h"
#include "server/store-sqlite.h"
#include "tests/bench/load.h"
#include "tests/bench/measure.h"
#include "tests/unit/server/store-util.h"

#define MAILBOXES 2000u
#define MESSAGES 40000u
#define AT_ONCE 64u
#define SAMPLE 19200u /* messages of one round */
#define ROUNDS 3u
#define BODY_SIZE LOAD_BODY_SIZE
#define SENDERS 4u     /* identities that clients have */
#define RECIPIENTS 16u /* mailboxes that clients have, among the others */
#define CONFIG_TAIL "\n[limits]\nsender-rate = 100000000\nmailbox-messages = 1000000\nmailbox-size = 16G\n"
#define BAR_RATIO 0.90
#define WEEK (7 * 86400)

typedef struct Clients {
    H2 *submitters[LOAD_CLIENTS], *fetchers[LOAD_CLIENTS];
    Secret *acks[LOAD_CLIENTS];
} Clients;

/* A relay, that runs when store is NULL, and who uses it. */
typedef struct Bench {
    BenchRelay relay;
    TestPerson *senders[SENDERS], *recipients[RECIPIENTS];
    Clients clients;
    Store *store;
    bool stays_empty;
    unsigned mailboxes, messages, rounds;
    uint8_t *kids; /* mailboxes times KID_SIZE */
    uint8_t submitter[KID_SIZE];
    RelayKey *key;
    StoreKeeper keeper;
    GRand *random;
    sem_t answered;
} Bench;

/* A message on its way in; its body is made before the clock runs. */
typedef struct Put {
    StoreWrite w;
    uint8_t body[BODY_SIZE];
} Put;

static void on_answered(StoreWrite *w)
{
    sem_post(&((Bench *)w->userdata)->answered);
}

static void wait_one(Bench *b)
{
    while (sem_wait(&b->answered) < 0)
        g_assert_cmpint(errno, ==, EINTR);
}

static void fill_random(Bench *b, uint8_t *ret, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        guint32 word = g_rand_int(b->random);
        memcpy(ret + i, &word, MIN(sizeof(word), n - i));
    }
}

static void start(Bench *b, StoreWrite *w)
{
    w->done = on_answered;
    w->userdata = b;
    while (store_write(b->store, w) == -EAGAIN)
        g_usleep(100);
}

/* As many at a time as there are connections, so that they share commits. */
static void enrol_all(Bench *b)
{
    StoreWrite w[AT_ONCE] = {};
    StoreIdentity *people[AT_ONCE];
    for (unsigned i = 0; i < AT_ONCE; i++)
        people[i] = test_identity(1, "");
    for (unsigned from = 0; from < b->mailboxes; from += AT_ONCE) {
        unsigned n = MIN(AT_ONCE, b->mailboxes - from);
        for (unsigned i = 0; i < n; i++) {
            fill_random(b, people[i]->skid, KID_SIZE);
            memcpy(people[i]->kid, b->kids + (size_t)(from + i) * KID_SIZE, KID_SIZE);
            g_snprintf(people[i]->name, sizeof(people[i]->name), "user%u", from + i);
            w[i] = (StoreWrite){.kind = STORE_REGISTER, .reg.identity = people[i]};
            start(b, &w[i]);
        }
        for (unsigned i = 0; i < n; i++)
            wait_one(b);
        for (unsigned i = 0; i < n; i++)
            g_assert_cmpint(w[i].result, ==, 0);
    }
    for (unsigned i = 0; i < AT_ONCE; i++)
        g_free(people[i]);
}

static const uint8_t *random_kid(const Bench *b)
{
    return b->kids + (size_t)g_rand_int_range(b->random, 0, (gint32)b->mailboxes) * KID_SIZE;
}

static void make_put(Bench *b, Put *p)
{
    p->w = (StoreWrite){.kind = STORE_PUT};
    fill_random(b, p->body, BODY_SIZE);
    memcpy(p->w.put.mailbox, random_kid(b), KID_SIZE);
    memcpy(p->w.put.submitter, b->submitter, KID_SIZE);
    p->w.put.body = p->body;
    p->w.put.size = BODY_SIZE;
    p->w.put.accepted = clock_realtime();
    p->w.put.expires = p->w.put.accepted + WEEK;
    g_assert_cmpint(message_id(p->w.put.mailbox, p->body, BODY_SIZE, p->w.put.id), ==, 0);
}

/* So many accepts, AT_ONCE of them under way; the time in microseconds. */
static double accept_all(Bench *b, Put *all, unsigned n)
{
    unsigned begun = 0;
    for (unsigned i = 0; i < n; i++)
        make_put(b, &all[i]);
    double begin = bench_now();
    while (begun < MIN(AT_ONCE, n))
        start(b, &all[begun++].w);
    for (unsigned done = 0; done < n; done++) {
        wait_one(b);
        if (begun < n)
            start(b, &all[begun++].w);
    }
    double taken = bench_now() - begin;
    for (unsigned i = 0; i < n; i++)
        g_assert_cmpint(all[i].w.result, ==, 0);
    return taken;
}

static void fetch(StoreReader *reader, const Put *p)
{
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    _cleanup_(store_file_freep) StoreFile *file = NULL;
    StoreMessage list[AT_ONCE];
    size_t listed = 0;
    uint64_t size = 0;
    g_assert_cmpint(store_list(reader, p->w.put.owner, p->w.put.seq - 1, AT_ONCE, list, &listed), ==, 0);
    g_assert_cmpuint(listed, >, 0);
    g_assert_cmpint(store_fetch(reader, p->w.put.owner, p->w.put.id, &body, &file, &size), ==, 0);
    g_assert_cmpuint(body.size, ==, BODY_SIZE);
}

/* What was accepted last is listed, fetched and acknowledged, each for itself; the time in microseconds. */
static double take_out(Bench *b, const Put *all, unsigned n)
{
    _cleanup_(store_reader_freep) StoreReader *reader = NULL;
    g_autofree StoreWrite *w = g_new0(StoreWrite, n);
    g_assert_cmpint(store_reader_new(b->store, &reader), ==, 0);
    double begin = bench_now();
    for (unsigned i = 0; i < n; i++) {
        fetch(reader, &all[i]);
        w[i] = (StoreWrite){.kind = STORE_ACKNOWLEDGE, .acknowledge = {.ids = all[i].w.put.id, .n = 1}};
        memcpy(w[i].acknowledge.mailbox, all[i].w.put.owner, KID_SIZE);
        if (i >= AT_ONCE)
            wait_one(b);
        start(b, &w[i]);
    }
    for (unsigned i = 0; i < MIN(AT_ONCE, n); i++)
        wait_one(b);
    double taken = bench_now() - begin;
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpint(w[i].result, ==, 0);
        store_write_done(&w[i]);
    }
    return taken;
}

/* While the relay is down. */
static void open_store(Bench *b)
{
    g_autofree char *path = g_build_filename(b->relay.folder, "relay", "relay.conf", NULL);
    char error[OPTIONS_ERROR_SIZE] = "";
    _cleanup_(options_done) Options o = {};
    StoreLimits limits;
    store_limits_init(&limits);
    limits.sender_messages = limits.mailbox_messages = b->messages + 1000000;
    limits.sender_bytes = limits.mailbox_bytes = UINT64_C(1) << 40;
    g_assert_cmpint(options_load(path, &o, error), ==, 0);
    const KeyFiles files = {o.key, o.passphrase, o.pin, o.tcti};
    g_assert_cmpint(relay_key_open(&files, NULL, &b->key), ==, 0);
    b->keeper = handlers_keeper(b->key);
    g_assert_cmpint(store_sqlite_open(o.data, &limits, &b->keeper, &b->store), ==, 0);
}

static void close_store(Bench *b)
{
    b->store = store_free(b->store);
    b->key = relay_key_free(b->key);
}

static void copy_relay(const Bench *b, const char *from, const char *to)
{
    g_autofree char *source = g_build_filename(b->relay.folder, from, NULL);
    g_autofree char *target = g_build_filename(b->relay.folder, to, NULL);
    test_folder_copy(source, target);
    sync(); /* before the clock runs */
}

static void log_in(Bench *b)
{
    Clients *c = &b->clients;
    for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
        c->submitters[i] = bench_relay_log_in(&b->relay, b->senders[i % SENDERS], NULL);
        c->fetchers[i] = bench_relay_log_in(&b->relay, b->recipients[i % RECIPIENTS], &c->acks[i]);
    }
}

static void log_out(Bench *b)
{
    Clients *c = &b->clients;
    for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
        h2_close(c->submitters[i]);
        h2_close(c->fetchers[i]);
        c->acks[i] = secret_free(c->acks[i]);
    }
}

static void relay_up(Bench *b)
{
    bench_relay_start(&b->relay, NULL);
    log_in(b);
}

static void relay_down(Bench *b)
{
    log_out(b);
    (void)bench_relay_stop(&b->relay);
}

/* As it was when it had nothing but mailboxes. */
static void begin_turn(Bench *b)
{
    const bool relay = !b->store;
    if (!b->stays_empty)
        return;
    if (relay)
        relay_down(b);
    else
        close_store(b);
    copy_relay(b, "relay.new", "relay");
    if (relay)
        relay_up(b);
    else
        open_store(b);
}

/* What a message takes, in microseconds: of the clock, and of the processor in the relay, 0 when there is
 * none. */
typedef struct Cost {
    double wall, relay;
} Cost;

typedef struct Costs {
    Cost accept, out;
} Costs;

typedef void (*turn_t)(Bench *b, Put *all, Costs *costs);

static void add(const Bench *b, Cost *to, double wall, double relay)
{
    to->wall += wall / b->rounds;
    to->relay += relay / b->rounds;
}

static void store_turn(Bench *b, Put *all, Costs *costs)
{
    add(b, &costs->accept, accept_all(b, all, SAMPLE) / SAMPLE, 0);
    add(b, &costs->out, take_out(b, all, SAMPLE) / SAMPLE, 0);
}

static LoadMail *mail_anywhere(const Bench *b)
{
    g_autofree uint8_t *kids = g_malloc((size_t)SAMPLE * KID_SIZE);
    for (unsigned i = 0; i < SAMPLE; i++)
        memcpy(kids + (size_t)i * KID_SIZE, random_kid(b), KID_SIZE);
    return load_mail_new(kids, SAMPLE, SAMPLE);
}

/* What is accepted at random stays: nobody has the keys of all mailboxes. */
static void accept_turn(Bench *b, Put *all, Costs *costs)
{
    LoadMail *mail = mail_anywhere(b);
    const LoadCost c = load_submit(&b->relay, b->clients.submitters, mail, 201);
    add(b, &costs->accept, c.wall, c.relay);
    load_mail_free(mail);
}

/* What is fetched was accepted into mailboxes that clients have. */
static void fetch_turn(Bench *b, Put *all, Costs *costs)
{
    uint8_t kids[RECIPIENTS * KID_SIZE];
    for (unsigned i = 0; i < RECIPIENTS; i++)
        memcpy(kids + (size_t)i * KID_SIZE, rsa_key_thumbprint(b->recipients[i]->decrypt), KID_SIZE);
    LoadMail *mail = load_mail_new(kids, RECIPIENTS, SAMPLE);
    (void)load_submit(&b->relay, b->clients.submitters, mail, 201);
    const LoadCost c = load_fetch(&b->relay, b->clients.fetchers, b->clients.acks, mail);
    add(b, &costs->out, c.wall, c.relay);
    load_mail_free(mail);
}

static void take_turns(Bench *empty, Bench *full, Put *all, turn_t turn, Costs *of_empty, Costs *of_full)
{
    for (unsigned i = 0; i < full->rounds; i++) {
        begin_turn(empty);
        turn(empty, all, of_empty);
        turn(full, all, of_full);
    }
}

static void enrol_people(Bench *b)
{
    H2 *h = h2_connect(b->relay.host, b->relay.port);
    for (unsigned i = 0; i < SENDERS + RECIPIENTS; i++) {
        g_autofree char *name = g_strdup_printf("person%u", i);
        TestPerson **p = i < SENDERS ? &b->senders[i] : &b->recipients[i - SENDERS];
        *p = test_person_new();
        bench_relay_enrol(&b->relay, h, *p, name);
    }
    h2_close(h);
    memcpy(b->submitter, rsa_key_thumbprint(b->senders[0]->sign), KID_SIZE);
}

/* As the relay does each minute: the log may grow with the store. */
static void sweep(Bench *b)
{
    StoreWrite w = {.kind = STORE_SWEEP, .sweep.now = clock_realtime()};
    start(b, &w);
    wait_one(b);
    g_assert_cmpint(w.result, ==, 0);
    store_write_done(&w);
}

static void fill(Bench *b, Put *all)
{
    double begin = bench_now();
    for (unsigned done = 0; done < b->messages; done += SAMPLE) {
        (void)accept_all(b, all, MIN(SAMPLE, b->messages - done));
        sweep(b);
    }
    g_print("%u messages in %.1f s\n", b->messages, (bench_now() - begin) / 1e6);
}

static void tell_one(const char *who, const char *what, Cost empty, Cost full)
{
    g_autofree char *title = g_strdup_printf("%s: %s, full against empty", who, what);
    g_print("%s: %s: %.0f/s empty, %.0f/s full", who, what, 1e6 / empty.wall, 1e6 / full.wall);
    if (empty.relay > 0)
        g_print("; of the processor in the relay %.1f and %.1f us", empty.relay, full.relay);
    g_print("\n");
    bench_at_least(title, empty.wall / full.wall, BAR_RATIO, "");
}

static void tell(const char *who, Costs empty, Costs full)
{
    tell_one(who, "accepts", empty.accept, full.accept);
    tell_one(who, "fetched and acknowledged", empty.out, full.out);
}

/* Mailboxes and who uses the relay; it is down then, and its store open. */
static void set_up(Bench *b, bool stays_empty)
{
    *b = (Bench){.relay.folder = test_folder_new(),
                 .stays_empty = stays_empty,
                 .mailboxes = bench_setting("HMSG_BENCH_MAILBOXES", MAILBOXES),
                 .messages = bench_setting("HMSG_BENCH_MESSAGES", MESSAGES),
                 .rounds = bench_setting("HMSG_BENCH_ROUNDS", ROUNDS),
                 .random = g_rand_new_with_seed(1)};
    b->kids = g_malloc((size_t)b->mailboxes * KID_SIZE);
    fill_random(b, b->kids, (size_t)b->mailboxes * KID_SIZE);
    g_assert_cmpint(sem_init(&b->answered, 0, 0), ==, 0);
    bench_relay_start(&b->relay, CONFIG_TAIL);
    enrol_people(b);
    (void)bench_relay_stop(&b->relay);
    open_store(b);
    double begin = bench_now();
    enrol_all(b);
    g_print("%u mailboxes in %.1f s\n", b->mailboxes, (bench_now() - begin) / 1e6);
    if (!stays_empty)
        return;
    close_store(b);
    copy_relay(b, "relay", "relay.new");
    open_store(b);
}

static void tear_down(Bench *b)
{
    relay_down(b);
    for (unsigned i = 0; i < SENDERS; i++)
        test_person_free(b->senders[i]);
    for (unsigned i = 0; i < RECIPIENTS; i++)
        test_person_free(b->recipients[i]);
    g_rand_free(b->random);
    g_free(b->kids);
    test_folder_remove(b->relay.folder);
}

int main(void)
{
    g_autofree Put *all = g_new(Put, SAMPLE);
    Costs empty_store = {}, full_store = {}, empty_relay = {}, full_relay = {};
    Bench empty, full;
    set_up(&empty, true);
    set_up(&full, false);
    fill(&full, all);
    take_turns(&empty, &full, all, store_turn, &empty_store, &full_store);
    close_store(&empty);
    close_store(&full);
    relay_up(&empty);
    relay_up(&full);
    take_turns(&empty, &full, all, accept_turn, &empty_relay, &full_relay);
    take_turns(&empty, &full, all, fetch_turn, &empty_relay, &full_relay);
    tell("relay", empty_relay, full_relay);
    tell("store alone", empty_store, full_store);
    tear_down(&empty);
    tear_down(&full);
    return 0;
}

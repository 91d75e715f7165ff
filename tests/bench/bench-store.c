/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the relay's store does when it is full against what it does when it is empty: durable accepts of 4 KiB
 * from 64 submitters at a time into mailboxes at random, then listing, fetching and acknowledging. With
 * HMSG_BENCH_MAILBOXES=100000 HMSG_BENCH_MESSAGES=1000000 it takes 7 GiB of disk and some minutes. */

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/proof.h"
#include "server/store-sqlite.h"
#include "tests/bench/measure.h"
#include "tests/unit/server/store-util.h"

#define MAILBOXES 2000u
#define MESSAGES 40000u
#define AT_ONCE 64u
#define SAMPLE 19200u /* messages of one measurement: in each the log is carried over at least once */
#define ROUNDS 3u
#define BODY_SIZE 4096u
#define BAR_RATIO 0.90
#define WEEK (7 * 86400)

typedef struct Bench {
    Store *store;
    unsigned mailboxes, messages;
    uint8_t *kids; /* mailboxes times KID_SIZE */
    uint8_t submitter[KID_SIZE];
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

static void enrol(Bench *b, const uint8_t *kid, const uint8_t *skid, const char *name)
{
    StoreIdentity *i = test_identity(1, name);
    StoreWrite w = {.kind = STORE_REGISTER, .reg.identity = i};
    memcpy(i->kid, kid, KID_SIZE);
    memcpy(i->skid, skid, KID_SIZE);
    start(b, &w);
    wait_one(b);
    g_assert_cmpint(w.result, ==, 0);
    g_free(i);
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

static void make_put(Bench *b, Put *p)
{
    unsigned mailbox = (unsigned)g_rand_int_range(b->random, 0, (gint32)b->mailboxes);
    p->w = (StoreWrite){.kind = STORE_PUT};
    fill_random(b, p->body, BODY_SIZE);
    memcpy(p->w.put.mailbox, b->kids + (size_t)mailbox * KID_SIZE, KID_SIZE);
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

typedef struct Rates {
    double accept, take_out; /* messages a second, the best of the rounds */
} Rates;

/* As the relay does each minute: the log may grow with the store. */
static void sweep(Bench *b)
{
    StoreWrite w = {.kind = STORE_SWEEP, .sweep.now = clock_realtime()};
    start(b, &w);
    wait_one(b);
    g_assert_cmpint(w.result, ==, 0);
    store_write_done(&w);
}

static Rates measure(Bench *b, Put *all)
{
    Rates best = {};
    for (unsigned i = 0; i < ROUNDS; i++) {
        double accept = SAMPLE * 1e6 / accept_all(b, all, SAMPLE);
        double out = SAMPLE * 1e6 / take_out(b, all, SAMPLE);
        best = (Rates){MAX(best.accept, accept), MAX(best.take_out, out)};
    }
    return best;
}

int main(void)
{
    char *folder = test_folder_new();
    Bench b = {.mailboxes = bench_setting("HMSG_BENCH_MAILBOXES", MAILBOXES),
               .messages = bench_setting("HMSG_BENCH_MESSAGES", MESSAGES),
               .random = g_rand_new_with_seed(1)};
    g_autofree Put *all = g_new(Put, SAMPLE);
    StoreLimits limits;
    store_limits_init(&limits);
    limits.sender_messages = limits.mailbox_messages = b.messages + 1000000;
    limits.sender_bytes = limits.mailbox_bytes = UINT64_C(1) << 40;
    b.kids = g_malloc((size_t)b.mailboxes * KID_SIZE);
    fill_random(&b, b.kids, (size_t)b.mailboxes * KID_SIZE);
    fill_random(&b, b.submitter, KID_SIZE);
    g_assert_cmpint(sem_init(&b.answered, 0, 0), ==, 0);
    g_assert_cmpint(store_sqlite_open(folder, &limits, test_store_keeper(), &b.store), ==, 0);
    double begin = bench_now();
    enrol(&b, b.submitter, b.submitter, "submitter");
    enrol_all(&b);
    g_print("%u mailboxes in %.1f s\n", b.mailboxes, (bench_now() - begin) / 1e6);
    Rates empty = measure(&b, all);
    begin = bench_now();
    for (unsigned done = 0; done < b.messages; done += SAMPLE) {
        (void)accept_all(&b, all, MIN(SAMPLE, b.messages - done));
        sweep(&b);
    }
    g_print("%u messages in %.1f s\n", b.messages, (bench_now() - begin) / 1e6);
    Rates full = measure(&b, all);
    g_print("accepts: %.0f/s empty, %.0f/s full; list, fetch and acknowledge one: %.0f/s, %.0f/s\n",
            empty.accept, full.accept, empty.take_out, full.take_out);
    bench_at_least("accepts, full against empty", full.accept / empty.accept, BAR_RATIO, "");
    bench_at_least("list, fetch and acknowledge, full against empty", full.take_out / empty.take_out,
                   BAR_RATIO, "");
    store_free(b.store);
    g_rand_free(b.random);
    g_free(b.kids);
    test_folder_remove(folder);
    return 0;
}

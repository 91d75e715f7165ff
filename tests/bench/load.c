/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/load.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/proof.h"

#define ACKNOWLEDGED_AT_ONCE 8u

LoadMail *load_mail_new(const uint8_t *kids, unsigned n_kids, unsigned n)
{
    LoadMail *m = g_new0(LoadMail, 1);
    *m = (LoadMail){n, g_malloc((size_t)n * LOAD_BODY_SIZE), g_malloc((size_t)n * ID_SIZE),
                    g_new0(char *, n + 1)};
    g_assert_cmpint(crypto_random(m->bodies, (size_t)n * LOAD_BODY_SIZE), ==, 0);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *kid = kids + (size_t)(i % n_kids) * KID_SIZE;
        uint8_t *id = m->ids + (size_t)i * ID_SIZE;
        char to[HASH_TEXT_SIZE], text[HASH_TEXT_SIZE];
        g_assert_cmpint(message_id(kid, m->bodies + (size_t)i * LOAD_BODY_SIZE, LOAD_BODY_SIZE, id), ==, 0);
        base64url_encode(kid, KID_SIZE, to);
        base64url_encode(id, ID_SIZE, text);
        m->paths[i] = g_strdup_printf("/v1/mailboxes/%s/messages/%s", to, text);
    }
    return m;
}

void load_mail_free(LoadMail *m)
{
    g_free(m->bodies);
    g_free(m->ids);
    g_strfreev(m->paths);
    g_free(m);
}

static double clock_us(clockid_t id)
{
    struct timespec t;
    g_assert_cmpint(clock_gettime(id, &t), ==, 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

LoadCost load_cost_now(const BenchRelay *b)
{
    clockid_t relay;
    g_assert_cmpint(clock_getcpuclockid(test_process_pid(b->process), &relay), ==, 0);
    return (LoadCost){clock_us(CLOCK_MONOTONIC), clock_us(CLOCK_PROCESS_CPUTIME_ID), clock_us(relay)};
}

LoadCost load_cost_since(const BenchRelay *b, LoadCost begin, unsigned messages)
{
    LoadCost now = load_cost_now(b);
    return (LoadCost){(now.wall - begin.wall) / messages, (now.own - begin.own) / messages,
                      (now.relay - begin.relay) / messages};
}

/* A client: ask begins the next thing, unless there is none; take has what was answered, and returns how many
 * messages are done with it. */
typedef struct Client {
    const BenchRelay *relay;
    const LoadMail *mail;
    H2 *h;
    H2Answer answer;
    bool busy;
    int status;
    unsigned *sent; /* of all clients */
    /* of one that fetches: */
    const Secret *ack;
    unsigned next;
    uint8_t ids[ACKNOWLEDGED_AT_ONCE * ID_SIZE]; /* fetched, to be acknowledged */
    unsigned held;
    bool acknowledging;
    Buf text;
    char path[64 + HASH_TEXT_SIZE];
} Client;

typedef void Ask(Client *c);
typedef unsigned Take(Client *c);

/* Sends and receives until nothing is there: what was read already wakes no poll. */
static unsigned work(Client *c, Ask *ask, Take *take)
{
    unsigned done = 0;
    for (;;) {
        h2_work(c->h);
        if (!c->busy || !c->answer.done)
            return done;
        if (c->answer.status != c->status)
            g_error("%d %s", c->answer.status, buf_text(&c->answer.body));
        done += take(c);
        ask(c);
    }
}

static LoadCost run(Client *clients, Ask *ask, Take *take)
{
    const BenchRelay *b = clients->relay;
    struct pollfd polls[LOAD_CLIENTS];
    unsigned done = 0, all = clients->mail->n;
    for (unsigned i = 0; i < LOAD_CLIENTS; i++)
        polls[i] = (struct pollfd){.fd = h2_fd(clients[i].h), .events = POLLIN};
    LoadCost begin = load_cost_now(b);
    for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
        ask(&clients[i]);
        done += work(&clients[i], ask, take);
    }
    while (done < all) {
        if (poll(polls, LOAD_CLIENTS, -1) < 0 && errno != EINTR)
            g_error("poll: %s", g_strerror(errno));
        for (unsigned i = 0; i < LOAD_CLIENTS; i++)
            if (polls[i].revents)
                done += work(&clients[i], ask, take);
    }
    LoadCost cost = load_cost_since(b, begin, all);
    for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
        buf_done(&clients[i].answer.body);
        buf_done(&clients[i].text);
    }
    return cost;
}

static void submit_next(Client *c)
{
    const LoadMail *m = c->mail;
    unsigned i = *c->sent;
    c->busy = i < m->n;
    if (!c->busy)
        return;
    (*c->sent)++;
    h2_start(c->h, "PUT", m->paths[i], "application/octet-stream", m->bodies + (size_t)i * LOAD_BODY_SIZE,
             LOAD_BODY_SIZE, &c->answer);
}

static unsigned take_receipt(Client *c)
{
    return 1;
}

LoadCost load_submit(const BenchRelay *b, H2 *const clients[static LOAD_CLIENTS], const LoadMail *m,
                     int status)
{
    Client all[LOAD_CLIENTS] = {};
    unsigned sent = 0;
    for (unsigned i = 0; i < LOAD_CLIENTS; i++)
        all[i] = (Client){.relay = b, .mail = m, .h = clients[i], .status = status, .sent = &sent};
    return run(all, submit_next, take_receipt);
}

static void fetch_next(Client *c)
{
    const LoadMail *m = c->mail;
    c->acknowledging = c->held == ACKNOWLEDGED_AT_ONCE || (c->held > 0 && c->next >= m->n);
    c->busy = c->acknowledging || c->next < m->n;
    buf_clear(&c->text);
    if (c->acknowledging) {
        bench_relay_acknowledge(c->relay, c->h, c->ack, c->ids, c->held, &c->text, &c->answer);
    } else if (c->busy) {
        (void)g_snprintf(c->path, sizeof(c->path), "/v1/mailbox/messages%s", strrchr(m->paths[c->next], '/'));
        h2_start(c->h, "GET", c->path, NULL, NULL, 0, &c->answer);
    }
}

static unsigned take_message(Client *c)
{
    unsigned done = c->acknowledging ? c->held : 0;
    if (c->acknowledging) {
        c->held = 0;
    } else {
        g_assert_cmpuint(c->answer.body.size, ==, LOAD_BODY_SIZE);
        memcpy(c->ids + c->held++ * ID_SIZE, c->mail->ids + (size_t)c->next * ID_SIZE, ID_SIZE);
        c->next += LOAD_CLIENTS;
    }
    return done;
}

LoadCost load_fetch(const BenchRelay *b, H2 *const clients[static LOAD_CLIENTS],
                    Secret *const acks[static LOAD_CLIENTS], const LoadMail *m)
{
    g_autofree Client *all = g_new0(Client, LOAD_CLIENTS);
    for (unsigned i = 0; i < LOAD_CLIENTS; i++)
        all[i] = (Client){.relay = b,
                          .mail = m,
                          .h = clients[i],
                          .status = 200,
                          .ack = acks[i],
                          .next = i,
                          .text = BUF_MAX(MESSAGE_SIZE_MAX)};
    return run(all, fetch_next, take_message);
}

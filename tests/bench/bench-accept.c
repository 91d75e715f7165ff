/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Durable accepts: clients that submit 4 KiB messages, each the next one when the last is answered, to a real
 * relay over TLS and HTTP/2; against the same bodies in bare SQLite transactions of as many messages, in the
 * same folder. Then what a connected agent that waits for events costs the relay in memory. */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/db/db.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "tests/bench/h2-client.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"

#define CLIENTS 64u
#define SENDERS 4u /* identities; each has as many connections */
#define MESSAGES 12800u
#define BODY_SIZE 4096u
#define ROUNDS 3u
#define IDLE_CLIENTS 512u
#define BAR_RATIO 0.60
#define BAR_IDLE_KIB 40.0
#define CONFIG_TAIL "\n[limits]\nsender-rate = 100000000\nmailbox-messages = 1000000\nmailbox-size = 16G\n"

typedef struct BenchRelay {
    char *folder, *data;
    TestProcess *process;
    char *host;
    uint16_t port;
    uint8_t pin[PIN_SIZE];
} BenchRelay;

static void start_relay(BenchRelay *b)
{
    g_autofree char *program = g_build_filename(g_getenv("HMSG_BUILD"), "server", "hmsg-relay", NULL);
    g_autofree char *config = g_build_filename(b->folder, "relay", "relay.conf", NULL);
    g_autofree char *relay = g_build_filename(b->folder, "relay", NULL);
    g_autofree char *log = g_build_filename(b->folder, "relay.log", NULL);
    g_autofree char *address = NULL, *text = NULL, *tail = NULL;
    Relay r;
    const char *const init[] = {program,    "init",        "--host", "127.0.0.1",
                                "--listen", "127.0.0.1:0", relay,    NULL};
    const char *const serve[] = {program, "serve", "--config", config, NULL};
    g_assert_cmpint(test_run(init, NULL, NULL, NULL, NULL), ==, 0);
    g_assert_true(g_file_get_contents(config, &text, NULL, NULL));
    tail = g_strconcat(text, CONFIG_TAIL, NULL);
    g_assert_true(g_file_set_contents(config, tail, -1, NULL));
    b->data = g_build_filename(relay, "data", NULL);
    b->process = test_process_start(serve, NULL, log);
    g_autofree char *path = g_build_filename(b->data, "address", NULL);
    TEST_AWAIT(g_file_get_contents(path, &address, NULL, NULL) && g_str_has_suffix(address, "\n"));
    g_strchomp(address);
    g_assert_cmpint(relay_parse(address, &r), ==, 0);
    b->host = g_strdup(r.host);
    b->port = r.port;
    memcpy(b->pin, r.pin, PIN_SIZE);
}

/* Waits for the answer, which must have this status. */
static json_t *call(H2 *h, const char *method, const char *path, json_t *body, int status)
{
    H2Answer a = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(RELAY_BODY_SIZE_MAX);
    json_t *j = NULL;
    if (body)
        g_assert_cmpint(json_write(body, &text), ==, 0);
    json_decref(body);
    h2_start(h, method, path, "application/json", body ? text.data : NULL, text.size, &a);
    h2_wait(h, &a, true);
    if (a.status != status)
        g_error("%s %s: %d %s", method, path, a.status, buf_text(&a.body));
    g_assert_cmpint(json_parse_object(buf_text(&a.body), a.body.size, &j), ==, 0);
    buf_done(&a.body);
    return j;
}

static void bind_request(const BenchRelay *b, const H2 *h, const json_t *nonce, RequestBinding *ret)
{
    memcpy(ret->pin, b->pin, PIN_SIZE);
    memcpy(ret->exporter, h2_exporter(h), EXPORTER_SIZE);
    g_assert_cmpint(json_get_bytes(nonce, "nonce", ret->nonce, NONCE_SIZE), ==, 0);
}

static void answer_challenge(const BenchRelay *b, const TestPerson *p, const json_t *challenge,
                             const Buf *request, json_t *to)
{
    _cleanup_(buf_done) Buf pop = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *plaintext = NULL, *secret = NULL;
    uint8_t answer[SHA256_SIZE];
    g_assert_cmpint(json_get_buf(challenge, "pop", &pop), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(p->decrypt_private, pop.data, pop.size, &plaintext), ==, 0);
    g_assert_cmpint(pop_open(plaintext, b->pin, &secret), ==, 0);
    g_assert_cmpint(pop_answer(secret, buf_text(request), request->size, answer), ==, 0);
    g_assert_cmpint(json_put_bytes(to, "answer", answer, sizeof(answer)), ==, 0);
}

static void enrol(const BenchRelay *b, H2 *h, const TestPerson *p, const char *name)
{
    g_autofree char *address = g_strdup_printf("%s@%s:%u", name, b->host, b->port);
    g_autofree char *statement = test_person_statement(p, address);
    RegisterRequest q = {.method = REGISTER_MEMBER, .iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(p->decrypt, &n);
    json_t *body = json_object(), *question = json_object();
    g_assert_cmpint(json_put_bytes(question, "decrypt_spki", spki, n), ==, 0);
    json_t *challenge = call(h, "POST", "/v1/challenges", question, 200);
    bind_request(b, h, challenge, &q.binding);
    g_strlcpy(q.name, name, sizeof(q.name));
    g_assert_cmpint(crypto_sha256(statement, strlen(statement), q.statement_sha256), ==, 0);
    g_assert_cmpint(register_request_prepare(&q, rsa_key_thumbprint(p->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, p->sign_private, &text), ==, 0);
    g_assert_cmpint(json_put_text(body, "statement", statement), ==, 0);
    g_assert_cmpint(json_put_text(body, "request", buf_text(&text)), ==, 0);
    answer_challenge(b, p, challenge, &text, body);
    json_decref(challenge);
    json_decref(call(h, "POST", "/v1/registrations", body, 201));
}

static H2 *log_in(const BenchRelay *b, const TestPerson *p)
{
    H2 *h = h2_connect(b->host, b->port);
    LoginRequest q = {.iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    _cleanup_(secret_freep) Secret *own = NULL;
    json_t *nonce = call(h, "POST", "/v1/nonces", json_object(), 200);
    bind_request(b, h, nonce, &q.binding);
    json_decref(nonce);
    g_assert_cmpint(x25519_generate(&own, q.epk), ==, 0);
    g_assert_cmpint(login_request_prepare(&q, rsa_key_thumbprint(p->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, p->sign_private, &text), ==, 0);
    json_decref(call(h, "POST", "/v1/logins", json_pack("{s:s}", "request", buf_text(&text)), 200));
    return h;
}

typedef struct Submitter {
    H2 *h;
    H2Answer answer;
    bool busy;
} Submitter;

/* All bodies and their paths, made before the clock runs. */
typedef struct Mail {
    uint8_t *bodies;
    char **paths;
} Mail;

static Mail make_mail(const TestPerson *to)
{
    Mail m = {g_malloc((size_t)MESSAGES * BODY_SIZE), g_new0(char *, MESSAGES + 1)};
    g_assert_cmpint(crypto_random(m.bodies, (size_t)MESSAGES * BODY_SIZE), ==, 0);
    for (unsigned i = 0; i < MESSAGES; i++) {
        uint8_t id[ID_SIZE];
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
    g_autofree char *path = g_strdup_printf("/proc/%d/status", test_process_pid(b->process));
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    const char *line = strstr(text, "VmRSS:");
    g_assert_nonnull(line);
    return (double)g_ascii_strtoull(line + strlen("VmRSS:"), NULL, 10);
}

/* Agents that wait for events, and nothing comes. */
static double measure_idle(const BenchRelay *b, TestPerson *const people[])
{
    H2 *all[IDLE_CLIENTS];
    g_autofree H2Answer *events = g_new0(H2Answer, IDLE_CLIENTS);
    double before = resident_kib(b);
    for (unsigned i = 0; i < IDLE_CLIENTS; i++) {
        all[i] = log_in(b, people[i / 16]);
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

static double measure_ratio(const BenchRelay *b, TestPerson *const people[], const TestPerson *to)
{
    Submitter all[CLIENTS] = {};
    double best = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        all[i].h = log_in(b, people[i % SENDERS]);
    for (unsigned i = 0; i < ROUNDS; i++) {
        Mail m = make_mail(to);
        Cost relay = run_relay(b, all, &m), bare = run_bare(b, &m, i);
        double ratio = bare.wall / relay.wall;
        g_print("accepts of %u B by %u clients: %.0f/s, bare SQLite in batches of %u: %.0f/s, ratio %.2f\n",
                BODY_SIZE, CLIENTS, 1e6 / relay.wall, CLIENTS, 1e6 / bare.wall, ratio);
        g_print("processor for each: relay %.0f us, clients %.0f us, bare %.0f us\n", relay.relay, relay.own,
                bare.own);
        best = MAX(best, ratio);
        free_mail(&m);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        h2_close(all[i].h);
        buf_done(&all[i].answer.body);
    }
    return best;
}

int main(void)
{
    TestPerson *people[IDLE_CLIENTS / 16 + 1];
    BenchRelay b = {.folder = test_folder_new()};
    start_relay(&b);
    H2 *h = h2_connect(b.host, b.port);
    for (unsigned i = 0; i < G_N_ELEMENTS(people); i++) {
        g_autofree char *name = g_strdup_printf("user%u", i);
        people[i] = test_person_new();
        enrol(&b, h, people[i], name);
    }
    h2_close(h);
    double each = measure_idle(&b, people);
    double ratio = measure_ratio(&b, people, people[G_N_ELEMENTS(people) - 1]);
    bool met = ratio >= BAR_RATIO && each <= BAR_IDLE_KIB;
    g_print("accepts: ratio %.2f, bar %.2f, %s\n", ratio, BAR_RATIO, ratio >= BAR_RATIO ? "met" : "MISSED");
    g_print("idle agent: %.1f KiB resident, bar %.0f KiB, %s\n", each, BAR_IDLE_KIB,
            each <= BAR_IDLE_KIB ? "met" : "MISSED");
    (void)test_process_stop(b.process);
    for (unsigned i = 0; i < G_N_ELEMENTS(people); i++)
        test_person_free(people[i]);
    test_folder_remove(b.folder);
    g_free(b.data);
    g_free(b.host);
    return met ? 0 : 1;
}

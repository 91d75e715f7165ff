/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/handlers.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"
#include "tests/unit/server/handlers-util.h"
#include "tests/unit/server/store-util.h"

static void test_result(void)
{
    g_assert_cmpint(handler_result(0), ==, 0);
    g_assert_cmpint(handler_result(HMSG_ERROR_NOT_FOUND), ==, PROBLEM_NOT_FOUND);
    g_assert_cmpint(handler_result(HMSG_ERROR_ALREADY_EXISTS), ==, PROBLEM_CONFLICT);
    g_assert_cmpint(handler_result(HMSG_ERROR_STORAGE_FULL), ==, PROBLEM_FULL);
    g_assert_cmpint(handler_result(-EAGAIN), ==, PROBLEM_UNAVAILABLE);
    /* What nobody foresaw stays an error, to be logged. */
    g_assert_cmpint(handler_result(-EIO), ==, -EIO);
    g_assert_cmpint(handler_result(HMSG_ERROR_TPM_LOCKED_OUT), ==, PROBLEM_INTERNAL);
}

static void test_relay(TestRelay *f, gconstpointer data)
{
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autoptr(DoubleAnswer) a = double_json(c, "GET", "/v1/relay", NULL);
    int64_t n = 0;
    g_assert_cmpuint(a->status, ==, 200);
    _cleanup_(ec_key_freep) EcKey *online = test_online(f, a->json);
    g_assert_nonnull(online);
    g_assert_cmpint(json_get_number(a->json, "message_bytes", 0, INT64_MAX, &n), ==, 0);
    g_assert_cmpint(n, ==, MESSAGE_SIZE_MAX);
    g_assert_cmpint(json_get_number(a->json, "attachment_bytes", 0, INT64_MAX, &n), ==, 0);
    g_assert_cmpint(n, ==, 1 << 20);
    (void)test_text(a->json, "version");
    Handlers *again = NULL;
    g_assert_cmpint(handlers_new(&f->options, f->key, 1, 0, &again), ==, -EBUSY);
}

static void check_binding(TestRelay *f, const json_t *answer, const TestPerson *p, const char *name)
{
    _cleanup_(ec_key_freep) EcKey *online = test_online(f, answer);
    const char *text = test_text(answer, "binding");
    Binding b = {};
    g_assert_cmpint(binding_parse(text, strlen(text), online, relay_key_pin(f->key), clock_realtime(), &b),
                    ==, 0);
    g_assert_cmpstr(b.name, ==, name);
    g_assert_cmpmem(b.skid, KID_SIZE, rsa_key_thumbprint(p->sign), KID_SIZE);
    g_assert_cmpmem(b.kid, KID_SIZE, rsa_key_thumbprint(p->decrypt), KID_SIZE);
    if (json_has(answer, "statement")) {
        uint8_t hash[SHA256_SIZE];
        const char *statement = test_text(answer, "statement");
        g_assert_cmpint(crypto_sha256(statement, strlen(statement), hash), ==, 0);
        g_assert_cmpmem(b.statement_sha256, SHA256_SIZE, hash, SHA256_SIZE);
    }
}

static void test_registration(TestRelay *f, gconstpointer data)
{
    const TestPerson *alice = test_person(0);
    const TestPerson *guest = test_person(1);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    TestRegistration g;
    test_registration_init(f, c, alice, "alice", &g);
    {
        g_autoptr(DoubleAnswer) a = test_registration_send(c, &g);
        g_assert_cmpuint(a->status, ==, 201);
        check_binding(f, a->json, alice, "alice");
    }
    g_assert_cmpuint(test_register_person(f, c, alice, "alice"), ==, 200);
    g_assert_cmpuint(test_register_person(f, c, alice, "other"), ==, 409);
    g_assert_cmpuint(test_register_person(f, c, guest, "alice"), ==, 409);
    g_assert_cmpuint(test_register_person(f, c, guest, ""), ==, 201);
    g_autofree char *target = g_strdup_printf("/v1/keys/%s", alice->kid);
    g_autofree char *skid = g_strdup_printf("/v1/keys/%s", guest->skid);
    const struct {
        const char *target, *name;
        const TestPerson *person;
    } found[] = {{"/v1/names/alice", "alice", alice}, {target, "alice", alice}, {skid, "", guest}};
    for (size_t i = 0; i < G_N_ELEMENTS(found); i++) {
        g_autoptr(DoubleAnswer) a = double_json(c, "GET", found[i].target, NULL);
        g_assert_cmpuint(a->status, ==, 200);
        check_binding(f, a->json, found[i].person, found[i].name);
    }
    EXPECT(404, double_json(c, "GET", "/v1/names/bob", NULL));
    EXPECT(404, double_json(c, "GET", "/v1/names/NO%20NAME", NULL));
    EXPECT(404, double_json(c, "GET", "/v1/keys/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", NULL));
    EXPECT(400, double_json(c, "GET", "/v1/keys/AAAA", NULL));
    /* It is all there after a restart. */
    double_close(g_steal_pointer(&c));
    test_relay_restart(f);
    c = test_relay_connect(f);
    EXPECT(200, double_json(c, "GET", "/v1/names/alice", NULL));
}

/* Who has larger keys is as good as anybody: no agent makes them, other programs may. */
static void test_large_keys(TestRelay *f, gconstpointer data)
{
    static const unsigned sizes[] = {3072, 4096};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(TestPerson) p = test_person_new_of(sizes[i]);
        g_autofree char *name = g_strdup_printf("large%u", sizes[i]);
        g_autofree char *target = g_strdup_printf("/v1/keys/%s", p->kid);
        g_autoptr(DoubleConnection) c = test_relay_connect(f);
        g_assert_cmpuint(test_register_person(f, c, p, name), ==, 201);
        g_autoptr(DoubleAnswer) a = double_json(c, "GET", target, NULL);
        g_assert_cmpuint(a->status, ==, 200);
        check_binding(f, a->json, p, name);
        g_autoptr(DoubleConnection) own = test_login(f, p, NULL);
        EXPECT(200, double_json(own, "GET", "/v1/mailbox/messages", NULL));
    }
}

/* Everything that is wrong with a registration, one at a time. */
static void test_bad_registration(TestRelay *f, gconstpointer data)
{
    const TestPerson *alice = test_person(0);
    const TestPerson *eve = test_person(1);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autoptr(DoubleConnection) other = test_relay_connect(f);
    for (unsigned i = 0; i < 12; i++) {
        unsigned expected = 403;
        TestRegistration g;
        test_registration_init(f, c, alice, "alice", &g);
        switch (i) {
        case 0:
            g.wrong_answer = true;
            break;
        case 1:
            g.request.binding.nonce[0] ^= 1;
            break;
        case 2: /* another connection's */
            memcpy(g.request.binding.exporter, other->client.exporter, EXPORTER_SIZE);
            break;
        case 3:
            g.request.binding.pin[0] ^= 1;
            break;
        case 4:
            g.request.statement_sha256[0] ^= 1;
            break;
        case 5: /* signed by another */
            g.signer = eve->sign_private;
            break;
        case 6:
            g.request.iat -= 10000;
            g.request.exp -= 10000;
            break;
        case 7: /* of another's key */
            g_free(g.statement);
            g.statement = test_person_statement(eve, "alice@" TEST_HOST);
            break;
        case 8: /* an address elsewhere */
            g_free(g.statement);
            g.statement = test_person_statement(alice, "alice@elsewhere.example");
            g_assert_cmpint(crypto_sha256(g.statement, strlen(g.statement), g.request.statement_sha256), ==,
                            0);
            break;
        case 9:
            g.statement[strlen(g.statement) / 2] ^= 1;
            break;
        case 10:
            g.request.method = REGISTER_UNREGISTER;
            expected = 400;
            break;
        default: /* a nonce without challenge */
            test_nonce(c, g.request.binding.nonce);
            break;
        }
        g_autoptr(DoubleAnswer) a = test_registration_send(c, &g);
        if (i == 9)
            g_assert_true(a->status == 400 || a->status == 403);
        else
            g_assert_cmpuint(a->status, ==, expected);
        EXPECT(404, double_json(c, "GET", "/v1/names/alice", NULL));
    }
    /* A challenge of one key does not serve for another. */
    TestRegistration g, h;
    test_registration_init(f, c, alice, "alice", &g);
    test_registration_init(f, c, eve, "eve", &h);
    memcpy(g.request.binding.nonce, h.request.binding.nonce, NONCE_SIZE);
    Secret *pop = g.pop;
    g.pop = h.pop;
    h.pop = pop;
    EXPECT(403, test_registration_send(c, &g));
    EXPECT(403, test_registration_send(c, &h)); /* its nonce is used up */
    EXPECT(400, double_json(c, "POST", "/v1/registrations", json_object()));
    EXPECT(400, double_json(c, "POST", "/v1/registrations", json_pack("{s:s}", "more", "x")));
    EXPECT(400, double_json(c, "POST", "/v1/challenges", json_pack("{s:s}", "decrypt_spki", "AAAA")));
    EXPECT(400, double_json(c, "POST", "/v1/nonces", json_pack("{s:s}", "x", "y")));
    g_autofree char *large = g_strnfill(ROTATION_BODY_SIZE_MAX, 'A');
    EXPECT(413, double_json(c, "POST", "/v1/registrations", json_pack("{s:s}", "statement", large)));
    EXPECT(405, double_json(c, "DELETE", "/v1/registrations", NULL));
}

/* While it runs. */
static void test_reload(TestRelay *f, gconstpointer data)
{
    const TestPerson *alice = test_person(0);
    Options o = f->options;
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    o.guests = false;
    handlers_reload(f->handlers, &o);
    g_assert_cmpuint(test_register_person(f, c, alice, ""), ==, 403);
    handlers_reload(f->handlers, &f->options);
    g_assert_cmpuint(test_register_person(f, c, alice, ""), ==, 201);
    StoreCounts counts = {};
    g_assert_cmpint(handlers_ready(f->handlers), ==, 0);
    g_assert_cmpint(handlers_counts(f->handlers, &counts), ==, 0);
    g_assert_cmpuint(counts.identities, ==, 1);
}

static void invite(TestRelay *f, const char *code, uint64_t uses, int64_t expires)
{
    StoreWrite w = {.kind = STORE_INVITE,
                    .invite = {.code = code, .uses = uses, .now = clock_realtime(), .expires = expires}};
    g_assert_cmpint(test_write(f->handlers->store, &w), ==, 0);
}

static unsigned register_invited(TestRelay *f, DoubleConnection *c, unsigned who, const char *name,
                                 const char *code, const char *problem)
{
    TestRegistration g;
    test_registration_init(f, c, test_person(who), name, &g);
    g.invite = code;
    g_autoptr(DoubleAnswer) a = test_registration_send(c, &g);
    if (problem)
        g_assert_cmpstr(test_text(a->json, "type"), ==, problem);
    return a->status;
}

/* One name for each use, whatever else fails. */
static void test_invite(TestRelay *f, gconstpointer data)
{
    static const char *const wanted = "urn:hmsg:problem:invite-required";
    f->options.registration = REGISTRATION_INVITE;
    test_relay_restart(f);
    invite(f, "sesame", 1, clock_realtime() + 1000);
    invite(f, "over", 1, clock_realtime() - 1);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_assert_cmpuint(register_invited(f, c, 0, "alice", NULL, wanted), ==, 403);
    g_assert_cmpuint(register_invited(f, c, 0, "alice", "sesam", wanted), ==, 403);
    g_assert_cmpuint(register_invited(f, c, 0, "alice", "over", wanted), ==, 403);
    g_assert_cmpuint(register_invited(f, c, 0, "", NULL, NULL), ==, 201); /* a guest needs none */
    g_assert_cmpuint(register_invited(f, c, 0, "alice", NULL, wanted), ==, 403);
    g_assert_cmpuint(register_invited(f, c, 0, "alice", "sesame", NULL), ==, 201);
    g_assert_cmpuint(register_invited(f, c, 0, "alice", NULL, NULL), ==, 200);
    g_assert_cmpuint(register_invited(f, c, 1, "eve", "sesame", wanted), ==, 403);
    /* a name that is taken uses up nothing */
    invite(f, "again", 1, clock_realtime() + 1000);
    g_assert_cmpuint(register_invited(f, c, 1, "alice", "again", NULL), ==, 409);
    g_assert_cmpuint(register_invited(f, c, 1, "eve", "again", NULL), ==, 201);
}

static void test_guesses(TestRelay *f, gconstpointer data)
{
    unsigned status = 403;
    f->options.registration = REGISTRATION_INVITE;
    test_relay_restart(f);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    for (unsigned i = 0; i < 40 && status == 403; i++)
        status = register_invited(f, c, 0, "alice", "guess", NULL);
    g_assert_cmpuint(status, ==, 429);
}

static void test_policy(TestRelay *f, gconstpointer data)
{
    f->options.guests = false;
    f->options.registration = REGISTRATION_CLOSED;
    test_relay_restart(f);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_assert_cmpuint(register_invited(f, c, 0, "", NULL, "urn:hmsg:problem:refused"), ==, 403);
    g_assert_cmpuint(register_invited(f, c, 0, "alice", "any", "urn:hmsg:problem:refused"), ==, 403);
    f->options.registration = REGISTRATION_OPEN;
    handlers_reload(f->handlers, &f->options);
    g_assert_cmpuint(register_invited(f, c, 0, "alice", NULL, NULL), ==, 201);
    f->options.registration = REGISTRATION_CLOSED;
    handlers_reload(f->handlers, &f->options);
    /* Who is here stays. */
    g_assert_cmpuint(register_invited(f, c, 0, "alice", NULL, NULL), ==, 200);
}

static void test_login_ways(TestRelay *f, gconstpointer data)
{
    const TestPerson *alice = test_person(0);
    const TestPerson *eve = test_person(1);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autoptr(DoubleConnection) other = test_relay_connect(f);
    g_assert_cmpuint(test_register_person(f, c, alice, "alice"), ==, 201);
    EXPECT(401, double_json(c, "GET", "/v1/mailbox/messages", NULL));
    EXPECT(401, double_json(c, "GET", "/v1/events", NULL));
    TestLogin l;
    for (unsigned i = 0; i < 5; i++) {
        test_login_init(f, c, &l);
        if (i == 0)
            l.request.binding.nonce[0] ^= 1;
        else if (i == 1)
            memcpy(l.request.binding.exporter, other->client.exporter, EXPORTER_SIZE);
        else if (i == 2)
            l.request.binding.pin[0] ^= 1;
        else if (i == 3)
            l.request.iat = l.request.exp = clock_realtime() - 10000;
        else
            memset(l.request.epk, 0, X25519_SIZE);
        EXPECT(403, test_login_send(f, c, alice, &l, NULL));
        g_assert_false(c->client.logged_in);
    }
    test_login_init(f, c, &l);
    EXPECT(404, test_login_send(f, c, eve, &l, NULL));
    /* another connection's nonce */
    test_login_init(f, other, &l);
    memcpy(l.request.binding.exporter, c->client.exporter, EXPORTER_SIZE);
    EXPECT(403, test_login_send(f, c, alice, &l, NULL));
    /* once is right, the same again is not; a second login of the same user is */
    uint8_t nonce[NONCE_SIZE];
    test_login_init(f, c, &l);
    memcpy(nonce, l.request.binding.nonce, NONCE_SIZE);
    EXPECT(200, test_login_send(f, c, alice, &l, NULL));
    g_assert_true(c->client.logged_in);
    test_login_init(f, c, &l);
    memcpy(l.request.binding.nonce, nonce, NONCE_SIZE);
    EXPECT(403, test_login_send(f, c, alice, &l, NULL));
    test_login_init(f, c, &l);
    EXPECT(200, test_login_send(f, c, alice, &l, NULL));
    EXPECT(200, double_json(c, "GET", "/v1/mailbox/messages", NULL));
    /* another user on the same connection is not */
    g_assert_cmpuint(test_register_person(f, c, eve, ""), ==, 201);
    test_login_init(f, c, &l);
    EXPECT(403, test_login_send(f, c, eve, &l, NULL));
    g_autoptr(DoubleConnection) guest = test_login(f, eve, NULL);
    g_assert_true(guest->client.guest);
    EXPECT(404, double_json(guest, "GET", "/v1/mailbox/messages", NULL));
    EXPECT(400, double_json(c, "POST", "/v1/logins", json_pack("{s:s}", "request", "a.b.c")));
    EXPECT(400, double_json(c, "POST", "/v1/logins", json_object()));
}

static DoubleAnswer *unregister(TestRelay *f, DoubleConnection *c, const TestPerson *p,
                                const TestPerson *signer, const char *name)
{
    RegisterRequest q = {
        .method = REGISTER_UNREGISTER, .iat = clock_realtime(), .exp = clock_realtime() + 60};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    g_strlcpy(q.name, name, sizeof(q.name));
    memcpy(q.binding.pin, relay_key_pin(f->key), PIN_SIZE);
    memcpy(q.binding.exporter, c->client.exporter, EXPORTER_SIZE);
    test_nonce(c, q.binding.nonce);
    g_assert_cmpint(register_request_prepare(&q, rsa_key_thumbprint(p->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, signer->sign_private, &text), ==, 0);
    return double_json(c, "POST", "/v1/unregistrations", json_pack("{s:s}", "request", buf_text(&text)));
}

static void test_unregistration(TestRelay *f, gconstpointer data)
{
    const TestPerson *alice = test_person(0);
    const TestPerson *eve = test_person(1);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_assert_cmpuint(test_register_person(f, c, alice, "alice"), ==, 201);
    g_autoptr(DoubleConnection) in = test_login(f, alice, NULL);
    DoubleEvents *events = double_events(in, "/v1/events", 10);
    EXPECT(403, unregister(f, c, alice, eve, "alice"));
    EXPECT(404, unregister(f, c, eve, eve, "alice"));
    EXPECT(404, unregister(f, c, alice, alice, "bob"));
    EXPECT(200, double_json(c, "GET", "/v1/names/alice", NULL));
    EXPECT(204, unregister(f, in, alice, alice, "alice"));
    g_assert_false(in->client.logged_in);
    g_autofree char *ready = double_events_take(events);
    g_assert_cmpstr(ready, ==, "ready {}");
    g_assert_null(double_events_take(events));
    double_events_close(events);
    EXPECT(404, double_json(c, "GET", "/v1/names/alice", NULL));
    EXPECT(404, unregister(f, c, alice, alice, "alice"));
    g_assert_cmpuint(test_register_person(f, c, eve, "alice"), ==, 201);
}

/* Nothing is signed with an online key that nobody believes any more. */
static void test_stale_key(TestRelay *f, gconstpointer data)
{
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    int64_t now = clock_realtime();
    g_assert_cmpint(relay_key_renew(f->key, now - (int64_t)RELAY_STATEMENT_LIFETIME_MAX), ==, 0);
    EXPECT(503, double_json(c, "GET", "/v1/relay", NULL));
    g_assert_cmpint(relay_key_renew(f->key, now), ==, 0);
    EXPECT(200, double_json(c, "GET", "/v1/relay", NULL));
}

static void test_rate(TestRelay *f, gconstpointer data)
{
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    unsigned n = 0, status = 200;
    for (; n < 5000 && status == 200; n++) {
        g_autoptr(DoubleAnswer) a = double_json(c, "POST", "/v1/nonces", NULL);
        status = a->status;
        g_assert_cmpuint(a->retry, ==, status == 200 ? 0 : 1);
    }
    g_assert_cmpuint(status, ==, 429);
    g_assert_cmpuint(n, >, 500);
}

/* Nobody fills the store with guests. */
static void test_guest_rate(TestRelay *f, gconstpointer data)
{
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    unsigned status = 201, n = 0;
    for (; status != 429 && n <= 100; n++) {
        status = test_register_person(f, c, test_person(0), "");
        g_assert_true(status == 201 || status == 200 || status == 429);
    }
    g_assert_cmpuint(n, >, 50);
    g_assert_cmpuint(status, ==, 429);
    g_assert_cmpuint(test_register_person(f, c, test_person(1), "bob"), ==, 201);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/handlers/result", test_result);
#define ADD(name, t)                                                                                         \
    g_test_add("/handlers/" name, TestRelay, NULL, test_relay_set_up, t, test_relay_tear_down)
    ADD("relay", test_relay);
    ADD("registration", test_registration);
    ADD("large-keys", test_large_keys);
    ADD("bad-registration", test_bad_registration);
    ADD("reload", test_reload);
    ADD("policy", test_policy);
    ADD("invite", test_invite);
    ADD("guesses", test_guesses);
    ADD("login", test_login_ways);
    ADD("unregistration", test_unregistration);
    ADD("stale-key", test_stale_key);
    ADD("rate", test_rate);
    ADD("guest-rate", test_guest_rate);
    return g_test_run();
}

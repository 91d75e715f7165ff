/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/server/handlers-util.h"

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/wire/rotation.h"

/* Keys take long to make; one relay and one cast serve all tests of a process. */
static RelayKey *relay_key(void)
{
    static RelayKey *key;
    if (!key) {
        g_assert_cmpint(relay_key_generate(2048, &key), ==, 0);
        g_assert_cmpint(relay_key_renew(key, clock_realtime()), ==, 0);
    }
    return key;
}

const TestPerson *test_person(unsigned number)
{
    static TestPerson *cast[TEST_PERSONS];
    g_assert_cmpuint(number, <, TEST_PERSONS);
    if (!cast[number])
        cast[number] = test_person_new();
    return cast[number];
}

void test_relay_set_up(TestRelay *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->options = (Options){.relay = {.host = TEST_HOST, .port = RELAY_PORT_DEFAULT},
                           .data = f->folder,
                           .guests = true,
                           .attachment_size = 1 << 20,
                           .mailbox_size = 4 << 20,
                           .mailbox_messages = 1000,
                           .sender_rate = 100000,
                           .stranger_share = 50,
                           .message_lifetime = 86400,
                           .rotation_grace = 86400};
    f->key = relay_key();
    g_assert_cmpint(handlers_new(&f->options, f->key, 1, 0, &f->handlers), ==, 0);
}

void test_relay_restart(TestRelay *f)
{
    f->handlers = handlers_free(f->handlers);
    double_run();
    g_assert_cmpint(handlers_new(&f->options, f->key, 1, 0, &f->handlers), ==, 0);
}

void test_relay_tear_down(TestRelay *f, gconstpointer data)
{
    f->handlers = handlers_free(f->handlers);
    double_run();
    test_folder_remove(f->folder);
}

DoubleConnection *test_relay_connect(TestRelay *f)
{
    size_t n = 0;
    const HttpRoute *routes = handlers_routes(&n);
    return double_connect(routes, n, f->handlers);
}

const char *test_text(const json_t *j, const char *name)
{
    const char *text = json_string_value(json_object_get(j, name));
    g_assert_nonnull(text);
    return text;
}

void test_nonce(DoubleConnection *c, uint8_t ret[static NONCE_SIZE])
{
    g_autoptr(DoubleAnswer) a = double_json(c, "POST", "/v1/nonces", NULL);
    g_assert_cmpuint(a->status, ==, 200);
    g_assert_cmpint(json_get_bytes(a->json, "nonce", ret, NONCE_SIZE), ==, 0);
}

static void tie(TestRelay *f, DoubleConnection *c, RequestBinding *ret)
{
    memcpy(ret->pin, relay_key_pin(f->key), PIN_SIZE);
    memcpy(ret->exporter, c->client.exporter, EXPORTER_SIZE);
}

static void challenge(TestRelay *f, DoubleConnection *c, const TestPerson *p, TestRegistration *g)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(p->decrypt, &n);
    json_t *j = json_object();
    _cleanup_(buf_done) Buf pop = BUF_MAX(RSA_SIZE_MAX);
    _cleanup_(secret_freep) Secret *plaintext = NULL;
    g_assert_cmpint(json_put_bytes(j, "decrypt_spki", spki, n), ==, 0);
    g_autoptr(DoubleAnswer) a = double_json(c, "POST", "/v1/challenges", j);
    g_assert_cmpuint(a->status, ==, 200);
    g_assert_cmpint(json_get_bytes(a->json, "nonce", g->request.binding.nonce, NONCE_SIZE), ==, 0);
    g_assert_cmpint(json_get_buf(a->json, "pop", &pop), ==, 0);
    g_assert_cmpint(rsa_private_oaep_decrypt(p->decrypt_private, pop.data, pop.size, &plaintext), ==, 0);
    g_assert_cmpint(pop_open(plaintext, relay_key_pin(f->key), &g->pop), ==, 0);
}

void test_registration_init(TestRelay *f, DoubleConnection *c, const TestPerson *p, const char *name,
                            TestRegistration *ret)
{
    g_autofree char *address = g_strdup_printf("%s@" TEST_HOST, name);
    TestRegistration g = {.signer = p->sign_private};
    memcpy(g.skid, rsa_key_thumbprint(p->sign), KID_SIZE);
    g.statement = test_person_statement(p, name[0] ? address : "");
    g.request.method = name[0] ? REGISTER_MEMBER : REGISTER_GUEST;
    g_strlcpy(g.request.name, name, sizeof(g.request.name));
    g.request.iat = clock_realtime();
    g.request.exp = g.request.iat + 60;
    g_assert_cmpint(crypto_sha256(g.statement, strlen(g.statement), g.request.statement_sha256), ==, 0);
    tie(f, c, &g.request.binding);
    challenge(f, c, p, &g);
    *ret = g;
}

void test_rotation_step(TestRegistration *g, const TestPerson *by, const char *rotate)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(by->sign, &n);
    g_assert_cmpint(rotation_step_put(g->steps, rotate, spki, n), ==, 0);
}

void test_rotation_init(TestRelay *f, DoubleConnection *c, const TestPerson *from, const TestPerson *to,
                        uint64_t generation, const char *address, const char *previous, TestRegistration *ret)
{
    g_autofree char *rotate = test_person_rotate(from, to, generation);
    TestRegistration g = {.signer = to->sign_private, .steps = json_array()};
    memcpy(g.skid, rsa_key_thumbprint(to->sign), KID_SIZE);
    g.statement = test_person_statement_after(to, address, generation, previous);
    g.request.method = REGISTER_ROTATE;
    g.request.iat = clock_realtime();
    g.request.exp = g.request.iat + 60;
    g_assert_cmpint(crypto_sha256(g.statement, strlen(g.statement), g.request.statement_sha256), ==, 0);
    tie(f, c, &g.request.binding);
    challenge(f, c, to, &g);
    test_rotation_step(&g, from, rotate);
    *ret = g;
}

DoubleAnswer *test_registration_send(DoubleConnection *c, TestRegistration *g)
{
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    uint8_t answer[SHA256_SIZE];
    json_t *j = json_object();
    g_assert_cmpint(register_request_prepare(&g->request, g->skid, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, g->signer, &text), ==, 0);
    g_assert_cmpint(pop_answer(g->pop, buf_text(&text), text.size, answer), ==, 0);
    answer[0] ^= g->wrong_answer ? 1 : 0;
    g_assert_cmpint(json_put_text(j, "statement", g->statement), ==, 0);
    g_assert_cmpint(json_put_text(j, "request", buf_text(&text)), ==, 0);
    g_assert_cmpint(json_put_bytes(j, "answer", answer, sizeof(answer)), ==, 0);
    if (g->invite)
        g_assert_cmpint(json_put_text(j, "invite", g->invite), ==, 0);
    if (g->steps)
        g_assert_cmpint(json_put(j, "steps", json_incref(g->steps)), ==, 0);
    if (g->chain)
        g_assert_cmpint(json_put(j, "chain", json_incref(g->chain)), ==, 0);
    bool rotation = g->steps != NULL;
    g_clear_pointer(&g->chain, json_decref);
    g->pop = secret_free(g->pop);
    g_clear_pointer(&g->statement, g_free);
    g_clear_pointer(&g->steps, json_decref);
    return double_json(c, "POST", rotation ? "/v1/rotations" : "/v1/registrations", j);
}

unsigned test_register_person(TestRelay *f, DoubleConnection *c, const TestPerson *p, const char *name)
{
    TestRegistration g;
    test_registration_init(f, c, p, name, &g);
    g_autoptr(DoubleAnswer) a = test_registration_send(c, &g);
    return a->status;
}

void test_login_init(TestRelay *f, DoubleConnection *c, TestLogin *ret)
{
    TestLogin l = {};
    tie(f, c, &l.request.binding);
    test_nonce(c, l.request.binding.nonce);
    l.request.iat = clock_realtime();
    l.request.exp = l.request.iat + 60;
    g_assert_cmpint(x25519_generate(&l.own, l.request.epk), ==, 0);
    *ret = l;
}

EcKey *test_online(TestRelay *f, const json_t *answer)
{
    const char *text = test_text(answer, "relay");
    _cleanup_(relay_statement_done) RelayStatement s = {};
    g_assert_cmpint(relay_statement_parse(text, strlen(text), relay_key_pin(f->key), clock_realtime(), &s),
                    ==, 0);
    return ec_key_ref(s.online);
}

static void check_response(TestRelay *f, const DoubleAnswer *a, const TestPerson *p, const TestLogin *l,
                           Secret **ret_ack)
{
    _cleanup_(ec_key_freep) EcKey *online = test_online(f, a->json);
    const char *text = test_text(a->json, "response");
    const uint8_t *pin = relay_key_pin(f->key), *skid = rsa_key_thumbprint(p->sign);
    LoginResponse response = {};
    g_assert_cmpint(login_response_parse(text, strlen(text), online, pin, skid, l->request.binding.nonce,
                                         clock_realtime(), &response),
                    ==, 0);
    if (ret_ack)
        g_assert_cmpint(ack_key_derive(l->own, response.epk, l->request.binding.nonce, pin, skid, ret_ack),
                        ==, 0);
}

DoubleAnswer *test_login_send(TestRelay *f, DoubleConnection *c, const TestPerson *p, TestLogin *l,
                              Secret **ret_ack)
{
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    json_t *j = json_object();
    g_assert_cmpint(login_request_prepare(&l->request, rsa_key_thumbprint(p->sign), &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, p->sign_private, &text), ==, 0);
    g_assert_cmpint(json_put_text(j, "request", buf_text(&text)), ==, 0);
    DoubleAnswer *a = double_json(c, "POST", "/v1/logins", j);
    if (a->status == 200)
        check_response(f, a, p, l, ret_ack);
    l->own = secret_free(l->own);
    return a;
}

DoubleConnection *test_login(TestRelay *f, const TestPerson *p, Secret **ret_ack)
{
    DoubleConnection *c = test_relay_connect(f);
    TestLogin l;
    test_login_init(f, c, &l);
    g_autoptr(DoubleAnswer) a = test_login_send(f, c, p, &l, ret_ack);
    g_assert_cmpuint(a->status, ==, 200);
    return c;
}

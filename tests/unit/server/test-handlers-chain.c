/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who comes back with other keys tells how they were come to: POST /v1/registrations with a chain. */

#include "server/handlers.h"

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/wire/rotation.h"
#include "tests/unit/server/handlers-util.h"

#define ADDRESS "alice@" TEST_HOST

/* One link, from a statement, by one step. */
static json_t *link_new(const char *statement, const TestPerson *from, const TestPerson *to,
                        uint64_t generation)
{
    g_autofree char *rotate = test_person_rotate(from, to, generation);
    json_t *link = json_object(), *steps = json_array();
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(from->sign, &n);
    g_assert_cmpint(rotation_step_put(steps, rotate, spki, n), ==, 0);
    g_assert_cmpint(json_put_text(link, "from", statement), ==, 0);
    g_assert_cmpint(json_put(link, "steps", steps), ==, 0);
    return link;
}

static void set_statement(TestRegistration *g, char *statement)
{
    g_free(g->statement);
    g->statement = statement;
    g_assert_cmpint(crypto_sha256(statement, strlen(statement), g->request.statement_sha256), ==, 0);
}

/* alice, who had the keys of from; ready to be spoilt. */
static void come_back(TestRelay *f, DoubleConnection *c, const TestPerson *from, const TestPerson *to,
                      TestRegistration *ret)
{
    g_autofree char *before = test_person_statement(from, ADDRESS);
    test_registration_init(f, c, to, "alice", ret);
    set_statement(ret, test_person_statement_after(to, ADDRESS, 1, before));
    ret->chain = json_array();
    g_assert_cmpint(json_array_append_new(ret->chain, link_new(before, from, to, 1)), ==, 0);
}

/* Over how many keys the directory leads from one to those of alice; 0: it does not. */
static size_t leads(DoubleConnection *c, const char *target, const char *from)
{
    g_autofree char *query = g_strdup_printf("%s?from=%s", target, from);
    g_autoptr(DoubleAnswer) a = double_json(c, "GET", query, NULL);
    _cleanup_(identity_statement_done) IdentityStatement s = {};
    g_autofree Rotation *rotation = g_new0(Rotation, 1);
    uint8_t key[KID_SIZE];
    g_assert_cmpuint(a->status, ==, 200);
    const char *text = test_text(a->json, "statement");
    g_assert_cmpint(identity_statement_parse(text, strlen(text), clock_realtime(), &s), ==, 0);
    g_assert_cmpint(base64url_decode_exact(from, strlen(from), key, sizeof(key)), ==, 0);
    const json_t *chain = json_object_get(a->json, "chain");
    return chain && rotation_chain_follow(chain, key, &s, clock_realtime(), rotation) == 0 ? rotation->n : 0;
}

static void unregister(TestRelay *f, DoubleConnection *c, const TestPerson *p)
{
    TestRegistration g;
    test_registration_init(f, c, p, "alice", &g);
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    json_t *j = json_object();
    g.request.method = REGISTER_UNREGISTER;
    test_nonce(c, g.request.binding.nonce);
    g_assert_cmpint(register_request_prepare(&g.request, g.skid, &draft), ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, g.signer, &text), ==, 0);
    g_assert_cmpint(json_put_text(j, "request", buf_text(&text)), ==, 0);
    EXPECT(204, double_json(c, "POST", "/v1/unregistrations", j));
    g.pop = secret_free(g.pop);
    g_free(g.statement);
}

static void test_back(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *by_sign = g_strdup_printf("/v1/keys/%s", first->skid),
                    *by_decrypt = g_strdup_printf("/v1/keys/%s?from=%s", first->kid, first->kid);
    TestRegistration g;
    g_assert_cmpuint(test_register_person(f, c, first, "alice"), ==, 201);
    unregister(f, c, first);
    come_back(f, c, first, second, &g);
    EXPECT(201, test_registration_send(c, &g));
    g_assert_cmpuint(leads(c, "/v1/names/alice", first->kid), ==, 1);
    g_assert_cmpuint(leads(c, "/v1/names/alice", first->skid), ==, 1);
    g_assert_cmpuint(leads(c, by_sign, first->skid), ==, 1);
    g_assert_cmpuint(leads(c, "/v1/names/alice", third->kid), ==, 0);
    /* that he had the decrypt key nobody has proven */
    EXPECT(404, double_json(c, "GET", by_decrypt, NULL));
    /* the former sign key registers nothing any more, and the answer to the first time may get lost */
    g_assert_cmpuint(test_register_person(f, c, first, "other"), ==, 409);
    g_assert_cmpuint(test_register_person(f, c, first, ""), ==, 409);
    come_back(f, c, first, second, &g);
    EXPECT(200, test_registration_send(c, &g));
    /* a rotation goes on from there */
    g_autoptr(DoubleAnswer) now = double_json(c, "GET", "/v1/names/alice", NULL);
    test_rotation_init(f, c, second, third, 2, ADDRESS, test_text(now->json, "statement"), &g);
    EXPECT(201, test_registration_send(c, &g));
    g_assert_cmpuint(leads(c, "/v1/names/alice", first->kid), ==, 2);
    g_assert_cmpuint(leads(c, "/v1/names/alice", second->kid), ==, 1);
}

/* Two links, and the statement of the keys between was made anew. */
static void test_long(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *one = test_person_statement(first, ADDRESS),
                    *two = test_person_statement_after(second, ADDRESS, 1, one),
                    *anew = test_person_statement_after(second, ADDRESS, 1, NULL);
    TestRegistration g;
    test_registration_init(f, c, third, "alice", &g);
    set_statement(&g, test_person_statement_after(third, ADDRESS, 2, anew));
    g.chain = json_array();
    json_t *link = link_new(one, first, second, 1);
    g_assert_cmpint(json_put_text(link, "to", two), ==, 0);
    g_assert_cmpint(json_array_append_new(g.chain, link), ==, 0);
    g_assert_cmpint(json_array_append_new(g.chain, link_new(anew, second, third, 2)), ==, 0);
    EXPECT(201, test_registration_send(c, &g));
    g_assert_cmpuint(leads(c, "/v1/names/alice", first->kid), ==, 2);
    g_assert_cmpuint(leads(c, "/v1/names/alice", second->kid), ==, 1);
}

/* A recovery key that the former statement names has signed the way from it; any other key's is refused. */
static void test_recovery(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *offline = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    _cleanup_(recovery_keys_done) RecoveryKeys k = {}, none = {};
    TestRegistration g;
    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, offline->sign), ==, 0);
    for (unsigned named = 0; named < 2; named++) {
        g_autofree char *before = test_person_statement_with(first, ADDRESS, 1, NULL, named ? &k : &none);
        test_registration_init(f, c, second, "alice", &g);
        set_statement(&g, test_person_statement_after(second, ADDRESS, 2, before));
        g.chain = json_array();
        g_assert_cmpint(json_array_append_new(g.chain, link_new(before, offline, second, 2)), ==, 0);
        EXPECT(named ? 201 : 403, test_registration_send(c, &g));
    }
    g_assert_cmpuint(leads(c, "/v1/names/alice", first->kid), ==, 1);
    g_assert_cmpuint(leads(c, "/v1/names/alice", offline->kid), ==, 0);
}

typedef enum Spoilt {
    SPOILT_STEP,     /* another key has signed it over */
    SPOILT_PREVIOUS, /* these keys do not say that they follow */
    SPOILT_ADDRESS,
    SPOILT_KEYS, /* it leads to others */
    SPOILT_TURNED,
    SPOILT_REFUSED_MAX, /* those above are 403, those behind 400 */
    SPOILT_EMPTY,
    SPOILT_LONG,
    SPOILT_TYPE,
    SPOILT_LINK,
    SPOILT_GUEST,
    SPOILT_MAX,
} Spoilt;

static void spoil(TestRegistration *g, Spoilt how)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autofree char *before = test_person_statement(first, ADDRESS),
                    *other = test_person_statement(first, "bob@" TEST_HOST);
    json_t *link = json_array_get(g->chain, 0), *wrong = NULL;
    if (how == SPOILT_STEP) {
        TestPerson mixed = *third;
        mixed.sign = first->sign; /* says that it is of the first */
        wrong = link_new(before, &mixed, second, 1);
    } else if (how == SPOILT_PREVIOUS) {
        set_statement(g, test_person_statement_after(second, ADDRESS, 1, NULL));
    } else if (how == SPOILT_ADDRESS) {
        set_statement(g, test_person_statement_after(second, ADDRESS, 1, other));
        wrong = link_new(other, first, second, 1);
    } else if (how == SPOILT_KEYS) {
        wrong = link_new(before, first, third, 1);
    } else if (how == SPOILT_TURNED) {
        wrong = link_new(g->statement, second, first, 2);
    } else if (how == SPOILT_EMPTY) {
        json_array_clear(g->chain);
    } else if (how == SPOILT_LONG) {
        while (json_array_size(g->chain) <= ROTATION_CHAIN_MAX)
            json_array_append(g->chain, link);
    } else if (how == SPOILT_TYPE) {
        json_decref(g->chain);
        g->chain = json_object();
    } else if (how == SPOILT_LINK) {
        wrong = json_integer(7);
    } else if (how == SPOILT_GUEST) {
        g->request.method = REGISTER_GUEST;
        g->request.name[0] = 0;
    }
    if (wrong)
        json_array_set_new(g->chain, 0, wrong);
}

static void test_refused(TestRelay *f, gconstpointer data)
{
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    TestRegistration g;
    for (Spoilt how = 0; how < SPOILT_MAX; how++) {
        if (how == SPOILT_REFUSED_MAX)
            continue;
        come_back(f, c, test_person(0), test_person(1), &g);
        spoil(&g, how);
        EXPECT(how < SPOILT_REFUSED_MAX ? 403 : 400, test_registration_send(c, &g));
        EXPECT(404, double_json(c, "GET", "/v1/names/alice", NULL));
    }
    come_back(f, c, test_person(0), test_person(1), &g);
    EXPECT(201, test_registration_send(c, &g));
}

/* A former key that is somebody's here is nobody else's: the registration counts, the chain does not. */
static void test_of_others(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    TestPerson mixed = *first;
    TestRegistration g;
    mixed.decrypt = third->decrypt;
    g_assert_cmpuint(test_register_person(f, c, third, "carol"), ==, 201);
    come_back(f, c, &mixed, second, &g);
    EXPECT(201, test_registration_send(c, &g));
    g_assert_cmpuint(leads(c, "/v1/names/alice", third->kid), ==, 0);
    g_assert_cmpuint(leads(c, "/v1/names/alice", first->skid), ==, 0);
    g_assert_cmpuint(leads(c, "/v1/names/carol", third->kid), ==, 0);
    unregister(f, c, second);
    /* one that is a guest still */
    g_assert_cmpuint(test_register_person(f, c, first, ""), ==, 201);
    come_back(f, c, first, second, &g);
    EXPECT(201, test_registration_send(c, &g));
    g_assert_cmpuint(leads(c, "/v1/names/alice", first->kid), ==, 0);
}

/* Somebody else's decrypt key that was named before its owner came: it is not taken from him, nor his mail.
 */
static void test_claimed(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *by_key = g_strdup_printf("/v1/keys/%s?from=%s", third->kid, third->kid);
    TestPerson mixed = *first;
    TestRegistration g;
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    mixed.decrypt = third->decrypt;
    come_back(f, c, &mixed, second, &g);
    EXPECT(201, test_registration_send(c, &g));
    EXPECT(404, double_json(c, "GET", by_key, NULL));
    g_autoptr(DoubleConnection) in = test_login(f, second, NULL);
    g_assert_cmpint(message_id(rsa_key_thumbprint(third->decrypt), "hello", 5, id), ==, 0);
    base64url_encode(id, ID_SIZE, text);
    g_autofree char *target = g_strdup_printf("/v1/mailboxes/%s/messages/%s", third->kid, text);
    const char *headers[] = {"content-type: application/octet-stream", NULL};
    const DoubleCall put = {
        .method = "PUT", .target = target, .headers = headers, .body = "hello", .size = 5};
    EXPECT(404, double_call(in, &put));
    g_assert_cmpuint(test_register_person(f, c, third, "carol"), ==, 201);
    EXPECT(200, double_json(c, "GET", by_key, NULL));
    EXPECT(201, double_call(in, &put));
    g_autofree char *fetch = g_strdup_printf("/v1/mailbox/messages/%s", text);
    EXPECT(404, double_json(in, "GET", fetch, NULL));
    g_autoptr(DoubleConnection) in_third = test_login(f, third, NULL);
    EXPECT(200, double_json(in_third, "GET", fetch, NULL));
    /* and its owner gives it up as he likes */
    g_autoptr(TestPerson) fourth = test_person_new();
    g_autoptr(DoubleAnswer) now = double_json(c, "GET", "/v1/names/carol", NULL);
    test_rotation_init(f, c, third, fourth, 1, "carol@" TEST_HOST, test_text(now->json, "statement"), &g);
    EXPECT(201, test_registration_send(c, &g));
    g_assert_cmpuint(leads(c, "/v1/names/carol", third->kid), ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add(name, TestRelay, NULL, test_relay_set_up, test, test_relay_tear_down)
    ADD("/handlers-chain/back", test_back);
    ADD("/handlers-chain/long", test_long);
    ADD("/handlers-chain/recovery", test_recovery);
    ADD("/handlers-chain/refused", test_refused);
    ADD("/handlers-chain/of-others", test_of_others);
    ADD("/handlers-chain/claimed", test_claimed);
    return g_test_run();
}

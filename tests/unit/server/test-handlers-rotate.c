/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* POST /v1/rotations and what the directory says of those who made one. */

#include "server/handlers.h"

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/wire/rotation.h"
#include "tests/unit/server/handlers-util.h"

#define ADDRESS "alice@" TEST_HOST

/* What the directory has of somebody now. */
static char *statement_of(DoubleConnection *c, const char *name)
{
    g_autofree char *target = g_strdup_printf("/v1/names/%s", name);
    g_autoptr(DoubleAnswer) a = double_json(c, "GET", target, NULL);
    g_assert_cmpuint(a->status, ==, 200);
    return g_strdup(test_text(a->json, "statement"));
}

static unsigned rotate(TestRelay *f, DoubleConnection *c, const TestPerson *from, const TestPerson *to,
                       uint64_t generation)
{
    g_autofree char *previous = statement_of(c, "alice");
    TestRegistration g;
    test_rotation_init(f, c, from, to, generation, ADDRESS, previous, &g);
    g_autoptr(DoubleAnswer) a = test_registration_send(c, &g);
    return a->status;
}

/* Whether the directory leads from one key to the entry that it gives. */
static bool leads(DoubleConnection *c, const char *target, const uint8_t *from, size_t *ret_n)
{
    g_autoptr(DoubleAnswer) a = double_json(c, "GET", target, NULL);
    _cleanup_(identity_statement_done) IdentityStatement s = {};
    g_autofree Rotation *rotation = g_new0(Rotation, 1);
    g_assert_cmpuint(a->status, ==, 200);
    const char *text = test_text(a->json, "statement");
    g_assert_cmpint(identity_statement_parse(text, strlen(text), clock_realtime(), &s), ==, 0);
    int r = rotation_chain_follow(json_object_get(a->json, "chain"), from, &s, clock_realtime(), rotation);
    *ret_n = rotation->n;
    return r == 0;
}

static void test_rotation(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *plain = g_strdup_printf("/v1/names/alice"),
                    *from_first = g_strdup_printf("/v1/names/alice?from=%s", first->kid),
                    *from_second = g_strdup_printf("/v1/names/alice?from=%s", second->skid),
                    *by_first = g_strdup_printf("/v1/keys/%s?from=%s", first->skid, first->skid),
                    *old = g_strdup_printf("/v1/keys/%s", first->skid),
                    *from_now = g_strdup_printf("/v1/names/alice?from=%s", third->skid);
    size_t n = 0;
    g_assert_cmpuint(test_register_person(f, c, first, "alice"), ==, 201);
    g_autoptr(DoubleConnection) in_first = test_login(f, first, NULL);
    g_assert_cmpuint(rotate(f, c, first, second, 1), ==, 201);
    g_assert_cmpuint(rotate(f, c, second, third, 2), ==, 201);
    g_assert_true(leads(c, from_first, rsa_key_thumbprint(first->sign), &n));
    g_assert_cmpuint(n, ==, 2);
    g_assert_true(leads(c, from_second, rsa_key_thumbprint(second->sign), &n));
    g_assert_cmpuint(n, ==, 1);
    g_assert_true(leads(c, by_first, rsa_key_thumbprint(first->sign), &n));
    g_assert_false(leads(c, plain, rsa_key_thumbprint(first->sign), &n));
    g_assert_false(leads(c, from_now, rsa_key_thumbprint(third->sign), &n));
    EXPECT(404, double_json(c, "GET", old, NULL));
    EXPECT(400, double_json(c, "GET", "/v1/names/alice?from=AAAA", NULL));
    /* the former key logs in no more, and what was logged in has nothing; the new one is the owner */
    TestLogin l;
    test_login_init(f, c, &l);
    EXPECT(404, test_login_send(f, c, first, &l, NULL));
    g_autoptr(DoubleConnection) in = test_login(f, third, NULL);
    EXPECT(200, double_json(in, "GET", "/v1/mailbox/messages", NULL));
    /* it registers nothing here either */
    g_assert_cmpuint(test_register_person(f, c, first, "alice"), ==, 409);
    g_assert_cmpuint(test_register_person(f, c, first, "other"), ==, 409);
    g_assert_cmpuint(test_register_person(f, c, first, ""), ==, 409);
}

/* The statement of the same keys is made anew between two rotations. */
static void test_registered_again(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *target = g_strdup_printf("/v1/names/alice?from=%s", first->kid);
    TestRegistration g;
    size_t n = 0;
    g_assert_cmpuint(test_register_person(f, c, first, "alice"), ==, 201);
    g_assert_cmpuint(rotate(f, c, first, second, 1), ==, 201);
    test_registration_init(f, c, second, "alice", &g);
    g_free(g.statement);
    g.statement = test_person_statement_after(second, ADDRESS, 1, NULL);
    g_assert_cmpint(crypto_sha256(g.statement, strlen(g.statement), g.request.statement_sha256), ==, 0);
    EXPECT(200, test_registration_send(c, &g));
    g_assert_true(leads(c, target, rsa_key_thumbprint(first->sign), &n));
    g_assert_cmpuint(rotate(f, c, second, third, 2), ==, 201);
    g_assert_true(leads(c, target, rsa_key_thumbprint(first->sign), &n));
    g_assert_cmpuint(n, ==, 2);
}

/* Two rotations that the relay hears of at once, and the same told again. */
static void test_several(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *third = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *target = g_strdup_printf("/v1/names/alice?from=%s", first->kid), *previous = NULL;
    g_autofree char *other = test_person_rotate(first, second, 1),
                    *next = test_person_rotate(second, third, 2);
    size_t n = 0;
    g_assert_cmpuint(test_register_person(f, c, first, "alice"), ==, 201);
    previous = statement_of(c, "alice");
    for (unsigned status = 201; status >= 200; status--) {
        TestRegistration g;
        test_rotation_init(f, c, first, third, 2, ADDRESS, previous, &g);
        json_array_clear(g.steps);
        test_rotation_step(&g, first, other);
        test_rotation_step(&g, second, next);
        EXPECT(status, test_registration_send(c, &g));
    }
    g_assert_true(leads(c, target, rsa_key_thumbprint(first->sign), &n));
    g_assert_cmpuint(n, ==, 2);
    /* from the same beginning to somewhere else */
    TestRegistration g;
    test_rotation_init(f, c, first, second, 1, ADDRESS, previous, &g);
    EXPECT(409, test_registration_send(c, &g));
}

/* Alice names a recovery key, with its sign key or without. */
static void register_with_recovery(TestRelay *f, DoubleConnection *c, const TestPerson *alice,
                                   const TestPerson *offline, bool may_sign)
{
    _cleanup_(recovery_keys_done) RecoveryKeys k = {};
    TestRegistration g;
    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, may_sign ? offline->sign : NULL), ==, 0);
    test_registration_init(f, c, alice, "alice", &g);
    g_free(g.statement);
    g.statement = test_person_statement_with(alice, ADDRESS, 1, NULL, &k);
    g_assert_cmpint(crypto_sha256(g.statement, strlen(g.statement), g.request.statement_sha256), ==, 0);
    EXPECT(201, test_registration_send(c, &g));
}

/* A recovery key that the address names signs for new keys; told again when the answer was lost. */
static void test_recovery(TestRelay *f, gconstpointer data)
{
    const TestPerson *alice = test_person(0), *offline = test_person(1), *new = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *target = g_strdup_printf("/v1/names/alice?from=%s", alice->kid), *previous = NULL;
    size_t n = 0;
    register_with_recovery(f, c, alice, offline, true);
    previous = statement_of(c, "alice");
    for (unsigned status = 201; status >= 200; status--) {
        TestRegistration g;
        test_rotation_init(f, c, offline, new, 2, ADDRESS, previous, &g);
        EXPECT(status, test_registration_send(c, &g));
    }
    g_assert_true(leads(c, target, rsa_key_thumbprint(alice->sign), &n));
    g_assert_cmpuint(n, ==, 1);
    TestLogin l;
    test_login_init(f, c, &l);
    EXPECT(404, test_login_send(f, c, alice, &l, NULL));
    g_autoptr(DoubleConnection) in = test_login(f, new, NULL);
    EXPECT(200, double_json(in, "GET", "/v1/mailbox/messages", NULL));
}

/* Nor a key that only reads, nor one whose owner is registered under another name. */
static void test_recovery_refused(TestRelay *f, gconstpointer data)
{
    const TestPerson *alice = test_person(0), *offline = test_person(1), *new = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *previous = NULL;
    TestRegistration g, h;
    register_with_recovery(f, c, alice, offline, false);
    previous = statement_of(c, "alice");
    test_rotation_init(f, c, offline, new, 2, ADDRESS, previous, &g);
    EXPECT(404, test_registration_send(c, &g));
    g_assert_cmpuint(test_register_person(f, c, offline, "other"), ==, 201);
    test_rotation_init(f, c, offline, new, 2, ADDRESS, previous, &h);
    EXPECT(403, test_registration_send(c, &h));
    g_autofree char *still = statement_of(c, "alice");
    g_assert_cmpstr(still, ==, previous);
}

static void test_guest(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autofree char *old = g_strdup_printf("/v1/keys/%s", first->skid),
                    *new = g_strdup_printf("/v1/keys/%s?from=%s", second->skid, first->skid);
    size_t n = 0;
    g_assert_cmpuint(test_register_person(f, c, first, ""), ==, 201);
    g_autoptr(DoubleAnswer) a = double_json(c, "GET", old, NULL);
    TestRegistration g;
    test_rotation_init(f, c, first, second, 1, "", test_text(a->json, "statement"), &g);
    EXPECT(201, test_registration_send(c, &g));
    g_assert_true(leads(c, new, rsa_key_thumbprint(first->sign), &n));
    g_autoptr(DoubleConnection) in = test_login(f, second, NULL);
    EXPECT(404, double_json(in, "GET", "/v1/mailbox/messages", NULL));
}

/* Everything that is wrong with a rotation, one at a time. */
static void test_refused(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *eve = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    g_autoptr(DoubleConnection) other = test_relay_connect(f);
    g_assert_cmpuint(test_register_person(f, c, first, "alice"), ==, 201);
    g_autofree char *previous = statement_of(c, "alice");
    for (unsigned i = 0; i < 11; i++) {
        g_autofree char *forged = NULL;
        unsigned expected = 403;
        TestRegistration g;
        test_rotation_init(f, c, first, second, 1, ADDRESS, previous, &g);
        switch (i) {
        case 0: /* no proof of the new decrypt key */
            g.wrong_answer = true;
            break;
        case 1:
            memcpy(g.request.binding.exporter, other->client.exporter, EXPORTER_SIZE);
            break;
        case 2:
            g.request.method = REGISTER_GUEST;
            expected = 400;
            break;
        case 3: /* by a thief, who has not the former sign key */
            forged = test_person_rotate(eve, second, 1);
            json_array_clear(g.steps);
            test_rotation_step(&g, first, forged);
            break;
        case 4: /* from somebody who is not here */
            forged = test_person_rotate(eve, second, 1);
            json_array_clear(g.steps);
            test_rotation_step(&g, eve, forged);
            expected = 404;
            break;
        case 5: /* to other keys than those of the statement */
            forged = test_person_rotate(first, eve, 1);
            json_array_clear(g.steps);
            test_rotation_step(&g, first, forged);
            break;
        case 6: /* another generation */
            forged = test_person_rotate(first, second, 2);
            json_array_clear(g.steps);
            test_rotation_step(&g, first, forged);
            break;
        case 7: /* the new keys do not follow what is registered */
            g_free(g.statement);
            g.statement = test_person_statement_after(second, ADDRESS, 1, NULL);
            break;
        case 8: /* another's address */
            g_free(g.statement);
            g.statement = test_person_statement_after(second, "bob@" TEST_HOST, 1, previous);
            break;
        case 9:
            json_array_clear(g.steps);
            expected = 400;
            break;
        default: /* the statement that was not signed for */
            g_free(g.statement);
            g.statement = test_person_statement_after(second, ADDRESS, 1, previous);
            g.request.statement_sha256[0] ^= 1;
            break;
        }
        if (i == 7 || i == 8)
            g_assert_cmpint(crypto_sha256(g.statement, strlen(g.statement), g.request.statement_sha256), ==,
                            0);
        EXPECT(expected, test_registration_send(c, &g));
        g_autofree char *now = statement_of(c, "alice");
        g_assert_cmpstr(now, ==, previous);
    }
    EXPECT(400, double_json(c, "POST", "/v1/rotations", json_object()));
    /* to keys that another has */
    g_assert_cmpuint(test_register_person(f, c, second, "bob"), ==, 201);
    g_assert_cmpuint(rotate(f, c, first, second, 1), ==, 409);
}

/* A message to the former key comes to the one mailbox and wakes its owner of now. */
static void test_mail(TestRelay *f, gconstpointer data)
{
    const TestPerson *first = test_person(0), *second = test_person(1), *bob = test_person(2);
    g_autoptr(DoubleConnection) c = test_relay_connect(f);
    uint8_t id[ID_SIZE];
    char text[HASH_TEXT_SIZE];
    g_assert_cmpuint(test_register_person(f, c, first, "alice"), ==, 201);
    g_assert_cmpuint(test_register_person(f, c, bob, "bob"), ==, 201);
    g_autoptr(DoubleConnection) in_first = test_login(f, first, NULL);
    g_autoptr(DoubleConnection) in_bob = test_login(f, bob, NULL);
    DoubleEvents *ended = double_events(in_first, "/v1/events", 8);
    g_autofree char *ready = double_events_take(ended);
    g_assert_cmpstr(ready, ==, "ready {}");
    g_assert_cmpuint(rotate(f, c, first, second, 1), ==, 201);
    g_assert_null(double_events_take(ended));
    double_events_close(ended);
    g_autoptr(DoubleConnection) in = test_login(f, second, NULL);
    DoubleEvents *events = double_events(in, "/v1/events", 8);
    g_autofree char *again = double_events_take(events);
    g_assert_cmpstr(again, ==, "ready {}");
    g_assert_cmpint(message_id(rsa_key_thumbprint(first->decrypt), "hello", 5, id), ==, 0);
    base64url_encode(id, ID_SIZE, text);
    g_autofree char *target = g_strdup_printf("/v1/mailboxes/%s/messages/%s", first->kid, text);
    const char *headers[] = {"content-type: application/octet-stream", NULL};
    EXPECT(201, double_call(
                    in_bob,
                    &(DoubleCall){
                        .method = "PUT", .target = target, .headers = headers, .body = "hello", .size = 5}));
    g_autofree char *mail = double_events_take(events);
    g_assert_nonnull(strstr(mail, text));
    double_events_close(events);
    g_autofree char *fetch = g_strdup_printf("/v1/mailbox/messages/%s", text);
    EXPECT(200, double_json(in, "GET", fetch, NULL));
    EXPECT(404, double_json(in_first, "GET", fetch, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add(name, TestRelay, NULL, test_relay_set_up, test, test_relay_tear_down)
    ADD("/handlers-rotate/rotation", test_rotation);
    ADD("/handlers-rotate/registered-again", test_registered_again);
    ADD("/handlers-rotate/several", test_several);
    ADD("/handlers-rotate/guest", test_guest);
    ADD("/handlers-rotate/recovery", test_recovery);
    ADD("/handlers-rotate/recovery-refused", test_recovery_refused);
    ADD("/handlers-rotate/refused", test_refused);
    ADD("/handlers-rotate/mail", test_mail);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A relay that gives somebody other keys, and says how it came about: an agent follows what the former key
 * has signed, and nothing else. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/rotation.h"
#include "tests/integration/mail.h"
#include "tests/lib/fake-relay.h"
#include "tests/lib/person.h"

#define UNTRUSTED 8

typedef struct Fixture {
    Scene *scene;
    SceneUser *alice;
    FakeRelay *relay;
    TestPerson *bob, *next, *mallory;
    RsaKey *identity; /* of the relay */
    EcKey *online;
    char *address, *pinned_address;
    char *statement; /* of bob's first keys */
} Fixture;

static char *sign(const JwsDraft *d, EVP_PKEY *key, const EcKey *online)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(key ? jws_sign_rsa(d, key, &jws) : jws_sign_ec(d, online, &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

static char *make_relay(const Fixture *f)
{
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    int64_t now = clock_realtime();
    RelayStatement s = {.identity = f->identity, .online = f->online, .nbf = now, .exp = now + 3600};

    g_assert_cmpint(relay_statement_prepare(&s, &draft), ==, 0);
    return sign(&draft, fake_relay_chain(f->relay)->identity_key, NULL);
}

static char *make_binding(const Fixture *f, const TestPerson *p, const char *statement)
{
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    Binding b = {.name = "bob", .iat = clock_realtime()};

    b.exp = b.iat + 600;
    memcpy(b.pin, fake_relay_chain(f->relay)->pin, PIN_SIZE);
    memcpy(b.skid, rsa_key_thumbprint(p->sign), KID_SIZE);
    memcpy(b.kid, rsa_key_thumbprint(p->decrypt), KID_SIZE);
    g_assert_cmpint(crypto_sha256(statement, strlen(statement), b.statement_sha256), ==, 0);
    g_assert_cmpint(binding_prepare(&b, f->online, &draft), ==, 0);
    return sign(&draft, NULL, f->online);
}

/* What the relay's directory says of bob from now on, to whoever knows his first key as well. */
static void say(Fixture *f, const TestPerson *p, const char *statement, const json_t *chain)
{
    g_autofree char *binding = make_binding(f, p, statement), *relay = make_relay(f);
    g_autofree char *led = g_strdup_printf("GET /v1/names/bob?from=%s", f->bob->kid);
    json_t *answer = json_pack("{s:s, s:s, s:s}", "statement", statement, "binding", binding, "relay", relay);
    char *text = json_dumps(answer, JSON_COMPACT);

    fake_relay_set_json(f->relay, "GET /v1/names/bob", 200, text);
    if (chain) {
        free(text);
        g_assert_cmpint(json_object_set_new(answer, "chain", json_deep_copy(chain)), ==, 0);
        text = json_dumps(answer, JSON_COMPACT);
    }
    fake_relay_set_json(f->relay, led, 200, text);
    free(text);
    json_decref(answer);
}

/* One link from bob's first keys, by one rotate statement that says to be of his sign key. */
static json_t *make_chain(const Fixture *f, const char *from, const char *rotate, const TestPerson *by)
{
    json_t *steps = json_array();
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(by->sign, &n);

    g_assert_cmpint(rotation_step_put(steps, rotate, spki, n), ==, 0);
    return json_pack("[{s:s, s:o}]", "from", from, "steps", steps);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->scene = scene_new();
    f->alice = scene_user_new(f->scene, "alice");
    f->relay = fake_relay_new(&(FakeRelayOptions){0});
    f->bob = test_person_new();
    f->next = test_person_new();
    f->mallory = test_person_new();
    g_assert_cmpint(rsa_key_from_evp(fake_relay_chain(f->relay)->identity_key, &f->identity), ==, 0);
    g_assert_cmpint(ec_key_generate(&f->online), ==, 0);
    f->address = g_strdup_printf("bob@%s", fake_relay_host_port(f->relay));
    f->pinned_address = g_strdup_printf("bob@%s", fake_relay_name(f->relay));
    f->statement = test_person_statement_after(f->bob, f->address, 1, NULL);
    say(f, f->bob, f->statement, NULL);
    scene_ctl_expect(f->alice, 0, "identity", "create", NULL);
    scene_ctl_expect(f->alice, 0, "contact", "add", f->pinned_address, NULL);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    scene_free(f->scene);
    fake_relay_free(f->relay);
    test_person_free(f->bob);
    test_person_free(f->next);
    test_person_free(f->mallory);
    (void)rsa_key_free(f->identity);
    (void)ec_key_free(f->online);
    g_free(f->address);
    g_free(f->pinned_address);
    g_free(f->statement);
}

static void expect_contact(Fixture *f, const char *trust, const TestPerson *keys)
{
    json_t *contact = scene_ctl_json(f->alice, "contact", "show", f->address, NULL);

    g_assert_cmpstr(mail_fact(contact, "trust"), ==, trust);
    g_assert_cmpstr(mail_fact(contact, "kid"), ==, keys->kid);
    json_decref(contact);
}

static void test_true(Fixture *f, gconstpointer data)
{
    g_autofree char *statement = test_person_statement_after(f->next, f->address, 2, f->statement);
    g_autofree char *rotate = test_person_rotate(f->bob, f->next, 2);
    json_t *chain = make_chain(f, f->statement, rotate, f->bob);

    say(f, f->next, statement, chain);
    scene_ctl_expect(f->alice, 0, "contact", "add", f->address, NULL);
    expect_contact(f, "pinned", f->next);
    json_decref(chain);
}

/* The relay wants its own keys in bob's place, and has all but his signature. */
static void test_forged(Fixture *f, gconstpointer data)
{
    g_autofree char *statement = test_person_statement_after(f->mallory, f->address, 2, f->statement);
    TestPerson mixed = *f->bob;

    mixed.sign_private = f->mallory->sign_private;
    g_autofree char *own = test_person_rotate(f->mallory, f->mallory, 2);
    g_autofree char *forged = test_person_rotate(&mixed, f->mallory, 2);
    g_autofree char *other = test_person_rotate(f->bob, f->next, 2);
    json_t *chains[] = {NULL, json_array(), make_chain(f, f->statement, own, f->mallory),
                        make_chain(f, f->statement, forged, f->bob),
                        make_chain(f, f->statement, other, f->bob)};

    for (size_t i = 0; i < G_N_ELEMENTS(chains); i++) {
        say(f, f->mallory, statement, chains[i]);
        scene_ctl_expect(f->alice, UNTRUSTED, "contact", "add", f->address, NULL);
        scene_ctl_expect(f->alice, UNTRUSTED, "send", "-r", f->address, NULL);
        scene_ctl_expect(f->alice, UNTRUSTED, "encrypt", "-r", f->address, NULL);
        expect_contact(f, "changed", f->bob);
        g_assert_true(mail_states_are(f->alice, ""));
        /* the true keys again: all is well */
        say(f, f->bob, f->statement, NULL);
        scene_ctl_expect(f->alice, 0, "contact", "add", f->address, NULL);
        expect_contact(f, "pinned", f->bob);
        json_decref(chains[i]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/forged-rotation/true", Fixture, NULL, set_up, test_true, tear_down);
    g_test_add("/forged-rotation/forged", Fixture, NULL, set_up, test_forged, tear_down);
    return g_test_run();
}

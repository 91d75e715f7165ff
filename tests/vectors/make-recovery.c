/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* make-recovery FOLDER: writes recovery.json, with the people of keys.json: alice, who names bob's keys, or
 * some of them, as recovery keys; carol has the next keys of alice's. Run by hand, as make-vectors. */

#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/rotation.h"
#include "tests/vectors/make.h"
#include "tests/vectors/people.h"

#define ADDRESS "alice@relay.example"

static TestPerson *alice, *bob, *carol, *dave; /* dave is nobody of keys.json: only public keys are needed */
static json_t *list;

static void name_keys(RecoveryKeys *k, bool bob_signs, bool dave_too)
{
    g_assert_cmpint(recovery_keys_add(k, bob->decrypt, bob_signs ? bob->sign : NULL), ==, 0);
    if (dave_too)
        g_assert_cmpint(recovery_keys_add(k, dave->decrypt, NULL), ==, 0);
}

static json_t *kids_of(const RecoveryKeys *k)
{
    json_t *kids = json_array();

    for (size_t i = 0; i < k->n; i++) {
        json_t *one =
            json_pack("{so}", "kid", vector_bytes(rsa_key_thumbprint(k->keys[i].decrypt), KID_SIZE));

        if (k->keys[i].sign)
            json_object_set_new(one, "skid", vector_bytes(rsa_key_thumbprint(k->keys[i].sign), KID_SIZE));
        json_array_append_new(kids, one);
    }
    return kids;
}

static void add_valid(const char *name, const RecoveryKeys *k)
{
    g_autofree char *jws = test_person_statement_with(alice, ADDRESS, 1, NULL, k);

    vector_add(list, name, "valid", json_pack("{ss so}", "statement", jws, "recovery", kids_of(k)));
}

static json_t *spki(const RsaKey *key)
{
    size_t n = 0;
    const uint8_t *bytes = rsa_key_spki(key, &n);

    return vector_bytes(bytes, n);
}

/* alice's statement with this as the member recovery, signed by her. Takes it over. */
static void add_refused(const char *name, json_t *recovery)
{
    _cleanup_(buf_done) Buf payload = BUF_MAX(JWS_PAYLOAD_SIZE_MAX), jws = BUF_MAX(JWS_SIZE_MAX);
    json_t *j = json_pack("{ss so so si so so ss sI}", "address", ADDRESS, "sign", spki(alice->sign),
                          "decrypt", spki(alice->decrypt), "generation", 1, "devices", json_array(),
                          "recovery", recovery, "protection", "tpm", "iat", (json_int_t)VECTORS_NOW);
    JwsDraft draft = {0};

    g_assert_cmpint(json_write(j, &payload), ==, 0);
    g_assert_cmpint(jws_prepare(JWS_PS256, JWS_IDENTITY, rsa_key_thumbprint(alice->sign), buf_text(&payload),
                                payload.size, &draft),
                    ==, 0);
    g_assert_cmpint(jws_sign_rsa(&draft, alice->sign_private, &jws), ==, 0);
    vector_add(list, name, "BadPackage", json_pack("{ss}", "statement", buf_text(&jws)));
    jws_draft_done(&draft);
    json_decref(j);
}

static json_t *reader(const RsaKey *key)
{
    return json_pack("{so}", "decrypt", spki(key));
}

static json_t *signer(const RsaKey *key, const RsaKey *sign)
{
    return json_pack("{so so}", "decrypt", spki(key), "sign", spki(sign));
}

static void add_statements(void)
{
    _cleanup_(recovery_keys_done) RecoveryKeys none = {0}, reads = {0}, signs = {0}, two = {0};

    name_keys(&reads, false, false);
    name_keys(&signs, true, false);
    name_keys(&two, true, true);
    add_valid("none", &none);
    add_valid("one that only reads", &reads);
    add_valid("one with its sign key", &signs);
    add_valid("two", &two);
    add_refused("an empty array", json_array());
    add_refused("null", json_null());
    add_refused("an object", reader(bob->decrypt));
    add_refused("three",
                json_pack("[o o o]", reader(bob->decrypt), reader(dave->decrypt), reader(dave->sign)));
    add_refused("the same twice", json_pack("[o o]", reader(bob->decrypt), reader(bob->decrypt)));
    add_refused("one sign key for two",
                json_pack("[o o]", signer(bob->decrypt, bob->sign), signer(dave->decrypt, bob->sign)));
    add_refused("one key for both", json_pack("[o]", signer(bob->decrypt, bob->decrypt)));
    add_refused("the identity's own key to decrypt", json_pack("[o]", reader(alice->decrypt)));
    add_refused("the identity's own sign key", json_pack("[o]", signer(bob->decrypt, alice->sign)));
    add_refused("only a sign key", json_pack("[{so}]", "sign", spki(bob->sign)));
    add_refused("another member", json_pack("[{so si}]", "decrypt", spki(bob->decrypt), "use", 1));
    add_refused("text", json_pack("[s]", bob->kid));
}

/* One rotation: who signs it, whose keys are next. */
typedef struct Step {
    const TestPerson *from, *to;
} Step;

static void add_chain(const char *name, const char *result, bool bob_signs, const Step *steps, size_t n,
                      bool recovered)
{
    _cleanup_(recovery_keys_done) RecoveryKeys k = {0};
    json_t *array = json_array();

    name_keys(&k, bob_signs, false);
    g_autofree char *from = test_person_statement_with(alice, ADDRESS, 1, NULL, &k);
    g_autofree char *to = test_person_statement_after(steps[n - 1].to, ADDRESS, n + 1, from);
    for (size_t i = 0; i < n; i++) {
        g_autofree char *step = test_person_rotate(steps[i].from, steps[i].to, i + 2);
        size_t size = 0;
        const uint8_t *key = rsa_key_spki(steps[i].from->sign, &size);

        g_assert_cmpint(rotation_step_put(array, step, key, size), ==, 0);
    }
    vector_add(list, name, result,
               json_pack("{s[{ss so}] ss so sb}", "chain", "from", from, "steps", array, "current", to,
                         "asked", vector_bytes(rsa_key_thumbprint(alice->sign), KID_SIZE), "recovered",
                         (int)recovered));
}

static void add_chains(void)
{
    const Step by_owner[] = {{alice, carol}}, by_recovery[] = {{bob, carol}}, by_other[] = {{carol, dave}},
               first[] = {{bob, dave}, {dave, carol}}, second[] = {{alice, dave}, {bob, carol}},
               itself[] = {{bob, bob}};
    static const char forged[] = "AuthenticationFailed";

    add_chain("rotation by the owner", "valid", true, by_owner, 1, false);
    add_chain("rotation by a recovery key", "valid", true, by_recovery, 1, true);
    add_chain("rotation by a recovery key, then by the keys it named", "valid", true, first, 2, true);
    add_chain("to the recovery keys themselves", "valid", true, itself, 1, true);
    add_chain("by a recovery key that only reads", forged, false, by_recovery, 1, false);
    add_chain("by somebody who is not named", forged, true, by_other, 1, false);
    add_chain("by a recovery key, of keys that named none", forged, true, second, 2, false);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        g_error("usage: make-recovery FOLDER");
    g_autofree char *path = g_build_filename(argv[1], "recovery.json", NULL);
    VectorPeople people = vector_people(argv[1]);

    alice = people.alice;
    bob = people.bob;
    carol = people.carol;
    dave = test_person_new();
    list = json_array();
    add_statements();
    add_chains();
    vector_save(path, list);
    vector_people_done(&people);
    test_person_free(dave);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* make-rotations FOLDER: writes rotations.json: chains of several links and several steps, which begin with
 * alice of keys.json; those who have her keys later are nobody else. Run by hand, as make-vectors. */

#include <string.h>

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/rotation.h"
#include "tests/vectors/make.h"
#include "tests/vectors/people.h"

#define ADDRESS "alice@relay.example"
#define PAIRS 5u /* alice's keys, and those that follow; the last ones belong to somebody else */
#define OTHER (PAIRS - 1)
#define PARTS_MAX 4u

static const char forged[] = "AuthenticationFailed";

static TestPerson *pairs[PAIRS];
static json_t *list;

/* By whom one step is signed, and whose keys it names. */
typedef struct Step {
    unsigned from, to;
    uint64_t generation;
} Step;

/* A statement and the steps that lead away from it. No steps: the end. */
typedef struct Link {
    const char *from;
    Step steps[PARTS_MAX];
} Link;

/* A statement of these keys, which follows another one, or none. */
static char *statement(unsigned pair, uint64_t generation, const char *previous)
{
    return test_person_statement_after(pairs[pair], ADDRESS, generation, previous);
}

static json_t *step_of(const Step *s)
{
    g_autofree char *rotate = test_person_rotate(pairs[s->from], pairs[s->to], s->generation);
    json_t *array = json_array(), *step;
    size_t n = 0;
    const uint8_t *key = rsa_key_spki(pairs[s->from]->sign, &n);

    g_assert_cmpint(rotation_step_put(array, rotate, key, n), ==, 0);
    step = json_incref(json_array_get(array, 0));
    json_decref(array);
    return step;
}

static json_t *link_of(const Link *l)
{
    json_t *steps = json_array();

    for (size_t i = 0; i < PARTS_MAX && l->steps[i].generation > 0; i++)
        json_array_append_new(steps, step_of(&l->steps[i]));
    return json_pack("{ss so}", "from", l->from, "steps", steps);
}

/* Links until one has no statement. */
static json_t *chain_of(const Link *links)
{
    json_t *chain = json_array();

    for (size_t i = 0; i < PARTS_MAX && links[i].from; i++)
        json_array_append_new(chain, link_of(&links[i]));
    return chain;
}

/* Takes chain over. former: how many pairs a valid one gives up, the first of all. */
static void add_chain(const char *name, const char *result, json_t *chain, const char *current,
                      const RsaKey *asked, unsigned former)
{
    json_t *v = json_pack("{so ss so}", "chain", chain, "current", current, "asked",
                          vector_bytes(rsa_key_thumbprint(asked), KID_SIZE));

    if (strcmp(result, "valid") == 0) {
        json_t *array = json_array();

        for (unsigned i = 0; i < former; i++)
            json_array_append_new(array, json_pack("{ss ss}", "skid", pairs[i]->skid, "kid", pairs[i]->kid));
        json_object_set_new(v, "former", array);
    }
    vector_add(list, name, result, v);
}

static void add(const char *name, const char *result, const Link *links, const char *current, unsigned former)
{
    add_chain(name, result, chain_of(links), current, pairs[0]->sign, former);
}

/* From one statement to the next while the relay was away. */
static void add_steps(void)
{
    g_autofree char *s0 = statement(0, 1, NULL), *s1 = statement(1, 2, s0), *s3 = statement(3, 4, s0),
                    *late = statement(3, 9, s0);
    const Step first = {0, 1, 2}, second = {1, 2, 3}, third = {2, 3, 4};
    const Link one[] = {{s0, {first}}, {0}}, three[] = {{s0, {first, second, third}}, {0}},
               gaps[] = {{s0, {{0, 1, 3}, {1, 2, 4}, {2, 3, 9}}}, {0}},
               missing[] = {{s0, {first, third}}, {0}}, order[] = {{s0, {second, first, third}}, {0}},
               twice[] = {{s0, {first, first, second, third}}, {0}},
               level[] = {{s0, {first, {1, 2, 2}, third}}, {0}},
               other[] = {{s0, {first, {OTHER, 2, 3}, third}}, {0}},
               back[] = {{s0, {first, {1, 0, 3}, {0, 3, 4}}}, {0}}, none[] = {{s0, {{0}}}, {0}},
               cut[] = {{s0, {first, second}}, {0}};

    add("one step", "valid", one, s1, 1);
    add("three steps in a link", "valid", three, s3, 3);
    add("three steps, generations left out", "valid", gaps, late, 3);
    add_chain("asked by the decrypt key", "valid", chain_of(three), s3, pairs[0]->decrypt, 3);
    add_chain("asked by a key that came later", forged, chain_of(three), s3, pairs[1]->sign, 0);
    add("a step is missing", forged, missing, s3, 0);
    add("the last step is missing", forged, cut, s3, 0);
    add("steps in another order", forged, order, s3, 0);
    add("a step twice", forged, twice, s3, 0);
    add("a generation that does not grow", forged, level, s3, 0);
    add("a step by keys that were not named", forged, other, s3, 0);
    add("a step back to the first keys", forged, back, s3, 0);
    add("another generation than the steps say", forged, three, late, 0);
    add("no steps", "BadPackage", none, s3, 0);
}

static void add_links(void)
{
    g_autofree char *s0 = statement(0, 1, NULL), *s1 = statement(1, 2, s0), *s2 = statement(2, 3, s1),
                    *s3 = statement(3, 4, s2), *jump = statement(2, 3, s0), *after = statement(3, 4, jump),
                    *again = statement(0, 3, s1);
    const Step first = {0, 1, 2}, second = {1, 2, 3}, third = {2, 3, 4};
    const Link three[] = {{s0, {first}}, {s1, {second}}, {s2, {third}}, {0}},
               mixed[] = {{s0, {first, second}}, {jump, {third}}, {0}},
               missing[] = {{s0, {first}}, {s2, {third}}, {0}},
               order[] = {{s1, {second}}, {s0, {first}}, {s2, {third}}, {0}},
               back[] = {{s0, {first}}, {s1, {{1, 0, 3}}}, {0}}, none[] = {{0}};

    add("three links", "valid", three, s3, 3);
    add("a link of two steps, then one", "valid", mixed, after, 3);
    add("a link is missing", forged, missing, s3, 0);
    add("links in another order", forged, order, s3, 0);
    add("two links back to the first keys", forged, back, again, 0);
    add("the statement follows another one", forged, mixed, s3, 0);
    add("no links", forged, none, s3, 0);
}

/* With a statement of the end in the link: that of now was made anew for the same keys. */
static void add_ends(void)
{
    g_autofree char *s0 = statement(0, 1, NULL), *s1 = statement(1, 2, s0), *anew = statement(1, 2, NULL),
                    *other = statement(2, 2, NULL),
                    *elsewhere = test_person_statement_after(pairs[1], "alice@other.example", 2, s0);
    const Link one[] = {{s0, {{0, 1, 2}}}, {0}};
    json_t *chain = chain_of(one), *foreign = chain_of(one);

    json_object_set_new(json_array_get(chain, 0), "to", json_string(s1));
    json_object_set_new(json_array_get(foreign, 0), "to", json_string(elsewhere));
    add_chain("a statement made anew for the same keys", "valid", json_incref(chain), anew, pairs[0]->sign,
              1);
    add_chain("a statement of other keys", forged, chain, other, pairs[0]->sign, 0);
    add_chain("to another address", forged, foreign, anew, pairs[0]->sign, 0);
    add("a statement that follows none", forged, one, anew, 0);
}

static void add_malformed(void)
{
    g_autofree char *s0 = statement(0, 1, NULL), *s1 = statement(1, 2, s0);
    const Link one[] = {{s0, {{0, 1, 2}}}, {0}};
    json_t *member = chain_of(one), *key = chain_of(one), *signature = chain_of(one);
    json_t *steps = json_object_get(json_array_get(key, 0), "steps");
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(pairs[1]->sign, &n);

    json_object_set_new(json_array_get(member, 0), "x", json_integer(1));
    json_object_set_new(json_array_get(steps, 0), "sign", vector_bytes(spki, n));
    json_t *step = json_array_get(json_object_get(json_array_get(signature, 0), "steps"), 0);
    g_autofree char *jws = g_strdup(json_string_value(json_object_get(step, "rotate")));
    char *last = strrchr(jws, '.') + 1;
    *last = *last == 'A' ? 'B' : 'A';
    json_object_set_new(step, "rotate", json_string(jws));
    add_chain("an unknown member", "BadPackage", member, s1, pairs[0]->sign, 0);
    add_chain("a step with another sign key", forged, key, s1, pairs[0]->sign, 0);
    add_chain("a step with another signature", forged, signature, s1, pairs[0]->sign, 0);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        g_error("usage: make-rotations FOLDER");
    g_autofree char *path = g_build_filename(argv[1], "rotations.json", NULL);
    VectorPeople people = vector_people(argv[1]);

    pairs[0] = people.alice;
    for (unsigned i = 1; i < PAIRS; i++)
        pairs[i] = test_person_new();
    list = json_array();
    add_steps();
    add_links();
    add_ends();
    add_malformed();
    vector_save(path, list);
    for (unsigned i = 1; i < PAIRS; i++)
        test_person_free(pairs[i]);
    vector_people_done(&people);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Chains of rotations in JSON: followed from where one is asked to begin, and refused when any part of them
 * is missing, another's or in another place. */

#include "libhmsg/wire/rotation.h"

#include <glib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"

#define ADDRESS "alice@relay.example"
#define PEOPLE 4u

static TestPerson *p[PEOPLE];
static char *statements[PEOPLE]; /* each follows the one before */
static char *rotates[PEOPLE];    /* to the next */

static const uint8_t *skid(unsigned i)
{
    return rsa_key_thumbprint(p[i]->sign);
}

static void add_step(json_t *steps, const char *rotate, const TestPerson *by)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(by->sign, &n);

    g_assert_cmpint(rotation_step_put(steps, rotate, spki, n), ==, 0);
}

/* A link that leads from one statement to another by the steps between them. */
static json_t *make_link(const char *from, unsigned first, unsigned n, const char *to)
{
    json_t *link = json_object(), *steps = json_array();

    for (unsigned i = first; i < first + n; i++)
        add_step(steps, rotates[i], p[i]);
    g_assert_cmpint(json_put_text(link, "from", from), ==, 0);
    g_assert_cmpint(json_put(link, "steps", steps), ==, 0);
    if (to)
        g_assert_cmpint(json_put_text(link, "to", to), ==, 0);
    return link;
}

static json_t *make_chain(unsigned first, unsigned n)
{
    json_t *chain = json_array();

    for (unsigned i = first; i < first + n; i++)
        json_array_append_new(chain, make_link(statements[i], i, 1, NULL));
    return chain;
}

static int follow(const json_t *chain, const uint8_t *asked, const char *current, Rotation *ret)
{
    _cleanup_(identity_statement_done) IdentityStatement s = {0};

    g_assert_cmpint(identity_statement_parse(current, strlen(current), clock_realtime(), &s), ==, 0);
    return rotation_chain_follow(chain, asked, &s, clock_realtime(), ret);
}

static void test_follow(void)
{
    _cleanup_(json_decrefp) json_t *all = make_chain(0, 3), *last = make_chain(2, 1);
    Rotation r = {0};

    g_assert_cmpint(follow(all, skid(0), statements[3], &r), ==, 0);
    g_assert_cmpuint(r.n, ==, 3);
    g_assert_cmpuint(r.generation, ==, 1);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpmem(r.keys[i].skid, KID_SIZE, skid(i), KID_SIZE);
        g_assert_cmpmem(r.keys[i].kid, KID_SIZE, rsa_key_thumbprint(p[i]->decrypt), KID_SIZE);
        g_assert_cmpint(r.keys[i].retired, >, 0);
    }
    g_assert_cmpint(follow(all, rsa_key_thumbprint(p[0]->decrypt), statements[3], &r), ==, 0);
    g_assert_cmpint(follow(last, skid(2), statements[3], &r), ==, 0);
    g_assert_cmpuint(r.n, ==, 1);
    g_assert_cmpuint(r.generation, ==, 3);
}

/* It begins elsewhere, ends elsewhere, has a hole, or is none. */
static void test_refused(void)
{
    _cleanup_(json_decrefp) json_t *all = make_chain(0, 3), *short_one = make_chain(0, 2),
                                   *none = json_array();
    Rotation r = {0};

    g_assert_cmpint(follow(all, skid(1), statements[3], &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(follow(all, skid(0), statements[2], &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(follow(short_one, skid(0), statements[3], &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(follow(none, skid(0), statements[0], &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    json_array_remove(all, 1);
    g_assert_cmpint(follow(all, skid(0), statements[3], &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(r.n, ==, 0);
}

/* A relay was away while two rotations were made. */
static void test_several_steps(void)
{
    g_autofree char *jump = test_person_statement_after(p[2], ADDRESS, 3, statements[0]);
    g_autofree char *end = test_person_statement_after(p[3], ADDRESS, 4, jump);
    _cleanup_(json_decrefp) json_t *chain = json_array();
    Rotation r = {0};

    json_array_append_new(chain, make_link(statements[0], 0, 2, NULL));
    json_array_append_new(chain, make_link(jump, 2, 1, NULL));
    g_assert_cmpint(follow(chain, skid(0), end, &r), ==, 0);
    g_assert_cmpuint(r.n, ==, 3);
    g_assert_cmpmem(r.keys[1].kid, KID_SIZE, rsa_key_thumbprint(p[1]->decrypt), KID_SIZE);
    /* the statement of now is not what followed the one before */
    g_assert_cmpint(follow(chain, skid(0), statements[3], &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* The same keys were entered again under a newer statement: the link says to which it led. */
static void test_statement_made_anew(void)
{
    g_autofree char *again = test_person_statement_after(p[1], ADDRESS, 2, NULL);
    g_autofree char *after = test_person_statement_after(p[2], ADDRESS, 3, again);
    g_autofree char *other = test_person_statement_after(p[1], ADDRESS, 9, NULL);
    _cleanup_(json_decrefp) json_t *bare = json_array(), *chain = json_array();
    Rotation r = {0};

    json_array_append_new(bare, make_link(statements[0], 0, 1, NULL));
    g_assert_cmpint(follow(bare, skid(0), again, &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    json_array_append_new(chain, make_link(statements[0], 0, 1, statements[1]));
    g_assert_cmpint(follow(chain, skid(0), again, &r), ==, 0);
    g_assert_cmpint(follow(chain, skid(0), other, &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    json_array_append_new(chain, make_link(again, 1, 1, NULL));
    g_assert_cmpint(follow(chain, skid(0), after, &r), ==, 0);
    g_assert_cmpuint(r.n, ==, 2);
}

/* Over two links, each right by itself, back to the first keys. */
static void test_back(void)
{
    g_autofree char *back = test_person_statement_after(p[0], ADDRESS, 3, statements[1]);
    g_autofree char *rotate = test_person_rotate(p[1], p[0], 3);
    _cleanup_(json_decrefp) json_t *chain = make_chain(0, 1), *steps = json_array(), *link = json_object();
    Rotation r = {0};

    add_step(steps, rotate, p[1]);
    g_assert_cmpint(json_put_text(link, "from", statements[1]), ==, 0);
    g_assert_cmpint(json_put(link, "steps", json_incref(steps)), ==, 0);
    json_array_append(chain, link);
    g_assert_cmpint(follow(chain, skid(0), back, &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* Somebody else's keys behind one's own, or one's own behind another's. */
static void test_foreign(void)
{
    g_autoptr(TestPerson) mallory = test_person_new();
    g_autofree char *start = test_person_statement_after(mallory, ADDRESS, 1, NULL);
    g_autofree char *own = test_person_statement_after(mallory, ADDRESS, 2, statements[0]);
    g_autofree char *rotate = test_person_rotate(mallory, p[1], 2), *forged = NULL;
    _cleanup_(json_decrefp) json_t *behind = json_array(), *before = json_array(), *steps = json_array(),
                                   *wrong = json_array();
    Rotation r = {0};

    add_step(steps, rotate, mallory);
    json_array_append_new(behind, make_link(start, 0, 0, NULL));
    g_assert_cmpint(json_put(json_array_get(behind, 0), "steps", json_incref(steps)), ==, 0);
    g_assert_cmpint(follow(behind, rsa_key_thumbprint(mallory->sign), statements[1], &r), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    json_array_append_new(before, make_link(statements[0], 0, 1, NULL));
    g_assert_cmpint(follow(before, skid(0), own, &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    /* her signature under a step that says it is the first one's */
    TestPerson mixed = *p[0];
    mixed.sign_private = mallory->sign_private;
    forged = test_person_rotate(&mixed, mallory, 2);
    add_step(wrong, forged, p[0]);
    g_assert_cmpint(json_put(json_array_get(before, 0), "steps", json_incref(wrong)), ==, 0);
    g_assert_cmpint(follow(before, skid(0), own, &r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

static int parse(json_t *steps)
{
    RotateStatement s[ROTATION_STEPS_MAX];
    size_t n = 0;

    return rotation_steps_parse(steps, clock_realtime(), s, &n);
}

static void test_shape(void)
{
    static const char *const texts[] = {"{\"a\":1}",
                                        "[]",
                                        "[1]",
                                        "[{}]",
                                        "[{\"rotate\":\"x\",\"sign\":\"\"}]",
                                        "[{\"rotate\":\"x\",\"sign\":\"AA\",\"more\":1}]"};
    _cleanup_(json_decrefp) json_t *many = json_array(), *chain = make_chain(0, 1), *steps = json_array();
    Rotation r = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        _cleanup_(json_decrefp) json_t *j = json_loads(texts[i], 0, NULL);

        g_assert_nonnull(j);
        g_assert_cmpint(parse(j), ==, HMSG_ERROR_BAD_PACKAGE);
        json_t *links = json_array();
        json_array_append(links, j);
        g_assert_cmpint(follow(links, skid(0), statements[1], &r), !=, 0);
        json_decref(links);
    }
    add_step(steps, rotates[0], p[0]);
    g_assert_cmpint(parse(steps), ==, 0);
    add_step(steps, rotates[0], p[1]); /* not the key that it is of */
    g_assert_cmpint(parse(steps), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    for (unsigned i = 0; i <= ROTATION_STEPS_MAX; i++)
        add_step(many, rotates[0], p[0]);
    g_assert_cmpint(parse(many), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(json_put_text(json_array_get(chain, 0), "more", "x"), ==, 0);
    g_assert_cmpint(follow(chain, skid(0), statements[1], &r), ==, HMSG_ERROR_BAD_PACKAGE);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < PEOPLE; i++) {
        p[i] = test_person_new();
        statements[i] = test_person_statement_after(p[i], ADDRESS, i + 1, i > 0 ? statements[i - 1] : NULL);
        if (i > 0)
            rotates[i - 1] = test_person_rotate(p[i - 1], p[i], i + 1);
    }
    g_test_add_func("/rotation/follow", test_follow);
    g_test_add_func("/rotation/refused", test_refused);
    g_test_add_func("/rotation/several-steps", test_several_steps);
    g_test_add_func("/rotation/statement-made-anew", test_statement_made_anew);
    g_test_add_func("/rotation/back", test_back);
    g_test_add_func("/rotation/foreign", test_foreign);
    g_test_add_func("/rotation/shape", test_shape);
    status = g_test_run();
    for (unsigned i = 0; i < PEOPLE; i++) {
        test_person_free(p[i]);
        g_free(statements[i]);
        g_free(rotates[i]);
    }
    return status;
}

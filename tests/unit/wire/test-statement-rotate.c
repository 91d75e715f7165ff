/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rotation: a step from one generation to the next, and every other step refused. */

#include "libhmsg/wire/statement.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/statement-internal.h"
#include "tests/lib/person.h"

#define NOW INT64_C(1800000000)
#define ADDRESS "alice@relay.example"

static TestPerson *first, *second, *third, *mallory;

static char *sign(const JwsDraft *d, const TestPerson *by)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);

    g_assert_cmpint(jws_sign_rsa(d, by->sign_private, &jws), ==, 0);
    return g_strdup(buf_text(&jws));
}

/* The parsed statement of p that follows another, or none. */
static void make_identity(const TestPerson *p, const char *address, uint64_t generation,
                          const IdentityStatement *previous, IdentityStatement *ret)
{
    IdentityStatement s = {.sign = p->sign, .decrypt = p->decrypt, .generation = generation, .iat = NOW};
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    g_strlcpy(s.address, address, sizeof(s.address));
    if (previous) {
        s.has_previous = true;
        memcpy(s.previous, previous->sha256, SHA256_SIZE);
    }
    g_assert_cmpint(identity_statement_prepare(&s, &d), ==, 0);
    g_autofree char *text = sign(&d, p);
    g_assert_cmpint(identity_statement_parse(text, strlen(text), NOW, ret), ==, 0);
}

static RotateStatement step(const TestPerson *from, const TestPerson *to, uint64_t generation)
{
    RotateStatement s = {.generation = generation, .iat = NOW};

    memcpy(s.skid, rsa_key_thumbprint(from->sign), KID_SIZE);
    memcpy(s.next_skid, rsa_key_thumbprint(to->sign), KID_SIZE);
    memcpy(s.next_kid, rsa_key_thumbprint(to->decrypt), KID_SIZE);
    return s;
}

static char *make_rotate(const RotateStatement *s, const TestPerson *by)
{
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    g_assert_cmpint(rotate_statement_prepare(s, &d), ==, 0);
    return sign(&d, by);
}

static void test_round_trip(void)
{
    _cleanup_(identity_statement_done) IdentityStatement a = {0}, b = {0};
    RotateStatement s = step(first, second, 2), out = {0};
    g_autofree char *text = make_rotate(&s, first);
    size_t n = strlen(text);

    make_identity(first, ADDRESS, 1, NULL, &a);
    make_identity(second, ADDRESS, 2, &a, &b);
    g_assert_cmpint(rotate_statement_parse(text, n, first->sign, NOW, &out), ==, 0);
    g_assert_cmpmem(out.skid, KID_SIZE, s.skid, KID_SIZE);
    g_assert_cmpmem(out.next_skid, KID_SIZE, s.next_skid, KID_SIZE);
    g_assert_cmpmem(out.next_kid, KID_SIZE, s.next_kid, KID_SIZE);
    g_assert_cmpuint(out.generation, ==, 2);
    g_assert_cmpint(out.iat, ==, NOW);
    g_assert_cmpint(rotate_statement_check(&out, 1, &a, &b), ==, 0);
    RotateStatement claimed = {0};
    g_assert_cmpint(rotate_statement_peek(text, n, &claimed), ==, 0);
    g_assert_cmpmem(&claimed, sizeof(claimed), &out, sizeof(out));
    g_assert_cmpint(rotate_statement_peek(text, n - 400, &claimed), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(rotate_statement_parse(text, n, first->sign, NOW - CLOCK_SKEW_MAX - 1, &out), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    s.generation = GENERATION_MAX + 1;
    _cleanup_(jws_draft_done) JwsDraft d = {0};
    g_assert_cmpint(rotate_statement_prepare(&s, &d), ==, -EINVAL);
}

/* Signed by another key: one of somebody else, the new one, one that takes the name of the old one. */
static void test_forged(void)
{
    RotateStatement s = step(first, mallory, 2), own = step(mallory, second, 2), out = {0};
    g_autofree char *forged = make_rotate(&s, mallory), *by_other = make_rotate(&own, mallory);
    _cleanup_(json_decrefp) json_t *payload = json_object();
    _cleanup_(jws_draft_done) JwsDraft d = {0};

    g_assert_cmpint(rotate_statement_parse(forged, strlen(forged), first->sign, NOW, &out), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate_statement_parse(by_other, strlen(by_other), first->sign, NOW, &out), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    /* its own header, the skid of another in the payload */
    g_assert_cmpint(json_put_bytes(payload, "skid", s.skid, KID_SIZE), ==, 0);
    g_assert_cmpint(json_put_bytes(payload, "next_skid", s.next_skid, KID_SIZE), ==, 0);
    g_assert_cmpint(json_put_bytes(payload, "next_kid", s.next_kid, KID_SIZE), ==, 0);
    g_assert_cmpint(json_put_number(payload, "generation", 2), ==, 0);
    g_assert_cmpint(json_put_number(payload, "iat", NOW), ==, 0);
    g_assert_cmpint(statement_draft(payload, JWS_PS256, JWS_ROTATE, own.skid, &d), ==, 0);
    g_autofree char *mixed = sign(&d, mallory);
    g_assert_cmpint(rotate_statement_parse(mixed, strlen(mixed), mallory->sign, NOW, &out), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* The generation is not greater, or not the one that the old key signed. */
static void test_generation(void)
{
    static const uint64_t not_greater[] = {0, 4, 5};
    _cleanup_(identity_statement_done) IdentityStatement a = {0};

    make_identity(first, ADDRESS, 5, NULL, &a);
    for (size_t i = 0; i < G_N_ELEMENTS(not_greater); i++) {
        _cleanup_(identity_statement_done) IdentityStatement b = {0};
        RotateStatement s = step(first, second, not_greater[i]);

        make_identity(second, ADDRESS, not_greater[i], &a, &b);
        g_assert_cmpint(rotate_statement_check(&s, 1, &a, &b), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    }
    _cleanup_(identity_statement_done) IdentityStatement b = {0};
    RotateStatement s = step(first, second, 6);
    make_identity(second, ADDRESS, 7, &a, &b);
    g_assert_cmpint(rotate_statement_check(&s, 1, &a, &b), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    s.generation = 7;
    g_assert_cmpint(rotate_statement_check(&s, 1, &a, &b), ==, 0);
}

/* An old rotation shown again, one that leaves out a generation, a chain that forks, and one that goes back.
 */
static void test_chain(void)
{
    _cleanup_(identity_statement_done) IdentityStatement a = {0}, b = {0}, c = {0}, fork = {0}, back = {0};
    RotateStatement ab = step(first, second, 2), bc = step(second, third, 3), af = step(first, mallory, 2),
                    ac = step(first, third, 3), ba = step(second, first, 3);

    make_identity(first, ADDRESS, 1, NULL, &a);
    make_identity(second, ADDRESS, 2, &a, &b);
    make_identity(third, ADDRESS, 3, &b, &c);
    make_identity(mallory, ADDRESS, 2, &a, &fork);
    make_identity(first, ADDRESS, 3, &b, &back);
    g_assert_cmpint(rotate_statement_check(&ab, 1, &a, &b), ==, 0);
    g_assert_cmpint(rotate_statement_check(&bc, 1, &b, &c), ==, 0);
    g_assert_cmpint(rotate_statement_check(&ab, 1, &c, &b), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate_statement_check(&ab, 1, &b, &b), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate_statement_check(&bc, 1, &a, &c), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    /* signed by the first key, but the third follows the second */
    g_assert_cmpint(rotate_statement_check(&ac, 1, &a, &c), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    /* the fork is not what follows the second, nor what the first signed for it */
    g_assert_cmpint(rotate_statement_check(&ab, 1, &a, &fork), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate_statement_check(&af, 1, &b, &fork), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    /* back to the first keys under a new number: a step like any other for who knows two statements alone */
    g_assert_cmpint(rotate_statement_check(&ba, 1, &b, &back), ==, 0);
    g_assert_cmpint(rotate_statement_check(&ba, 1, &a, &back), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* From the first to the third at once, since the second was never told here. */
static void test_several(void)
{
    _cleanup_(identity_statement_done) IdentityStatement a = {0}, b = {0}, c = {0}, back = {0};
    RotateStatement good[] = {step(first, second, 2), step(second, third, 3)};
    RotateStatement bad[2];

    make_identity(first, ADDRESS, 1, NULL, &a);
    make_identity(second, ADDRESS, 2, &a, &b);
    make_identity(third, ADDRESS, 3, &a, &c);
    make_identity(first, ADDRESS, 3, &a, &back);
    g_assert_cmpint(rotate_statement_check(good, 2, &a, &c), ==, 0);
    g_assert_cmpint(rotate_statement_check(good, 0, &a, &c), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate_statement_check(good, 1, &a, &c), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate_statement_check(good + 1, 1, &a, &c), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate_statement_check(good, 2, &a, &b), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    memcpy(bad, good, sizeof(bad));
    bad[0].generation = 3; /* the next is not greater */
    g_assert_cmpint(rotate_statement_check(bad, 2, &a, &c), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    memcpy(bad, good, sizeof(bad));
    memcpy(bad[1].skid, rsa_key_thumbprint(mallory->sign), KID_SIZE); /* whom nobody named */
    g_assert_cmpint(rotate_statement_check(bad, 2, &a, &c), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    memcpy(bad, good, sizeof(bad));
    bad[1] = step(second, first, 3); /* to where it came from */
    g_assert_cmpint(rotate_statement_check(bad, 2, &a, &back), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* The new keys agree to what they follow: without that, anybody could put another's keys behind their own. */
static void test_new_key_agrees(void)
{
    _cleanup_(identity_statement_done) IdentityStatement a = {0}, alone = {0}, other = {0}, moved = {0};
    RotateStatement s = step(first, second, 2);

    make_identity(first, ADDRESS, 1, NULL, &a);
    make_identity(second, ADDRESS, 2, NULL, &alone);
    g_assert_cmpint(rotate_statement_check(&s, 1, &a, &alone), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    make_identity(second, ADDRESS, 2, &alone, &other);
    g_assert_cmpint(rotate_statement_check(&s, 1, &a, &other), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    make_identity(second, "bob@relay.example", 2, &a, &moved);
    g_assert_cmpint(rotate_statement_check(&s, 1, &a, &moved), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* A key that lives on, in its own role or in the other. */
static void test_key_kept(void)
{
    _cleanup_(identity_statement_done) IdentityStatement a = {0};

    make_identity(first, ADDRESS, 1, NULL, &a);
    for (int i = 0; i < 4; i++) {
        _cleanup_(identity_statement_done) IdentityStatement b = {0};
        TestPerson p = *second;

        if (i == 0 || i == 1)
            p.decrypt = i == 0 ? first->decrypt : first->sign;
        else {
            p.sign = i == 2 ? first->sign : first->decrypt;
            p.sign_private = i == 2 ? first->sign_private : first->decrypt_private;
        }
        RotateStatement s = step(first, &p, 2);
        make_identity(&p, ADDRESS, 2, &a, &b);
        g_assert_cmpint(rotate_statement_check(&s, 1, &a, &b), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    }
}

/* Neither is taken for the other, and each changed character is noticed. */
static void test_changed(void)
{
    g_autofree char *identity = test_person_statement(first, ADDRESS);
    RotateStatement s = step(first, second, 2), out = {0};
    g_autofree char *text = make_rotate(&s, first);
    IdentityStatement taken = {0};
    size_t n = strlen(text);

    g_assert_cmpint(rotate_statement_parse(identity, strlen(identity), first->sign, NOW, &out), ==,
                    HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(identity_statement_parse(text, n, NOW, &taken), ==, HMSG_ERROR_BAD_PACKAGE);
    for (size_t i = 0; i < n; i++) {
        char kept = text[i];

        text[i] = kept == 'A' ? 'B' : 'A';
        int r = rotate_statement_parse(text, n, first->sign, NOW, &out);
        g_assert_true(r == HMSG_ERROR_AUTHENTICATION_FAILED || r == HMSG_ERROR_BAD_PACKAGE);
        text[i] = kept;
    }
    g_assert_cmpint(rotate_statement_parse(text, n, first->sign, NOW, &out), ==, 0);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    first = test_person_new();
    second = test_person_new();
    third = test_person_new();
    mallory = test_person_new();
    g_test_add_func("/statement-rotate/round-trip", test_round_trip);
    g_test_add_func("/statement-rotate/several", test_several);
    g_test_add_func("/statement-rotate/forged", test_forged);
    g_test_add_func("/statement-rotate/generation", test_generation);
    g_test_add_func("/statement-rotate/chain", test_chain);
    g_test_add_func("/statement-rotate/new-key-agrees", test_new_key_agrees);
    g_test_add_func("/statement-rotate/key-kept", test_key_kept);
    g_test_add_func("/statement-rotate/changed", test_changed);
    status = g_test_run();
    test_person_free(first);
    test_person_free(second);
    test_person_free(third);
    test_person_free(mallory);
    return status;
}

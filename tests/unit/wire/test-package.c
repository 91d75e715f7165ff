/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Packages and their staged checks: what is refused, where, and as what. */

#include "libhmsg/wire/package.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/seed.h"
#include "tests/lib/person.h"

#define NOW INT64_C(1800000000)
#define TEXT "Dear Bob, here are the plans."

static TestPerson *alice, *bob, *eve;

static Buf build(const WireSession *s, uint64_t seq, int64_t exp, const void *text, size_t n)
{
    Buf b = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(package_build(s, seq, NOW, exp, text, n, &b), ==, 0);
    return b;
}

static Buf alice_to_bob(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(alice, bob, NOW);

    return build(s, 0, 0, TEXT, strlen(TEXT));
}

/* All stages, in software. */
static int open_text(const char *text, size_t n, Buf *ret)
{
    _cleanup_(package_freep) Package *p = NULL;
    _cleanup_(secret_freep) Secret *keys = NULL;
    int r;

    r = package_parse(text, n, PACKAGE_MESSAGE, &p);
    if (r == 0)
        r = package_check_recipient(p, rsa_key_thumbprint(bob->decrypt));
    if (r == 0)
        r = package_check_sender(p, NULL, NULL);
    if (r != 0)
        return r;
    keys = test_person_unwrap(bob, p);
    return package_open(p, keys, ret);
}

static void test_round_trip(void)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 255, 65536, PLAINTEXT_SIZE_MAX};
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(alice, bob, NOW);
    g_autofree uint8_t *plain = g_malloc0(PLAINTEXT_SIZE_MAX + 1);

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);

        memset(plain, (int)i, sizes[i]);
        g_assert_cmpint(package_build(s, i, NOW, NOW + 60, plain, sizes[i], &package), ==, 0);
        g_assert_cmpint(open_text(buf_text(&package), package.size, &out), ==, 0);
        g_assert_cmpmem(out.data, out.size, plain, sizes[i]);
    }
    _cleanup_(buf_done) Buf none = BUF_MAX(PACKAGE_SIZE_MAX * 2);
    g_assert_cmpint(package_build(s, 0, NOW, 0, plain, PLAINTEXT_SIZE_MAX + 1, &none), ==,
                    HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(package_build(s, 0, NOW - 1, 0, plain, 1, &none), ==, -EINVAL);
    g_assert_cmpint(package_build(s, 0, NOW + 86401, 0, plain, 1, &none), ==, -EINVAL);
    g_assert_cmpint(package_build(s, 0, NOW, NOW + (int64_t)PACKAGE_EXPIRY_MAX + 1, plain, 1, &none), ==,
                    -EINVAL);
    g_assert_cmpuint(none.size, ==, 0);
}

static void test_fields(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(alice, bob, NOW);
    _cleanup_(buf_done) Buf text = build(s, 7, NOW + 60, TEXT, strlen(TEXT));
    _cleanup_(package_freep) Package *p = NULL;
    SessionStatement statement;

    g_assert_cmpint(package_parse(buf_text(&text), text.size, PACKAGE_MESSAGE, &p), ==, 0);
    g_assert_true(p->has_sender);
    g_assert_cmpuint(p->seq, ==, 7);
    g_assert_cmpint(p->ts, ==, NOW);
    g_assert_cmpint(p->exp, ==, NOW + 60);
    g_assert_cmpint(package_check_sender(p, NULL, &statement), ==, -EPERM); /* stages are not skipped */
    g_assert_cmpint(package_check_recipient(p, rsa_key_thumbprint(eve->decrypt)), ==, HMSG_ERROR_NOT_FOR_US);
    g_assert_cmpint(package_check_recipient(p, rsa_key_thumbprint(bob->decrypt)), ==, 0);
    _cleanup_(buf_done) Buf out = BUF_MAX(100);
    g_assert_cmpint(package_open(p, NULL, &out), ==, -EPERM);
    g_assert_cmpint(package_check_sender(p, NULL, &statement), ==, 0);
    g_assert_cmpint(statement.created, ==, NOW);
    g_assert_cmpint(package_check_sender(p, &statement, NULL), ==, 0);
    /* a known statement of another session does not vouch for this one */
    statement.sha256[0] ^= 1;
    statement.expires = 0;
    g_assert_cmpint(package_check_sender(p, &statement, NULL), ==, 0);
}

static void test_cache_id(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(alice, bob, NOW),
                                              *t = test_session_new(alice, bob, NOW);
    uint8_t ids[3][SHA256_SIZE];
    const WireSession *sessions[] = {s, s, t};

    for (size_t i = 0; i < 3; i++) {
        _cleanup_(buf_done) Buf text = build(sessions[i], i, 0, TEXT, strlen(TEXT));
        _cleanup_(package_freep) Package *p = NULL;

        g_assert_cmpint(package_parse(buf_text(&text), text.size, PACKAGE_MESSAGE, &p), ==, 0);
        g_assert_cmpint(package_cache_id(p, ids[i]), ==, 0);
    }
    g_assert_cmpmem(ids[0], SHA256_SIZE, ids[1], SHA256_SIZE);
    g_assert_false(bytes_equal(ids[0], ids[2], SHA256_SIZE));
}

static void test_truncated(void)
{
    _cleanup_(buf_done) Buf text = alice_to_bob();

    for (size_t n = 0; n < text.size; n++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
        g_autofree char *copy = g_strndup(buf_text(&text), n);

        g_assert_cmpint(open_text(copy, n, &out), ==, HMSG_ERROR_BAD_PACKAGE);
        g_assert_cmpuint(out.size, ==, 0);
    }
}

/* Every character changed: each error is a documented one, nothing comes out. */
static void test_flipped(void)
{
    _cleanup_(buf_done) Buf text = alice_to_bob();
    unsigned counts[HMSG_ERROR_MAX_] = {0};

    for (size_t i = 0; i < text.size; i++) {
        _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
        uint8_t kept = text.data[i];

        text.data[i] = kept == 'A' ? 'B' : 'A';
        int r = open_text(buf_text(&text), text.size, &out);
        text.data[i] = kept;
        g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED ||
                      r == HMSG_ERROR_NOT_FOR_US);
        g_assert_cmpuint(out.size, ==, 0);
        counts[r]++;
    }
    g_assert_cmpuint(counts[HMSG_ERROR_AUTHENTICATION_FAILED], >, 500);
    g_assert_cmpuint(counts[HMSG_ERROR_BAD_PACKAGE], >, 50);
}

/* Edits a member of a package, or of its protected header. value NULL: removes it. */
static char *edit(const Buf *text, bool header, const char *name, json_t *value)
{
    json_t *package = NULL, *protected = NULL, *target;
    _cleanup_(buf_done) Buf out = BUF_MAX(PACKAGE_SIZE_MAX), plain = BUF_MAX(4096), edited = BUF_MAX(4096);

    g_assert_cmpint(json_parse_object(buf_text(text), text->size, &package), ==, 0);
    g_assert_cmpint(json_get_buf(package, "protected", &plain), ==, 0);
    g_assert_cmpint(json_parse_object(buf_text(&plain), plain.size, &protected), ==, 0);
    target = !header ? package
             : json_object_get(protected, name) || strcmp(name, "zip") == 0 || strcmp(name, "crit") == 0
                 ? protected
                 : json_object_get(protected, "hm");
    if (value)
        g_assert_cmpint(json_object_set_new(target, name, value), ==, 0);
    else
        g_assert_cmpint(json_object_del(target, name), ==, 0);
    if (header) {
        g_assert_cmpint(json_write(protected, &edited), ==, 0);
        g_assert_cmpint(json_put_bytes(package, "protected", edited.data, edited.size), ==, 0);
    }
    g_assert_cmpint(json_write(package, &out), ==, 0);
    json_decref(package);
    json_decref(protected);
    return g_strdup(buf_text(&out));
}

static void test_edited(void)
{
    static const char zeros[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    _cleanup_(buf_done) Buf text = alice_to_bob();
    const struct {
        bool header;
        const char *name;
        json_t *value;
        int r;
    } cases[] = {
        {false, "hmsg", json_integer(2), HMSG_ERROR_BAD_PACKAGE},
        {false, "hmsg", NULL, HMSG_ERROR_BAD_PACKAGE},
        {false, "extra", json_integer(1), HMSG_ERROR_BAD_PACKAGE},
        {false, "iv", json_string("AAAA"), HMSG_ERROR_BAD_PACKAGE},
        {false, "mac", json_string("AAAA"), HMSG_ERROR_BAD_PACKAGE},
        {false, "mac", NULL, HMSG_ERROR_BAD_PACKAGE},
        {false, "mac", json_string(zeros), HMSG_ERROR_AUTHENTICATION_FAILED},
        {false, "ciphertext", json_string(""), HMSG_ERROR_BAD_PACKAGE},
        {false, "ciphertext", json_string("AAAA"), HMSG_ERROR_BAD_PACKAGE},
        {false, "encrypted_aes_key", json_string(zeros), HMSG_ERROR_BAD_PACKAGE},
        {false, "signature", NULL, HMSG_ERROR_BAD_PACKAGE},
        {false, "sender_public_key", NULL, HMSG_ERROR_BAD_PACKAGE},
        {false, "protected", json_string("e30"), HMSG_ERROR_BAD_PACKAGE},
        {true, "alg", json_string("RSA1_5"), HMSG_ERROR_BAD_PACKAGE},
        {true, "alg", json_string("RSA-OAEP"), HMSG_ERROR_BAD_PACKAGE},
        {true, "enc", json_string("A128GCM"), HMSG_ERROR_BAD_PACKAGE},
        {true, "typ", json_string("hmsg-stream+json"), HMSG_ERROR_BAD_PACKAGE},
        {true, "zip", json_string("DEF"), HMSG_ERROR_BAD_PACKAGE},
        {true, "crit", json_array(), HMSG_ERROR_BAD_PACKAGE},
        {true, "kid", json_string(zeros), HMSG_ERROR_NOT_FOR_US},
        {true, "skid", NULL, HMSG_ERROR_BAD_PACKAGE},
        {true, "skid", json_string(zeros), HMSG_ERROR_AUTHENTICATION_FAILED},
        {true, "v", json_integer(2), HMSG_ERROR_BAD_PACKAGE},
        {true, "seq", json_integer(1), HMSG_ERROR_AUTHENTICATION_FAILED},
        {true, "seq", json_integer(-1), HMSG_ERROR_BAD_PACKAGE},
        {true, "seq", json_integer(0x100000000), HMSG_ERROR_BAD_PACKAGE},
        {true, "ts", json_integer(NOW - 1), HMSG_ERROR_AUTHENTICATION_FAILED},
        {true, "ts", json_integer(NOW + 86401), HMSG_ERROR_AUTHENTICATION_FAILED},
        {true, "exp", json_integer(NOW + 1), HMSG_ERROR_AUTHENTICATION_FAILED},
        {true, "exp", json_integer(NOW - 1), HMSG_ERROR_BAD_PACKAGE},
        {true, "exp", json_integer(NOW + 31 * 86400), HMSG_ERROR_BAD_PACKAGE},
        {true, "kc", json_string(zeros), HMSG_ERROR_AUTHENTICATION_FAILED},
        {true, "rcpts", json_integer(1), HMSG_ERROR_BAD_PACKAGE},
        {true, "sid", json_string("AAAAAAAAAAAAAAAAAAAAAA"), HMSG_ERROR_AUTHENTICATION_FAILED},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *edited = edit(&text, cases[i].header, cases[i].name, cases[i].value);
        _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
        int r = open_text(edited, strlen(edited), &out);

        if (r != cases[i].r)
            g_error("%s (case %zu): %d, not %d", cases[i].name, i, r, cases[i].r);
        g_assert_cmpuint(out.size, ==, 0);
    }
}

static void test_duplicate_names(void)
{
    _cleanup_(buf_done) Buf text = alice_to_bob(), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    g_autofree char *twice = g_strdup_printf("{\"hmsg\":1,%s", buf_text(&text) + 1);
    g_autofree char *padded = g_strdup_printf("%s ", buf_text(&text));
    g_autofree char *behind = g_strdup_printf("%s{}", buf_text(&text));

    g_assert_cmpint(open_text(twice, strlen(twice), &out), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(open_text(behind, strlen(behind), &out), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(open_text(padded, strlen(padded), &out), ==, 0);
}

/* Somebody puts another's content under a statement of his own. */
static void test_resigned(void)
{
    _cleanup_(buf_done) Buf from_alice = alice_to_bob(), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(wire_session_freep) WireSession *of_eve = test_session_new(eve, bob, NOW);
    _cleanup_(buf_done) Buf from_eve = build(of_eve, 0, 0, "x", 1);
    json_t *a = NULL, *e = NULL;

    g_assert_cmpint(json_parse_object(buf_text(&from_alice), from_alice.size, &a), ==, 0);
    g_assert_cmpint(json_parse_object(buf_text(&from_eve), from_eve.size, &e), ==, 0);
    static const char *const stolen[] = {"sender_public_key", "signature"};
    for (size_t i = 0; i < G_N_ELEMENTS(stolen); i++)
        g_assert_cmpint(json_object_set(a, stolen[i], json_object_get(e, stolen[i])), ==, 0);
    _cleanup_(buf_done) Buf mixed = BUF_MAX(PACKAGE_SIZE_MAX);
    g_assert_cmpint(json_write(a, &mixed), ==, 0);
    g_assert_cmpint(open_text(buf_text(&mixed), mixed.size, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    json_decref(a);
    json_decref(e);
}

/* Puts members of one package into another. */
static void expect_mixed(const Buf *into, const Buf *from, const char *const *names, size_t n)
{
    _cleanup_(buf_done) Buf mixed = BUF_MAX(PACKAGE_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    json_t *a = NULL, *b = NULL;

    g_assert_cmpint(json_parse_object(buf_text(into), into->size, &a), ==, 0);
    g_assert_cmpint(json_parse_object(buf_text(from), from->size, &b), ==, 0);
    for (size_t i = 0; i < n; i++)
        g_assert_cmpint(json_object_set(a, names[i], json_object_get(b, names[i])), ==, 0);
    g_assert_cmpint(json_write(a, &mixed), ==, 0);
    g_assert_cmpint(open_text(buf_text(&mixed), mixed.size, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(out.size, ==, 0);
    json_decref(a);
    json_decref(b);
}

/* Two sessions of one sender to one recipient, and a second package of the first: what is of one fits into no
 * other. */
static void test_swapped(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(alice, bob, NOW);
    _cleanup_(buf_done) Buf first = build(s, 0, 0, TEXT, strlen(TEXT)), other = alice_to_bob(),
                            second = build(s, 1, 0, TEXT, strlen(TEXT));
    static const char *const of_session[] = {"signature", "encrypted_aes_key", "protected"};
    static const char *const of_package[] = {"protected", "iv", "ciphertext", "mac"};
    _cleanup_(buf_done) Buf encoded = BUF_MAX(64);

    for (size_t i = 0; i < G_N_ELEMENTS(of_session); i++)
        expect_mixed(&first, &other, of_session + i, 1);
    expect_mixed(&first, &other, of_session, 2);
    for (size_t i = 0; i < G_N_ELEMENTS(of_package); i++) {
        expect_mixed(&first, &second, of_package + i, 1);
        expect_mixed(&first, &other, of_package + i, 1);
    }
    /* all of the other's session, and the first one's content */
    expect_mixed(&first, &other, of_session, G_N_ELEMENTS(of_session));
    g_assert_cmpint(base64url_append(&encoded, s->statement.sid, SESSION_ID_SIZE), ==, 0);
    g_autofree char *edited = edit(&other, true, "sid", json_string(buf_text(&encoded)));
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    g_assert_cmpint(open_text(edited, strlen(edited), &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

/* Eve, to whom Alice wrote, knows the keys of that session, encrypts them to Bob and passes it all on as what
 * Alice wrote to him. */
static void test_passed_on(void)
{
    _cleanup_(wire_session_freep) WireSession *to_eve = test_session_new(alice, eve, NOW);
    _cleanup_(buf_done) Buf original = build(to_eve, 0, 0, TEXT, strlen(TEXT));
    _cleanup_(buf_done) Buf key = BUF_MAX(RSA_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);

    g_assert_cmpint(open_text(buf_text(&original), original.size, &out), ==, HMSG_ERROR_NOT_FOR_US);
    g_assert_cmpint(rsa_key_oaep_encrypt(bob->decrypt, secret_bytes(to_eve->keys), SESSION_KEYS_SIZE, &key),
                    ==, 0);
    /* the keys are the right ones, the MAC is right: only the statement says that it was for Eve */
    (void)rsa_key_free(to_eve->recipient);
    to_eve->recipient = rsa_key_ref(bob->decrypt);
    memcpy(to_eve->statement.kid, rsa_key_thumbprint(bob->decrypt), KID_SIZE);
    buf_clear(&to_eve->encrypted_key);
    g_assert_cmpint(buf_append(&to_eve->encrypted_key, key.data, key.size), ==, 0);
    _cleanup_(buf_done) Buf forged = build(to_eve, 0, 0, TEXT, strlen(TEXT));
    g_assert_cmpint(open_text(buf_text(&forged), forged.size, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(out.size, ==, 0);
}

static void test_anonymous(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(NULL, bob, NOW);
    _cleanup_(buf_done) Buf text = build(s, 0, 0, TEXT, strlen(TEXT)), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(package_freep) Package *p = NULL;

    g_assert_cmpint(package_parse(buf_text(&text), text.size, PACKAGE_MESSAGE, &p), ==, 0);
    g_assert_false(p->has_sender);
    g_assert_cmpint(open_text(buf_text(&text), text.size, &out), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, TEXT);
}

/* Wrong keys, no keys, keys of a wrong size: one error. */
static void test_one_error(void)
{
    _cleanup_(buf_done) Buf text = alice_to_bob(), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(package_freep) Package *p = NULL;
    _cleanup_(secret_freep) Secret *random = NULL, *shorter = NULL, *right = NULL;
    size_t kid = 9;

    g_assert_cmpint(package_find(buf_text(&text), text.size, PACKAGE_MESSAGE, bob->kids, 1, &p, &kid), ==, 0);
    g_assert_cmpuint(kid, ==, 0);
    g_assert_cmpint(package_check_sender(p, NULL, NULL), ==, 0);
    g_assert_cmpint(secret_new_random(SESSION_KEYS_SIZE, &random), ==, 0);
    g_assert_cmpint(secret_new_random(32, &shorter), ==, 0);
    g_assert_cmpint(package_open(p, NULL, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(package_open(p, random, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(package_open(p, shorter, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    right = test_person_unwrap(bob, p);
    secret_data(right)[0] ^= 1; /* the MAC half */
    g_assert_cmpint(package_open(p, right, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    secret_data(right)[0] ^= 1;
    secret_data(right)[63] ^= 1; /* the AES half: only the commitment tells */
    g_assert_cmpint(package_open(p, right, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    secret_data(right)[63] ^= 1;
    g_assert_cmpint(package_open(p, right, &out), ==, 0);
}

static void test_array(void)
{
    _cleanup_(wire_session_freep) WireSession *to_bob = test_session_new(alice, bob, NOW),
                                              *to_eve = test_session_new(alice, eve, NOW);
    _cleanup_(buf_done) Buf b = build(to_bob, 0, 0, TEXT, strlen(TEXT)),
                            e = build(to_eve, 0, 0, TEXT, strlen(TEXT));
    g_autofree char *both = g_strdup_printf("[%s,%s]", buf_text(&e), buf_text(&b));
    g_autofree char *other = g_strdup_printf("[%s]", buf_text(&e));
    g_autofree char *broken = g_strdup_printf("[{},%s]", buf_text(&b));
    const uint8_t(*kids)[KID_SIZE] = bob->kids;
    _cleanup_(package_freep) Package *p = NULL;
    size_t kid = 9;

    g_assert_cmpint(package_find(both, strlen(both), PACKAGE_MESSAGE, kids, 1, &p, &kid), ==, 0);
    g_assert_cmpmem(p->kid, KID_SIZE, kids, KID_SIZE);
    p = package_free(p);
    g_assert_cmpint(package_find(other, strlen(other), PACKAGE_MESSAGE, kids, 1, &p, &kid), ==,
                    HMSG_ERROR_NOT_FOR_US);
    g_assert_cmpint(package_find(broken, strlen(broken), PACKAGE_MESSAGE, kids, 1, &p, &kid), ==,
                    HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(package_find("[]", 2, PACKAGE_MESSAGE, kids, 1, &p, &kid), ==, HMSG_ERROR_BAD_PACKAGE);
    GString *many = g_string_new("[{}");
    for (unsigned i = 0; i < RECIPIENTS_MAX; i++)
        g_string_append(many, ",{}");
    g_string_append_c(many, ']');
    g_assert_cmpint(package_find(many->str, many->len, PACKAGE_MESSAGE, kids, 1, &p, &kid), ==,
                    HMSG_ERROR_TOO_LARGE);
    g_string_free(many, TRUE);
}

static void test_oversized(void)
{
    g_autofree char *huge = g_strnfill(PACKAGE_SIZE_MAX + 1, ' ');
    _cleanup_(package_freep) Package *p = NULL;

    huge[0] = '{';
    huge[1] = '}';
    g_assert_cmpint(package_parse(huge, PACKAGE_SIZE_MAX + 1, PACKAGE_MESSAGE, &p), ==, HMSG_ERROR_TOO_LARGE);
    g_assert_cmpint(package_parse(huge, PACKAGE_SIZE_MAX, PACKAGE_MESSAGE, &p), ==, HMSG_ERROR_BAD_PACKAGE);
}

static void test_session_signature(void)
{
    _cleanup_(wire_session_freep) WireSession *s = NULL;
    _cleanup_(jws_draft_done) JwsDraft d = {0};
    _cleanup_(buf_done) Buf wrong = BUF_MAX(RSA_SIZE_MAX), out = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(wire_session_new(bob->decrypt, alice->sign, NOW, SESSION_LIFETIME_MAX + 1, &s), ==,
                    -EINVAL);
    g_assert_cmpint(wire_session_new(bob->decrypt, alice->sign, NOW, 60, &s), ==, 0);
    g_assert_cmpint(package_build(s, 0, NOW, 0, "x", 1, &out), ==, -EINVAL); /* not signed yet */
    g_assert_cmpint(wire_session_prepare(s, &d), ==, 0);
    g_assert_cmpint(rsa_private_sign_ps256(eve->sign_private, d.digest, &wrong), ==, 0);
    g_assert_cmpint(wire_session_finish(s, &d, wrong.data, wrong.size), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(package_build(s, 0, NOW, 0, "x", 1, &out), ==, -EINVAL);
}

static void test_formats(void)
{
    _cleanup_(buf_done) Buf text = alice_to_bob(), seed = BUF_MAX(SEED_SIZE_MAX);

    g_assert_cmpint(seed_build(bob->decrypt, alice->sign, "x", 1, &seed), ==, 0);
    g_assert_cmpint(wire_format_detect(text.data, text.size), ==, FORMAT_PACKAGE);
    g_assert_cmpint(wire_format_detect(seed.data, seed.size), ==, FORMAT_SEED);
    static const char jwe[] = "\n {\"protected\":\"\",\"encrypted_key\":\"\"}",
                      list[] = "[{\"protected\":\"\"}]";
    g_assert_cmpint(wire_format_detect(jwe, strlen(jwe)), ==, FORMAT_JWE);
    g_assert_cmpint(wire_format_detect(list, strlen(list)), ==, FORMAT_PACKAGE);
    g_assert_cmpint(wire_format_detect("hmsgstr1xxxx", 12), ==, FORMAT_STREAM);
    g_assert_cmpint(wire_format_detect("hello", 5), ==, FORMAT_UNKNOWN);
    g_assert_cmpint(wire_format_detect("\x30\x82", 2), ==, FORMAT_CMS);
    g_assert_cmpint(wire_format_detect(" -----BEGIN CMS-----", 20), ==, FORMAT_CMS);
    g_assert_cmpint(wire_format_detect("", 0), ==, FORMAT_UNKNOWN);
}

static void test_seed(void)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(SEED_SIZE_MAX), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    _cleanup_(seed_freep) Seed *s = NULL;
    _cleanup_(secret_freep) Secret *key = NULL, *random = NULL;

    g_assert_cmpint(seed_build(bob->decrypt, alice->sign, TEXT, strlen(TEXT), &text), ==, 0);
    g_assert_cmpint(seed_parse(buf_text(&text), text.size, &s), ==, 0);
    g_assert_true(s->has_mac);
    g_assert_cmpint(
        rsa_private_oaep_decrypt(bob->decrypt_private, s->encrypted_key.data, s->encrypted_key.size, &key),
        ==, 0);
    g_assert_cmpint(seed_open(s, key, false, &out), ==, 0);
    g_assert_cmpstr(buf_text(&out), ==, TEXT);
    buf_clear(&out);
    g_assert_cmpint(secret_new_random(32, &random), ==, 0);
    g_assert_cmpint(seed_open(s, random, true, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(seed_open(s, NULL, true, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    s->mac[0] ^= 1;
    g_assert_cmpint(seed_open(s, key, true, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    s->has_mac = false;
    g_assert_cmpint(seed_open(s, key, false, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(seed_open(s, NULL, true, &out), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(out.size, ==, 0);
    g_assert_cmpint(seed_open(s, key, true, &out), ==, 0);
    for (size_t n = 0; n < text.size; n++) {
        Seed *none = NULL;

        g_assert_cmpint(seed_parse(buf_text(&text), n, &none), ==, HMSG_ERROR_BAD_PACKAGE);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(void);
    } tests[] = {
        {"/package/round-trip", test_round_trip},
        {"/package/fields", test_fields},
        {"/package/cache-id", test_cache_id},
        {"/package/truncated", test_truncated},
        {"/package/flipped", test_flipped},
        {"/package/edited", test_edited},
        {"/package/duplicate-names", test_duplicate_names},
        {"/package/resigned", test_resigned},
        {"/package/swapped", test_swapped},
        {"/package/passed-on", test_passed_on},
        {"/package/anonymous", test_anonymous},
        {"/package/one-error", test_one_error},
        {"/package/array", test_array},
        {"/package/oversized", test_oversized},
        {"/package/session-signature", test_session_signature},
        {"/package/formats", test_formats},
        {"/package/seed", test_seed},
    };
    int status;

    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    bob = test_person_new();
    eve = test_person_new();
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add_func(tests[i].name, tests[i].f);
    status = g_test_run();
    test_person_free(alice);
    test_person_free(bob);
    test_person_free(eve);
    return status;
}

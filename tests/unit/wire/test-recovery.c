/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Recovery keys: in statements, strictly; and what they may sign. */

#include "libhmsg/wire/recovery.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/rotation.h"
#include "tests/lib/person.h"

#define ADDRESS "alice@relay.example"

static TestPerson *alice, *next, *offline, *second;

static void parse(const char *text, IdentityStatement *ret)
{
    g_assert_cmpint(identity_statement_parse(text, strlen(text), clock_realtime(), ret), ==, 0);
}

static void test_add(void)
{
    _cleanup_(recovery_keys_done) RecoveryKeys k = {0}, copy = {0};

    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, offline->decrypt), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, offline->sign), ==, 0);
    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, NULL), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(recovery_keys_add(&k, second->decrypt, offline->sign), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(recovery_keys_add(&k, second->decrypt, NULL), ==, 0);
    g_assert_cmpint(recovery_keys_add(&k, alice->decrypt, NULL), ==, -ENOSPC);
    g_assert_true(recovery_keys_have(&k, second->decrypt));
    g_assert_false(recovery_keys_have(&k, second->sign));
    recovery_keys_copy(&k, &copy);
    recovery_keys_done(&k);
    g_assert_cmpuint(copy.n, ==, 2);
    g_assert_true(recovery_keys_have(&copy, offline->sign));
}

static void test_statement(void)
{
    _cleanup_(identity_statement_done) IdentityStatement s = {0}, none = {0};
    _cleanup_(recovery_keys_done) RecoveryKeys k = {0}, told = {0};
    g_autofree char *plain = test_person_statement(alice, ADDRESS);

    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, offline->sign), ==, 0);
    g_assert_cmpint(recovery_keys_add(&k, second->decrypt, NULL), ==, 0);
    g_autofree char *text = test_person_statement_with(alice, ADDRESS, 1, plain, &k);
    parse(text, &s);
    g_assert_cmpuint(s.recovery.n, ==, 2);
    g_assert_true(rsa_key_equal(s.recovery.keys[0].sign, offline->sign));
    g_assert_null(s.recovery.keys[1].sign);
    g_assert_cmpint(identity_statement_recovery(text, strlen(text), &told), ==, 0);
    g_assert_cmpuint(told.n, ==, 2);
    g_assert_true(rsa_key_equal(told.keys[1].decrypt, second->decrypt));
    parse(plain, &none);
    g_assert_cmpuint(none.recovery.n, ==, 0);
}

/* The largest that is allowed, with the longest address, still fits. */
static void test_largest(void)
{
    g_autofree char *host = g_strnfill(61, 'h'), *name = g_strnfill(64, 'n');
    g_autofree char *address = g_strdup_printf("%s@%s.%s.%s.example:65535", name, host, host, host);
    g_autofree char *plain = test_person_statement(alice, ADDRESS);
    _cleanup_(identity_statement_done) IdentityStatement s = {0};
    _cleanup_(recovery_keys_done) RecoveryKeys k = {0};

    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, offline->sign), ==, 0);
    g_assert_cmpint(recovery_keys_add(&k, second->decrypt, second->sign), ==, 0);
    g_autofree char *text = test_person_statement_with(alice, address, GENERATION_MAX, plain, &k);
    parse(text, &s);
    g_assert_cmpuint(s.recovery.n, ==, RECOVERY_KEYS_MAX);
}

/* One of the two keys of the identity itself is no recovery key. */
static void test_own_keys(void)
{
    RsaKey *own[] = {alice->decrypt, alice->sign};

    for (size_t i = 0; i < G_N_ELEMENTS(own); i++) {
        _cleanup_(identity_statement_done) IdentityStatement s = {0};
        _cleanup_(recovery_keys_done) RecoveryKeys k = {0};

        g_assert_cmpint(recovery_keys_add(&k, own[i], NULL), ==, 0);
        g_autofree char *text = test_person_statement_with(alice, ADDRESS, 0, NULL, &k);
        g_assert_cmpint(identity_statement_parse(text, strlen(text), clock_realtime(), &s), ==,
                        HMSG_ERROR_BAD_PACKAGE);
    }
}

static int get(const char *format, ...)
{
    _cleanup_(recovery_keys_done) RecoveryKeys k = {0};
    _cleanup_(json_decrefp) json_t *j = NULL;
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_assert_cmpint(json_parse_object(text, strlen(text), &j), ==, 0);
    return recovery_keys_get(j, &k);
}

/* Strict: not empty, not more, nothing unknown, nothing twice, no other type. */
static void test_strict(void)
{
    size_t n = 0, m = 0;
    const uint8_t *a = rsa_key_spki(offline->decrypt, &n), *b = rsa_key_spki(second->decrypt, &m);
    char x[1200], y[1200];

    g_assert_cmpuint(n, <, 800);
    base64url_encode(a, n, x);
    base64url_encode(b, m, y);
    g_assert_cmpint(get("{}"), ==, 0);
    g_assert_cmpint(get("{\"recovery\":[{\"decrypt\":\"%s\"}]}", x), ==, 0);
    g_assert_cmpint(get("{\"recovery\":[{\"decrypt\":\"%s\",\"sign\":\"%s\"}]}", x, y), ==, 0);
    g_assert_cmpint(get("{\"recovery\":[]}"), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":{}}"), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":null}"), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":[\"%s\"]}", x), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":[{\"sign\":\"%s\"}]}", x), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":[{\"decrypt\":\"%s\",\"sign\":\"%s\"}]}", x, x), ==,
                    HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":[{\"decrypt\":\"%s\",\"use\":1}]}", x), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":[{\"decrypt\":\"%s\"},{\"decrypt\":\"%s\"}]}", x, x), ==,
                    HMSG_ERROR_BAD_PACKAGE);
    g_assert_cmpint(get("{\"recovery\":[{\"decrypt\":\"%s\"},{\"decrypt\":\"%s\"},{}]}", x, y), ==,
                    HMSG_ERROR_BAD_PACKAGE);
}

/* alice's statement, with offline as recovery key that signs or only reads, then next's, by a rotation that
 * signer has signed. */
static int rotate(bool may_sign, const TestPerson *signer, Rotation *ret)
{
    _cleanup_(json_decrefp) json_t *chain = json_array(), *link = json_object();
    _cleanup_(identity_statement_done) IdentityStatement current = {0};
    _cleanup_(recovery_keys_done) RecoveryKeys k = {0};
    json_t *steps = json_array();
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(signer->sign, &n);

    g_assert_cmpint(recovery_keys_add(&k, offline->decrypt, may_sign ? offline->sign : NULL), ==, 0);
    g_autofree char *from = test_person_statement_with(alice, ADDRESS, 1, NULL, &k);
    g_autofree char *to = test_person_statement_after(next, ADDRESS, 2, from);
    g_autofree char *step = test_person_rotate(signer, next, 2);
    g_assert_cmpint(rotation_step_put(steps, step, spki, n), ==, 0);
    g_assert_cmpint(json_put_text(link, "from", from), ==, 0);
    g_assert_cmpint(json_put(link, "steps", steps), ==, 0);
    g_assert_cmpint(json_array_append(chain, link), ==, 0);
    parse(to, &current);
    return rotation_chain_follow(chain, rsa_key_thumbprint(alice->sign), &current, clock_realtime(), ret);
}

static void test_rotation(void)
{
    g_autofree Rotation *r = g_new0(Rotation, 1);

    g_assert_cmpint(rotate(true, alice, r), ==, 0);
    g_assert_false(r->recovered);
    g_assert_cmpint(rotate(true, offline, r), ==, 0);
    g_assert_true(r->recovered);
    /* whose keys end are alice's, not those of who signed */
    g_assert_cmpuint(r->n, ==, 1);
    g_assert_cmpmem(r->keys[0].skid, KID_SIZE, rsa_key_thumbprint(alice->sign), KID_SIZE);
    g_assert_cmpmem(r->keys[0].kid, KID_SIZE, rsa_key_thumbprint(alice->decrypt), KID_SIZE);
    /* who only reads, and who is not named, signs nothing */
    g_assert_cmpint(rotate(false, offline, r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(rotate(true, second, r), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    next = test_person_new();
    offline = test_person_new();
    second = test_person_new();
    g_test_add_func("/recovery/add", test_add);
    g_test_add_func("/recovery/statement", test_statement);
    g_test_add_func("/recovery/largest", test_largest);
    g_test_add_func("/recovery/own-keys", test_own_keys);
    g_test_add_func("/recovery/strict", test_strict);
    g_test_add_func("/recovery/rotation", test_rotation);
    int r = g_test_run();
    test_person_free(alice);
    test_person_free(next);
    test_person_free(offline);
    test_person_free(second);
    return r;
}

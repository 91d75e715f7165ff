/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The short way takes what the long way takes, and nothing else. */

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/package.h"
#include "tests/lib/person.h"

#define NOW INT64_C(1800000000)
#define TEXT "Dear Bob, here are the plans."

/* One session that is remembered. */
typedef struct Memory {
    uint8_t recall_id[SHA256_SIZE];
    SessionStatement statement;
    Secret *keys;
    unsigned asked;
} Memory;

static TestPerson *alice, *bob;

static const SessionStatement *remember(const uint8_t recall_id[static SHA256_SIZE], void *userdata)
{
    Memory *m = userdata;

    m->asked++;
    return bytes_equal(recall_id, m->recall_id, SHA256_SIZE) ? &m->statement : NULL;
}

static Buf build(const WireSession *s, uint64_t seq)
{
    Buf b = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(package_build(s, seq, NOW, NOW + 60, TEXT, strlen(TEXT), &b), ==, 0);
    return b;
}

/* The first package, the long way. */
static void learn(Memory *m, const WireSession *s)
{
    _cleanup_(buf_done) Buf text = build(s, 0);
    _cleanup_(package_freep) Package *p = NULL;

    *m = (Memory){.statement.expires = TIME_MAX};
    g_assert_cmpint(package_parse(buf_text(&text), text.size, PACKAGE_MESSAGE, &p), ==, 0);
    g_assert_false(p->recalled);
    g_assert_cmpint(package_check_recipient(p, rsa_key_thumbprint(bob->decrypt)), ==, 0);
    g_assert_cmpint(package_check_sender(p, NULL, &m->statement), ==, 0);
    if (!p->has_sender) {
        memcpy(m->statement.kid, p->kid, KID_SIZE);
        memcpy(m->statement.sid, p->sid, SESSION_ID_SIZE);
        memcpy(m->statement.kc, p->kc, KEY_COMMITMENT_SIZE);
    }
    memcpy(m->recall_id, p->recall_id, SHA256_SIZE);
    m->keys = test_person_unwrap(bob, p);
}

static int recall(Memory *m, const char *text, size_t n, Buf *ret)
{
    _cleanup_(package_freep) Package *p = NULL;
    int r;

    r = package_recall(text, n, remember, m, &p);
    if (r != 0) {
        g_assert_null(p);
        return r;
    }
    g_assert_true(p->recalled);
    return package_open(p, m->keys, ret);
}

static int read_long(Memory *m, const char *text, size_t n, Buf *ret)
{
    _cleanup_(package_freep) Package *p = NULL;
    int r;

    r = package_parse(text, n, PACKAGE_MESSAGE, &p);
    if (r == 0)
        r = package_check_recipient(p, rsa_key_thumbprint(bob->decrypt));
    if (r == 0)
        r = package_check_sender(p, NULL, NULL);
    return r == 0 ? package_open(p, m->keys, ret) : r;
}

static void check_session(const WireSession *s)
{
    _cleanup_(buf_done) Buf text = build(s, 7), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    Memory m;

    learn(&m, s);
    g_assert_cmpint(recall(&m, buf_text(&text), text.size, &out), ==, 0);
    g_assert_cmpmem(out.data, out.size, TEXT, strlen(TEXT));
    g_assert_cmpuint(m.asked, ==, 1);
    /* of another session: with keys of its own */
    m.recall_id[0] ^= 1;
    g_assert_cmpint(recall(&m, buf_text(&text), text.size, &out), ==, -ENOENT);
    m.recall_id[0] ^= 1;
    m.statement.expires = NOW - 1;
    g_assert_cmpint(recall(&m, buf_text(&text), text.size, &out), ==, -ENOENT);
    m.keys = secret_free(m.keys);
}

static void test_signed(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(alice, bob, NOW);

    check_session(s);
}

static void test_anonymous(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(NULL, bob, NOW);

    check_session(s);
}

/* Each character of a package changed: what the short way opens, the long way opens alike. */
static void check_changed(const WireSession *s)
{
    static const char changes[] = {1, 2, 32, 64};
    _cleanup_(buf_done) Buf text = build(s, 7);
    g_autofree char *copy = g_memdup2(text.data, text.size);
    unsigned refused = 0;
    Memory m;

    learn(&m, s);
    for (size_t i = 0; i < text.size; i++)
        for (size_t j = 0; j < sizeof(changes); j++) {
            _cleanup_(buf_done) Buf brief = BUF_MAX(PLAINTEXT_SIZE_MAX), full = BUF_MAX(PLAINTEXT_SIZE_MAX);

            copy[i] ^= changes[j];
            if (recall(&m, copy, text.size, &brief) == 0) {
                g_assert_cmpint(read_long(&m, copy, text.size, &full), ==, 0);
                g_assert_cmpmem(brief.data, brief.size, full.data, full.size);
            } else {
                g_assert_cmpuint(brief.size, ==, 0);
                refused++;
            }
            copy[i] ^= changes[j];
        }
    g_assert_cmpuint(refused, >, 3 * text.size);
    m.keys = secret_free(m.keys);
}

static void test_changed(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(alice, bob, NOW);
    _cleanup_(wire_session_freep) WireSession *t = test_session_new(NULL, bob, NOW);

    check_changed(s);
    check_changed(t);
}

/* The members of a sender that nothing vouches for, in an anonymous package. */
static void test_stray_sender(void)
{
    _cleanup_(wire_session_freep) WireSession *s = test_session_new(NULL, bob, NOW);
    _cleanup_(buf_done) Buf text = build(s, 1), out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    g_autofree char *stray = g_strdup_printf("{\"signature\":\"e30\",%s", buf_text(&text) + 1);
    g_autofree char *twice = g_strdup_printf("{\"iv\":\"\",%s", buf_text(&text) + 1);
    g_autofree char *array = g_strdup_printf("[%s]", buf_text(&text));
    g_autofree char *trailing = g_strdup_printf("%sx", buf_text(&text));
    const char *const all[] = {stray, twice, array, trailing, "", "{}", "{\"protected\":\"\"}"};
    Memory m;

    learn(&m, s);
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        g_assert_cmpint(recall(&m, all[i], strlen(all[i]), &out), ==, -ENOENT);
    g_assert_cmpuint(out.size, ==, 0);
    m.keys = secret_free(m.keys);
}

int main(int argc, char *argv[])
{
    int status;

    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    bob = test_person_new();
    g_test_add_func("/wire/package-recall/signed", test_signed);
    g_test_add_func("/wire/package-recall/anonymous", test_anonymous);
    g_test_add_func("/wire/package-recall/changed", test_changed);
    g_test_add_func("/wire/package-recall/stray-sender", test_stray_sender);
    status = g_test_run();
    test_person_free(alice);
    test_person_free(bob);
    return status;
}

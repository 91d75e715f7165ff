/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/session-out.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/double.h"

typedef struct Scene {
    Double *d;
    SessionOut *s;
    OutKey key;
} Scene;

typedef struct Answer {
    bool done;
    int r;
    OutSession *session;
    SessionOutRequest *request;
} Answer;

static void scene_open(Scene *c)
{
    const IdentityPublic *own;
    size_t n = 0;

    c->d = double_new();
    g_assert_cmpint(session_out_new(double_manager(c->d), &c->s), ==, 0);
    own = identity_public(double_manager(c->d)->identity);
    c->key = (OutKey){.kid = own->kid};
    c->key.spki = rsa_key_spki(own->decrypt, &n);
    c->key.spki_size = n;
}

static void scene_close(Scene *c)
{
    session_out_free(c->s);
    double_free(c->d);
}

static void on_session(int r, const char *detail, OutSession *session, void *userdata)
{
    Answer *a = userdata;

    g_assert_false(a->done);
    g_assert_nonnull(detail);
    a->done = true;
    a->r = r;
    a->session = session ? out_session_ref(session) : NULL;
    a->request = session_out_request_free(a->request);
}

static void get(Scene *c, const OutKey *key, Answer *a)
{
    *a = (Answer){0};
    g_assert_cmpint(session_out_get(c->s, key, on_session, a, &a->request), ==, 0);
    g_assert_false(a->done);
}

static void get_and_wait(Scene *c, const OutKey *key, Answer *a)
{
    get(c, key, a);
    double_run(c->d, &a->done);
    g_assert_cmpint(a->r, ==, 0);
}

static void test_signed(void)
{
    OutSession *again = NULL;
    uint64_t seq = 9;
    Answer a;
    Scene c;

    scene_open(&c);
    g_assert_cmpint(session_out_now(c.s, &c.key, &again), ==, -EAGAIN);
    get_and_wait(&c, &c.key, &a);
    g_assert_cmpuint(out_session_wire(a.session)->jws.size, >, 0);
    g_assert_cmpint(out_session_use(a.session, 10, &seq), ==, 0);
    g_assert_cmpuint(seq, ==, 0);
    g_assert_cmpint(session_out_now(c.s, &c.key, &again), ==, 0);
    g_assert_true(again == a.session);
    g_assert_cmpint(out_session_use(again, 10, &seq), ==, 0);
    g_assert_cmpuint(seq, ==, 1);
    g_assert_cmpuint(double_count_sign(c.d), ==, 1);
    out_session_unref(again);
    out_session_unref(a.session);
    scene_close(&c);
}

static void test_shared(void)
{
    Answer a, b, gone;
    Scene c;

    scene_open(&c);
    get(&c, &c.key, &a);
    get(&c, &c.key, &b);
    get(&c, &c.key, &gone);
    session_out_request_free(gone.request);
    double_run(c.d, &a.done);
    double_run(c.d, &b.done);
    g_assert_true(a.session && a.session == b.session);
    g_assert_false(gone.done);
    g_assert_cmpuint(double_count_sign(c.d), ==, 1);
    out_session_unref(a.session);
    out_session_unref(b.session);
    scene_close(&c);
}

static void test_given_up(void)
{
    OutSession *o = NULL;
    Answer a;
    Scene c;

    scene_open(&c);
    get(&c, &c.key, &a);
    session_out_request_free(a.request);
    g_assert_cmpuint(session_out_count(c.s), ==, 0);
    double_turn(c.d);
    g_assert_cmpuint(double_count_sign(c.d), ==, 0);
    g_assert_cmpint(session_out_now(c.s, &c.key, &o), ==, -EAGAIN);
    scene_close(&c);
}

static void test_fresh_and_anonymous(void)
{
    OutKey fresh, anonymous;
    OutSession *x = NULL, *y = NULL;
    Answer a, b;
    Scene c;

    scene_open(&c);
    fresh = anonymous = c.key;
    fresh.fresh = true;
    get_and_wait(&c, &fresh, &a);
    get_and_wait(&c, &fresh, &b);
    g_assert_true(a.session != b.session);
    g_assert_cmpuint(session_out_count(c.s), ==, 0);
    out_session_unref(a.session);
    out_session_unref(b.session);
    g_assert_cmpuint(double_count_sign(c.d), ==, 2);

    anonymous.anonymous = true;
    g_assert_cmpint(session_out_now(c.s, &anonymous, &x), ==, 0);
    g_assert_cmpint(session_out_now(c.s, &anonymous, &y), ==, 0);
    g_assert_true(x == y && !out_session_wire(x)->sender);
    out_session_unref(y);
    anonymous.fresh = true;
    g_assert_cmpint(session_out_now(c.s, &anonymous, &y), ==, 0);
    g_assert_true(x != y);
    out_session_unref(x);
    out_session_unref(y);
    g_assert_cmpint(session_out_now(c.s, &c.key, &x), ==, -EAGAIN); /* the anonymous one is not it */
    g_assert_cmpuint(double_count_sign(c.d), ==, 2);
    scene_close(&c);
}

static void test_limits(void)
{
    OutSession *o = NULL, *other = NULL;
    uint64_t seq = 0;
    OutKey key;
    Scene c;

    scene_open(&c);
    key = c.key;
    key.anonymous = true;
    g_assert_cmpint(session_out_now(c.s, &key, &o), ==, 0);
    for (unsigned i = 0; i < SESSION_MESSAGES_MAX; i++) {
        g_assert_cmpint(out_session_use(o, 1, &seq), ==, 0);
        g_assert_cmpuint(seq, ==, i);
    }
    g_assert_cmpint(out_session_use(o, 1, &seq), ==, -EAGAIN);
    g_assert_cmpint(session_out_now(c.s, &key, &other), ==, 0);
    g_assert_true(other != o);
    out_session_unref(o);
    g_assert_cmpint(out_session_use(other, SESSION_BYTES_MAX, &seq), ==, 0);
    g_assert_cmpint(out_session_use(other, 1, &seq), ==, -EAGAIN);
    out_session_unref(other);
    scene_close(&c);
}

static void test_errors(void)
{
    OutSession *o = NULL;
    SessionOutRequest *q = NULL;
    OutKey key;
    Answer a;
    Scene c;

    scene_open(&c);
    double_fail(c.d, HMSG_ERROR_TPM_LOCKED_OUT);
    get(&c, &c.key, &a);
    double_run(c.d, &a.done);
    g_assert_cmpint(a.r, ==, HMSG_ERROR_TPM_LOCKED_OUT);
    g_assert_null(a.session);
    g_assert_cmpuint(session_out_count(c.s), ==, 0);
    double_fail(c.d, 0);
    get_and_wait(&c, &c.key, &a);
    out_session_unref(a.session);

    key = c.key;
    key.spki_size--;
    key.anonymous = true;
    g_assert_cmpint(session_out_now(c.s, &key, &o), ==, HMSG_ERROR_BAD_PACKAGE);
    key = c.key;
    key.kid = identity_public(double_manager(c.d)->identity)->skid; /* of another key */
    key.anonymous = true;
    g_assert_cmpint(session_out_now(c.s, &key, &o), ==, -EINVAL);
    double_lock(c.d);
    session_out_lock(c.s);
    g_assert_cmpint(session_out_get(c.s, &c.key, on_session, &a, &q), ==, HMSG_ERROR_LOCKED);
    scene_close(&c);
}

static void test_lock(void)
{
    OutSession *o = NULL;
    Answer a, b;
    Scene c;

    scene_open(&c);
    get_and_wait(&c, &c.key, &a);
    out_session_unref(a.session);
    g_assert_cmpuint(session_out_count(c.s), ==, 1);
    session_out_lock(c.s);
    g_assert_cmpint(session_out_now(c.s, &c.key, &o), ==, -EAGAIN);
    /* while the TPM signs */
    get(&c, &c.key, &a);
    double_lock(c.d);
    session_out_lock(c.s);
    g_assert_true(a.done);
    g_assert_cmpint(a.r, ==, HMSG_ERROR_LOCKED);
    /* a fresh one is in no list: the epoch tells */
    double_unlock(c.d);
    OutKey fresh = c.key;
    fresh.fresh = true;
    get(&c, &fresh, &b);
    double_lock(c.d);
    double_run(c.d, &b.done);
    g_assert_cmpint(b.r, ==, HMSG_ERROR_LOCKED);
    g_assert_null(b.session);
    scene_close(&c);
}

static int count(const SessionOutFacts *f, void *userdata)
{
    g_assert_cmpuint(strlen(f->kid), ==, HASH_TEXT_SIZE - 1);
    ++*(unsigned *)userdata;
    return 0;
}

static void test_flush(void)
{
    unsigned n = 0;
    Answer a;
    Scene c;

    scene_open(&c);
    get_and_wait(&c, &c.key, &a);
    out_session_unref(a.session);
    g_assert_cmpint(session_out_each(c.s, count, &n), ==, 0);
    g_assert_cmpuint(n, ==, 1);
    g_assert_cmpuint(session_out_flush(c.s, "nobody"), ==, 0);
    g_assert_cmpuint(session_out_flush(c.s, NULL), ==, 1);
    g_assert_cmpuint(session_out_count(c.s), ==, 0);
    scene_close(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/session-out/signed", test_signed);
    g_test_add_func("/session-out/shared", test_shared);
    g_test_add_func("/session-out/given-up", test_given_up);
    g_test_add_func("/session-out/fresh-and-anonymous", test_fresh_and_anonymous);
    g_test_add_func("/session-out/limits", test_limits);
    g_test_add_func("/session-out/errors", test_errors);
    g_test_add_func("/session-out/lock", test_lock);
    g_test_add_func("/session-out/flush", test_flush);
    return g_test_run();
}

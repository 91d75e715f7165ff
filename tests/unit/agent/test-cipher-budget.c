/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One sender that begins session after session does not keep the TPM from the others. */

#include "agent/budget.h"

#include <glib.h>

#include "libhmsg/base/clock.h"
#include "tests/lib/person.h"
#include "tests/unit/agent/cipher-scene.h"

#define MANY 1000u /* more than is allowed at once */

static TestPerson *mallory, *alice;

/* What each of them writes in a session of its own. */
static GByteArray *package_of(const Scene *s, const TestPerson *from)
{
    TestPerson us = {.decrypt = identity_public(s->m->identity)->decrypt};
    _cleanup_(wire_session_freep) WireSession *session = test_session_new(from, &us, clock_realtime());
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);

    g_assert_cmpint(package_build(session, 0, clock_realtime(), 0, TEXT, strlen(TEXT), &package), ==, 0);
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, package.data, (guint)package.size);
    return bytes;
}

static int opened(Scene *s, const GByteArray *p, const OpenOptions *o)
{
    Result x;
    int r;

    open_it(s, p, o, &x);
    r = x.r;
    if (r == 0)
        expect_text(&x);
    else
        g_assert_nonnull(strstr(x.detail, " s"));
    result_clear(&x);
    return r;
}

/* Until it is refused; how many were not. *ret_refused, to be freed, is the first that was. */
static unsigned exhaust(Scene *s, const TestPerson *from, const OpenOptions *o, GByteArray **ret_refused)
{
    for (unsigned n = 0; n < MANY; n++) {
        g_autoptr(GByteArray) p = package_of(s, from);
        int r = opened(s, p, o);

        if (r != 0) {
            g_assert_cmpint(r, ==, HMSG_ERROR_QUOTA_EXCEEDED);
            *ret_refused = g_byte_array_ref(p);
            return n;
        }
    }
    g_error("nothing is refused");
}

static void test_known(void)
{
    g_autoptr(GByteArray) refused = NULL, again = NULL;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) first = package_of(&s, mallory);
    g_assert_cmpint(opened(&s, first, &strict), ==, 0);
    unsigned n = exhaust(&s, mallory, &strict, &refused);
    g_assert_cmpuint(n, >, 10);
    unsigned decrypted = double_count_decrypt(s.d);
    g_autoptr(GByteArray) more = package_of(&s, mallory);
    g_assert_cmpint(opened(&s, more, &strict), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, decrypted); /* the TPM was not asked */
    /* what is cached needs no TPM, and other senders have their own */
    g_assert_cmpint(opened(&s, first, &strict), ==, 0);
    g_autoptr(GByteArray) hers = package_of(&s, alice);
    g_assert_cmpint(opened(&s, hers, &strict), ==, 0);
    g_autoptr(GByteArray) ours = sealed(&s, &plain);
    g_assert_cmpint(opened(&s, ours, &strict), ==, 0);
    /* refused is not lost: later there is room */
    while (opened(&s, refused, &strict) == HMSG_ERROR_QUOTA_EXCEEDED)
        g_usleep(20000);
    g_assert_cmpint(opened(&s, refused, &strict), ==, 0);
    scene_close(&s);
}

/* Who is not known, or says nothing, is one with all others of that kind. */
static void test_unknown(void)
{
    const SealOptions seed = {.seed = true};
    g_autoptr(GByteArray) refused = NULL;
    Scene s;

    scene_open(&s);
    double_know(s.d, CONTACT_NONE, CONTACT_NONE, "");
    g_autoptr(GByteArray) old_form = sealed(&s, &seed);
    (void)exhaust(&s, mallory, &unknown, &refused);
    g_autoptr(GByteArray) other = package_of(&s, alice), anonymous = package_of(&s, NULL);
    g_assert_cmpint(opened(&s, anonymous, &unknown), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(opened(&s, old_form, &unknown), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    g_assert_cmpint(opened(&s, other, &unknown), ==, HMSG_ERROR_QUOTA_EXCEEDED);
    /* but not for contacts */
    double_know(s.d, CONTACT_PINNED, CONTACT_NONE, "alice@relay");
    g_assert_cmpint(opened(&s, other, &strict), ==, 0);
    scene_close(&s);
}

/* Keys that failed once are known as such, also after a lock, and cost neither TPM nor budget. */
static void test_failed(void)
{
    Scene s;
    Result x;

    scene_open(&s);
    g_autoptr(GByteArray) p = package_of(&s, mallory);
    double_fail(s.d, HMSG_ERROR_AUTHENTICATION_FAILED); /* as OAEP would say */
    for (unsigned i = 0; i < MANY; i++) {
        if (i == MANY / 2) {
            double_lock(s.d);
            double_unlock(s.d);
        }
        open_it(&s, p, &strict, &x);
        g_assert_cmpint(x.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        result_clear(&x);
    }
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);
    scene_close(&s);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    mallory = test_person_new();
    alice = test_person_new();
    g_test_add_func("/cipher-budget/known", test_known);
    g_test_add_func("/cipher-budget/unknown", test_unknown);
    g_test_add_func("/cipher-budget/failed", test_failed);
    status = g_test_run();
    test_person_free(mallory);
    test_person_free(alice);
    return status;
}

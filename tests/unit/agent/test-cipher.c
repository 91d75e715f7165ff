/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "tests/unit/agent/cipher-scene.h"

static void test_round_trip(void)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    OpenInfo info;
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) q = sealed(&s, &plain);
    g_assert_cmpuint(double_count_sign(s.d), ==, 1);
    g_assert_cmpint(cipher_open_now(s.m->cipher, p->data, p->len, &strict, &plaintext, &info), ==, -EAGAIN);
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_cmpstr(x.sender, ==, "alice@relay");
    g_assert_true(x.info.verified && !x.info.trusted && !x.info.cached && !x.info.replayed &&
                  x.info.authenticated && !x.info.expired);
    g_assert_cmpint(x.info.timestamp, >, 0);
    result_clear(&x);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);

    /* the next one of the session, at once */
    unsigned asked = double_count_known(s.d);
    g_assert_cmpint(cipher_open_now(s.m->cipher, q->data, q->len, &strict, &plaintext, &info), ==, 0);
    g_assert_cmpstr(buf_text(&plaintext), ==, TEXT);
    g_assert_true(info.cached && !info.replayed && info.verified);
    g_assert_cmpstr(info.sender, ==, "alice@relay");
    g_assert_cmpuint(double_count_known(s.d), ==, asked); /* nor a database */
    /* and the first again, from the loop */
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_true(x.info.cached && x.info.replayed);
    result_clear(&x);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);
    scene_close(&s);
}

static void test_several(void)
{
    SealKey keys[RECIPIENTS_MAX + 1];
    Result x;
    Scene s;

    scene_open(&s);
    for (size_t i = 0; i < ELEMENTSOF(keys); i++)
        keys[i] = s.us;
    x = (Result){0};
    g_assert_cmpint(cipher_seal(s.m->cipher, keys, 3, TEXT, strlen(TEXT), &plain, on_sealed, &x, &x.job), ==,
                    0);
    double_run(s.d, &x.done);
    g_assert_cmpuint(x.n, ==, 3);
    result_clear(&x);
    g_assert_cmpint(cipher_seal(s.m->cipher, keys, ELEMENTSOF(keys), "", 0, &plain, on_sealed, &x, &x.job),
                    ==, HMSG_ERROR_TOO_LARGE);
    g_autofree char *large = g_malloc0(PLAINTEXT_SIZE_MAX + 1);
    g_assert_cmpint(
        cipher_seal(s.m->cipher, keys, 1, large, PLAINTEXT_SIZE_MAX + 1, &plain, on_sealed, &x, &x.job), ==,
        HMSG_ERROR_TOO_LARGE);
    /* an array, of which one is ours */
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) array = g_byte_array_new();
    g_byte_array_append(array, (const uint8_t *)"[", 1);
    g_byte_array_append(array, p->data, p->len);
    g_byte_array_append(array, (const uint8_t *)"]", 1);
    open_it(&s, array, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    scene_close(&s);
}

static void test_seal_now(void)
{
    Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    SealOptions anonymous = {.anonymous = true};
    Scene s;

    scene_open(&s);
    g_assert_cmpint(cipher_seal_now(s.m->cipher, &s.us, 1, TEXT, strlen(TEXT), &plain, &package), ==,
                    -EAGAIN);
    g_assert_cmpint(cipher_seal_now(s.m->cipher, &s.us, 1, TEXT, strlen(TEXT), &anonymous, &package), ==, 0);
    g_assert_cmpuint(package.size, >, 0);
    g_assert_cmpuint(double_count_sign(s.d), ==, 0);
    g_autoptr(GByteArray) first = sealed(&s, &plain);
    buf_clear(&package);
    g_assert_cmpint(cipher_seal_now(s.m->cipher, &s.us, 1, TEXT, strlen(TEXT), &plain, &package), ==, 0);
    g_assert_cmpuint(double_count_sign(s.d), ==, 1);
    buf_done(&package);
    scene_close(&s);
}

/* Who may send, before the TPM is asked. */
static void test_senders(void)
{
    const SealOptions no_sign = {.anonymous = true};
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    g_autoptr(GByteArray) anonymous = sealed(&s, &no_sign);

    expect_error(&s, anonymous, &strict, HMSG_ERROR_UNTRUSTED);
    double_know(s.d, CONTACT_BLOCKED, CONTACT_NONE, "m@relay");
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    expect_error(&s, p, &unknown, HMSG_ERROR_UNTRUSTED);
    double_know(s.d, CONTACT_CHANGED, CONTACT_NONE, "m@relay");
    expect_error(&s, p, &unknown, HMSG_ERROR_UNTRUSTED);
    double_know(s.d, CONTACT_NONE, CONTACT_NONE, "");
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    double_directory_fail(s.d, HMSG_ERROR_RELAY_UNAVAILABLE);
    expect_error(&s, p, &strict, HMSG_ERROR_RELAY_UNAVAILABLE);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 0);

    open_it(&s, p, &unknown, &x); /* also while nobody can be asked */
    expect_text(&x);
    g_assert_true(!x.info.verified && !x.info.trusted);
    g_assert_cmpstr(x.sender, ==, identity_public(s.m->identity)->skid);
    result_clear(&x);
    double_directory_fail(s.d, 0);
    double_know(s.d, CONTACT_NONE, CONTACT_PINNED, "late@relay");
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    g_assert_true(x.info.verified && x.info.cached);
    g_assert_cmpstr(x.sender, ==, "late@relay");
    result_clear(&x);
    double_know(s.d, CONTACT_VERIFIED, CONTACT_NONE, "late@relay");
    open_it(&s, p, &strict, &x);
    g_assert_true(x.info.trusted);
    result_clear(&x);
    open_it(&s, anonymous, &unknown, &x);
    expect_text(&x);
    g_assert_cmpstr(x.sender, ==, "");
    g_assert_false(x.info.verified);
    result_clear(&x);
    /* blocked meanwhile: the cached answer is not good any more */
    double_know(s.d, CONTACT_BLOCKED, CONTACT_NONE, "late@relay");
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    scene_close(&s);
}

/* Keys of the wrong commitment, or none: remembered, and each the same error. */
static void test_failed_keys(void)
{
    Result x, y;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    double_fail(s.d, HMSG_ERROR_AUTHENTICATION_FAILED); /* as OAEP would say */
    open_it(&s, p, &strict, &x);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1);
    open_it(&s, p, &strict, &y);
    g_assert_cmpint(y.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpstr(x.detail, ==, y.detail);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 1); /* remembered */
    result_clear(&x);
    result_clear(&y);
    /* the TPM itself is away: that says nothing of the package */
    double_fail(s.d, HMSG_ERROR_TPM_UNAVAILABLE);
    g_autoptr(GByteArray) q = NULL;
    double_fail(s.d, 0);
    session_out_flush(s.m->session_out, NULL);
    q = sealed(&s, &plain);
    double_fail(s.d, HMSG_ERROR_TPM_UNAVAILABLE);
    expect_error(&s, q, &strict, HMSG_ERROR_TPM_UNAVAILABLE);
    double_fail(s.d, 0);
    open_it(&s, q, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    scene_close(&s);
}

static void is_refused(Scene *s, const GByteArray *p)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    OpenInfo info;
    int r = cipher_open_now(s->m->cipher, p->data, p->len, &strict, &plaintext, &info);

    if (r == -EAGAIN) {
        Result x;

        open_it(s, p, &strict, &x);
        r = x.r;
        g_assert_cmpuint(x.bytes->len, ==, 0);
        result_clear(&x);
    }
    g_assert_cmpuint(plaintext.size, ==, 0);
    g_assert_true(r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_AUTHENTICATION_FAILED ||
                  r == HMSG_ERROR_NOT_FOR_US || r == HMSG_ERROR_UNTRUSTED || r == HMSG_ERROR_TOO_LARGE);
}

/* Every byte changed, and every shorter text; with the session cached and so at once where it can be. */
static void test_mutations(void)
{
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    for (guint n = 0; n < p->len; n++) {
        g_autoptr(GByteArray) cut = g_byte_array_new();
        g_byte_array_append(cut, p->data, n);
        is_refused(&s, cut);
    }
    for (guint i = 0; i < p->len; i++) {
        p->data[i] ^= 0x01;
        is_refused(&s, p);
        p->data[i] ^= 0x01;
    }
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    scene_close(&s);
}

static void test_seed(void)
{
    const OpenOptions careless = {.allow_unauthenticated = true};
    const SealOptions seed = {.seed = true};
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &seed);
    expect_error(&s, p, &strict, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, 0);
    open_it(&s, p, &unknown, &x);
    expect_text(&x);
    g_assert_true(x.info.authenticated && !x.info.verified);
    result_clear(&x);
    /* without its MAC */
    const char *mac = g_strrstr_len((const char *)p->data, p->len, ",\"hmac\"");
    g_assert_nonnull(mac);
    g_byte_array_set_size(p, (guint)((const uint8_t *)mac - p->data));
    g_byte_array_append(p, (const uint8_t *)"}", 1);
    expect_error(&s, p, &strict, HMSG_ERROR_AUTHENTICATION_FAILED);
    expect_error(&s, p, &unknown, HMSG_ERROR_AUTHENTICATION_FAILED);
    open_it(&s, p, &careless, &x);
    expect_text(&x);
    g_assert_false(x.info.authenticated);
    result_clear(&x);
    double_fail(s.d, HMSG_ERROR_AUTHENTICATION_FAILED);
    unsigned n = double_count_decrypt(s.d);
    expect_error(&s, p, &careless, HMSG_ERROR_AUTHENTICATION_FAILED);
    expect_error(&s, p, &careless, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(double_count_decrypt(s.d), ==, n + 1);
    scene_close(&s);
}

static void test_lock(void)
{
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(PLAINTEXT_SIZE_MAX);
    OpenInfo info;
    Result x, y;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    double_hold(s.d, true);
    open_begin(&s, p->data, p->len, &strict, &x);
    double_turn(s.d);
    y = (Result){0};
    session_out_flush(s.m->session_out, NULL);
    g_assert_cmpint(cipher_seal(s.m->cipher, &s.us, 1, TEXT, 1, &plain, on_sealed, &y, &y.job), ==, 0);
    double_lock(s.d);
    g_assert_true(x.done && y.done);
    g_assert_cmpint(x.r, ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(y.r, ==, HMSG_ERROR_LOCKED);
    double_hold(s.d, false);
    for (unsigned i = 0; i < 5; i++)
        double_turn(s.d);
    result_clear(&x);
    result_clear(&y);
    g_assert_cmpuint(session_in_count(s.m->session_in) + session_out_count(s.m->session_out), ==, 0);
    expect_error(&s, p, &strict, HMSG_ERROR_LOCKED);
    double_unlock(s.d);
    open_it(&s, p, &strict, &x);
    expect_text(&x);
    result_clear(&x);
    g_assert_cmpint(cipher_open_now(s.m->cipher, p->data, p->len, &strict, &plaintext, &info), ==, 0);
    double_lock(s.d);
    buf_clear(&plaintext);
    g_assert_cmpint(cipher_open_now(s.m->cipher, p->data, p->len, &strict, &plaintext, &info), ==, -EAGAIN);
    scene_close(&s);
}

/* New keys while the TPM signs for a session: the message goes out, by the new ones. */
static void test_rotate(void)
{
    _cleanup_(package_freep) Package *p = NULL;
    Result x = {0};
    Scene s;

    scene_open(&s);
    double_hold(s.d, true);
    g_assert_cmpint(cipher_seal(s.m->cipher, &s.us, 1, TEXT, 1, &plain, on_sealed, &x, &x.job), ==, 0);
    double_turn(s.d);
    double_rotate(s.d);
    double_turn(s.d);
    g_assert_false(x.done);
    double_hold(s.d, false);
    double_run(s.d, &x.done);
    g_assert_cmpint(x.r, ==, 0);
    g_assert_cmpint(package_parse((const char *)x.bytes->data, x.bytes->len, PACKAGE_MESSAGE, &p), ==, 0);
    g_assert_cmpmem(p->skid, KID_SIZE, identity_public(s.m->identity)->skid_bytes, KID_SIZE);
    g_assert_cmpint(package_check_recipient(p, p->kid), ==, 0);
    g_assert_cmpint(package_check_sender(p, NULL, NULL), ==, 0);
    result_clear(&x);
    scene_close(&s);
}

static void test_cancel(void)
{
    Result x;
    Scene s;

    scene_open(&s);
    g_autoptr(GByteArray) p = sealed(&s, &plain);
    open_begin(&s, p->data, p->len, &strict, &x);
    x.job = cipher_job_free(x.job);
    for (unsigned i = 0; i < 5; i++)
        double_turn(s.d);
    g_assert_false(x.done);
    result_clear(&x);
    scene_close(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cipher/round-trip", test_round_trip);
    g_test_add_func("/cipher/several", test_several);
    g_test_add_func("/cipher/seal-now", test_seal_now);
    g_test_add_func("/cipher/senders", test_senders);
    g_test_add_func("/cipher/failed-keys", test_failed_keys);
    g_test_add_func("/cipher/mutations", test_mutations);
    g_test_add_func("/cipher/seed", test_seed);
    g_test_add_func("/cipher/lock", test_lock);
    g_test_add_func("/cipher/rotate", test_rotate);
    g_test_add_func("/cipher/cancel", test_cancel);
    return g_test_run();
}

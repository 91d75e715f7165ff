/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can go wrong on the way to the TPM and in it, seen from a man in the middle. */
#include <dlfcn.h>
#include <string.h>
#include <tss2/tss2_tpm2_types.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/tpm/runner.h"
#include "tests/lib/process.h"
#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/relay.h"
#include "tests/unit/tpm/util.h"

#define SHORT_DEADLINE 200000u /* µs */

typedef struct Fixture {
    TestSwtpm *tpm;
    Relay *relay;
    TpmRunner *runner;
    Answer keys;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->tpm = test_swtpm_new(NULL);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
    g_assert_cmpint(do_create(f->runner, &f->keys), ==, 0);
    tpm_runner_pin(f->runner, f->keys.srk_name);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    answer_clear(&f->keys);
    tpm_runner_free(f->runner);
    relay_free(f->relay);
    test_swtpm_free(f->tpm);
}

static int try_decrypt(Fixture *f, Answer *a)
{
    uint8_t ciphertext[TPM_RSA_SIZE];
    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    return do_decrypt(f->runner, f->keys.decrypt_key, ciphertext, sizeof(ciphertext), PLAINTEXT_SIZE, a);
}

static void test_sniffer(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    uint8_t ciphertext[TPM_RSA_SIZE];
    size_t n;

    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    g_assert_cmpint(do_decrypt(f->runner, f->keys.decrypt_key, ciphertext, sizeof(ciphertext), 0, &a), ==, 0);
    assert_signs(f->runner, f->keys.sign_key);
    for (size_t i = 0; i + 8 <= PLAINTEXT_SIZE; i++)
        g_assert_false(relay_saw(f->relay, PLAINTEXT + i, 8));
    g_assert_false(relay_saw(f->relay, ciphertext, 16));
    g_assert_false(relay_saw(f->relay, DIGEST, 16));
    g_assert_cmpint(do_random(f->runner, 32, &a), ==, 0);
    g_assert_false(relay_saw(f->relay, a.data, 16));
    /* It does see what is not secret: the sealed key when it is loaded. */
    const uint8_t *private = tpm_keyfile_private(f->keys.decrypt_key, &n);
    g_assert_true(relay_saw(f->relay, private, n));
}

static void test_restart(Fixture *f, gconstpointer data)
{
    assert_decrypts(f->runner, f->keys.decrypt_key);
    test_swtpm_stop(f->tpm);
    test_swtpm_start(f->tpm);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    assert_signs(f->runner, f->keys.sign_key);
}

static void test_gone(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    test_swtpm_stop(f->tpm);
    g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    test_swtpm_start(f->tpm);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

/* With and without firmware that starts it up again. */
static void test_reset(Fixture *f, gconstpointer data)
{
    assert_decrypts(f->runner, f->keys.decrypt_key);
    test_swtpm_reset(f->tpm);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    relay_reset(f->relay);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    relay_reset(f->relay);
    assert_signs(f->runner, f->keys.sign_key);
    relay_reset(f->relay);
    g_auto(Answer) a = {0};
    g_assert_cmpint(do_random(f->runner, 16, &a), ==, 0);
    g_assert_cmpint(do_create(f->runner, &a), ==, 0);
}

/* TPM2_Clear by another program: another SRK, which is not the pinned. */
static void test_cleared(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    Direct d;

    f->runner = tpm_runner_free(f->runner);
    direct_open(&d, relay_tcti(f->relay));
    direct_clear(&d);
    direct_close(&d);
    f->runner = runner_new(relay_tcti(f->relay));
    tpm_runner_pin(f->runner, f->keys.srk_name);
    g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_WRONG_TPM);
}

static void test_busy(Fixture *f, gconstpointer data)
{
    static const uint32_t busy[] = {TPM2_RC_RETRY, TPM2_RC_YIELDED, TPM2_RC_TESTING, TPM2_RC_NV_RATE};
    for (size_t i = 0; i < G_N_ELEMENTS(busy); i++) {
        relay_refuse(f->relay, CC_RSA_DECRYPT, busy[i], 9);
        assert_decrypts(f->runner, f->keys.decrypt_key);
        relay_refuse(f->relay, CC_LOAD, busy[i], 1);
        assert_signs(f->runner, f->keys.sign_key);
    }
}

/* Handles of ours that mean something else, or nothing, make a new connection, once. */
static void test_stale(Fixture *f, gconstpointer data)
{
    static const uint32_t stale[] = {TPM2_RC_REFERENCE_H0, TPM2_RC_REFERENCE_S0, TPM2_RC_HANDLE + TPM2_RC_1,
                                     TPM2_RC_BAD_AUTH + TPM2_RC_S + TPM2_RC_1,
                                     TPM2_RC_AUTH_FAIL + TPM2_RC_S + TPM2_RC_1};
    g_auto(Answer) a = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(stale); i++) {
        assert_decrypts(f->runner, f->keys.decrypt_key);
        uint64_t sessions = tpm_runner_count(f->runner, CC_START_SESSION);
        relay_refuse(f->relay, CC_RSA_DECRYPT, stale[i], 1);
        assert_decrypts(f->runner, f->keys.decrypt_key);
        g_assert_cmpuint(tpm_runner_count(f->runner, CC_START_SESSION), ==, sessions + 1);
        relay_refuse(f->relay, CC_RSA_DECRYPT, stale[i], 2);
        g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
        g_assert_cmpint(a.problem.reason, !=, TPM_REASON_NONE);
    }
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

static void test_lockout(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    uint64_t before = tpm_runner_count(f->runner, CC_RSA_DECRYPT);

    relay_refuse(f->relay, CC_RSA_DECRYPT, TPM2_RC_LOCKOUT, 100);
    g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_TPM_LOCKED_OUT);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_LOCKED_OUT);
    g_assert_cmpuint(a.problem.rc, ==, TPM2_RC_LOCKOUT);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_RSA_DECRYPT), ==, before + 1);
    relay_refuse(f->relay, CC_RSA_DECRYPT, 0, 0);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

/* TPMs use this code for a wrong padding, and for their own end. */
static void test_failure_mode(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    relay_refuse(f->relay, CC_RSA_DECRYPT, TPM2_RC_FAILURE, 1);
    g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_GET_TEST_RESULT), ==, 1);
    for (uint32_t rc = 0x95; rc; rc = rc == 0x95 ? TPM2_RC_VALUE + TPM2_RC_P + TPM2_RC_1 : 0) {
        relay_refuse(f->relay, CC_RSA_DECRYPT, rc, 1);
        g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    }
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_GET_TEST_RESULT), ==, 1);
    relay_refuse(f->relay, CC_RSA_DECRYPT, TPM2_RC_FAILURE, 1);
    relay_refuse(f->relay, CC_GET_TEST_RESULT, TPM2_RC_FAILURE, 1);
    g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_FAILURE_MODE);
    relay_refuse(f->relay, CC_START_SESSION, TPM2_RC_FAILURE, 1);
    relay_reset(f->relay);
    g_assert_cmpint(try_decrypt(f, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_FAILURE_MODE);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

/* An answer that was changed on its way is not believed. */
static void test_changed_answers(Fixture *f, gconstpointer data)
{
    for (size_t offset = 0; offset < 60; offset += 3) {
        g_auto(Answer) a = {0};
        relay_tamper(f->relay, CC_RSA_DECRYPT, offset);
        int r = try_decrypt(f, &a);
        g_assert_true(r == 0 || r == HMSG_ERROR_TPM_UNAVAILABLE || r == HMSG_ERROR_AUTHENTICATION_FAILED);
        if (r == 0)
            g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), PLAINTEXT, PLAINTEXT_SIZE);
    }
    relay_tamper(f->relay, 0, 0);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

/* The persistent SRK with another public key but its Name: a salt for it would be for the man in the middle.
 */
static void test_changed_srk(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    Direct d;

    f->runner = tpm_runner_free(f->runner);
    direct_open(&d, relay_tcti(f->relay));
    ESYS_TR srk = direct_primary(&d, false);
    direct_persist(&d, srk);
    direct_flush(&d, srk);
    direct_close(&d);
    f->runner = runner_new(relay_tcti(f->relay));
    tpm_runner_pin(f->runner, f->keys.srk_name);
    relay_tamper(f->relay, CC_READ_PUBLIC, 50); /* within x */
    int r = do_probe(f->runner, &a);
    g_assert_true(r == HMSG_ERROR_TPM_UNAVAILABLE || (r == 0 && !a.facts.srk_persistent));
}

static TpmRunner *impatient(Fixture *f)
{
    TpmRunnerOptions o = {.tcti = relay_tcti(f->relay),
                          .srk_name = f->keys.srk_name,
                          .deadline = SHORT_DEADLINE,
                          .create_deadline = SHORT_DEADLINE};
    TpmRunner *r = NULL;
    g_assert_cmpint(tpm_runner_new(&o, &r), ==, 0);
    return r;
}

static void test_freeze(Fixture *f, gconstpointer data)
{
    Answer a[3] = {0};
    TpmJob *jobs[3];

    f->runner = tpm_runner_free(f->runner);
    f->runner = impatient(f);
    g_assert_cmpuint(tpm_runner_next_deadline(f->runner), ==, UINT64_MAX);
    test_swtpm_freeze(f->tpm);
    uint64_t before = clock_boottime();
    for (size_t i = 0; i < 3; i++)
        g_assert_cmpint(
            tpm_runner_sign(f->runner, f->keys.sign_key, NULL, NULL, DIGEST, answer_note, &a[i], &jobs[i]),
            ==, 0);
    g_assert_cmpuint(tpm_runner_next_deadline(f->runner), >=, before + SHORT_DEADLINE);
    tpm_job_cancel(jobs[1]);
    answer_await(f->runner, &a[0]);
    answer_await(f->runner, &a[2]); /* with the first: it does not wait for a deadline of its own */
    g_assert_cmpint(a[0].r, ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a[0].problem.reason, ==, TPM_REASON_NO_ANSWER);
    g_assert_cmpint(a[2].r, ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpuint(a[1].calls, ==, 0);
    test_swtpm_thaw(f->tpm);
    f->runner = tpm_runner_free(f->runner);
    f->runner = runner_new(relay_tcti(f->relay));
    assert_signs(f->runner, f->keys.sign_key);
}

/* Straight to the emulator, so that even the opening of the connection hangs. */
static void test_hung_threads(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    unsigned started = 0;
    int r = 0;

    f->runner = tpm_runner_free(f->runner);
    TpmRunnerOptions o = {.tcti = test_swtpm_tcti(f->tpm), .deadline = SHORT_DEADLINE};
    g_assert_cmpint(tpm_runner_new(&o, &f->runner), ==, 0);
    test_swtpm_freeze(f->tpm);
    while (started < 20 && r == 0) {
        answer_clear(&a);
        r = tpm_runner_probe(f->runner, answer_note, &a, NULL);
        if (r == 0) {
            answer_await(f->runner, &a);
            g_assert_cmpint(a.r, ==, HMSG_ERROR_TPM_UNAVAILABLE);
            started++;
        }
    }
    g_assert_cmpint(r, ==, HMSG_ERROR_TPM_UNAVAILABLE); /* no thread without end */
    g_assert_cmpuint(started, >, 0);
    answer_clear(&a);
    test_swtpm_thaw(f->tpm);
    TEST_AWAIT(tpm_runner_dispatch(f->runner) == 0 &&
               tpm_runner_probe(f->runner, answer_note, &a, NULL) == 0);
    answer_await(f->runner, &a);
    f->runner = tpm_runner_free(f->runner);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    assert_signs(f->runner, f->keys.sign_key);
}

static void test_freed_while_frozen(Fixture *f, gconstpointer data)
{
    Answer a = {0};
    test_swtpm_freeze(f->tpm);
    g_assert_cmpint(tpm_runner_sign(f->runner, f->keys.sign_key, NULL, NULL, DIGEST, answer_note, &a, NULL),
                    ==, 0);
    f->runner = tpm_runner_free(f->runner);
    g_assert_cmpuint(a.calls, ==, 0);
    test_swtpm_thaw(f->tpm);
}

#define ADD(path, test) g_test_add("/tpm/runner-faults/" path, Fixture, NULL, set_up, test, tear_down)

static void add(void)
{
    ADD("sniffer", test_sniffer);
    ADD("restart", test_restart);
    ADD("gone", test_gone);
    ADD("reset", test_reset);
    ADD("cleared", test_cleared);
    ADD("busy", test_busy);
    ADD("stale", test_stale);
    ADD("lockout", test_lockout);
    ADD("failure-mode", test_failure_mode);
    ADD("changed-answers", test_changed_answers);
    ADD("changed-srk", test_changed_srk);
    ADD("freeze", test_freeze);
    ADD("hung-threads", test_hung_threads);
    ADD("freed-while-frozen", test_freed_while_frozen);
}

/* LeakSanitizer asks for it. A TCTI whose second connection is refused forgets its copy of the path. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:Tss2_Tcti_Swtpm_Init\n";
}

int main(int argc, char *argv[])
{
    /* stays loaded, so that what it leaks has a name */
    (void)dlopen("libtss2-tcti-swtpm.so.0", RTLD_NOW);
    return tpm_test_main(argc, argv, add);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A TPM without resource manager, which other programs use too. */
#include <string.h>

#include "libhmsg/tpm/runner.h"
#include "tests/lib/process.h"
#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/util.h"

#define TRANSIENT_FIRST 0x80000000u
#define LOADED_SESSION_FIRST 0x02000000u
#define SLOTS 3u /* of transient objects, and of sessions, in swtpm */

typedef struct Fixture {
    TestSwtpm *tpm;
    TpmRunner *runner;
    Answer keys;
    Direct direct;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->tpm = test_swtpm_new(NULL);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    g_assert_cmpint(do_create(f->runner, &f->keys), ==, 0);
    f->runner = tpm_runner_free(f->runner);
    direct_open(&f->direct, test_swtpm_tcti(f->tpm));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    answer_clear(&f->keys);
    tpm_runner_free(f->runner);
    test_swtpm_free(f->tpm);
}

/* The other program goes, and ours comes. */
static void turn_over(Fixture *f)
{
    direct_close(&f->direct);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    tpm_runner_pin(f->runner, f->keys.srk_name);
}

static void turn_back(Fixture *f)
{
    f->runner = tpm_runner_free(f->runner);
    direct_open(&f->direct, test_swtpm_tcti(f->tpm));
}

static void test_leaves_nothing(Fixture *f, gconstpointer data)
{
    turn_over(f);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    assert_signs(f->runner, f->keys.sign_key);
    turn_back(f);
    g_assert_cmpuint(direct_handles(&f->direct, TRANSIENT_FIRST), ==, 0);
    g_assert_cmpuint(direct_handles(&f->direct, LOADED_SESSION_FIRST), ==, 0);
    direct_close(&f->direct);
}

/* While it does nothing it has nothing in the TPM, not even the connection. */
static void test_idle(Fixture *f, gconstpointer data)
{
    TpmRunnerOptions o = {.tcti = test_swtpm_tcti(f->tpm), .session_idle = 1000};

    direct_close(&f->direct);
    g_assert_cmpint(tpm_runner_new(&o, &f->runner), ==, 0);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    TEST_AWAIT(tpm_runner_count(f->runner, CC_FLUSH) >= 3);
    direct_open(&f->direct, test_swtpm_tcti(f->tpm));
    g_assert_cmpuint(direct_handles(&f->direct, TRANSIENT_FIRST), ==, 0);
    g_assert_cmpuint(direct_handles(&f->direct, LOADED_SESSION_FIRST), ==, 0);
    direct_close(&f->direct);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

/* One slot of another program: two are enough. */
static void test_one_slot_taken(Fixture *f, gconstpointer data)
{
    (void)direct_primary(&f->direct, true);
    turn_over(f);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    assert_signs(f->runner, f->keys.sign_key);
    turn_back(f);
    g_assert_cmpuint(direct_handles(&f->direct, TRANSIENT_FIRST), ==, 1);
    direct_close(&f->direct);
}

static void test_full(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    for (unsigned i = 0; i < SLOTS; i++)
        (void)direct_primary(&f->direct, true);
    turn_over(f);
    g_assert_cmpint(do_sign(f->runner, f->keys.sign_key, DIGEST, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_NO_ROOM);
    turn_back(f);
    /* What is not ours stays. */
    g_assert_cmpuint(direct_handles(&f->direct, TRANSIENT_FIRST), ==, SLOTS);
    for (unsigned i = 0; i < SLOTS; i++) {
        ESYS_TR object;
        g_assert_cmphex(Esys_TR_FromTPMPublic(f->direct.esys, TRANSIENT_FIRST + i, ESYS_TR_NONE, ESYS_TR_NONE,
                                              ESYS_TR_NONE, &object),
                        ==, 0);
        direct_flush(&f->direct, object);
    }
    turn_over(f);
    assert_signs(f->runner, f->keys.sign_key);
}

/* As after an agent that was killed, several times. */
static void test_left_over(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        (void)direct_primary(&f->direct, false);
        (void)direct_session(&f->direct);
    }
    turn_over(f);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    assert_signs(f->runner, f->keys.sign_key);
    turn_back(f);
    g_assert_cmpuint(direct_handles(&f->direct, TRANSIENT_FIRST), <, SLOTS);
    direct_close(&f->direct);
}

static void test_persistent_srk(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    ESYS_TR srk = direct_primary(&f->direct, false);
    direct_persist(&f->direct, srk);
    direct_flush(&f->direct, srk);
    turn_over(f);
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_true(a.facts.srk_persistent);
    g_assert_cmpmem(a.facts.srk_name, TPM_NAME_SIZE, f->keys.srk_name, TPM_NAME_SIZE);
    assert_decrypts(f->runner, f->keys.decrypt_key);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_CREATE_PRIMARY), ==, 0);

    /* Not pinned yet: then it is compared with the primary. */
    tpm_runner_free(f->runner);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_true(a.facts.srk_persistent);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_CREATE_PRIMARY), ==, 1);
}

/* Another key at the SRK's handle. */
static void test_other_persistent(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    ESYS_TR other = direct_primary(&f->direct, true);
    direct_persist(&f->direct, other);
    direct_flush(&f->direct, other);
    turn_over(f);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
        g_assert_false(a.facts.srk_persistent);
        g_assert_cmpmem(a.facts.srk_name, TPM_NAME_SIZE, f->keys.srk_name, TPM_NAME_SIZE);
        assert_decrypts(f->runner, f->keys.decrypt_key);
        tpm_runner_free(f->runner);
        f->runner = runner_new(test_swtpm_tcti(f->tpm));
    }
}

static void test_owner_password(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    direct_owner_password(&f->direct, "secret");
    turn_over(f);
    g_assert_cmpint(do_sign(f->runner, f->keys.sign_key, DIGEST, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_OWNER_AUTH);
}

static void test_owner_password_persistent(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    ESYS_TR srk = direct_primary(&f->direct, false);
    direct_persist(&f->direct, srk);
    direct_flush(&f->direct, srk);
    direct_owner_password(&f->direct, "secret");
    turn_over(f);
    assert_signs(f->runner, f->keys.sign_key);
    tpm_runner_pin(f->runner, NULL);
    tpm_runner_free(f->runner);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    assert_signs(f->runner, f->keys.sign_key);
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_true(a.facts.srk_persistent);
}

/* Our keys are not subject to it; what the TPM says about it is passed on. */
static void test_lockout(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    direct_lock_out(&f->direct);
    turn_over(f);
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_true(a.facts.in_lockout);
    g_assert_cmpuint(a.facts.lockout_counter, ==, 1);
    g_assert_cmpuint(a.facts.lockout_max, ==, 1);
    g_assert_cmpuint(a.facts.lockout_interval, ==, 1000);
    g_assert_cmpuint(a.facts.lockout_recovery, ==, 2000);
    assert_decrypts(f->runner, f->keys.decrypt_key);
}

#define ADD(path, test) g_test_add("/tpm/runner-room/" path, Fixture, NULL, set_up, test, tear_down)

static void add(void)
{
    ADD("leaves-nothing", test_leaves_nothing);
    ADD("idle", test_idle);
    ADD("one-slot-taken", test_one_slot_taken);
    ADD("full", test_full);
    ADD("left-over", test_left_over);
    ADD("persistent-srk", test_persistent_srk);
    ADD("other-persistent", test_other_persistent);
    ADD("owner-password", test_owner_password);
    ADD("owner-password-persistent", test_owner_password_persistent);
    ADD("lockout", test_lockout);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}

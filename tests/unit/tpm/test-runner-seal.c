/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is sealed, behind a man in the middle. */
#include <errno.h>
#include <string.h>

#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/relay.h"
#include "tests/unit/tpm/util.h"

#define SECRET ((const uint8_t *)"what nobody on the way may learn")

typedef struct Fixture {
    TestSwtpm *tpm;
    Relay *relay;
    TpmRunner *runner;
    Secret *secret;
    TpmCounter counter;
    TpmKeyPolicy policy;
    uint8_t srk_name[TPM_NAME_SIZE];
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    f->tpm = test_swtpm_new(NULL);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
    g_assert_cmpint(secret_new_copy(SECRET, TPM_SEALED_SIZE, &f->secret), ==, 0);
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    memcpy(f->srk_name, a.facts.srk_name, TPM_NAME_SIZE);
    answer_clear(&a);
    g_assert_cmpint(tpm_runner_counter_new(f->runner, NULL, answer_note, &a, NULL), ==, 0);
    answer_await(f->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    f->counter = a.counter;
    f->policy = (TpmKeyPolicy){.index = a.counter.index, .generation = a.counter_value};
}

static void tear_down(Fixture *f, gconstpointer data)
{
    tpm_runner_free(f->runner);
    secret_free(f->secret);
    relay_free(f->relay);
    test_swtpm_free(f->tpm);
}

static TpmKeyFile *seal(Fixture *f, const TpmKeyPolicy *policy)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_seal(f->runner, policy, f->secret, answer_note, &a, NULL), ==, 0);
    answer_await(f->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    g_assert_true(a.sealed && !a.secret && !a.decrypt_key && !a.sign_key);
    g_assert_cmpint(tpm_keyfile_use(a.sealed), ==, TPM_SEALED);
    return g_steal_pointer(&a.sealed);
}

/* 0: with the secret. */
static int unseal(TpmRunner *r, TpmKeyFile *sealed, const TpmCounter *counter, TpmReason *ret_reason)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_unseal(r, sealed, counter, answer_note, &a, NULL), ==, 0);
    answer_await(r, &a);
    if (a.r == 0)
        g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), SECRET, TPM_SEALED_SIZE);
    else
        g_assert_null(a.secret);
    if (ret_reason)
        *ret_reason = a.problem.reason;
    return a.r;
}

static void expect_unseals(Fixture *f, TpmKeyFile *sealed)
{
    g_assert_cmpint(unseal(f->runner, sealed, &f->counter, NULL), ==, 0);
}

static void expect_refused(TpmRunner *r, TpmKeyFile *sealed, const TpmCounter *counter, TpmReason reason)
{
    TpmReason got = TPM_REASON_NONE;

    g_assert_cmpint(unseal(r, sealed, counter, &got), ==,
                    reason == TPM_REASON_DESTROYED ? HMSG_ERROR_NOT_FOUND : HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(got, ==, reason);
}

static void test_seal(Fixture *f, gconstpointer data)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *plain = seal(f, NULL), *bound = seal(f, &f->policy);
    size_t n;

    expect_unseals(f, plain);
    expect_unseals(f, bound);
    expect_unseals(f, bound);
    test_swtpm_reset(f->tpm);
    expect_unseals(f, bound);
    expect_unseals(f, plain);
    for (size_t i = 0; i + 8 <= TPM_SEALED_SIZE; i++)
        g_assert_false(relay_saw(f->relay, SECRET + i, 8));
    const uint8_t *private = tpm_keyfile_private(bound, &n);
    g_assert_true(relay_saw(f->relay, private, n)); /* so the relay does see what goes by */
    g_assert_cmpint(tpm_runner_unseal(f->runner, bound, NULL, answer_note, NULL, NULL), ==, -EINVAL);
}

static void test_destroyed(Fixture *f, gconstpointer data)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *bound = seal(f, &f->policy);
    TpmCounter guessed = f->counter;
    g_auto(Answer) a = {0};

    guessed.auth[0] ^= 1;
    expect_refused(f->runner, bound, &guessed, TPM_REASON_DESTROYED);
    expect_unseals(f, bound);
    g_assert_cmpint(
        tpm_runner_counter_raise(f->runner, &f->counter, f->policy.generation + 1, answer_note, &a, NULL), ==,
        0);
    answer_await(f->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    expect_refused(f->runner, bound, &f->counter, TPM_REASON_DESTROYED);
    f->policy.generation++;
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *next = seal(f, &f->policy);
    expect_unseals(f, next);
}

static void test_other_tpm(Fixture *f, gconstpointer data)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *plain = seal(f, NULL);
    TestSwtpm *other = test_swtpm_new(NULL);
    TpmRunner *r = runner_new(test_swtpm_tcti(other));
    TpmReason reason = TPM_REASON_NONE;

    g_assert_cmpint(unseal(r, plain, NULL, &reason), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(reason, !=, TPM_REASON_NONE);
    tpm_runner_pin(r, f->srk_name);
    expect_refused(r, plain, NULL, TPM_REASON_WRONG_TPM);
    tpm_runner_free(r);
    test_swtpm_free(other);
}

static void test_cleared(Fixture *f, gconstpointer data)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *bound = seal(f, &f->policy);
    Direct d;

    f->runner = tpm_runner_free(f->runner);
    direct_open(&d, relay_tcti(f->relay));
    direct_clear(&d);
    direct_close(&d);
    f->runner = runner_new(relay_tcti(f->relay));
    tpm_runner_pin(f->runner, f->srk_name);
    expect_refused(f->runner, bound, &f->counter, TPM_REASON_WRONG_TPM);
}

/* Its file is one of its own, and no other opens in its place. */
static void test_file(Fixture *f, gconstpointer data)
{
    const TpmKeyPolicy *const policies[] = {NULL, &f->policy};
    g_auto(Answer) keys = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(policies); i++) {
        _cleanup_(tpm_keyfile_freep) TpmKeyFile *sealed = seal(f, policies[i]), *again = NULL, *none = NULL;
        _cleanup_(buf_done) Buf der = BUF_MAX(TPM_KEYFILE_DER_MAX);

        g_assert_cmpint(tpm_keyfile_to_der(sealed, &der), ==, 0);
        g_assert_cmpint(tpm_sealed_from_der(der.data, der.size, &again), ==, 0);
        g_assert_true(tpm_policy_equal(tpm_keyfile_policy(again), policies[i]));
        expect_unseals(f, again);
        g_assert_cmpint(tpm_keyfile_from_der(der.data, der.size, &none), ==, -EBADMSG);
        for (size_t at = 0; at < der.size; at++) {
            _cleanup_(tpm_keyfile_freep) TpmKeyFile *changed = NULL;

            der.data[at] ^= 1;
            /* what is not looked at here is the TPM's */
            if (tpm_sealed_from_der(der.data, der.size, &changed) == 0 && at % 16 == 0)
                g_assert_cmpint(unseal(f->runner, changed, &f->counter, NULL), !=, 0);
            der.data[at] ^= 1;
        }
        g_assert_cmpint(tpm_sealed_from_der(der.data, der.size - 1, &none), ==, -EBADMSG);
        g_assert_cmpint(tpm_sealed_from_der(der.data, 0, &none), ==, -EBADMSG);
    }
    _cleanup_(buf_done) Buf key = BUF_MAX(TPM_KEYFILE_DER_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *none = NULL;
    g_assert_cmpint(do_create(f->runner, &keys), ==, 0);
    g_assert_cmpint(tpm_keyfile_to_der(keys.decrypt_key, &key), ==, 0);
    g_assert_cmpint(tpm_sealed_from_der(key.data, key.size, &none), ==, -EBADMSG);
}

/* What is sealed is no key, and a key is nothing that is sealed. */
static void test_wrong_use(Fixture *f, gconstpointer data)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *plain = seal(f, NULL);
    _cleanup_(secret_freep) Secret *small = NULL;
    TpmKeyPolicy measured = {.measured = true};
    uint8_t ciphertext[TPM_RSA_SIZE] = {1};
    g_auto(Answer) a = {0}, keys = {0};

    g_assert_cmpint(do_decrypt(f->runner, plain, ciphertext, sizeof(ciphertext), 0, &a), ==,
                    HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpint(do_sign(f->runner, plain, DIGEST, &a), ==, -EINVAL);
    g_assert_cmpint(tpm_runner_change_auth(f->runner, plain, NULL, NULL, answer_note, &a, NULL), ==, -EINVAL);
    g_assert_cmpint(do_create(f->runner, &keys), ==, 0);
    g_assert_cmpint(tpm_runner_unseal(f->runner, keys.decrypt_key, NULL, answer_note, &a, NULL), ==, -EINVAL);
    g_assert_cmpint(tpm_runner_seal(f->runner, &measured, f->secret, answer_note, &a, NULL), ==, -EINVAL);
    g_assert_cmpint(secret_new(TPM_SEALED_SIZE - 1, &small), ==, 0);
    g_assert_cmpint(tpm_runner_seal(f->runner, NULL, small, answer_note, &a, NULL), ==, -EINVAL);
    expect_unseals(f, plain);
}

#define ADD(path, test) g_test_add("/tpm/runner-seal/" path, Fixture, NULL, set_up, test, tear_down)

static void add(void)
{
    ADD("seal", test_seal);
    ADD("destroyed", test_destroyed);
    ADD("other-tpm", test_other_tpm);
    ADD("cleared", test_cleared);
    ADD("file", test_file);
    ADD("wrong-use", test_wrong_use);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/runner.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/process.h"
#include "tests/lib/swtpm.h"
#include "tests/unit/tpm/util.h"

#define CC_CREATE_PRIMARY 0x131u
#define CC_CREATE 0x153u
#define CC_LOAD 0x157u
#define CC_RSA_DECRYPT 0x159u
#define CC_SIGN 0x15du
#define CC_FLUSH 0x165u
#define CC_START_SESSION 0x176u
#define CC_READ_PUBLIC 0x173u

static const uint8_t plaintext[64] = "sixty-four bytes that the sniffer on the bus would like to see.";
static const uint8_t digest[32] = "thirty-two bytes of some digest";

typedef struct Fixture {
    TestSwtpm *tpm;
    TpmRunner *runner;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->tpm = test_swtpm_new(NULL);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    tpm_runner_free(f->runner);
    test_swtpm_free(f->tpm);
}

static void assert_decrypts(TpmRunner *r, TpmKeyFile *key)
{
    g_auto(Answer) a = {0};
    uint8_t ciphertext[TPM_RSA_SIZE];

    oaep_encrypt(key, plaintext, sizeof(plaintext), ciphertext);
    int e = do_decrypt(r, key, ciphertext, sizeof(ciphertext), sizeof(plaintext), &a);
    g_assert_cmpstr(a.problem.text, ==, "");
    g_assert_cmpint(e, ==, 0);
    g_assert_nonnull(a.secret);
    g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), plaintext, sizeof(plaintext));
}

static void assert_signs(TpmRunner *r, TpmKeyFile *key)
{
    g_auto(Answer) a = {0};
    g_assert_cmpint(do_sign(r, key, digest, &a), ==, 0);
    g_assert_cmpuint(a.data_size, ==, TPM_RSA_SIZE);
    g_assert_true(pss_verify(key, digest, a.data, a.data_size));
}

static void test_keys(Fixture *f, gconstpointer data)
{
    g_auto(Answer) keys = {0};

    g_assert_cmpint(do_create(f->runner, &keys), ==, 0);
    g_assert_true(keys.has_srk_name);
    g_assert_cmpint(keys.problem.reason, ==, TPM_REASON_NONE);
    g_assert_cmpint(tpm_keyfile_use(keys.decrypt_key), ==, TPM_KEY_DECRYPT);
    g_assert_cmpint(tpm_keyfile_use(keys.sign_key), ==, TPM_KEY_SIGN);
    assert_decrypts(f->runner, keys.decrypt_key);
    assert_signs(f->runner, keys.sign_key);
    assert_decrypts(f->runner, keys.decrypt_key);
}

static void test_command_count(Fixture *f, gconstpointer data)
{
    g_auto(Answer) keys = {0};
    TpmRunner *r = f->runner;

    g_assert_cmpint(do_create(r, &keys), ==, 0);
    g_assert_cmpuint(tpm_runner_count(r, CC_CREATE), ==, 2);
    g_assert_cmpuint(tpm_runner_count(r, CC_CREATE_PRIMARY), ==, 1);
    g_assert_cmpuint(tpm_runner_count(r, CC_START_SESSION), ==, 1);
    uint64_t before = tpm_runner_count(r, 0);
    assert_decrypts(r, keys.decrypt_key);
    g_assert_cmpuint(tpm_runner_count(r, 0), ==, before + 2);
    g_assert_cmpuint(tpm_runner_count(r, CC_LOAD), ==, 1);
    before = tpm_runner_count(r, 0);
    assert_decrypts(r, keys.decrypt_key);
    g_assert_cmpuint(tpm_runner_count(r, 0), ==, before + 1);
    g_assert_cmpuint(tpm_runner_count(r, CC_RSA_DECRYPT), ==, 2);
}

static void test_random(Fixture *f, gconstpointer data)
{
    static const uint8_t zeros[32];
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_random(f->runner, TPM_RANDOM_MAX, &a), ==, 0);
    g_assert_cmpuint(a.data_size, ==, TPM_RANDOM_MAX);
    for (size_t i = 0; i < TPM_RANDOM_MAX; i += sizeof(zeros))
        g_assert_cmpint(memcmp(a.data + i, zeros, sizeof(zeros)), !=, 0);
    g_assert_cmpint(tpm_runner_random(f->runner, TPM_RANDOM_MAX + 1, answer_note, &a, NULL), ==, -EINVAL);
}

static void test_probe(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_cmpstr(a.facts.manufacturer, ==, "IBM");
    g_assert_cmpint(a.facts.in_lockout, ==, false);
    g_assert_cmpuint(a.facts.lockout_counter, ==, 0);
    g_assert_cmpuint(a.facts.lockout_max, >, 0);
    g_assert_cmpint(a.facts.srk_persistent, ==, false);
    g_assert_cmpuint(a.facts.srk_name[1], ==, 0x0b);
}

/* Runs a test on a TPM of its own, or skips it where there is no emulator. */
#define ADD(path, test) g_test_add(path, Fixture, NULL, set_up, test, tear_down)

int main(int argc, char *argv[])
{
    g_assert_cmpint(tpm_silence_logs(), ==, 0);
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_print("1..0 # SKIP swtpm is not installed\n");
        return 0;
    }
    ADD("/tpm/runner/keys", test_keys);
    ADD("/tpm/runner/command-count", test_command_count);
    ADD("/tpm/runner/random", test_random);
    ADD("/tpm/runner/probe", test_probe);
    return g_test_run();
}

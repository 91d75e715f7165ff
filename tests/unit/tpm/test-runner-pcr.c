/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys that are bound to PCRs whose values somebody has approved. A man in the middle looks on. */
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#include "libhmsg/tpm/pcr.h"
#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/relay.h"
#include "tests/unit/tpm/util.h"

#define MASK (1u << 7 | 1u << 11)
#define CC_PCR_READ 0x17eu

typedef struct Fixture {
    TestSwtpm *tpm;
    Relay *relay;
    TpmRunner *runner;
    EVP_PKEY *signer;
    TpmPcrPolicy policy;
    TpmCounter counter;
    Answer keys;
    uint8_t ciphertext[TPM_RSA_SIZE];
} Fixture;

static TpmPcrValues values(Fixture *f)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_read_pcrs(f->runner, MASK, answer_note, &a, NULL), ==, 0);
    answer_await(f->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    return a.pcrs;
}

/* The PCRs as they are, signed by key, become what is approved last. */
static void approve(Fixture *f, EVP_PKEY *key)
{
    TpmApproval *a = &f->policy.approvals[f->policy.n++];
    uint8_t digest[32];

    a->pcrs = values(f);
    g_assert_cmpint(tpm_pcr_to_sign(MASK, &a->pcrs, digest), ==, 0);
    rsa_private_sign(key, digest, a->signature);
    g_assert_cmpint(tpm_runner_approve(f->runner, &f->policy), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    TpmKeyPolicy policy = {.measured = true};
    TpmPrivateKey numbers = {.prime = NULL};

    f->tpm = test_swtpm_new(NULL);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
    f->signer = EVP_RSA_gen(2048);
    rsa_private_numbers(f->signer, &numbers);
    secret_free(numbers.prime);
    memcpy(f->policy.modulus, numbers.modulus, TPM_RSA_SIZE);
    f->policy.mask = MASK;
    g_assert_cmpint(tpm_pcr_signer(f->policy.modulus, policy.signer), ==, 0);
    g_assert_cmpint(tpm_runner_counter_new(f->runner, NULL, answer_note, &a, NULL), ==, 0);
    answer_await(f->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    f->counter = a.counter;
    policy.index = a.counter.index;
    policy.generation = a.counter_value;
    g_assert_cmpint(tpm_runner_create_keys(f->runner, &policy, NULL, answer_note, &f->keys, NULL), ==, 0);
    answer_await(f->runner, &f->keys);
    g_assert_cmpint(f->keys.r, ==, 0);
    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, f->ciphertext);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    answer_clear(&f->keys);
    tpm_runner_free(f->runner);
    relay_free(f->relay);
    test_swtpm_free(f->tpm);
    EVP_PKEY_free(f->signer);
}

static int decrypt(Fixture *f, Answer *a)
{
    answer_clear(a);
    g_assert_cmpint(tpm_runner_decrypt(f->runner, f->keys.decrypt_key, NULL, &f->counter, f->ciphertext,
                                       TPM_RSA_SIZE, PLAINTEXT_SIZE, answer_note, a, NULL),
                    ==, 0);
    answer_await(f->runner, a);
    if (a->r == 0)
        g_assert_cmpmem(secret_bytes(a->secret), secret_size(a->secret), PLAINTEXT, PLAINTEXT_SIZE);
    return a->r;
}

static void expect_works(Fixture *f)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(decrypt(f, &a), ==, 0);
    answer_clear(&a);
    g_assert_cmpint(
        tpm_runner_sign(f->runner, f->keys.sign_key, NULL, &f->counter, DIGEST, answer_note, &a, NULL), ==,
        0);
    answer_await(f->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    g_assert_true(pss_verify(f->keys.sign_key, DIGEST, a.data, a.data_size));
}

static void expect_refused(Fixture *f, const char *why)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(decrypt(f, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_PCR);
    if (!strstr(a.problem.text, why))
        g_error("\"%s\" does not say \"%s\"", a.problem.text, why);
}

/* As another boot loader would. swtpm serves one connection at a time. */
static void extend(Fixture *f, ESYS_TR pcr)
{
    TPML_DIGEST_VALUES what = {.count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256};
    Direct d;

    g_assert_cmpint(tpm_runner_forget(f->runner), ==, 0); /* closes the connection */

    memset(what.digests[0].digest.sha256, 'x', 32);
    direct_open(&d, relay_tcti(f->relay));
    g_assert_true(Esys_PCR_Extend(d.esys, pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &what) ==
                  TSS2_RC_SUCCESS);
    direct_close(&d);
}

static void test_approve(Fixture *f, gconstpointer data)
{
    expect_refused(f, "nothing was approved");
    approve(f, f->signer);
    expect_works(f);
    expect_works(f);
    extend(f, ESYS_TR_PCR11);
    expect_refused(f, "PCR 11");
    extend(f, ESYS_TR_PCR7);
    expect_refused(f, "PCR 7, 11");
    extend(f, ESYS_TR_PCR0); /* which is not among them */
    expect_refused(f, "PCR 7, 11");
    approve(f, f->signer);
    expect_works(f);
    relay_reset(f->relay); /* as the machine started before */
    expect_works(f);
}

static void test_forged(Fixture *f, gconstpointer data)
{
    EVP_PKEY *other = EVP_RSA_gen(2048);

    approve(f, other);
    expect_refused(f, "not by the policy key");
    approve(f, f->signer);
    expect_works(f);
    f->policy.approvals[1].signature[17] ^= 1;
    g_assert_cmpint(tpm_runner_approve(f->runner, &f->policy), ==, 0);
    expect_refused(f, "not by the policy key");
    EVP_PKEY_free(other);
}

/* Another key in the place of the policy key, with approvals of its own: the keys name theirs. */
static void test_other_signer(Fixture *f, gconstpointer data)
{
    EVP_PKEY *other = EVP_RSA_gen(2048);
    g_auto(Answer) a = {0};
    BIGNUM *n = NULL;

    g_assert_true(EVP_PKEY_get_bn_param(other, OSSL_PKEY_PARAM_RSA_N, &n) == 1);
    g_assert_cmpint(BN_bn2binpad(n, f->policy.modulus, TPM_RSA_SIZE), ==, TPM_RSA_SIZE);
    approve(f, other);
    g_assert_cmpint(decrypt(f, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    BN_free(n);
    EVP_PKEY_free(other);
}

/* Who sits on the wire cannot make the owner approve other values. */
static void test_tampered_read(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    (void)values(f);
    relay_tamper(f->relay, CC_PCR_READ, 40);
    g_assert_cmpint(tpm_runner_read_pcrs(f->runner, MASK, answer_note, &a, NULL), ==, 0);
    answer_await(f->runner, &a);
    TpmPcrValues now = values(f);
    g_assert_true(a.r != 0 || memcmp(&a.pcrs, &now, sizeof(now)) == 0); /* public */
}

static void test_file(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *again = NULL;

    g_assert_cmpint(tpm_keyfile_to_pem(f->keys.sign_key, &pem), ==, 0);
    g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&pem), pem.size, &again), ==, 0);
    g_assert_true(tpm_policy_equal(tpm_keyfile_policy(again), tpm_keyfile_policy(f->keys.decrypt_key)));
    g_assert_true(tpm_keyfile_policy(again)->measured);
}

static void test_masks(Fixture *f, gconstpointer data)
{
    TpmPcrPolicy p = {.mask = 0};

    g_assert_false(tpm_pcr_mask_is_valid(0));
    g_assert_true(tpm_pcr_mask_is_valid(0xff));
    g_assert_false(tpm_pcr_mask_is_valid(0x1ff));
    g_assert_true(tpm_pcr_mask_is_valid(1u << 23));
    g_assert_false(tpm_pcr_mask_is_valid(1u << 24));
    g_assert_cmpint(tpm_runner_read_pcrs(f->runner, 0, answer_note, NULL, NULL), ==, -EINVAL);
    g_assert_cmpint(tpm_runner_approve(f->runner, &p), ==, -EINVAL);
}

static void add(void)
{
    g_test_add("/tpm/pcr/approve", Fixture, NULL, set_up, test_approve, tear_down);
    g_test_add("/tpm/pcr/forged", Fixture, NULL, set_up, test_forged, tear_down);
    g_test_add("/tpm/pcr/other-signer", Fixture, NULL, set_up, test_other_signer, tear_down);
    g_test_add("/tpm/pcr/tampered-read", Fixture, NULL, set_up, test_tampered_read, tear_down);
    g_test_add("/tpm/pcr/file", Fixture, NULL, set_up, test_file, tear_down);
    g_test_add("/tpm/pcr/masks", Fixture, NULL, set_up, test_masks, tear_down);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every fault at every command of every job: each job ends once, well or with an error that says so, the next
 * one works, and nothing of ours stays in a TPM without resource manager. */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>
#include <tss2/tss2_tpm2_types.h>

#include "libhmsg/tpm/runner.h"
#include "tests/lib/process.h"
#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/fault.h"
#include "tests/unit/tpm/util.h"

#define TRANSIENT_FIRST 0x80000000u
#define LOADED_SESSION_FIRST 0x02000000u
#define AUTH ((const uint8_t *)"the authorization value of both ")
#define COMMANDS_MAX 64u
#define PCRS (1u << 7)
#define SHORT_DEADLINE 300000u /* µs; what is slower while the machine is loaded is tried again */

typedef struct Keys {
    Secret *auth; /* NULL: without PIN */
    Answer answer;
    uint8_t ciphertext[TPM_RSA_SIZE];
} Keys;

typedef struct Scene {
    TestSwtpm *tpm;
    FaultPlan plan;
    char tcti[FAULT_CONF_SIZE];
    TpmRunner *runner;
    Keys plain, guarded;
    TpmPrivateKey outside;
    EVP_PKEY *signer;
    TpmPcrPolicy approved;
    TpmCounter counter;
    Keys measured; /* bound to the counter and to PCRs */
    Secret *secret;
    TpmKeyFile *sealed; /* bound to the counter */
} Scene;

typedef struct Fault {
    const char *name;
    FaultKind kind;
    uint32_t code;
    bool harmless; /* tried again, and then it works */
} Fault;

static const Fault faults[] = {
    {"retry", FAULT_CODE, TPM2_RC_RETRY, true},
    {"yielded", FAULT_CODE, TPM2_RC_YIELDED, true},
    {"object memory", FAULT_CODE, TPM2_RC_OBJECT_MEMORY, true},
    {"session memory", FAULT_CODE, TPM2_RC_SESSION_MEMORY, true},
    {"lockout", FAULT_CODE, TPM2_RC_LOCKOUT, false},
    {"failure", FAULT_CODE, TPM2_RC_FAILURE, false},
    {"empty", FAULT_EMPTY, 0, false},
    {"short", FAULT_SHORT, 0, false},
    {"last byte", FAULT_LAST_BYTE, 0, false},
    {"long", FAULT_LONG, 0, false},
    {"size", FAULT_SIZE, 0, false},
    {"garbage", FAULT_GARBAGE, 0, false},
    {"garbage body", FAULT_GARBAGE_BODY, 0, false},
    {"refused", FAULT_REFUSED, 0, true},
    {"lost", FAULT_LOST, 0, false},
    {"silent", FAULT_SILENT, 0, false},
    {"reset", FAULT_RESET, 0, false},
};

static bool is_clean(const Answer *a)
{
    switch (a->r) {
    case 0:
        return a->problem.reason == TPM_REASON_NONE;
    case HMSG_ERROR_TPM_UNAVAILABLE:
    case HMSG_ERROR_TPM_LOCKED_OUT:
        return a->problem.reason != TPM_REASON_NONE && *a->problem.text && !a->secret && a->data_size == 0;
    default:
        return false;
    }
}

static int decrypt(Scene *s, Keys *k)
{
    g_auto(Answer) a = {0};
    int r = do_decrypt_with(s->runner, k->answer.decrypt_key, k->auth, k->ciphertext, TPM_RSA_SIZE,
                            PLAINTEXT_SIZE, &a);

    if (r == 0)
        g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), PLAINTEXT, PLAINTEXT_SIZE);
    /* some TPMs say it of a wrong padding, and this one says that it is well */
    g_assert_true(is_clean(&a) || (r == HMSG_ERROR_AUTHENTICATION_FAILED && !a.secret &&
                                   s->plan.kind == FAULT_CODE && s->plan.code == TPM2_RC_FAILURE));
    return r;
}

static int sign(Scene *s, Keys *k)
{
    g_auto(Answer) a = {0};
    int r = do_sign_with(s->runner, k->answer.sign_key, k->auth, DIGEST, &a);

    if (r == 0)
        g_assert_true(pss_verify(k->answer.sign_key, DIGEST, a.data, a.data_size));
    g_assert_true(is_clean(&a));
    return r;
}

/* From a closed connection on, and a key that another takes the place of. */
static int use(Scene *s, Keys *k)
{
    int r = decrypt(s, k), e = sign(s, k);

    return r ? r : e;
}

static int use_plain(Scene *s)
{
    return use(s, &s->plain);
}

static int use_guarded(Scene *s)
{
    return use(s, &s->guarded);
}

static int create(Scene *s)
{
    g_auto(Answer) a = {0};
    int r = do_create(s->runner, &a);

    g_assert_true(is_clean(&a));
    g_assert_true((r == 0) == (a.decrypt_key && a.sign_key));
    return r;
}

static int change_auth(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_change_auth(s->runner, s->guarded.answer.sign_key, s->guarded.auth,
                                           s->guarded.auth, answer_note, &a, NULL),
                    ==, 0);
    answer_await(s->runner, &a);
    g_assert_true(is_clean(&a));
    g_assert_true((a.r == 0) == (a.sign_key != NULL));
    return a.r;
}

static int probe_and_random(Scene *s)
{
    g_auto(Answer) a = {0};
    int r = do_probe(s->runner, &a);

    g_assert_true(is_clean(&a));
    int e = do_random(s->runner, 64, &a);
    g_assert_true(is_clean(&a));
    g_assert_cmpuint(a.data_size, ==, e == 0 ? 64 : 0);
    return r ? r : e;
}

static int import(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_import_keys(s->runner, &s->outside, NULL, NULL, NULL, answer_note, &a, NULL),
                    ==, 0);
    answer_await(s->runner, &a);
    g_assert_true(is_clean(&a));
    g_assert_true((a.r == 0) == (a.decrypt_key && a.sign_key));
    return a.r;
}

static int read_pcrs(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_read_pcrs(s->runner, PCRS, answer_note, &a, NULL), ==, 0);
    answer_await(s->runner, &a);
    g_assert_true(is_clean(&a));
    if (a.r == 0)
        g_assert_cmpmem(a.pcrs.values[0], TPM_PCR_SIZE, s->approved.approvals[0].pcrs.values[0],
                        TPM_PCR_SIZE);
    return a.r;
}

static int use_measured(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_approve(s->runner, &s->approved), ==, 0);
    g_assert_cmpint(tpm_runner_decrypt(s->runner, s->measured.answer.decrypt_key, NULL, &s->counter,
                                       s->measured.ciphertext, TPM_RSA_SIZE, PLAINTEXT_SIZE, answer_note, &a,
                                       NULL),
                    ==, 0);
    answer_await(s->runner, &a);
    if (a.r == 0)
        g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), PLAINTEXT, PLAINTEXT_SIZE);
    /* what it may be told of the counter, and of the padding */
    g_assert_true(is_clean(&a) || a.problem.reason == TPM_REASON_DESTROYED ||
                  (a.r == HMSG_ERROR_AUTHENTICATION_FAILED && s->plan.code == TPM2_RC_FAILURE));
    return a.r;
}

static int seal(Scene *s, const TpmKeyPolicy *policy, TpmKeyFile **ret)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_seal(s->runner, policy, s->secret, answer_note, &a, NULL), ==, 0);
    answer_await(s->runner, &a);
    g_assert_true(is_clean(&a));
    g_assert_true((a.r == 0) == (a.sealed != NULL));
    *ret = g_steal_pointer(&a.sealed);
    return a.r;
}

static int unseal(Scene *s)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(tpm_runner_unseal(s->runner, s->sealed, &s->counter, answer_note, &a, NULL), ==, 0);
    answer_await(s->runner, &a);
    if (a.r == 0)
        g_assert_true(secret_equal(a.secret, s->secret));
    g_assert_true(is_clean(&a));
    return a.r;
}

static int seal_and_unseal(Scene *s)
{
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *sealed = NULL;
    int r = seal(s, tpm_keyfile_policy(s->sealed), &sealed), e = unseal(s);

    return r ? r : e;
}

/* What is flushed, and the connection after it. */
static int forget(Scene *s)
{
    g_auto(Answer) a = {0};

    (void)sign(s, &s->plain);
    g_assert_cmpint(tpm_runner_forget(s->runner), ==, 0);
    int r = do_probe(s->runner, &a);
    g_assert_true(is_clean(&a));
    return r;
}

static void new_runner_with(Scene *s, uint64_t deadline)
{
    TpmRunnerOptions o = {.tcti = s->tcti,
                          .session_idle = TPM_CREATE_DEADLINE,
                          .deadline = deadline,
                          .create_deadline = deadline};

    g_assert_cmpint(tpm_runner_new(&o, &s->runner), ==, 0);
}

static void new_runner(Scene *s)
{
    new_runner_with(s, 0);
}

static void assert_nothing_left(Scene *s)
{
    Direct d;

    direct_open(&d, test_swtpm_tcti(s->tpm));
    g_assert_cmpuint(direct_handles(&d, TRANSIENT_FIRST), ==, 0);
    g_assert_cmpuint(direct_handles(&d, LOADED_SESSION_FIRST), ==, 0);
    direct_close(&d);
}

/* A reset after a PIN was used counts as a wrong one. */
static void forgive(Scene *s)
{
    Direct d;

    direct_open(&d, test_swtpm_tcti(s->tpm));
    direct_forgive(&d);
    direct_close(&d);
}

static void reset(void *userdata)
{
    const Scene *s = userdata;

    test_swtpm_reset(s->tpm);
}

static void run(Scene *s, int (*job)(Scene *s), const Fault *f, uint32_t at, bool guarded)
{
    bool silent = f->kind == FAULT_SILENT;

    new_runner_with(s, silent ? SHORT_DEADLINE : 0);
    s->plan.kind = f->kind;
    s->plan.code = f->code;
    s->plan.seen = 0;
    s->plan.at = at;
    int r = job(s);
    g_assert_cmpuint(s->plan.seen, >, at);
    if (f->harmless || (f->kind == FAULT_LOST && !guarded))
        g_assert_cmpint(r, ==, 0);
    s->plan.at = FAULT_NEVER;
    if (silent)
        TEST_AWAIT(use_plain(s) == 0 && use_guarded(s) == 0);
    else
        g_assert_true(use_plain(s) == 0 && use_guarded(s) == 0);
    s->runner = tpm_runner_free(s->runner);
    assert_nothing_left(s);
    if (f->kind == FAULT_RESET)
        forgive(s);
}

static uint32_t record(Scene *s, int (*job)(Scene *s))
{
    new_runner(s);
    s->plan.at = FAULT_NEVER;
    s->plan.seen = 0;
    g_assert_cmpint(job(s), ==, 0);
    uint32_t n = s->plan.seen;
    s->runner = tpm_runner_free(s->runner);
    assert_nothing_left(s);
    g_assert_cmpuint(n, >, 1);
    g_assert_cmpuint(n, <, COMMANDS_MAX);
    return n;
}

static void make_keys(Scene *s, Keys *k, const uint8_t *auth)
{
    if (auth)
        g_assert_cmpint(secret_new_copy(auth, TPM_AUTH_SIZE, &k->auth), ==, 0);
    g_assert_cmpint(do_create_with(s->runner, k->auth, &k->answer), ==, 0);
    oaep_encrypt(k->answer.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, k->ciphertext);
}

static void make_outside(Scene *s)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);

    rsa_private_numbers(key, &s->outside);
    EVP_PKEY_free(key);
}

static void make_measured(Scene *s)
{
    g_auto(Answer) a = {0};
    TpmKeyPolicy policy = {.measured = true};
    TpmPrivateKey numbers = {.prime = NULL};
    TpmApproval *approval = &s->approved.approvals[0];
    uint8_t digest[32];

    s->signer = EVP_RSA_gen(2048);
    rsa_private_numbers(s->signer, &numbers);
    secret_free(numbers.prime);
    memcpy(s->approved.modulus, numbers.modulus, TPM_RSA_SIZE);
    s->approved.mask = PCRS;
    s->approved.n = 1;
    g_assert_cmpint(tpm_runner_read_pcrs(s->runner, PCRS, answer_note, &a, NULL), ==, 0);
    answer_await(s->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    approval->pcrs = a.pcrs;
    g_assert_cmpint(tpm_pcr_to_sign(PCRS, &approval->pcrs, digest), ==, 0);
    rsa_private_sign(s->signer, digest, approval->signature);
    answer_clear(&a);
    g_assert_cmpint(tpm_runner_counter_new(s->runner, NULL, answer_note, &a, NULL), ==, 0);
    answer_await(s->runner, &a);
    g_assert_cmpint(a.r, ==, 0);
    s->counter = a.counter;
    policy.index = a.counter.index;
    policy.generation = a.counter_value;
    g_assert_cmpint(tpm_pcr_signer(s->approved.modulus, policy.signer), ==, 0);
    g_assert_cmpint(tpm_runner_create_keys(s->runner, &policy, NULL, answer_note, &s->measured.answer, NULL),
                    ==, 0);
    answer_await(s->runner, &s->measured.answer);
    g_assert_cmpint(s->measured.answer.r, ==, 0);
    oaep_encrypt(s->measured.answer.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, s->measured.ciphertext);
}

static void make_sealed(Scene *s)
{
    const TpmKeyPolicy *measured = tpm_keyfile_policy(s->measured.answer.decrypt_key);
    const TpmKeyPolicy policy = {.index = measured->index, .generation = measured->generation};

    g_assert_cmpint(secret_new_random(TPM_SEALED_SIZE, &s->secret), ==, 0);
    g_assert_cmpint(seal(s, &policy, &s->sealed), ==, 0);
}

static void free_keys(Keys *k)
{
    answer_clear(&k->answer);
    secret_free(k->auth);
}

static const struct Case {
    const char *path;
    int (*job)(Scene *s);
    bool guarded;
    unsigned step; /* of the pairs of command and fault, and no divisor of either; not with -m slow */
} cases[] = {
    {"/tpm/runner-every-fault/use", use_plain, false, 3},
    {"/tpm/runner-every-fault/use-guarded", use_guarded, true, 3},
    {"/tpm/runner-every-fault/create", create, false, 7},
    {"/tpm/runner-every-fault/change-auth", change_auth, true, 3},
    {"/tpm/runner-every-fault/import", import, false, 7},
    {"/tpm/runner-every-fault/read-pcrs", read_pcrs, false, 3},
    {"/tpm/runner-every-fault/use-measured", use_measured, false, 7},
    {"/tpm/runner-every-fault/seal-and-unseal", seal_and_unseal, false, 7},
    {"/tpm/runner-every-fault/probe-and-random", probe_and_random, false, 3},
    {"/tpm/runner-every-fault/forget", forget, false, 3},
};

static void test_case(gconstpointer data)
{
    const struct Case *c = data;
    Scene s = {.tpm = test_swtpm_new(NULL)};
    size_t pair = 0;

    s.plan.inner = test_swtpm_tcti(s.tpm);
    s.plan.at = FAULT_NEVER;
    s.plan.reset = reset;
    s.plan.userdata = &s;
    fault_conf(&s.plan, s.tcti);
    new_runner(&s);
    make_keys(&s, &s.plain, NULL);
    make_keys(&s, &s.guarded, AUTH);
    make_outside(&s);
    make_measured(&s);
    make_sealed(&s);
    s.runner = tpm_runner_free(s.runner);
    new_runner(&s);
    g_assert_cmpint(use_guarded(&s), ==, 0); /* the first use since the TPM started takes one command more */
    s.runner = tpm_runner_free(s.runner);
    uint32_t n = record(&s, c->job);
    for (uint32_t at = 0; at < n; at++)
        for (size_t i = 0; i < G_N_ELEMENTS(faults); i++)
            if (g_test_slow() || pair++ % c->step == 0) {
                g_test_message("%s at command %u of %u", faults[i].name, at, n);
                run(&s, c->job, &faults[i], at, c->guarded);
            }
    free_keys(&s.plain);
    free_keys(&s.guarded);
    free_keys(&s.measured);
    secret_free(s.outside.prime);
    secret_free(s.secret);
    tpm_keyfile_free(s.sealed);
    EVP_PKEY_free(s.signer);
    test_swtpm_free(s.tpm);
}

static void add(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        g_test_add_data_func(cases[i].path, &cases[i], test_case);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}

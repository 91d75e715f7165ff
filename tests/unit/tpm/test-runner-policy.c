/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys that are bound to a generation, with an authorization value and without. A man in the middle looks
 * on. */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/keyfile-internal.h"
#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/relay.h"
#include "tests/unit/tpm/util.h"

#define RIGHT ((const uint8_t *)"the right authorization value ..")
#define WRONG ((const uint8_t *)"the wrong authorization value ..")
#define CC_POLICY_NV 0x149u
#define CC_POLICY_AUTH_VALUE 0x16bu
#define CC_POLICY_RESTART 0x180u
#define CC_NV_READ_PUBLIC 0x169u
#define RC_RETRY 0x922u
#define RC_SESSION_MEMORY 0x903u
#define TRANSIENT_FIRST 0x80000000u
#define LOADED_SESSION_FIRST 0x02000000u
#define WITH_PIN ((gconstpointer)1)

typedef struct Fixture {
    TestSwtpm *tpm;
    Relay *relay;
    TpmRunner *runner;
    Secret *right, *wrong;
    const Secret *auth; /* right, or NULL */
    TpmCounter counter;
    uint64_t generation;
    Answer keys;
    uint8_t ciphertext[TPM_RSA_SIZE];
} Fixture;

static int finish(Fixture *f, int e, Answer *a)
{
    g_assert_cmpint(e, ==, 0);
    answer_await(f->runner, a);
    return a->r;
}

static int decrypt_key(Fixture *f, TpmKeyFile *key, const Secret *auth, const TpmCounter *c, Answer *a)
{
    answer_clear(a);
    int r = finish(f,
                   tpm_runner_decrypt(f->runner, key, auth, c, f->ciphertext, TPM_RSA_SIZE, PLAINTEXT_SIZE,
                                      answer_note, a, NULL),
                   a);
    g_assert_true((r == 0) == (a->secret != NULL));
    if (r == 0)
        g_assert_cmpmem(secret_bytes(a->secret), secret_size(a->secret), PLAINTEXT, PLAINTEXT_SIZE);
    return r;
}

static int decrypt(Fixture *f, const Secret *auth, const TpmCounter *c, Answer *a)
{
    return decrypt_key(f, f->keys.decrypt_key, auth, c, a);
}

static int sign(Fixture *f, Answer *a)
{
    answer_clear(a);
    return finish(
        f, tpm_runner_sign(f->runner, f->keys.sign_key, f->auth, &f->counter, DIGEST, answer_note, a, NULL),
        a);
}

static int create(Fixture *f, const TpmKeyPolicy *policy, Answer *a)
{
    answer_clear(a);
    return finish(f, tpm_runner_create_keys(f->runner, policy, f->auth, answer_note, a, NULL), a);
}

static void raise_by(Fixture *f, uint64_t steps)
{
    g_auto(Answer) a = {0};
    g_assert_cmpint(
        finish(f,
               tpm_runner_counter_raise(f->runner, &f->counter, f->generation + steps, answer_note, &a, NULL),
               &a),
        ==, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    f->tpm = test_swtpm_new(NULL);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
    g_assert_cmpint(secret_new_copy(RIGHT, TPM_AUTH_SIZE, &f->right), ==, 0);
    g_assert_cmpint(secret_new_copy(WRONG, TPM_AUTH_SIZE, &f->wrong), ==, 0);
    f->auth = data == WITH_PIN ? f->right : NULL;
    g_assert_cmpint(finish(f, tpm_runner_counter_new(f->runner, NULL, answer_note, &a, NULL), &a), ==, 0);
    f->counter = a.counter;
    f->generation = a.counter_value + 1; /* the keys that are made before the old ones go */
    TpmKeyPolicy policy = {.index = f->counter.index, .generation = f->generation};
    g_assert_cmpint(create(f, &policy, &f->keys), ==, 0);
    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, f->ciphertext);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    answer_clear(&f->keys);
    secret_free(f->right);
    secret_free(f->wrong);
    tpm_runner_free(f->runner);
    if (f->relay)
        relay_free(f->relay);
    test_swtpm_free(f->tpm);
}

static uint32_t failures(Fixture *f)
{
    g_auto(Answer) a = {0};
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    return a.facts.lockout_counter;
}

static void assert_works(Fixture *f)
{
    g_auto(Answer) a = {0};

    int r = decrypt(f, f->auth, &f->counter, &a);
    g_assert_cmpstr(a.problem.text, ==, "");
    g_assert_cmpint(r, ==, 0);
    r = sign(f, &a);
    g_assert_cmpstr(a.problem.text, ==, "");
    g_assert_cmpint(r, ==, 0);
    g_assert_true(pss_verify(f->keys.sign_key, DIGEST, a.data, a.data_size));
}

static void assert_destroyed(Fixture *f)
{
    g_auto(Answer) a = {0};
    uint64_t uses = tpm_runner_count(f->runner, CC_RSA_DECRYPT) + tpm_runner_count(f->runner, CC_SIGN);

    uint32_t failed = failures(f); /* the power may have gone after a use */
    g_assert_cmpint(decrypt(f, f->auth, &f->counter, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_DESTROYED);
    g_assert_cmpint(sign(f, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_DESTROYED);
    g_assert_cmpuint(a.data_size, ==, 0);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_RSA_DECRYPT) + tpm_runner_count(f->runner, CC_SIGN), ==,
                     uses);
    g_assert_cmpuint(failures(f), ==, failed);
}

static void read_back(Fixture *f)
{
    TpmKeyFile **keys[] = {&f->keys.decrypt_key, &f->keys.sign_key};

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX);
        TpmKeyFile *k = NULL;

        g_assert_cmpint(tpm_keyfile_to_pem(*keys[i], &pem), ==, 0);
        g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&pem), pem.size, &k), ==, 0);
        g_assert_nonnull(tpm_keyfile_policy(k));
        g_assert_cmphex(tpm_keyfile_policy(k)->index, ==, f->counter.index);
        g_assert_cmpuint(tpm_keyfile_policy(k)->generation, ==, f->generation);
        g_assert_true(tpm_keyfile_is_guarded(k) == (f->auth != NULL));
        tpm_keyfile_free(*keys[i]);
        *keys[i] = k;
    }
}

static void other_runner(Fixture *f)
{
    f->runner = tpm_runner_free(f->runner);
    f->runner = runner_new(relay_tcti(f->relay));
}

/* While the counter is below, and at the generation; never above, in no connection and from no file. */
static void test_generation(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    TpmKeyPolicy next = {.index = f->counter.index, .generation = f->generation + 1};

    g_assert_cmpuint(sizeof(next.generation), ==, TPM_COUNTER_SIZE);
    assert_works(f);
    raise_by(f, 0);
    assert_works(f);
    read_back(f);
    assert_works(f);
    raise_by(f, 1);
    unsigned before = relay_count(f->relay, CC_POLICY_NV);
    assert_destroyed(f);
    g_assert_cmpuint(relay_count(f->relay, CC_POLICY_NV), ==, before + 2); /* once each */
    read_back(f);
    other_runner(f);
    assert_destroyed(f);
    test_swtpm_reset(f->tpm);
    assert_destroyed(f);
    g_assert_cmpint(create(f, &next, &f->keys), ==, 0);
    oaep_encrypt(f->keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, f->ciphertext);
    assert_works(f);
}

/* The TPM to us alone, past the man in the middle. */
static void step_aside(Fixture *f, Direct *d)
{
    f->runner = tpm_runner_free(f->runner);
    f->relay = (relay_free(f->relay), NULL);
    direct_open(d, test_swtpm_tcti(f->tpm));
}

static void come_back(Fixture *f, Direct *d)
{
    direct_close(d);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
}

#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE
#define NO_SESSION ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE

static void redefine(Fixture *f, Direct *d, bool write)
{
    TPM2B_AUTH auth = {.size = TPM_AUTH_SIZE};
    TPM2B_NV_PUBLIC public;
    ESYS_TR nv;

    tpm_counter_public(f->counter.index, &public);
    memcpy(auth.buffer, f->counter.auth, TPM_AUTH_SIZE);
    g_assert_cmphex(Esys_NV_DefineSpace(d->esys, ESYS_TR_RH_OWNER, PASSWORD, &auth, &public, &nv), ==, 0);
    if (write)
        g_assert_cmphex(Esys_NV_Increment(d->esys, nv, nv, PASSWORD), ==, 0);
    g_assert_cmphex(Esys_TR_Close(d->esys, &nv), ==, 0);
}

/* Whoever owns the TPM can remove the index, and make it again: the keys stay destroyed. */
static void test_redefined(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    TpmKeyPolicy policy = {.index = f->counter.index, .generation = f->generation};
    Direct d;

    raise_by(f, 0);
    assert_works(f);
    g_assert_cmpint(finish(f, tpm_runner_counter_remove(f->runner, &f->counter, answer_note, &a, NULL), &a),
                    ==, 0);
    assert_destroyed(f);
    g_assert_cmpint(create(f, &policy, &a), ==, HMSG_ERROR_NOT_FOUND);
    other_runner(f);
    unsigned before = relay_count(f->relay, CC_NV_READ_PUBLIC);
    assert_destroyed(f);
    g_assert_cmpuint(relay_count(f->relay, CC_NV_READ_PUBLIC), ==, before + 2);
    step_aside(f, &d);
    redefine(f, &d, false);
    come_back(f, &d);
    assert_destroyed(f);
    step_aside(f, &d);
    ESYS_TR nv;
    g_assert_cmphex(Esys_TR_FromTPMPublic(d.esys, f->counter.index, NO_SESSION, &nv), ==, 0);
    g_assert_cmphex(Esys_NV_UndefineSpace(d.esys, ESYS_TR_RH_OWNER, nv, PASSWORD), ==, 0);
    redefine(f, &d, true);
    come_back(f, &d);
    assert_destroyed(f);
}

/* The decrypt key from its file, and its parent. */
static ESYS_TR load(Fixture *f, Direct *d, ESYS_TR *ret_srk)
{
    TPM2B_PUBLIC public = {0};
    TPM2B_PRIVATE private = {0};
    size_t n, offset = 0;
    ESYS_TR key;

    const uint8_t *p = tpm_keyfile_public(f->keys.decrypt_key, &n);
    g_assert_cmphex(Tss2_MU_TPM2B_PUBLIC_Unmarshal(p, n, &offset, &public), ==, 0);
    offset = 0;
    p = tpm_keyfile_private(f->keys.decrypt_key, &n);
    g_assert_cmphex(Tss2_MU_TPM2B_PRIVATE_Unmarshal(p, n, &offset, &private), ==, 0);
    *ret_srk = direct_primary(d, false);
    g_assert_cmphex(Esys_Load(d->esys, *ret_srk, PASSWORD, &private, &public, &key), ==, 0);
    return key;
}

/* With the file and all passwords, without the policy. */
static void test_bypass(Fixture *f, gconstpointer data)
{
    TPM2B_AUTH auth = {.size = f->auth ? TPM_AUTH_SIZE : 0};
    TPM2B_PUBLIC_KEY_RSA ciphertext = {.size = TPM_RSA_SIZE}, *message = NULL;
    static const TPMT_RSA_DECRYPT scheme = {.scheme = TPM2_ALG_NULL};
    ESYS_TR srk;
    Direct d;

    step_aside(f, &d);
    ESYS_TR key = load(f, &d, &srk);
    memcpy(auth.buffer, RIGHT, auth.size);
    memcpy(ciphertext.buffer, f->ciphertext, TPM_RSA_SIZE);
    g_assert_cmphex(Esys_TR_SetAuth(d.esys, key, &auth), ==, 0);
    TSS2_RC rc = Esys_RSA_Decrypt(d.esys, key, PASSWORD, &ciphertext, &scheme, NULL, &message);
    g_assert_cmphex(rc, ==, TPM2_RC_AUTH_UNAVAILABLE);
    direct_flush(&d, key);
    direct_flush(&d, srk);
    come_back(f, &d);
    assert_works(f);
}

/* The counter's authorization value is not the user's. */
static void test_wrong(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    TpmCounter other = f->counter;

    other.auth[0] ^= 1;
    g_assert_cmpint(decrypt(f, f->auth, &other, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_DESTROYED);
    g_assert_cmpuint(failures(f), ==, 0);
    assert_works(f);
    f->ciphertext[TPM_RSA_SIZE - 1] ^= 1;
    g_assert_cmpint(decrypt(f, f->auth, &f->counter, &a), ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    f->ciphertext[TPM_RSA_SIZE - 1] ^= 1;
    assert_works(f);
    if (!f->auth)
        return;
    g_assert_cmpint(decrypt(f, f->wrong, &f->counter, &a), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_WRONG_AUTH);
    g_assert_cmpuint(failures(f), ==, 1);
    assert_works(f);
    g_assert_cmpint(decrypt(f, NULL, &f->counter, &a), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpuint(failures(f), ==, 2);
    assert_works(f);
}

static void test_arguments(Fixture *f, gconstpointer data)
{
    TpmCounter other = f->counter;
    g_auto(Answer) keys = {0};
    Answer a = {0};

    other.index ^= 1;
    g_assert_cmpint(
        tpm_runner_sign(f->runner, f->keys.sign_key, f->auth, NULL, DIGEST, answer_note, &a, NULL), ==,
        -EINVAL);
    g_assert_cmpint(tpm_runner_decrypt(f->runner, f->keys.decrypt_key, f->auth, &other, f->ciphertext,
                                       TPM_RSA_SIZE, 0, answer_note, &a, NULL),
                    ==, -EINVAL);
    g_assert_cmpint(create(f, NULL, &keys), ==, 0);
    g_assert_null(tpm_keyfile_policy(keys.decrypt_key));
    oaep_encrypt(keys.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, f->ciphertext);
    g_assert_cmpint(decrypt_key(f, keys.decrypt_key, f->auth, &other, &a), ==, 0);
    answer_clear(&a);
}

/* Commands of a use: the policy's, and the use. */
static void test_count(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    unsigned policy = f->auth ? 2 : 1;

    g_assert_cmpint(decrypt(f, f->auth, &f->counter, &a), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t before = tpm_runner_count(f->runner, 0), nv = tpm_runner_count(f->runner, CC_POLICY_NV);

        g_assert_cmpint(decrypt(f, f->auth, &f->counter, &a), ==, 0);
        g_assert_cmpuint(tpm_runner_count(f->runner, 0), ==, before + policy + 1);
        g_assert_cmpuint(tpm_runner_count(f->runner, CC_POLICY_NV), ==, nv + 1);
    }
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_START_SESSION), ==, 2);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_POLICY_RESTART), ==, 0);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_POLICY_AUTH_VALUE) > 0, ==, f->auth != NULL);
}

static void test_faults(Fixture *f, gconstpointer data)
{
    static const uint32_t codes[] = {CC_POLICY_NV, CC_POLICY_AUTH_VALUE, CC_RSA_DECRYPT, CC_SIGN,
                                     CC_NV_READ_PUBLIC};

    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
        relay_refuse(f->relay, codes[i], RC_RETRY, 2);
        assert_works(f);
        relay_refuse(f->relay, codes[i], 0, 0);
    }
    relay_cut(f->relay, CC_POLICY_NV);
    assert_works(f);
    relay_reset(f->relay);
    assert_works(f);
    other_runner(f);
    relay_refuse(f->relay, CC_START_SESSION, RC_SESSION_MEMORY, 1);
    assert_works(f);
    uint64_t sessions = tpm_runner_count(f->runner, CC_START_SESSION);
    g_assert_cmpint(tpm_runner_forget(f->runner), ==, 0);
    assert_works(f);
    g_assert_cmpuint(tpm_runner_count(f->runner, CC_START_SESSION), ==, sessions + 2);
}

static void test_sniffer(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    assert_works(f);
    (void)decrypt(f, f->wrong, &f->counter, &a);
    for (size_t i = 0; i + 8 <= TPM_AUTH_SIZE; i++) {
        g_assert_false(relay_saw(f->relay, RIGHT + i, 8));
        g_assert_false(relay_saw(f->relay, WRONG + i, 8));
        g_assert_false(relay_saw(f->relay, f->counter.auth + i, 8));
    }
    for (size_t i = 0; i + 8 <= PLAINTEXT_SIZE; i++)
        g_assert_false(relay_saw(f->relay, PLAINTEXT + i, 8));
    uint64_t generation = htobe64(f->generation);
    g_assert_true(relay_saw(f->relay, &generation, sizeof(generation))); /* it does see */
}

static void change(Fixture *f, const Secret *new)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(
        finish(f, tpm_runner_change_auth(f->runner, f->keys.decrypt_key, f->auth, new, answer_note, &a, NULL),
               &a),
        ==, 0);
    tpm_keyfile_free(f->keys.decrypt_key);
    f->keys.decrypt_key = tpm_keyfile_ref(a.decrypt_key);
    g_assert_true(tpm_keyfile_needs_auth(f->keys.decrypt_key) == (new != NULL));
}

/* Under another value, and under none, the key is as bound as before. */
static void test_change(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    change(f, f->wrong);
    read_back(f);
    g_assert_cmpint(decrypt(f, f->wrong, &f->counter, &a), ==, 0);
    g_assert_cmpint(decrypt(f, f->right, &f->counter, &a), ==, HMSG_ERROR_LOCKED);
    f->auth = f->wrong;
    change(f, NULL);
    read_back(f);
    g_assert_cmpint(decrypt(f, NULL, &f->counter, &a), ==, 0);
    raise_by(f, 1);
    g_assert_cmpint(decrypt(f, NULL, &f->counter, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_DESTROYED);
}

/* Two sessions and two objects are enough, and none is left. */
static void test_room(Fixture *f, gconstpointer data)
{
    Direct d;

    step_aside(f, &d);
    (void)direct_primary(&d, true);
    ESYS_TR session = direct_session(&d);
    direct_close(&d);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    assert_works(f);
    f->runner = tpm_runner_free(f->runner);
    g_assert_true(session != ESYS_TR_NONE);
    direct_open(&d, test_swtpm_tcti(f->tpm));
    g_assert_cmpuint(direct_handles(&d, TRANSIENT_FIRST), ==, 1);
    g_assert_cmpuint(direct_handles(&d, LOADED_SESSION_FIRST), ==, 1);
    (void)direct_session(&d); /* one is left to us: those that nobody uses go */
    direct_close(&d);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    assert_works(f);
}

/* What a killed process of ours left is flushed, bound or not. */
static void test_left_over(Fixture *f, gconstpointer data)
{
    ESYS_TR srk;
    Direct d;

    step_aside(f, &d);
    (void)load(f, &d, &srk);
    (void)direct_primary(&d, true);
    g_assert_cmpuint(direct_handles(&d, TRANSIENT_FIRST), ==, 3);
    direct_close(&d);
    f->runner = runner_new(test_swtpm_tcti(f->tpm));
    tpm_runner_pin(f->runner, f->keys.srk_name);
    assert_works(f);
}

#define ADD(path, data, test) g_test_add("/tpm/runner-policy/" path, Fixture, data, set_up, test, tear_down)
#define ADD_BOTH(path, test)                                                                                 \
    ADD(path "/no-pin", NULL, test);                                                                         \
    ADD(path "/pin", WITH_PIN, test)

static void add(void)
{
    ADD_BOTH("generation", test_generation);
    ADD_BOTH("redefined", test_redefined);
    ADD_BOTH("bypass", test_bypass);
    ADD_BOTH("wrong", test_wrong);
    ADD_BOTH("arguments", test_arguments);
    ADD_BOTH("count", test_count);
    ADD_BOTH("faults", test_faults);
    ADD_BOTH("room", test_room);
    ADD_BOTH("left-over", test_left_over);
    ADD("sniffer", WITH_PIN, test_sniffer);
    ADD("change", WITH_PIN, test_change);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keys from outside. A man in the middle looks on. */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>
#include <tss2/tss2_mu.h>

#include "libhmsg/tpm/keyfile-internal.h"
#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/relay.h"
#include "tests/unit/tpm/util.h"

#define AUTH ((const uint8_t *)"the right authorization value ..")
#define PIECE_SIZE 16u
#define CC_IMPORT 0x156u

typedef struct Fixture {
    TestSwtpm *tpm;
    Relay *relay;
    TpmRunner *runner;
    TpmPrivateKey keys[2];
    Secret *auth;
} Fixture;

static void make_private(TpmPrivateKey *ret)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);

    rsa_private_numbers(key, ret);
    EVP_PKEY_free(key);
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->tpm = test_swtpm_new(NULL);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
    make_private(&f->keys[0]);
    make_private(&f->keys[1]);
    g_assert_cmpint(secret_new_copy(AUTH, TPM_AUTH_SIZE, &f->auth), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    tpm_runner_free(f->runner);
    relay_free(f->relay);
    test_swtpm_free(f->tpm);
    secret_free(f->keys[0].prime);
    secret_free(f->keys[1].prime);
    secret_free(f->auth);
}

static int import(Fixture *f, bool sign, const TpmKeyPolicy *policy, const Secret *auth, Answer *a)
{
    answer_clear(a);
    g_assert_cmpint(tpm_runner_import_keys(f->runner, &f->keys[0], sign ? &f->keys[1] : NULL, policy, auth,
                                           answer_note, a, NULL),
                    ==, 0);
    answer_await(f->runner, a);
    return a->r;
}

/* The TPM and all on the way to it have seen no piece of the key in clear. */
static void assert_unseen(Fixture *f, const Secret *prime)
{
    for (size_t i = 0; i + PIECE_SIZE <= secret_size(prime); i += PIECE_SIZE)
        g_assert_false(relay_saw(f->relay, secret_bytes(prime) + i, PIECE_SIZE));
}

static bool has_modulus(const TpmKeyFile *key, const TpmPrivateKey *of)
{
    size_t size = 0;
    const uint8_t *public = tpm_keyfile_public(key, &size);

    return memcmp(public + size - TPM_RSA_SIZE, of->modulus, TPM_RSA_SIZE) == 0; /* public */
}

static void test_decrypt_key(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    _cleanup_(buf_done) Buf pem = BUF_MAX(TPM_KEYFILE_PEM_MAX);
    _cleanup_(tpm_keyfile_freep) TpmKeyFile *again = NULL;

    g_assert_cmpint(import(f, false, NULL, NULL, &a), ==, 0);
    g_assert_true(a.has_srk_name);
    g_assert_true(tpm_keyfile_is_imported(a.decrypt_key));
    g_assert_false(tpm_keyfile_is_imported(a.sign_key)); /* the TPM has made it */
    g_assert_true(has_modulus(a.decrypt_key, &f->keys[0]));
    g_assert_cmpuint(relay_count(f->relay, CC_IMPORT), ==, 1);
    g_assert_cmpuint(relay_count(f->relay, CC_CREATE), ==, 1);
    assert_decrypts(f->runner, a.decrypt_key);
    assert_signs(f->runner, a.sign_key);
    assert_unseen(f, f->keys[0].prime);
    g_assert_cmpint(tpm_keyfile_to_pem(a.decrypt_key, &pem), ==, 0);
    g_assert_cmpint(tpm_keyfile_from_pem(buf_text(&pem), pem.size, &again), ==, 0);
    g_assert_true(tpm_keyfile_is_imported(again));
    assert_decrypts(f->runner, again);
}

static void test_both_with_auth(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0}, b = {0};
    uint8_t ciphertext[TPM_RSA_SIZE];

    g_assert_cmpint(import(f, true, NULL, f->auth, &a), ==, 0);
    g_assert_true(tpm_keyfile_is_imported(a.decrypt_key) && tpm_keyfile_is_imported(a.sign_key));
    g_assert_true(tpm_keyfile_needs_auth(a.decrypt_key) && tpm_keyfile_needs_auth(a.sign_key));
    g_assert_true(has_modulus(a.sign_key, &f->keys[1]));
    g_assert_cmpint(do_sign_with(f->runner, a.sign_key, f->auth, DIGEST, &b), ==, 0);
    g_assert_true(pss_verify(a.sign_key, DIGEST, b.data, b.data_size));
    oaep_encrypt(a.decrypt_key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    g_assert_cmpint(
        do_decrypt_with(f->runner, a.decrypt_key, NULL, ciphertext, TPM_RSA_SIZE, PLAINTEXT_SIZE, &b), ==,
        HMSG_ERROR_LOCKED);
    g_assert_cmpint(
        do_decrypt_with(f->runner, a.decrypt_key, f->auth, ciphertext, TPM_RSA_SIZE, PLAINTEXT_SIZE, &b), ==,
        0);
    g_assert_cmpmem(secret_bytes(b.secret), secret_size(b.secret), PLAINTEXT, PLAINTEXT_SIZE);
    assert_unseen(f, f->keys[0].prime);
    assert_unseen(f, f->keys[1].prime);
    g_assert_false(relay_saw(f->relay, AUTH, TPM_AUTH_SIZE));
}

static int decrypt_bound(Fixture *f, TpmKeyFile *key, const TpmCounter *c, Answer *a)
{
    uint8_t ciphertext[TPM_RSA_SIZE];

    oaep_encrypt(key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    answer_clear(a);
    g_assert_cmpint(tpm_runner_decrypt(f->runner, key, f->auth, c, ciphertext, TPM_RSA_SIZE, PLAINTEXT_SIZE,
                                       answer_note, a, NULL),
                    ==, 0);
    answer_await(f->runner, a);
    return a->r;
}

/* A key from outside ends in this TPM as one that it has made. */
static void test_bound(Fixture *f, gconstpointer data)
{
    g_auto(Answer) made = {0}, a = {0}, b = {0};

    g_assert_cmpint(tpm_runner_counter_new(f->runner, NULL, answer_note, &made, NULL), ==, 0);
    answer_await(f->runner, &made);
    g_assert_cmpint(made.r, ==, 0);
    TpmKeyPolicy policy = {made.counter.index, made.counter_value};
    g_assert_cmpint(import(f, false, &policy, f->auth, &a), ==, 0);
    g_assert_cmpint(decrypt_bound(f, a.decrypt_key, &made.counter, &b), ==, 0);
    answer_clear(&b);
    g_assert_cmpint(
        tpm_runner_counter_raise(f->runner, &made.counter, made.counter_value + 1, answer_note, &b, NULL), ==,
        0);
    answer_await(f->runner, &b);
    g_assert_cmpint(decrypt_bound(f, a.decrypt_key, &made.counter, &b), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(b.problem.reason, ==, TPM_REASON_DESTROYED);
}

static int import_refused(Fixture *f, const TpmPrivateKey *decrypt, const TpmPrivateKey *sign)
{
    return tpm_runner_import_keys(f->runner, decrypt, sign, NULL, NULL, answer_note, NULL, NULL);
}

static void test_wrong_prime(Fixture *f, gconstpointer data)
{
    TpmPrivateKey wrong = f->keys[0];

    wrong.prime = f->keys[1].prime;
    g_assert_cmpint(import_refused(f, &wrong, NULL), ==, -EINVAL);
    g_assert_cmpint(import_refused(f, &f->keys[0], &wrong), ==, -EINVAL);
    wrong.prime = f->auth;
    g_assert_cmpint(import_refused(f, &wrong, NULL), ==, -EINVAL);
    g_assert_cmpuint(relay_count(f->relay, 0), ==, 0);
}

/* What another program may do with the file: load it, but not get the key out again. */
static void test_no_duplicate(Fixture *f, gconstpointer data)
{
    static const TPM2B_DATA no_key;
    static const TPMT_SYM_DEF_OBJECT no_wrapper = {.algorithm = TPM2_ALG_NULL};
    static const TPMT_SYM_DEF no_cipher = {.algorithm = TPM2_ALG_NULL};
    g_auto(Answer) a = {0};
    TPM2B_PUBLIC public = {0};
    TPM2B_PRIVATE private = {0}, *out = NULL;
    TPM2B_DATA *key = NULL;
    TPM2B_ENCRYPTED_SECRET *seed = NULL;
    ESYS_TR object, session;
    size_t size = 0, at = 0;
    Direct d;

    g_assert_cmpint(import(f, false, NULL, NULL, &a), ==, 0);
    tpm_runner_free(f->runner);
    f->runner = NULL;
    direct_open(&d, relay_tcti(f->relay));
    ESYS_TR parent = direct_primary(&d, false);
    const uint8_t *bytes = tpm_keyfile_public(a.decrypt_key, &size);
    g_assert_true(Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes, size, &at, &public) == TSS2_RC_SUCCESS);
    bytes = tpm_keyfile_private(a.decrypt_key, &size);
    at = 0;
    g_assert_true(Tss2_MU_TPM2B_PRIVATE_Unmarshal(bytes, size, &at, &private) == TSS2_RC_SUCCESS);
    g_assert_true(Esys_Load(d.esys, parent, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &private, &public,
                            &object) == TSS2_RC_SUCCESS);
    g_assert_true(Esys_Duplicate(d.esys, object, ESYS_TR_RH_NULL, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &no_key, &no_wrapper, &key, &out, &seed) != TSS2_RC_SUCCESS);
    g_assert_true(Esys_StartAuthSession(d.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        ESYS_TR_NONE, NULL, TPM2_SE_POLICY, &no_cipher, TPM2_ALG_SHA256,
                                        &session) == TSS2_RC_SUCCESS);
    g_assert_true(Esys_PolicyCommandCode(d.esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                         TPM2_CC_Duplicate) == TSS2_RC_SUCCESS);
    g_assert_true(Esys_Duplicate(d.esys, object, ESYS_TR_RH_NULL, session, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &no_key, &no_wrapper, &key, &out, &seed) != TSS2_RC_SUCCESS);
    direct_flush(&d, session);
    direct_flush(&d, object);
    direct_flush(&d, parent);
    direct_close(&d);
}

static void add(void)
{
    g_test_add("/tpm/import/decrypt-key", Fixture, NULL, set_up, test_decrypt_key, tear_down);
    g_test_add("/tpm/import/both-with-auth", Fixture, NULL, set_up, test_both_with_auth, tear_down);
    g_test_add("/tpm/import/bound", Fixture, NULL, set_up, test_bound, tear_down);
    g_test_add("/tpm/import/wrong-prime", Fixture, NULL, set_up, test_wrong_prime, tear_down);
    g_test_add("/tpm/import/no-duplicate", Fixture, NULL, set_up, test_no_duplicate, tear_down);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add);
}

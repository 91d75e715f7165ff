/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/tpm/util.h"

#include <openssl/core_names.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "libhmsg/base/clock.h"
#include "tests/lib/process.h"

#define AWAIT_SECONDS 300

void answer_clear(Answer *a)
{
    secret_free(a->secret);
    tpm_keyfile_free(a->decrypt_key);
    tpm_keyfile_free(a->sign_key);
    tpm_keyfile_free(a->sealed);
    memset(a, 0, sizeof(*a));
}

void answer_note(TpmAnswer *answer, void *userdata)
{
    Answer *a = userdata;
    a->calls++;
    a->r = answer->r;
    a->problem = *answer->problem;
    a->secret = TAKE_PTR(answer->secret);
    if (answer->decrypt_key)
        a->decrypt_key = tpm_keyfile_ref(answer->decrypt_key);
    if (answer->sign_key)
        a->sign_key = tpm_keyfile_ref(answer->sign_key);
    a->sealed = answer->sealed ? tpm_keyfile_ref(answer->sealed) : NULL;
    if (answer->srk_name)
        memcpy(a->srk_name, answer->srk_name, TPM_NAME_SIZE);
    a->has_srk_name = answer->srk_name != NULL;
    if (answer->data)
        memcpy(a->data, answer->data, answer->data_size);
    a->data_size = answer->data_size;
    if (answer->facts)
        a->facts = *answer->facts;
    if (answer->counter)
        a->counter = *answer->counter;
    if (answer->pcrs)
        a->pcrs = *answer->pcrs;
    a->counter_value = answer->counter_value;
}

static void turn(TpmRunner *r)
{
    struct pollfd p = {.fd = tpm_runner_fd(r), .events = POLLIN};
    uint64_t now = clock_boottime(), until = tpm_runner_next_deadline(r);
    int ms = until == UINT64_MAX ? 1000 : until <= now ? 0 : (int)MIN((until - now) / 1000 + 1, 1000u);
    (void)poll(&p, 1, ms);
    g_assert_cmpint(tpm_runner_dispatch(r), ==, 0);
}

void answer_await(TpmRunner *r, const Answer *a)
{
    gint64 end = g_get_monotonic_time() + (gint64)AWAIT_SECONDS * G_USEC_PER_SEC;
    while (a->calls == 0) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        turn(r);
    }
    g_assert_cmpuint(a->calls, ==, 1);
}

static int started(TpmRunner *r, int e, Answer *a)
{
    g_assert_cmpint(e, ==, 0);
    answer_await(r, a);
    return a->r;
}

int do_create(TpmRunner *r, Answer *a)
{
    return do_create_with(r, NULL, a);
}

int do_create_with(TpmRunner *r, const Secret *auth, Answer *a)
{
    answer_clear(a);
    return started(r, tpm_runner_create_keys(r, NULL, auth, answer_note, a, NULL), a);
}

int do_decrypt(TpmRunner *r, TpmKeyFile *key, const void *ciphertext, size_t n, size_t plaintext_size,
               Answer *a)
{
    return do_decrypt_with(r, key, NULL, ciphertext, n, plaintext_size, a);
}

int do_decrypt_with(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const void *ciphertext, size_t n,
                    size_t plaintext_size, Answer *a)
{
    answer_clear(a);
    return started(
        r, tpm_runner_decrypt(r, key, auth, NULL, ciphertext, n, plaintext_size, answer_note, a, NULL), a);
}

int do_sign(TpmRunner *r, TpmKeyFile *key, const uint8_t digest[static 32], Answer *a)
{
    return do_sign_with(r, key, NULL, digest, a);
}

int do_sign_with(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const uint8_t digest[static 32],
                 Answer *a)
{
    answer_clear(a);
    return started(r, tpm_runner_sign(r, key, auth, NULL, digest, answer_note, a, NULL), a);
}

int do_random(TpmRunner *r, size_t n, Answer *a)
{
    answer_clear(a);
    return started(r, tpm_runner_random(r, n, answer_note, a, NULL), a);
}

int do_probe(TpmRunner *r, Answer *a)
{
    answer_clear(a);
    return started(r, tpm_runner_probe(r, answer_note, a, NULL), a);
}

TpmRunner *runner_new(const char *tcti)
{
    TpmRunnerOptions o = {.tcti = tcti};
    TpmRunner *r = NULL;
    g_assert_cmpint(tpm_runner_new(&o, &r), ==, 0);
    return r;
}

static EVP_PKEY_CTX *context(const TpmKeyFile *key, bool encrypt)
{
    size_t n;
    const uint8_t *spki = tpm_keyfile_spki(key, &n), *end = spki;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &end, (long)n);
    g_assert_nonnull(pkey);
    g_assert_true(end == spki + n);
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(pkey, NULL);
    EVP_PKEY_free(pkey);
    g_assert_nonnull(c);
    if (encrypt) {
        g_assert_cmpint(EVP_PKEY_encrypt_init(c), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha256()), ==, 1);
    } else {
        g_assert_cmpint(EVP_PKEY_verify_init(c), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PSS_PADDING), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()), ==, 1);
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_pss_saltlen(c, RSA_PSS_SALTLEN_AUTO), ==, 1);
    }
    g_assert_cmpint(EVP_PKEY_CTX_set_rsa_mgf1_md(c, EVP_sha256()), ==, 1);
    return c;
}

void oaep_encrypt(const TpmKeyFile *key, const void *plaintext, size_t n, uint8_t ret[static TPM_RSA_SIZE])
{
    EVP_PKEY_CTX *c = context(key, true);
    size_t size = TPM_RSA_SIZE;
    g_assert_cmpint(EVP_PKEY_encrypt(c, ret, &size, plaintext, n), ==, 1);
    g_assert_cmpuint(size, ==, TPM_RSA_SIZE);
    EVP_PKEY_CTX_free(c);
}

bool pss_verify(const TpmKeyFile *key, const uint8_t digest[static 32], const uint8_t *signature, size_t n)
{
    EVP_PKEY_CTX *c = context(key, false);
    bool good = EVP_PKEY_verify(c, signature, n, digest, 32) == 1;
    EVP_PKEY_CTX_free(c);
    return good;
}

void assert_decrypts(TpmRunner *r, TpmKeyFile *key)
{
    g_auto(Answer) a = {0};
    uint8_t ciphertext[TPM_RSA_SIZE];

    oaep_encrypt(key, PLAINTEXT, PLAINTEXT_SIZE, ciphertext);
    int e = do_decrypt(r, key, ciphertext, sizeof(ciphertext), PLAINTEXT_SIZE, &a);
    g_assert_cmpstr(a.problem.text, ==, "");
    g_assert_cmpint(e, ==, 0);
    g_assert_nonnull(a.secret);
    g_assert_cmpmem(secret_bytes(a.secret), secret_size(a.secret), PLAINTEXT, PLAINTEXT_SIZE);
}

void assert_signs(TpmRunner *r, TpmKeyFile *key)
{
    g_auto(Answer) a = {0};
    int e = do_sign(r, key, DIGEST, &a);
    g_assert_cmpstr(a.problem.text, ==, "");
    g_assert_cmpint(e, ==, 0);
    g_assert_cmpuint(a.data_size, ==, TPM_RSA_SIZE);
    g_assert_true(pss_verify(key, DIGEST, a.data, a.data_size));
}

static bool is_alone(void)
{
    struct stat st;

    g_assert_cmpint(stat("/proc/self/task", &st), ==, 0);
    return st.st_nlink <= 3;
}

int tpm_test_main(int argc, char *argv[], void (*add)(void))
{
    g_assert_cmpint(tpm_silence_logs(), ==, 0);
    g_test_init(&argc, &argv, NULL);
    if (!test_swtpm_available()) {
        g_print("1..0 # SKIP swtpm is not installed\n");
        return 0;
    }
    add();
    int status = g_test_run();
    /* A thread that a frozen TPM held up goes on with what exit(3) takes down. */
    TEST_AWAIT(is_alone());
    return status;
}

void rsa_private_numbers(struct evp_pkey_st *key, TpmPrivateKey *ret)
{
    BIGNUM *n = NULL, *p = NULL;

    g_assert_nonnull(key);
    g_assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) == 1);
    g_assert_true(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR1, &p) == 1);
    g_assert_cmpint(secret_new(TPM_RSA_SIZE / 2, &ret->prime), ==, 0);
    g_assert_cmpint(BN_bn2binpad(n, ret->modulus, TPM_RSA_SIZE), ==, TPM_RSA_SIZE);
    g_assert_cmpint(BN_bn2binpad(p, secret_data(ret->prime), TPM_RSA_SIZE / 2), ==, TPM_RSA_SIZE / 2);
    BN_free(n);
    BN_clear_free(p);
}

void rsa_private_sign(struct evp_pkey_st *key, const uint8_t digest[static 32],
                      uint8_t ret[static TPM_RSA_SIZE])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    size_t n = TPM_RSA_SIZE;

    g_assert_true(EVP_PKEY_sign_init(ctx) == 1 &&
                  EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
                  EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1 &&
                  EVP_PKEY_sign(ctx, ret, &n, digest, 32) == 1);
    g_assert_cmpuint(n, ==, TPM_RSA_SIZE);
    EVP_PKEY_CTX_free(ctx);
}

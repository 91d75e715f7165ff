/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of the TPM library share: a runner turned by hand, and the answer to one job. */

#include <glib.h>

#include "libhmsg/base/error.h"
#include "libhmsg/tpm/runner.h"
#include "tests/lib/swtpm.h"

#define CC_CREATE_PRIMARY 0x131u
#define CC_CREATE 0x153u
#define CC_LOAD 0x157u
#define CC_RSA_DECRYPT 0x159u
#define CC_SIGN 0x15du
#define CC_FLUSH 0x165u
#define CC_READ_PUBLIC 0x173u
#define CC_START_SESSION 0x176u
#define CC_GET_RANDOM 0x17bu
#define CC_GET_TEST_RESULT 0x17cu

#define PLAINTEXT_SIZE 64u
#define PLAINTEXT ((const uint8_t *)"sixty-four bytes that the sniffer on the bus would like to see.")
#define DIGEST ((const uint8_t *)"thirty-two bytes of some digest")

typedef struct Answer {
    unsigned calls;
    int r;
    TpmProblem problem;
    Secret *secret;
    TpmKeyFile *decrypt_key, *sign_key, *sealed;
    bool has_srk_name;
    uint8_t srk_name[TPM_NAME_SIZE];
    uint8_t data[TPM_RANDOM_MAX];
    size_t data_size;
    TpmFacts facts;
    TpmCounter counter;
    TpmPcrValues pcrs;
    uint64_t counter_value;
} Answer;

void answer_clear(Answer *a);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Answer, answer_clear)

/* The callback; userdata is an Answer. */
void answer_note(TpmAnswer *answer, void *userdata);
/* Turns the runner until it was called. */
void answer_await(TpmRunner *r, const Answer *a);

/* These start a job and await its answer; return its r. */
int do_create(TpmRunner *r, Answer *a);
int do_decrypt(TpmRunner *r, TpmKeyFile *key, const void *ciphertext, size_t n, size_t plaintext_size,
               Answer *a);
int do_sign(TpmRunner *r, TpmKeyFile *key, const uint8_t digest[static 32], Answer *a);
/* The same for keys with an authorization value. */
int do_create_with(TpmRunner *r, const Secret *auth, Answer *a);
int do_decrypt_with(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const void *ciphertext, size_t n,
                    size_t plaintext_size, Answer *a);
int do_sign_with(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const uint8_t digest[static 32],
                 Answer *a);
int do_random(TpmRunner *r, size_t n, Answer *a);
int do_probe(TpmRunner *r, Answer *a);

TpmRunner *runner_new(const char *tcti);
/* Encrypts PLAINTEXT with OpenSSL, and the runner decrypts it; the same for a signature of DIGEST. */
void assert_decrypts(TpmRunner *r, TpmKeyFile *key);
void assert_signs(TpmRunner *r, TpmKeyFile *key);

/* main() of a test that needs swtpm: runs the tests that add adds, or skips where there is none. */
int tpm_test_main(int argc, char *argv[], void (*add)(void));

/* The modulus, and a prime to be freed; and PS256 over a digest. */
struct evp_pkey_st;
void rsa_private_numbers(struct evp_pkey_st *key, TpmPrivateKey *ret);
void rsa_private_sign(struct evp_pkey_st *key, const uint8_t digest[static 32],
                      uint8_t ret[static TPM_RSA_SIZE]);

/* OAEP with OpenSSL, SHA-256, empty label. */
void oaep_encrypt(const TpmKeyFile *key, const void *plaintext, size_t n, uint8_t ret[static TPM_RSA_SIZE]);
/* RSAPSS, SHA-256, verified by OpenSSL with any salt. */
bool pss_verify(const TpmKeyFile *key, const uint8_t digest[static 32], const uint8_t *signature, size_t n);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one door to the TPM for programs: a thread of its own does the work, one job after another; answers
 * come back on the thread that calls tpm_runner_dispatch. All functions belong to that one thread.
 * The owner watches tpm_runner_fd for reading, and has a timer at tpm_runner_next_deadline: on either it
 * calls tpm_runner_dispatch. The TPM is opened by the first job, and again after a reset or loss. */

#include "libhmsg/base/secret.h"
#include "libhmsg/tpm/keyfile.h"
#include "libhmsg/tpm/pcr.h"
#include "libhmsg/tpm/problem.h"

#define TPM_TCTI_DEFAULT "device:/dev/tpmrm0"
#define TPM_QUEUE_MAX 1024u              /* jobs not yet answered: more than one client of an agent has */
#define TPM_JOB_DEADLINE 30000000ull     /* µs that the TPM may take for one job */
#define TPM_CREATE_DEADLINE 600000000ull /* the same for making two RSA keys: some TPMs need minutes */
#define TPM_SESSION_IDLE 30000000ull     /* µs without a job, then the session is flushed */
#define TPM_RANDOM_MAX 1024u             /* bytes */
#define TPM_AUTH_SIZE 32u                /* bytes of an authorization value */

#define TPM_COUNTER_RAISE_MAX 64u /* steps of one raise */

/* A counter in the TPM's NV memory (TPM 2.0 Part 1, section 37.2.4), which only goes up: keys are bound to
 * its value. Without auth nobody but the owner of the TPM can raise or remove it. auth is a secret: wipe it.
 */
typedef struct TpmCounter {
    uint32_t index;
    uint8_t auth[TPM_AUTH_SIZE];
} TpmCounter;

typedef struct TpmRunner TpmRunner;
typedef struct TpmJob TpmJob;

typedef struct TpmRunnerOptions {
    const char *tcti;         /* as Tss2_TctiLdr_Initialize takes it; NULL: TPM_TCTI_DEFAULT */
    const uint8_t *srk_name;  /* pinned, TPM_NAME_SIZE bytes; NULL: none yet */
    uint64_t deadline;        /* µs; 0: TPM_JOB_DEADLINE */
    uint64_t create_deadline; /* µs; 0: TPM_CREATE_DEADLINE */
    uint64_t session_idle;    /* µs; 0: TPM_SESSION_IDLE */
} TpmRunnerOptions;

typedef struct TpmFacts {
    uint8_t srk_name[TPM_NAME_SIZE];
    bool srk_persistent; /* the SRK at 0x81000001 is used */
    char manufacturer[5];
    char vendor[17];
    uint32_t firmware[2];
    uint32_t lockout_counter;  /* failures so far */
    uint32_t lockout_max;      /* failures until lockout */
    uint32_t lockout_interval; /* seconds until one failure is forgotten */
    uint32_t lockout_recovery; /* seconds after a failed use of the lockout password */
    bool in_lockout;
} TpmFacts;

/* What a job found; valid during the callback. Pointers that do not belong to the job are NULL. */
typedef struct TpmAnswer {
    int r; /* 0, an HmsgError (TPM_UNAVAILABLE, TPM_LOCKED_OUT, LOCKED, AUTHENTICATION_FAILED) or -errno */
    const TpmProblem *problem; /* never NULL; reason NONE when r is no TPM_… error */
    Secret *secret;            /* decrypt, unseal: the plaintext; the callback may TAKE_PTR it */
    TpmKeyFile *sealed;        /* seal; take a reference to keep it */
    TpmKeyFile *decrypt_key;   /* create, change_auth; take a reference to keep them */
    TpmKeyFile *sign_key;
    const uint8_t *srk_name; /* create: the parent's Name, to be pinned */
    const uint8_t *data;     /* sign: the PSS signature (TPM_RSA_SIZE bytes); random: the bytes */
    size_t data_size;
    bool software;             /* says nothing of the TPM */
    const TpmFacts *facts;     /* probe */
    const TpmCounter *counter; /* counter_new */
    const TpmPcrValues *pcrs;  /* read_pcrs */
    uint64_t counter_value;    /* counter_…; after counter_remove of no meaning */
} TpmAnswer;

/* Called exactly once for each job that is not cancelled, from tpm_runner_dispatch, never from the function
 * that starts it. May start and cancel jobs; must not free the runner. */
typedef void (*tpm_done_t)(TpmAnswer *answer, void *userdata);

/* Call it first thing in main(), before any thread: silences what the TSS writes to standard error, or to the
 * file that TSS2_LOGFILE names, whatever the environment says: secrets would be among it. */
int tpm_silence_logs(void);

int tpm_runner_new(const TpmRunnerOptions *o, TpmRunner **ret);
/* Drops all jobs without callbacks, flushes the TPM and ends the thread; waits at most two seconds for a TPM
 * that does not answer. */
TpmRunner *tpm_runner_free(TpmRunner *r);
DEFINE_CLEANUP(TpmRunner *, tpm_runner_free)

/* Pins the SRK from the next job on (TPM_NAME_SIZE bytes; NULL: none). */
void tpm_runner_pin(TpmRunner *r, const uint8_t *srk_name);

int tpm_runner_fd(const TpmRunner *r);
int tpm_runner_dispatch(TpmRunner *r);
/* CLOCK_BOOTTIME in µs (clock_boottime); UINT64_MAX: none. Changes with each job started and each dispatch.
 */
uint64_t tpm_runner_next_deadline(TpmRunner *r);

/* Start jobs. ret (may be NULL) is for tpm_job_cancel and valid until the callback was called. Everything
 * given is copied or referenced. HMSG_ERROR_QUOTA_EXCEEDED: TPM_QUEUE_MAX jobs wait.
 * HMSG_ERROR_TPM_UNAVAILABLE: threads still hang in a TPM that does not answer. */
/* auth (NULL: none): the authorization value of both keys, TPM_AUTH_SIZE bytes; then the TPM counts wrong
 * ones. */
/* policy (NULL: none): binds both to the counter. */
int tpm_runner_create_keys(TpmRunner *r, const TpmKeyPolicy *policy, const Secret *auth, tpm_done_t done,
                           void *userdata, TpmJob **ret);
/* A key from outside: RSA-2048 with the exponent 65537, which the caller has checked. */
typedef struct TpmPrivateKey {
    uint8_t modulus[TPM_RSA_SIZE];
    Secret *prime; /* one of the two: TPM_RSA_SIZE / 2 bytes */
} TpmPrivateKey;

/* The same keys, but they come from outside (TPM2_Import), encrypted for the TPM's storage key. sign NULL:
 * that one the TPM makes. Copied. -EINVAL: the prime has another size, or is no factor of the modulus. */
int tpm_runner_import_keys(TpmRunner *r, const TpmPrivateKey *decrypt, const TpmPrivateKey *sign,
                           const TpmKeyPolicy *policy, const Secret *auth, tpm_done_t done, void *userdata,
                           TpmJob **ret);
/* The same with a key to decrypt that another program has had the TPM make (tpm_keyfile_is_open):
 * TPM_REASON_KEY when it was another TPM, or under another parent. */
int tpm_runner_adopt_key(TpmRunner *r, TpmKeyFile *decrypt, const TpmPrivateKey *sign, tpm_done_t done,
                         void *userdata, TpmJob **ret);
/* For both: auth (NULL: none) is the key's authorization value. A wrong one is HMSG_ERROR_LOCKED with
 * TPM_REASON_WRONG_AUTH, never tried twice, and of no consequence only for keys without one. Nor is it tried
 * again when the answer was lost or cannot be believed: then it is TPM_UNAVAILABLE. */
/* counter: that of the key's policy, with its authorization value; -EINVAL when it is another. May be given
 * for keys without policy, where it is not looked at, and be NULL there. TPM_REASON_DESTROYED: it is above
 * the generation, is gone, is no counter any more or has another authorization value. None of that is proof
 * against somebody on the way to the TPM: it is no reason to delete a key. */
/* RSAES-OAEP (RFC 8017) in the TPM. AUTHENTICATION_FAILED: it does not decrypt, or its plaintext has not
 * plaintext_size bytes (0: any size); the caller goes on with random bytes. */
int tpm_runner_decrypt(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const TpmCounter *counter,
                       const void *ciphertext, size_t n, size_t plaintext_size, tpm_done_t done,
                       void *userdata, TpmJob **ret);
/* OAEP with SHA-1, any size. -EINVAL: the key is not in software; one in the TPM is bound to SHA-256. */
int tpm_runner_decrypt_oaep_sha1(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const void *ciphertext,
                                 size_t n, tpm_done_t done, void *userdata, TpmJob **ret);
/* RSASSA-PSS over a SHA-256 digest. */
int tpm_runner_sign(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const TpmCounter *counter,
                    const uint8_t digest[static 32], tpm_done_t done, void *userdata, TpmJob **ret);
/* TPM2_ObjectChangeAuth: the same key under new_auth (NULL: none), as decrypt_key or sign_key of the answer.
 * What key is now goes on under auth: whoever has a copy of its file can use that. Its policy stays, and
 * needs no counter here. -EINVAL: new_auth for a
 * key of which the TPM would not count wrong ones. */
int tpm_runner_change_auth(TpmRunner *r, TpmKeyFile *key, const Secret *auth, const Secret *new_auth,
                           tpm_done_t done, void *userdata, TpmJob **ret);
/* Keys in software (libhmsg/tpm/software.h), for which auth is the AES key, and salt what it was derived
 * with. decrypt and sign take them like others; the first wants auth for them. A file that is damaged is
 * TPM_REASON_SOFTWARE_KEY. */
int tpm_runner_create_software(TpmRunner *r, const uint8_t salt[static 16], const Secret *auth,
                               tpm_done_t done, void *userdata, TpmJob **ret);
int tpm_runner_change_software(TpmRunner *r, TpmKeyFile *key, const Secret *auth,
                               const uint8_t salt[static 16], const Secret *new_auth, tpm_done_t done,
                               void *userdata, TpmJob **ret);
/* Done once those before it are; the TPM is not asked, and facts is NULL. */
int tpm_runner_probe_software(TpmRunner *r, tpm_done_t done, void *userdata, TpmJob **ret);
/* What TPM it is. The only job that does not mind a pinned Name that differs: compare facts->srk_name. */
int tpm_runner_probe(TpmRunner *r, tpm_done_t done, void *userdata, TpmJob **ret);
int tpm_runner_random(TpmRunner *r, size_t n, tpm_done_t done, void *userdata, TpmJob **ret);

/* A random index and authorization value. */
int tpm_counter_choose(TpmCounter *ret);
/* Makes the counter c, which may be there already when an answer was lost; c NULL: one with a random index
 * and authorization value. TPM_REASON_NV_AUTH, TPM_REASON_NV_ROOM; TPM_REASON_DESTROYED: the index is
 * somebody else's. */
int tpm_runner_counter_new(TpmRunner *r, const TpmCounter *c, tpm_done_t done, void *userdata, TpmJob **ret);
/* These refuse with TPM_REASON_DESTROYED when the index is gone or has another authorization value. */
int tpm_runner_counter_read(TpmRunner *r, const TpmCounter *c, tpm_done_t done, void *userdata, TpmJob **ret);
/* Until its value is to or more; may be repeated. -ERANGE: more than TPM_COUNTER_RAISE_MAX steps. */
int tpm_runner_counter_raise(TpmRunner *r, const TpmCounter *c, uint64_t to, tpm_done_t done, void *userdata,
                             TpmJob **ret);
/* Removes the index; where the owner hierarchy has a password, raises it by one instead. */
int tpm_runner_counter_remove(TpmRunner *r, const TpmCounter *c, tpm_done_t done, void *userdata,
                              TpmJob **ret);

/* Has the TPM seal a secret of TPM_SEALED_SIZE bytes, for whoever reaches it: there is no authorization
 * value. policy (NULL: none): binds it to the counter; -EINVAL: to PCRs as well. It goes to the TPM and comes
 * back encrypted, in the salted session. */
int tpm_runner_seal(TpmRunner *r, const TpmKeyPolicy *policy, const Secret *secret, tpm_done_t done,
                    void *userdata, TpmJob **ret);
/* counter and its errors: as for the use of keys. */
int tpm_runner_unseal(TpmRunner *r, TpmKeyFile *sealed, const TpmCounter *counter, tpm_done_t done,
                      void *userdata, TpmJob **ret);

/* The values of these PCRs, the bank of SHA-256. -EINVAL: mask. */
int tpm_runner_read_pcrs(TpmRunner *r, uint32_t mask, tpm_done_t done, void *userdata, TpmJob **ret);
/* What is approved, for keys that are bound to PCRs; for the jobs that begin after it. Copied; NULL: nothing.
 * Without the right one such a job answers with TPM_REASON_PCR. -EINVAL: mask or n. */
int tpm_runner_approve(TpmRunner *r, const TpmPcrPolicy *p);

/* Ends the session after the jobs before it: of authorization values nothing is left in memory then. */
int tpm_runner_forget(TpmRunner *r);

/* Its callback is not called any more. What the TPM is doing already goes on. Takes NULL, returns NULL. */
TpmJob *tpm_job_cancel(TpmJob *j);
DEFINE_CLEANUP(TpmJob *, tpm_job_cancel)

/* Commands sent so far, of one TPM2 command code (0x159: RSA_Decrypt), or of all with 0. For tests. */
uint64_t tpm_runner_count(const TpmRunner *r, uint32_t command_code);

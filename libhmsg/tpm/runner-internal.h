/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside tpm_runner: the work that goes to the thread, the thread, its connection to the TPM. */

#include <pthread.h>
#include <stdatomic.h>
#include <tss2/tss2_esys.h>

#include "libhmsg/tpm/keyfile-internal.h"
#include "libhmsg/tpm/pcr-internal.h"
#include "libhmsg/tpm/runner.h"

/* Command codes that are counted one by one: TPM2_CC_FIRST and on. */
#define COUNT_FIRST 0x11fu
#define COUNT_CODES 0x100u

/* The three session arguments of an ESYS call. */
#define NO_SESSION ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define SESSION(l) (l)->session, ESYS_TR_NONE, ESYS_TR_NONE

/* Commands sent, shared by a runner and its threads. Reference-counted. */
typedef struct Counter {
    atomic_uint references;
    atomic_ullong all;
    atomic_ullong codes[COUNT_CODES];
} Counter;

Counter *counter_unref(Counter *c);

typedef enum WorkKind {
    WORK_CREATE,
    WORK_DECRYPT,
    WORK_SIGN,
    WORK_CHANGE_AUTH,
    WORK_SEAL,
    WORK_UNSEAL,
    WORK_PROBE,
    WORK_RANDOM,
    WORK_COUNTER_NEW,
    WORK_COUNTER_READ,
    WORK_COUNTER_RAISE,
    WORK_COUNTER_REMOVE,
    WORK_PCR_READ,
    WORK_FORGET,
} WorkKind;

/* One job's input and result; belongs to one thread at a time. */
typedef struct Work {
    WorkKind kind;
    bool software;    /* without the TPM */
    uint8_t salt[16]; /* create, change_auth in software: of the new file */
    bool pinned;
    uint8_t pin[TPM_NAME_SIZE];
    TpmKeyFile *key;
    Secret *auth;                          /* of the key, or of those to be made; NULL: none */
    Secret *new_auth;                      /* change_auth */
    Secret *to_seal;                       /* seal */
    bool adopted;                          /* create: decrypt_key is there already */
    TpmPrivateKey from_decrypt, from_sign; /* create: prime NULL: the TPM makes it */
    uint8_t ciphertext[TPM_RSA_SIZE];
    bool ciphertext_fits; /* it had TPM_RSA_SIZE bytes */
    bool oaep_sha1;       /* in software alone */
    size_t plaintext_size;
    uint8_t digest[32];
    bool bound; /* create, decrypt, sign: policy holds; decrypt, sign: counter too */
    TpmKeyPolicy policy;
    TpmCounter counter; /* counter_new: what was made */
    bool counter_given; /* counter_new: of this index */
    bool counter_defined;
    uint64_t raise_to;
    uint64_t value;     /* of the counter */
    TpmPcrPolicy *pcrs; /* decrypt, sign: when the policy is measured; NULL: none is known */
    uint32_t pcr_mask;  /* pcr_read */
    TpmPcrValues pcr_values;

    int r;
    TpmProblem problem;
    Secret *secret;
    TpmKeyFile *decrypt_key, *sign_key, *sealed;
    uint8_t srk_name[TPM_NAME_SIZE];
    uint8_t data[TPM_RANDOM_MAX];
    size_t data_size;
    TpmFacts facts;
} Work;

/* key and auth (TPM_AUTH_SIZE bytes) may be NULL; referenced and copied. */
int work_new(WorkKind kind, TpmKeyFile *key, const Secret *auth, Work **ret);
/* The same for the use of a key, with the counter that its policy wants. */
int work_new_use(WorkKind kind, TpmKeyFile *key, const Secret *auth, const TpmCounter *counter, Work **ret);
Work *work_free(Work *w);
DEFINE_CLEANUP(Work *, work_free)

/* Puts work, which it takes over, at the end of the queue (runner.c). */
int runner_submit(TpmRunner *r, Work *work, tpm_done_t done, void *userdata, TpmJob **ret);

/* What the TPM was doing when it refused: the same code means different things. */
typedef enum Step {
    STEP_OPEN,
    STEP_SRK,
    STEP_SESSION,
    STEP_LOAD,
    STEP_CREATE,
    STEP_DEFINE,
    STEP_COUNTER,
    STEP_DECRYPT,
    STEP_USE,
} Step;

/* What to do about a response code (runner-error.c). */
typedef enum Remedy {
    REMEDY_NONE,  /* an answer, good or bad */
    REMEDY_FRESH, /* what we had in the TPM is gone, or the connection: once again on a new one */
    REMEDY_WAIT,  /* it is busy */
    REMEDY_ROOM,  /* it is full */
} Remedy;

/* The TPM's own code without the details; 0 when the rc came from the TSS. */
TPM2_RC rc_plain(TSS2_RC rc);
Remedy rc_remedy(TSS2_RC rc);
/* Sets w->r and w->problem for an rc that nothing can be done about. where: the TCTI. */
void rc_settle(Work *w, Step step, TSS2_RC rc, const char *where);
/* A response that libtpms and TPMs give when OAEP does not decrypt; *ret_ask: unless it is in failure mode.
 */
bool rc_is_oaep(TSS2_RC rc, bool *ret_ask);
/* A wrong authorization value. */
bool rc_is_auth(TSS2_RC rc);
/* Why the TCTI could not be opened. */
TpmReason tcti_reason(const char *conf);
/* Does nothing stand between us and the TPM that swaps the objects of other programs out? */
bool tcti_is_bare(const char *conf);

/* A TCTI around another that counts, and whose waits end when cancel_fd becomes readable (runner-tcti.c). */
int tcti_open(const char *conf, int cancel_fd, Counter *counter, TSS2_TCTI_CONTEXT **ret);
/* Did the last command go out? Then the TPM may have carried it out, whatever became of the answer. */
bool tcti_sent(const TSS2_TCTI_CONTEXT *t);
void tcti_close(TSS2_TCTI_CONTEXT *t);

/* The connection, and what we have in the TPM (runner-link.c). Used by the thread alone. */
typedef struct Link {
    const char *conf;
    int cancel_fd;
    Counter *counter;
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys; /* NULL: not open */
    ESYS_TR srk;        /* ESYS_TR_NONE, or of what srk_name is the Name */
    bool srk_persistent;
    uint8_t srk_name[TPM_NAME_SIZE];
    ESYS_TR session;
    ESYS_TR policy;    /* a policy session */
    bool policy_blank; /* nothing was asserted in it since its start or last use */
    ESYS_TR nv;        /* the counter at nv_index */
    uint32_t nv_index;
    ESYS_TR external; /* a public key, for one command */
    bool had_external;
    uint8_t external_name[TPM_NAME_SIZE]; /* of the last one */
    ESYS_TR key;
    TpmKeyFile *loaded; /* of key */
    Step step;          /* of the last command */
    bool left_over;     /* something of ours may be in the TPM that we have no handle of */
} Link;

/* Opens what is not open yet and finds or makes the SRK. pin: its Name as far as known, or NULL. */
TSS2_RC link_open(Link *l, const uint8_t *pin);
/* The salted session, started when there is none, with these attributes besides continueSession. */
TSS2_RC link_session(Link *l, TPMA_SESSION attributes);
/* Loads the key unless it is the one that is loaded. */
TSS2_RC link_load(Link *l, TpmKeyFile *key);
/* The same for a policy session; it comes blank. */
TSS2_RC link_policy(Link *l);
/* Loads a public key as external, until link_drop_external. */
TSS2_RC link_load_external(Link *l, const TPM2B_PUBLIC *public);
void link_drop_external(Link *l);
/* The loaded key's authorization value (NULL: empty), which goes into the HMAC of the session and no further.
 */
TSS2_RC link_authorize(Link *l, const Secret *auth);
/* Makes room: flushes the loaded key, and what earlier processes of ours left in a TPM without manager. */
void link_reclaim(Link *l, const uint8_t *pin);
/* Flushes (unless the connection is broken), disconnects, and wipes what the TSS has freed. */
void link_close(Link *l, bool broken);
/* Waits; false when cancelled meanwhile. */
bool link_pause(const Link *l, int milliseconds);

/* TPM2_Import of a key as w has it (runner-import.c). */
TSS2_RC import_key(Work *w, Link *l, TpmKeyUse use, const TpmPrivateKey *key, TpmKeyFile **ret);

/* The key in the TPM, with its authorization value, until work_used lets go of the value; and the session for
 * its use, with these attributes (runner-work.c). */
TSS2_RC work_load(Work *w, Link *l, TPMA_SESSION attributes, ESYS_TR *ret);
void work_used(const Work *w, Link *l, TSS2_RC rc);
/* Overwrites what the TSS keeps of the last answer, which must have been a good one, and of the stack. */
void work_wipe(Link *l);

/* What is sealed (runner-seal.c). */
TSS2_RC seal_run(Work *w, Link *l);
TSS2_RC unseal_run(Work *w, Link *l);

/* The work on counters (runner-counter.c). */
TSS2_RC counter_run(Work *w, Link *l);

/* Keys that are bound to a counter (runner-policy.c). Finds that of w->policy, and sets w->r when it is
 * gone. */
TSS2_RC policy_find(Work *w, Link *l);
/* Asserts in l->policy what w->policy asks for, in the salted session, and gives it these attributes besides
 * continueSession; it is good for one use of the key. Sets w->r when the key is destroyed. */
TSS2_RC policy_assert(Work *w, Link *l, TPMA_SESSION attributes);

/* PCRs (runner-pcr.c). pcr_assert: TPM2_PolicyPCR and TPM2_PolicyAuthorize in l->policy, which is blank. Sets
 * w->r when they are not as approved. */
TSS2_RC pcr_read(Work *w, Link *l);
TSS2_RC pcr_assert(Work *w, Link *l);

/* Does the work, with all remedies (runner-work.c). */
void work_run(Work *w, Link *l);
/* The same for work in software (runner-software.c). */
void work_run_software(Work *w);

/* The thread (runner-worker.c). Reference-counted: the runner's and the thread's own. */
typedef struct Worker Worker;

/* What another before it may have left in the TPM. */
typedef struct LeftOver {
    bool any, external;
    uint8_t external_name[TPM_NAME_SIZE];
} LeftOver;
int worker_new(const char *conf, uint64_t idle, int notify_fd, Counter *counter, const LeftOver *left_over,
               Worker **ret);
/* Hands over one piece of work; the worker has none. */
void worker_give(Worker *w, Work *work);
/* The work once it is done, else NULL. */
Work *worker_take(Worker *w);
bool worker_ended(Worker *w);
/* Lets it end: after the work at hand, or at once when hard. Then only worker_join and worker_drop. */
void worker_stop(Worker *w, bool hard);
/* Waits up to so many seconds for its end; true when it ended, and then w is gone. */
bool worker_join(Worker *w, unsigned seconds);
/* Leaves the thread to itself. */
void worker_drop(Worker *w);

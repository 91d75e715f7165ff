/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What identity.c (state, files) and identity-tpm.c (work in the TPM) share. */

#include "agent/identity-files.h"
#include "agent/identity-seal.h"
#include "agent/identity.h"
#include "agent/keyring.h"
#include "libhmsg/wire/csr.h"

#define IDENTITY_WATCHERS_MAX 8u

struct Identity {
    Manager *m;
    TpmRunner *runner;
    sd_event_source *io;       /* the runner's answers */
    sd_event_source *deadline; /* the runner's clock */
    sd_event_source *retry;    /* asks a TPM again that was not there */
    uint64_t retry_pause;      /* µs */
    char machine[MACHINE_TEXT_SIZE];
    IdentityKeys *keys; /* of this machine; NULL: none */
    unsigned failures;  /* wrong passwords of keys in software, one after the other */
    uint64_t try_after; /* clock_boottime */
    bool damaged;       /* there are keys, but their files cannot be read */
    bool locked;
    Secret *auth;          /* of the keys, while they have a PIN and are not locked: see identity_auth */
    KeyringEntry *kept;    /* the same of keys in software, unless the keyring did not take it */
    sd_event_source *idle; /* then auth goes again */
    Workers *workers;
    uint64_t epoch;
    TpmProblem problem; /* why the TPM cannot be used */
    bool asked;         /* it has answered, or could not */
    TpmFacts facts;
    bool has_facts;
    unsigned salt; /* bytes, of the last PSS signature of the TPM; 0: it has made none */
    IdentityWork *works;
    IdentityWork *creating; /* keys, also those of a rotation, or of another PIN */
    IdentityWork *trying;   /* a PIN */
    IdentityWork *settling;
    bool settled;                  /* the counter is what it should be */
    bool settle_again;             /* what is being settled is not all any more */
    sd_event_source *former_timer; /* looks for former keys that are due */
    identity_needed_t needed;      /* holds former keys; NULL: nothing does */
    void *needed_userdata;
    uint64_t patience;  /* µs after the start before the clock is believed */
    uint64_t grace;     /* seconds that former keys stay, by default */
    IdentityState told; /* what the watchers know */
    struct {
        identity_changed_t changed;
        void *userdata;
    } watchers[IDENTITY_WATCHERS_MAX];
    unsigned n_watchers;
};

#define IDENTITY_DETAIL_SIZE 640u

/* Keys from outside, read. */
typedef struct IdentitySource {
    TpmKeyFile *key;             /* that the TPM has made; NULL: decrypt holds it */
    TpmPrivateKey decrypt, sign; /* sign.prime NULL: none */
} IdentitySource;

/* PCRs that are to be approved: for keys that are being made, or those that are there. */
typedef enum MeasureFor {
    MEASURE_CREATE,
    MEASURE_APPROVE,
    MEASURE_TO_SIGN, /* says what to sign elsewhere */
    MEASURE_SIGNED,  /* has been signed elsewhere */
} MeasureFor;
typedef struct IdentityMeasure {
    MeasureFor what;
    Secret *key, *password;
    uint32_t mask;
    IdentityPcrs predicted;          /* take the place of those that are read */
    IdentityToSign *ret;             /* to_sign */
    uint8_t signature[TPM_RSA_SIZE]; /* signed */
} IdentityMeasure;

struct IdentityWork {
    IdentityWork *prev, *next;
    Identity *i; /* NULL: the identity is gone */
    TpmJob *job;
    identity_done_t done;
    identity_jws_t jws;
    identity_plaintext_t plaintext;
    identity_sealed_t sealed;
    identity_unsealed_t unsealed;
    void *userdata;
    uint64_t epoch;
    bool own;          /* freed by ourselves: nobody else holds it */
    JwsDraft draft;    /* what is being signed */
    RsaKey *signer;    /* whose signature it will be: the keys may be others by then */
    Csr *csr;          /* the same, of a certificate request */
    CmsDraft *cms;     /* the same, of CMS */
    Secret *challenge; /* of unlock */
    SealedKey to_seal;
    /* for keys with a PIN */
    Worker *deriving;
    int (*derived)(IdentityWork *w); /* what follows */
    PinParameters parameters;        /* of create and set_pin */
    Secret *pin, *auth;
    IdentityMeasure *measure;
    TpmPcrPolicy *pcrs;     /* create: NULL: the keys are bound to none */
    IdentitySource *source; /* create: NULL: the TPM makes the keys */
    bool software;          /* create: the keys */
    bool force;
    bool then_lock; /* create: somebody has locked meanwhile */
    bool changing;  /* set_pin */
    Secret *next_pin;
    TpmKeyFile *changed; /* the decrypt key, under the next PIN */
    /* for keys that are bound to a counter, and rotations */
    bool bind;
    bool has_spare; /* spare is on disk */
    SpareCounter spare;
    uint64_t value; /* of the counter */
    int (*counted)(IdentityWork *w);
    bool rotating;
    IdentityRotation rotation;
    bool has_recovery;
    RecoveryKeys recovery; /* create, rotating: of the new keys */
    IdentityKeys *keys;    /* that come with it */
    unsigned former_done;  /* of keys->former: they have the next PIN */
};

/* identity.c */
/* 0 when work may be begun: the keys are there and not locked. The TPM itself says whether it is there. */
int identity_usable(const Identity *i);
/* Notes what an answer says of the TPM; tells nobody yet. */
void identity_note(Identity *i, const TpmAnswer *a);
/* A probe has answered: are these our keys' TPM, or other keys of ours? */
void identity_note_srk(Identity *i, const uint8_t srk_name[static TPM_NAME_SIZE]);
/* Takes k over as the keys of this machine. */
void identity_take_keys(Identity *i, IdentityKeys *k);
/* The same for those that follow ours under the same PIN: nothing that is under way ends. */
void identity_follow_keys(Identity *i, IdentityKeys *k);
/* auth: of keys with a PIN, taken over. */
void identity_unlocked(Identity *i, Secret *auth);
/* identity_lock without a word to the watchers; there are keys. */
int identity_lock_keys(Identity *i);
/* Tells the watchers when the state has changed, or in any case. */
void identity_tell(Identity *i, bool always);
/* After each job and each dispatch: the runner's clock. */
void identity_arm(Identity *i);

/* The counter of our keys; NULL: none. */
static inline const TpmCounter *identity_counter(const Identity *i)
{
    return i->keys->has_counter ? &i->keys->counter : NULL;
}

/* identity-recovery.c: k gets what was asked for, if anything was. */
void identity_take_recovery(IdentityWork *w, IdentityKeys *k);

/* identity-create.c */
/* The work of a create, not begun. ALREADY_EXISTS. */
int identity_create_new(Identity *i, bool bind, identity_done_t done, void *userdata, IdentityWork **ret);
/* Begins it, with w->pin and w->source. */
int identity_create_begin(IdentityWork *w);

/* identity-software.c */
/* The authorization value, until the event loop goes on; NULL: there is none. Of keys in software it is in
 * the kernel's keyring in between; when it is gone from there the keys are locked. */
const Secret *identity_auth(Identity *i);
/* Puts i->auth into the keyring when it is of keys in software. */
void identity_auth_keep(Identity *i);
void identity_auth_drop(Identity *i);
bool identity_is_software(const Identity *i);
/* What stands in the place of the SRK's Name. */
void identity_software_name(const Identity *i, uint8_t ret[static TPM_NAME_SIZE]);
/* For a new PIN or password of w's keys. */
int identity_parameters_new(const IdentityWork *w, PinParameters *ret);
/* Begins to put key under w->auth, which goes with w->parameters. */
int identity_change_auth(IdentityWork *w, TpmKeyFile *key, tpm_done_t done);
/* TPM_LOCKED_OUT, with words: it is too early for another password. */
int identity_software_wait(const Identity *i, char detail[static IDENTITY_DETAIL_SIZE]);
/* Counts wrong passwords, if a is of keys in software. */
void identity_software_tried(Identity *i, const TpmAnswer *a);

/* identity-pcr.c */
/* The keys that w makes will be bound to PCRs: what is needed for that; and, later, what comes before
 * identity_create_begin, with which it goes on. INVALID_ARGS: mask. */
int identity_measure_prepare(IdentityWork *w, uint32_t mask, const IdentityPolicyKey *key);
int identity_measure_begin(IdentityWork *w);
IdentityMeasure *identity_measure_free(IdentityMeasure *m);

/* identity-import.c */
IdentitySource *identity_source_free(IdentitySource *s);

/* identity-counter.c */
/* Makes w->spare, a counter that keys/ names until identity_spare_remove; then goes on with then. */
int identity_counter_make(IdentityWork *w, int (*then)(IdentityWork *w));
/* There is more to settle, also than what is being settled just now; identity_settle begins it. */
void identity_unsettle(Identity *i);
/* identity_work_finish of i->creating. A counter that it may have made goes again when r is not 0. */
void identity_counter_finish(IdentityWork *w, int r, const TpmProblem *p);

/* identity-rotate.c */
/* What is left of w once the keys are unlocked: a rotation, to w->next_pin when w->changing. 0: it has been
 * begun. */
int identity_rotate_keys(IdentityWork *w);
/* The former keys of w->keys get its PIN when it is another one, then w->keys takes the place of our keys,
 * and w is finished. 0: it has been begun. */
int identity_replace_keys(IdentityWork *w);

/* identity-former.c */
/* Sets the timer for what the keys of now have. */
void identity_former_arm(Identity *i);
/* Destroys those former keys whose time has come. */
int identity_former_destroy(Identity *i);
int identity_former_configure(Identity *i);

/* identity-pin.c */
/* What is left of identity_set_pin once the keys are unlocked. 0: it has been begun. */
int identity_change_pin(IdentityWork *w);

/* identity-tpm.c */
int identity_work_new(Identity *i, void *userdata, IdentityWork **ret);
/* The job that w begins with has been started, or not: r. */
int identity_work_begun(IdentityWork *w, int r, IdentityWork **ret);
/* 0, or why there is nothing to give out. */
int identity_work_answered(IdentityWork *w, const TpmAnswer *a);
/* detail of a callback; ret is room for it. */
const char *identity_describe(int r, const TpmProblem *p, char ret[static IDENTITY_DETAIL_SIZE]);
/* The callback, then the watchers; w may be gone afterwards. p: of the TPM, or NULL. */
void identity_work_finish(IdentityWork *w, int r, const TpmProblem *p);
void identity_work_finish_with(IdentityWork *w, int r, const char *detail);
/* The authorization value of pin in a thread, into w->auth; then goes on with the next step, unless the keys
 * were locked meanwhile. */
int identity_work_derive(IdentityWork *w, const PinParameters *parameters, const Secret *pin,
                         int (*then)(IdentityWork *w));
/* Begins to sign w->draft.digest with our key under auth. */
int identity_work_sign_as(IdentityWork *w, const Secret *auth, tpm_done_t done);
/* The same for those who wait for a JWS or a request: of w->csr, w->cms, or else of the draft. */
int identity_work_sign(IdentityWork *w);
/* A TPM that errs must not make us give out what others would take for a forgery; and a signature made by a
 * fault can tell the key. */
int identity_work_check_signature(const IdentityWork *w, const TpmAnswer *a);
/* Cuts the works off an identity that is freed. */
void identity_works_drop(Identity *i);

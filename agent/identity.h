/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The user's own keys: the folder keys/<start of the SRK Name>/ with two TSS2 PEM files and identity.json,
 * and their use in the TPM. Work in the TPM is asynchronous: the callback is called once, from the event
 * loop, never inside the call that started it; r is 0, an HmsgError or -errno, detail a sentence for people
 * (never NULL). identity_work_free cancels: no callback. The caller frees each work, also inside its
 * callback.
 */

#include "agent/manager.h"
#include "libhmsg/base/buf.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/tpm/runner.h"
#include "libhmsg/wire/cms.h"
#include "libhmsg/wire/jws.h"
#include "libhmsg/wire/statement.h"

typedef struct IdentityWork IdentityWork;
IdentityWork *identity_work_free(IdentityWork *w);
DEFINE_CLEANUP(IdentityWork *, identity_work_free)

typedef enum IdentityState {
    IDENTITY_NONE,
    IDENTITY_READY,
    IDENTITY_LOCKED,
    IDENTITY_UNAVAILABLE, /* keys are there; the TPM is not, or is another */
} IdentityState;

const char *identity_state_name(IdentityState s);

/* The public facts. kid and skid are thumbprints of the decrypt and the sign key. */
typedef struct IdentityPublic {
    char kid[HASH_TEXT_SIZE];
    char skid[HASH_TEXT_SIZE];
    uint8_t kid_bytes[KID_SIZE];
    uint8_t skid_bytes[KID_SIZE];
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    RsaKey *decrypt;
    RsaKey *sign;
    uint64_t generation;
    int64_t created;
    Protection protection; /* IMPORTED: of one of them at least there may be a copy outside */
    bool has_pin;
    bool bound; /* to a counter of the TPM: when it was raised, no copy of the keys works any more */
    RecoveryKeys recovery; /* of this generation: its statements name them */
    char *srk_name;        /* hex */
} IdentityPublic;

/* The decrypt key of now, and those of before rotations that still work. */
#define IDENTITY_KIDS_MAX 33u

int identity_new(Manager *m, Identity **ret);
Identity *identity_free(Identity *i);
DEFINE_CLEANUP(Identity *, identity_free)

typedef void (*identity_done_t)(int r, const char *detail, void *userdata);

/* Asks the TPM for its SRK and loads what belongs to it; done (may be NULL) when the state is known. */
int identity_start(Identity *i, identity_done_t done, void *userdata);

IdentityState identity_state(const Identity *i);
/* NULL while there is none for this machine. Valid until the state changes. */
const IdentityPublic *identity_public(const Identity *i);
/* 0 when keys can be used, else the HmsgError that says why not: NO_IDENTITY, LOCKED, TPM_UNAVAILABLE. */
int identity_check(const Identity *i);
/* "ok" or why the TPM cannot be used; *ret_help (may be NULL): what to do, or NULL. Owned by i. */
const char *identity_tpm_status(const Identity *i, const char **ret_help);
/* Goes up at each lock; work begun under another value must not give out what it found. */
uint64_t identity_epoch(const Identity *i);

/* Asks the TPM anew, for Diagnose: as identity_start, but can be cancelled. */
int identity_probe(Identity *i, identity_done_t done, void *userdata, IdentityWork **ret);
/* What the TPM last said of itself; NULL: nothing yet. */
const TpmFacts *identity_tpm_facts(const Identity *i);
/* Bytes of the salt of the signatures that the TPM makes: 32, or the largest, as of older firmware. 0: not
 * known, for it has made none. identity_learn_salt has it make one, of random bytes, that nobody gets. */
unsigned identity_salt(const Identity *i);
int identity_learn_salt(Identity *i, identity_done_t done, void *userdata, IdentityWork **ret);

/* Called after every change of state or keys and at every lock, in the order added. At most 8. */
typedef void (*identity_changed_t)(Identity *i, void *userdata);
int identity_watch(Identity *i, identity_changed_t changed, void *userdata);

/* pin: NULL for none. bind: to a counter, which needs room in the TPM. ALREADY_EXISTS: also while the TPM is
 * away or another one, and while keys are being made: a new identity is never made behind the back of an old
 * one. */
int identity_create(Identity *i, const Secret *pin, bool bind, identity_done_t done, void *userdata,
                    IdentityWork **ret);

/* An RSA-2048 key of the owner's, kept elsewhere, that signs which PCRs are right. */
typedef struct IdentityPolicyKey {
    const Secret *pem, *password; /* as libhmsg/wire/key-import.h takes them; password NULL: none */
} IdentityPolicyKey;
/* Keys that the user has already, as libhmsg/wire/key-import.h takes them. */
typedef struct IdentityImport {
    const Secret *decrypt, *sign;        /* sign NULL: the TPM makes it */
    const Secret *password;              /* of both; NULL: none */
    const IdentityPolicyKey *policy_key; /* NULL: bound to no PCRs; else as identity_create_measured */
    uint32_t pcrs;
} IdentityImport;
/* As identity_create, with these keys, which never reach the TPM in clear. INVALID_ARGS: pcrs. Later:
 * INVALID_ARGS: a key that is not taken; LOCKED: its password is missing or wrong. */
int identity_import(Identity *i, const IdentityImport *o, const Secret *pin, bool bind, identity_done_t done,
                    void *userdata, IdentityWork **ret);

/* Keys in software, in files under password: protected less than by a TPM, and never unless the user asks for
 * it. */
int identity_create_software(Identity *i, const Secret *password, identity_done_t done, void *userdata,
                             IdentityWork **ret);

/* As identity_create with a counter; and the keys work only while these PCRs (bit n: PCR n) are as the policy
 * key has approved, which it does now. INVALID_ARGS: mask. */
int identity_create_measured(Identity *i, const IdentityPolicyKey *key, uint32_t mask, const Secret *pin,
                             identity_done_t done, void *userdata, IdentityWork **ret);
/* Values of the PCRs of mask, the lowest first. */
typedef struct IdentityPcrs {
    uint32_t mask;
    TpmPcrValues values;
} IdentityPcrs;
/* Approves the PCRs as they are now, but those that are predicted (NULL: none) as they will be, besides what
 * was approved before; the newest 8 count. INVALID_ARGS: the keys are bound to none, or not to one that is
 * predicted. Later: DENIED: another policy key; INVALID_ARGS, LOCKED: as identity_import. */
int identity_approve(Identity *i, const IdentityPolicyKey *key, const IdentityPcrs *predicted,
                     identity_done_t done, void *userdata, IdentityWork **ret);
/* The same in two steps, for a policy key on another machine: the message that it must sign, PS256 with a
 * salt of 32 bytes; and its signature. *ret_later is filled when done is called with 0. */
typedef struct IdentityToSign {
    IdentityPcrs pcrs; /* of all that the keys are bound to */
    uint8_t message[SHA256_SIZE];
} IdentityToSign;
int identity_to_approve(Identity *i, const IdentityPcrs *predicted, IdentityToSign *ret_later,
                        identity_done_t done, void *userdata, IdentityWork **ret);
/* Later: DENIED: it is not by the policy key, or of other values. INVALID_ARGS: n. */
int identity_approve_signed(Identity *i, const IdentityPcrs *predicted, const void *signature, size_t n,
                            identity_done_t done, void *userdata, IdentityWork **ret);
/* What the keys are bound to; 0: none. */
uint32_t identity_pcrs(const Identity *i);

typedef struct IdentityRotation {
    bool has_grace;
    uint64_t grace; /* seconds that the decrypt key of now stays usable; at most IDENTITY_GRACE_MAX. 0: it and
                       all former ones are destroyed at once. Default: what agent.conf says */
    bool bind;      /* the new keys, when those of now are not */
    uint64_t after; /* the new generation is greater than this, too */
} IdentityRotation;
#define IDENTITY_GRACE_MAX (366u * 86400u)

/* New keys of the next generation, to which the sign key of now signs over. Until they are on disk the old
 * ones are those that count. INVALID_ARGS: grace. QUOTA_EXCEEDED: keys are being made, or too many former
 * ones still work. */
int identity_rotate(Identity *i, const IdentityRotation *o, identity_done_t done, void *userdata,
                    IdentityWork **ret);
/* The keys that w makes (of a create, an import or a rotation that has just been begun) get these recovery
 * keys; without it, rotated keys have those of before, others none. */
void identity_name_recovery(IdentityWork *w, const RecoveryKeys *recovery);
/* The n-th rotate statement (compact JWS) that leads to the keys of now, the oldest first; NULL past the end.
 * The newest 64 are kept. Valid until the keys change, of which the watchers are told. */
const char *identity_rotation(const Identity *i, size_t n);
/* How many former decrypt keys still work; *ret_until (may be NULL): when the last of them is destroyed. */
unsigned identity_former(const Identity *i, int64_t *ret_until);
/* A former decrypt key, of which n counts from the oldest. */
typedef struct IdentityFormer {
    char kid[HASH_TEXT_SIZE];
    uint64_t generation;
    int64_t until; /* when it is destroyed */
    bool held;     /* that is over, but mail hangs on it still: it ends when that is encrypted anew */
} IdentityFormer;
/* False: there are not so many. */
bool identity_former_get(const Identity *i, unsigned n, IdentityFormer *ret);
/* While needed says that something hangs on it, or the store that would tell is not open yet, a former
 * decrypt key is not destroyed when its time comes, but after that: identity_released says that it may be
 * over. One at a time; NULL: none. */
typedef bool (*identity_needed_t)(const char *kid, void *userdata);
void identity_hold(Identity *i, identity_needed_t needed, void *userdata);
void identity_released(Identity *i);
/* The kids that identity_open takes, that of now first, then the oldest first. */
size_t identity_kids(const Identity *i, uint8_t ret[static IDENTITY_KIDS_MAX][KID_SIZE]);
/* The public part of one of them; NOT_FOR_US: it is none. */
int identity_decrypt_key(const Identity *i, const uint8_t kid[static KID_SIZE], RsaKey **ret);
/* Is it our sign key, or one of before a rotation whose decrypt key still works? */
bool identity_is_ours(const Identity *i, const char *skid);

/* INVALID_ARGS: confirm_kid is not the kid. Works without the TPM; its counter goes when the TPM is there. */
int identity_delete(Identity *i, const char *confirm_kid);
/* Until unlock, or the end of the agent. Keys in the making are locked once they are made. */
int identity_lock(Identity *i);
/* Erases every session key as well, but what needs one unwraps it again. Works without an identity. */
int identity_forget(Identity *i);
/* Decrypts and signs once for proof; also when it is not locked. pin: what the keys have, else NULL
 * (INVALID_ARGS); LOCKED: they have one. A wrong PIN is LOCKED as well. TPM_LOCKED_OUT: one more wrong PIN
 * would be the last, unless force; detail says how long the TPM takes to forget one. QUOTA_EXCEEDED: another
 * PIN is being tried. */
int identity_unlock(Identity *i, const Secret *pin, bool force, identity_done_t done, void *userdata,
                    IdentityWork **ret);

/* Another PIN (next; NULL: none); unlocks the keys with pin first, of which all is true that is said of
 * identity_unlock. With a rotation, for new keys, and the former ones follow where the TPM would count wrong
 * PINs; without (NULL), for the same keys: then a copy of the files as they were still opens with the PIN of
 * then, for good. QUOTA_EXCEEDED, also later: keys are being made. DENIED: the same keys were made without a
 * PIN, so that the TPM would not count; or keys in software would be without password. */
int identity_set_pin(Identity *i, const Secret *pin, const Secret *next, bool force,
                     const IdentityRotation *rotation, identity_done_t done, void *userdata,
                     IdentityWork **ret);

/* Compact JWS over a statement that the agent built: input is "header.payload" (libhmsg/wire), copied. One
 * TPM signature. jws is valid during the callback. Never give this the bytes of a caller. */
typedef void (*identity_jws_t)(int r, const char *detail, const char *jws, void *userdata);
int identity_sign_jws(Identity *i, const char *input, identity_jws_t done, void *userdata,
                      IdentityWork **ret);

/* Raw OAEP decryption with the decrypt key: for sessions and for a directory's proof of possession, whose
 * form the caller checks. plaintext belongs to the callback's caller. AUTHENTICATION_FAILED: OAEP says no. */
typedef void (*identity_plaintext_t)(int r, const char *detail, const Secret *plaintext, void *userdata);
/* With the key of kid, one of identity_kids; NOT_FOR_US: it is none of them. */
int identity_open(Identity *i, const uint8_t kid[static KID_SIZE], const void *ciphertext, size_t size,
                  identity_plaintext_t done, void *userdata, IdentityWork **ret);
/* The same by OAEP with SHA-1, for keys in software. INVALID_ARGS: it is in the TPM. */
int identity_open_oaep_sha1(Identity *i, const uint8_t kid[static KID_SIZE], const void *ciphertext,
                            size_t size, identity_plaintext_t done, void *userdata, IdentityWork **ret);
/* With the key of now. */
int identity_open_pop(Identity *i, const void *ciphertext, size_t size, identity_plaintext_t done,
                      void *userdata, IdentityWork **ret);

/* A certificate request of the sign key for name (libhmsg/wire/csr.h), as PEM in jws. One TPM signature. */
int identity_sign_csr(Identity *i, const char *name, identity_jws_t done, void *userdata, IdentityWork **ret);

/* What d holds for signing (libhmsg/wire/cms.h); jws is the signature in base64url. One TPM signature. */
int identity_sign_cms(Identity *i, CmsDraft *d, identity_jws_t done, void *userdata, IdentityWork **ret);

typedef enum KeyTextForm { KEY_TEXT_PEM, KEY_TEXT_JWK, KEY_TEXT_OPENSSH } KeyTextForm;
/* What ExportPublic gives out: the decrypt key as text, appended; and the input of identity_sign_jws
 * for the exported identity (export_write takes the JWS). address: "" while there is none. */
int identity_export_key(const IdentityPublic *p, KeyTextForm form, Buf *ret);
int identity_export_statement(const IdentityPublic *p, const char *address, Buf *ret_input);

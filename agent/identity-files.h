/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The key folders of one home: keys/<start of the SRK Name>/ (mode 0700) with decrypt.pem, sign.pem (TSS2
 * PRIVATE KEY) and identity.json, each of mode 0600, and former-GENERATION.pem for each decrypt key of before
 * a rotation that still works. A folder appears, changes and goes as a whole. A home that several machines
 * share has a folder for each TPM; identity.json names the machine, so that another TPM in this machine is
 * not taken for another machine. */

#include "agent/identity.h"
#include "agent/pin.h"
#include "libhmsg/tpm/keyfile.h"

#define MACHINE_TEXT_SIZE 33u /* 128 bits in hex and the final 0; "" when the machine has no id */
#define KEY_FOLDERS_MAX 64u   /* machines that share a home */
#define KEYS_FORMER_MAX 32u   /* former keys that still work */
#define ROTATIONS_MAX 64u     /* statements kept; the oldest go */

/* A decrypt key of before a rotation. */
typedef struct FormerKey {
    TpmKeyFile *key;
    uint8_t kid[KID_SIZE];
    uint8_t skid[KID_SIZE]; /* of the sign key that was with it */
    uint64_t generation;
    int64_t until; /* then it is destroyed */
    bool due;      /* its time has come, but something hangs on it; not on disk */
} FormerKey;

typedef struct IdentityKeys {
    TpmKeyFile *decrypt, *sign;
    IdentityPublic public;
    uint8_t srk_name[TPM_NAME_SIZE];
    char machine[MACHINE_TEXT_SIZE];
    PinParameters pin; /* when the keys need an authorization value: public.has_pin */
    bool has_counter;
    TpmCounter counter;                /* of the bound ones among all the keys here */
    TpmPcrPolicy *pcrs;                /* NULL: bound to none; else of all bound keys here */
    FormerKey former[KEYS_FORMER_MAX]; /* the oldest first; those that need it have the same value */
    unsigned n_former;
    char *rotations[ROTATIONS_MAX]; /* rotate statements that led to these keys, the oldest first */
    unsigned n_rotations;
} IdentityKeys;

/* A hash of /etc/machine-id that is used for nothing else (machine-id(5)). */
void identity_machine(char ret[static MACHINE_TEXT_SIZE]);

/* Takes references of its own. -EBADMSG: not a decrypt key and a sign key, both with an authorization value
 * or both without; the caller sets pin when they have one. */
int identity_keys_new(TpmKeyFile *decrypt, TpmKeyFile *sign, const uint8_t srk_name[static TPM_NAME_SIZE],
                      const char *machine, int64_t created, IdentityKeys **ret);
IdentityKeys *identity_keys_free(IdentityKeys *k);
DEFINE_CLEANUP(IdentityKeys *, identity_keys_free)

/* Takes a reference of its own. -ENOSPC: KEYS_FORMER_MAX. -EBADMSG: f is no decrypt key of before k. */
int identity_keys_add_former(IdentityKeys *k, const FormerKey *f);
int identity_keys_add_rotation(IdentityKeys *k, const char *jws);
/* What k has from old, which it follows: its counter, former keys and rotations. */
int identity_keys_copy_history(IdentityKeys *k, const IdentityKeys *old);
/* The decrypt key of old becomes a former one of k; none of the others outlives it. */
int identity_keys_retire(IdentityKeys *k, const IdentityKeys *old, int64_t until);
/* The decrypt key, of now or a former one; NULL: none. Borrowed. */
TpmKeyFile *identity_keys_find(const IdentityKeys *k, const uint8_t kid[static KID_SIZE]);
/* Has the counter of every bound key among them? */
bool identity_keys_fit_counter(const IdentityKeys *k);
/* Are the keys bound to PCRs just when there is something approved, by their signer? */
bool identity_keys_fit_pcrs(const IdentityKeys *k);
/* The oldest generation of the counter that a key here is bound to: what the counter should be. 0: none. */
uint64_t identity_keys_oldest(const IdentityKeys *k);

/* -EEXIST: this TPM has a folder already. */
int identity_keys_store(int data_fd, const IdentityKeys *k);
/* The folder there is, by another of the same keys: a reader finds one or the other, whole. */
int identity_keys_replace(int data_fd, const IdentityKeys *k);
/* -ENOENT: there is none for this TPM. -EBADMSG: it is damaged. */
int identity_keys_load(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE], IdentityKeys **ret);
/* The newest that this machine made, or may have made when it or the folder has no machine id. -ENOENT: none.
 * -EBADMSG: none that can be read, and one that is damaged. */
int identity_keys_load_machine(int data_fd, const char *machine, IdentityKeys **ret);
int identity_keys_remove(int data_fd, const IdentityKeys *k);
/* Removes what a crash left of a folder that was being made or removed. */
int identity_keys_tidy(int data_fd);

/* A counter of the TPM that is about to be made, or to go, named in keys/.counter-<start of the SRK Name> so
 * that it is not left behind. One for each TPM. */
typedef struct SpareCounter {
    TpmCounter counter; /* wipe it */
    uint64_t above;     /* raise it to this before; 0: nothing was bound to it */
} SpareCounter;
int identity_spare_store(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE], const SpareCounter *s);
/* -ENOENT: there is none. -EBADMSG: it is damaged. */
int identity_spare_load(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE], SpareCounter *ret);
int identity_spare_remove(int data_fd, const uint8_t srk_name[static TPM_NAME_SIZE]);

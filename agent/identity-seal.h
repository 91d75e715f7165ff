/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A secret that lives and dies with a generation of the keys: sealed by the TPM that has them, and bound to
 * their counter when they are. No PIN is asked for it. Callbacks: as in identity.h; problem is never NULL. */

#include "agent/identity.h"

typedef struct SealedKey {
    TpmKeyFile *sealed;
    uint8_t srk_name[TPM_NAME_SIZE]; /* of the TPM */
    uint8_t kid[KID_SIZE];           /* of the decrypt key that it goes with */
    bool has_counter;
    TpmCounter counter; /* a secret; wiped by sealed_key_done */
} SealedKey;
void sealed_key_done(SealedKey *k);
SealedKey sealed_key_copy(const SealedKey *k);

/* Seals key (TPM_SEALED_SIZE bytes, copied) to the keys of now, which are in a TPM; sealed is valid during
 * the callback. NO_IDENTITY. INVALID_ARGS: they are in software. */
typedef void (*identity_sealed_t)(int r, const TpmProblem *problem, const SealedKey *sealed, void *userdata);
int identity_seal(Identity *i, const Secret *key, identity_sealed_t done, void *userdata, IdentityWork **ret);

/* TPM_REASON_DESTROYED: its generation has ended. TPM_REASON_KEY, TPM_REASON_WRONG_TPM: another TPM sealed
 * it. The callback may TAKE_PTR *key. Works with an identity of its TPM, and with none. */
typedef void (*identity_unsealed_t)(int r, const TpmProblem *problem, Secret **key, void *userdata);
int identity_unseal(Identity *i, const SealedKey *sealed, identity_unsealed_t done, void *userdata,
                    IdentityWork **ret);

/* The TPM that the keys belong to, or without keys the one that is there: TPM_NAME_SIZE bytes, what stands
 * for it with keys in software. NULL: not known (yet). */
const uint8_t *identity_srk(const Identity *i);

/* identity-counter.c: removes a counter that nothing is bound to any more, and raises ours to what it should
 * be, unless that was done, or the store is under a key of before still (vault.h). */
void identity_settle(Identity *i);

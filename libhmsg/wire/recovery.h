/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Recovery keys (docs/protocol.md, "Recovery"): further keys that the owner of an identity names in the
 * signed statement. Whoever encrypts to the owner makes a package of its own for each; and when such a key
 * has a sign key with it, that may sign new keys for the address. In JSON: "recovery":[{"decrypt":SPKI,
 * "sign":SPKI}, …], sign being optional; the member is absent when there are none. */

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/key.h"

typedef struct RecoveryKey {
    RsaKey *decrypt;
    RsaKey *sign; /* NULL: this one only reads */
} RecoveryKey;

typedef struct RecoveryKeys {
    size_t n;
    RecoveryKey keys[RECOVERY_KEYS_MAX];
} RecoveryKeys;

/* Takes references of its own; sign may be NULL. -ENOSPC: RECOVERY_KEYS_MAX. HMSG_ERROR_BAD_PACKAGE: one of
 * them is there already, or the two are the same. */
int recovery_keys_add(RecoveryKeys *k, RsaKey *decrypt, RsaKey *sign);
void recovery_keys_copy(const RecoveryKeys *k, RecoveryKeys *ret); /* shares the keys */
void recovery_keys_done(RecoveryKeys *k);
/* Is key one of them, in either role? */
bool recovery_keys_have(const RecoveryKeys *k, const RsaKey *key);

/* The member "recovery" of j; nothing, when there are none. */
int recovery_keys_put(const RecoveryKeys *k, json_t *j);
/* ret is zeroed when the member is absent. HMSG_ERROR_BAD_PACKAGE: not of its form. */
int recovery_keys_get(const json_t *j, RecoveryKeys *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keys for cipher_seal, gathered: those of recipients, and their recovery keys behind. What they point at
 * must outlive the list, which must not be moved. */

#include "agent/cipher.h"

typedef struct SealKeys {
    size_t n;
    SealKey keys[RECIPIENTS_MAX];
    char kids[RECIPIENTS_MAX][HASH_TEXT_SIZE];
} SealKeys;

/* TOO_LARGE: more than RECIPIENTS_MAX. A key that is there already is not added again. */
int seal_keys_add(SealKeys *k, const SealKey *key);
int seal_keys_append(SealKeys *k, const SealKey *key);                 /* again, too */
int seal_keys_add_recovery(SealKeys *k, const RecoveryKeys *recovery); /* may be NULL */

/* One package as it is, several as a JSON array; appended. */
int seal_join(const Buf *packages, size_t n, Buf *ret);

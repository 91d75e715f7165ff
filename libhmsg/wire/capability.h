/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sending capabilities: a code of CAPABILITY_SIZE random bytes that the owner of a mailbox hands out, so that
 * whoever has it is no stranger there. The relay is told the hash of the code when it is made, the code
 * itself by who sends with it. The owner's agent makes the MACs, with the key of its login: whoever only
 * holds the connection can neither make a capability nor end one. */

#include "libhmsg/wire/crypto.h"

/* What is granted. */
typedef struct CapabilityGrant {
    uint8_t hash[SHA256_SIZE];
    uint64_t uses; /* messages, 1 to CAPABILITY_USES_MAX */
    int64_t expires;
} CapabilityGrant;

/* SHA-256("hmsg/1 capability" || code) */
int capability_hash(const uint8_t code[static CAPABILITY_SIZE], uint8_t ret[static SHA256_SIZE]);
/* HMAC-SHA-256(key, "hmsg/1 grant" || pin || hash || uses || expires), numbers as 64 bits big-endian; key as
 * that of ack_mac. */
int capability_grant_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], const CapabilityGrant *g,
                         uint8_t ret[static SHA256_SIZE]);
/* HMAC-SHA-256(key, "hmsg/1 revoke" || pin || number) */
int capability_revoke_mac(const Secret *key, const uint8_t pin[static PIN_SIZE], uint64_t number,
                          uint8_t ret[static SHA256_SIZE]);

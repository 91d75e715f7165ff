/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Wrapped session keys: AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces under a key-encryption key,
 * in a pool of locked pages that no core dump contains. */

#include "libhmsg/base/secret.h"

#define WRAP_KEK_SIZE 32u
#define WRAP_PLAIN_SIZE 64u
#define WRAP_NONCE_SIZE 12u
#define WRAP_TAG_SIZE 16u

typedef struct Wrapped {
    uint8_t nonce[WRAP_NONCE_SIZE];
    uint8_t tag[WRAP_TAG_SIZE];
    uint8_t data[WRAP_PLAIN_SIZE];
} Wrapped;

typedef struct WrapPool WrapPool;

int wrap_pool_new(WrapPool **ret);
WrapPool *wrap_pool_free(WrapPool *p);
DEFINE_CLEANUP(WrapPool *, wrap_pool_free)

/* id binds the wrapped key to its entry. */
int wrap_seal(WrapPool *p, const Secret *kek, uint64_t id, const uint8_t plain[static WRAP_PLAIN_SIZE],
              Wrapped **ret);
/* -EBADMSG: not what was sealed under this key. ret is of WRAP_PLAIN_SIZE bytes. */
int wrap_open(WrapPool *p, const Secret *kek, uint64_t id, const Wrapped *w, Secret *ret);
Wrapped *wrap_drop(WrapPool *p, Wrapped *w);

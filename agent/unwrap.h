/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The way of encrypted session keys to the TPM, which does a few in a second, for everybody: one that many
 * ask for goes there once, and clients take turns however much each of them wants. Main thread only. */

#include "agent/identity.h"

#define UNWRAPS_ACTIVE_MAX 2u /* in the TPM's own queue, which knows no clients: one works, one is ready */

typedef struct Unwraps Unwraps;
typedef struct Unwrap Unwrap;

int unwraps_new(sd_event *event, Identity *i, Unwraps **ret);
Unwraps *unwraps_free(Unwraps *u); /* who waits is never called; theirs must still be freed */
DEFINE_CLEANUP(Unwraps *, unwraps_free)

typedef struct UnwrapInput {
    const uint8_t *kid; /* KID_SIZE bytes: of our key */
    const Buf *encrypted_key;
    bool oaep_sha1;
    const void
        *client; /* whose turn it counts as, an address that is only compared; NULL: the agent itself */
} UnwrapInput;

/* input is copied. done as that of identity_open, from the loop; *ret is still to be freed then. Other errors
 * are those of identity_open, now or in done. */
int unwrap_start(Unwraps *u, const UnwrapInput *input, identity_plaintext_t done, void *userdata,
                 Unwrap **ret);
/* The TPM is left alone when nobody else waits for the same. */
Unwrap *unwrap_free(Unwrap *w);
DEFINE_CLEANUP(Unwrap *, unwrap_free)

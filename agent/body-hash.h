/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The message id of a body in a file, in slices between which the event loop goes on: bodies may be hundreds
 * of MiB. The callback is called once, from the loop; freeing cancels. */

#include <systemd/sd-event.h>

#include "libhmsg/wire/proof.h"

typedef struct BodyHash BodyHash;
BodyHash *body_hash_free(BodyHash *h);
DEFINE_CLEANUP(BodyHash *, body_hash_free)

/* id: SHA-256(kid || body); sha256: of the body. Both NULL unless r is 0. */
typedef void (*body_hash_t)(int r, const uint8_t *id, const uint8_t *sha256, uint64_t size, void *userdata);

/* From offset 0 to the end of the file; fd is duplicated. copy: an empty file that gets what is hashed, where
 * others can still write to fd, or -1; it stays the caller's. TOO_LARGE: more than max bytes. */
int body_hash_start(sd_event *event, const uint8_t kid[static KID_SIZE], int fd, int copy, uint64_t max,
                    body_hash_t done, void *userdata, BodyHash **ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How the keys of an address have changed (docs/protocol.md, "Rotation"), as agents and relays hand it on in
 * JSON. A *step* is one rotate statement with the sign key that it is of: {"rotate":JWS, "sign":SPKI}. A
 * *link* leads from one identity statement to the next by one step or several: {"from":JWS, "steps":[…],
 * "to":JWS}; without "to" it leads to the next link's "from", or to the statement of now. A *chain* is an
 * array of links, the oldest first. */

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/statement.h"

/* A pair of keys that has been superseded. */
typedef struct RotationKeys {
    uint8_t skid[KID_SIZE], kid[KID_SIZE];
    int64_t retired; /* when its sign key signed the next pair */
} RotationKeys;

/* Where a chain begins, and what was superseded on the way, the oldest first: keys[0] is the beginning. */
typedef struct Rotation {
    uint64_t generation; /* of keys[0] */
    bool recovered;      /* somewhere on the way a recovery key signed, not the key that it follows */
    size_t n;
    RotationKeys keys[ROTATION_KEYS_MAX];
} Rotation;

/* Adds a step to an array. */
int rotation_step_put(json_t *steps, const char *rotate, const uint8_t *sign_spki, size_t n);
/* Parses 1..ROTATION_STEPS_MAX steps, each verified with its own key; ret has room for that many.
 * BAD_PACKAGE, AUTHENTICATION_FAILED. What they lead from and to is for rotate_statement_check. */
int rotation_steps_parse(const json_t *steps, int64_t now, RotateStatement *ret, size_t *ret_n);

/* Does chain lead from somebody with the key `asked` (decrypt or sign) to the keys and the generation of
 * current? AUTHENTICATION_FAILED: no, which is also said of an empty one. Who knows more of the beginning
 * than one key compares keys[0] and the generation. */
int rotation_chain_follow(const json_t *chain, const uint8_t asked[static KID_SIZE],
                          const IdentityStatement *current, int64_t now, Rotation *ret);

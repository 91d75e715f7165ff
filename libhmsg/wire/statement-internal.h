/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/wire: what all statements have in common. */

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/statement.h"

/* The draft of a JWS over payload. */
int statement_draft(const json_t *payload, JwsAlg alg, JwsType type, const uint8_t kid[static KID_SIZE],
                    JwsDraft *ret);
/* Verifies and gives the payload, whose members are all among names. */
int statement_open_rsa(const char *text, size_t n, JwsType type, const RsaKey *key, const char *const *names,
                       json_t **ret);
int statement_open_ec(const char *text, size_t n, JwsType type, const EcKey *key, const char *const *names,
                      json_t **ret);
/* Times that a payload holds: two in this order, at most lifetime apart, and now between them give or take
 * CLOCK_SKEW_MAX. */
int statement_get_period(const json_t *payload, const char *from, const char *until, int64_t lifetime,
                         int64_t now, int64_t *ret_from, int64_t *ret_until);
/* A time that is not in the future. */
int statement_get_past(const json_t *payload, const char *name, int64_t now, int64_t *ret);
/* A member of size bytes that must be equal to expected. */
int statement_expect_bytes(const json_t *payload, const char *name, const void *expected, size_t size);
/* Of a relay's identity key, which is in it as "pin" and "spki", and is the pinned one or nothing. */
int statement_open_relay(const char *text, size_t n, JwsType type, const uint8_t pin[static PIN_SIZE],
                         const char *const *names, json_t **ret, RsaKey **ret_identity);
/* One of n texts; its index. */
int statement_get_choice(const json_t *payload, const char *name, const char *const *texts, size_t n,
                         size_t *ret);
/* A valid name, or "" when it is absent and may be. */
int statement_get_name(const json_t *payload, bool required, char ret[static NAME_SIZE_MAX + 1]);

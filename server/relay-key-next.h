/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The change of the relay's identity key. Beside the file KEY of the current key stand KEY.next, the key that
 * follows it, held by the same, under the same passphrase or PIN, and KEY.successions, a JSON array of the
 * statements (Succession) by which each key named the one after it; the last is made with KEY.next and
 * published ahead. The switch is one rename: before it the store opens with both keys, so that whenever the
 * machine stops there is one current key and the store is open to it. */

#include "server/relay-key.h"

#define RELAY_KEY_ANNOUNCE (7u * 86400u) /* seconds, of the next pin before a switch */

/* What is known of the key after k. */
typedef struct NextKey {
    bool announced;
    uint8_t pin[PIN_SIZE];
    int64_t since; /* Unix seconds, of the statement */
} NextKey;

/* Reads KEY.successions: k publishes the pin that follows it from its next relay_key_renew on, and all
 * statements. No file: none. HMSG_ERROR_BAD_PACKAGE: it is not of its form; nothing of k changes. ret may be
 * NULL. */
int relay_key_load_next(RelayKey *k, const char *path, int64_t now, NextKey *ret);

/* The key of KEY.next, made when there is none, and the statement of k about it, which takes the place of one
 * about another key; both are on disk then. bits as in relay_key_generate. Errors as relay_key_open has them.
 */
int relay_key_make_next(RelayKey *k, const KeyFiles *f, unsigned bits, int64_t now, RelayKey **ret,
                        NextKey *ret_next);

/* When the key was made, in Unix seconds: what its file says. */
int relay_key_made(const char *path, int64_t *ret);

/* KEY.next becomes KEY, for good. */
int relay_key_switch(const char *path);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Session keys at rest in this process: in its own process keyring, permissions for the possessor alone, so
 * that no other process of the user can read or list them (keyrings(7)). Up to KEYRING_HOT_MAX are keys of
 * their own; any number more is wrapped (AES-256-GCM) in locked memory under a key-encryption key, the first
 * key made. The quota is per user: EDQUOT on a session key means that it is wrapped. Main thread only. */

#include "libhmsg/base/secret.h"

#define KEYRING_KEY_SIZE 64u /* bytes of a session key: MAC key and AES key */
#define KEYRING_HOT_MAX 64u

typedef struct Keyring Keyring;
typedef struct KeyringEntry KeyringEntry;

/* To be called before any thread is made: later ones would not share the keyring. -EDQUOT: the user's quota
 * leaves no room for the key-encryption key (keyrings(7), /proc/key-users). */
int keyring_new(Keyring **ret);
Keyring *keyring_free(Keyring *k); /* invalidates every key; entries must be dropped before */
DEFINE_CLEANUP(Keyring *, keyring_free)

/* Keeps a copy of key for at most lifetime seconds (a kernel time-out on hot keys as a backstop: the caller
 * counts for itself). */
int keyring_put(Keyring *k, const uint8_t key[static KEYRING_KEY_SIZE], uint64_t lifetime,
                KeyringEntry **ret);
/* The same for a key that keyring_lock leaves alone, and that is never wrapped. -EDQUOT: no room. */
int keyring_keep(Keyring *k, const uint8_t key[static KEYRING_KEY_SIZE], KeyringEntry **ret);
/* -ENOKEY: it is gone (locked, timed out, revoked, invalidated): unwrap the session again. ret is of
 * KEYRING_KEY_SIZE bytes. */
int keyring_get(Keyring *k, KeyringEntry *e, Secret *ret);
KeyringEntry *keyring_drop(Keyring *k, KeyringEntry *e);

/* Invalidates everything and makes a new key-encryption key; the entries stay, and give -ENOKEY. */
int keyring_lock(Keyring *k);

bool keyring_entry_is_hot(const KeyringEntry *e);
unsigned keyring_count_hot(const Keyring *k);

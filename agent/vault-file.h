/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The key of the agent's store on disk, in a file of mode 0600 in the data folder: {"version": 1, "keys":
 * [...]}, the newest first. A second one is there while the store is being written anew with the first. An
 * entry is {"key"}: the key itself, while there are no keys in a TPM that it could be sealed to; or
 * {"sealed", "srk", "kid"} and, when it is bound to a counter, {"counter": {"index", "auth"}}
 * (identity-seal.h). Bytes are base64url, what is sealed is DER. */

#include "agent/identity-seal.h"

#define VAULT_KEYS_MAX 2u
#define VAULT_FILE_SIZE_MAX 16384u /* bytes */

typedef struct VaultKey {
    Secret *key; /* DB_SEAL_KEY_SIZE bytes; NULL: it has not been unsealed */
    bool is_sealed;
    SealedKey by; /* when it is sealed */
} VaultKey;
void vault_key_done(VaultKey *k);

typedef struct VaultKeys {
    VaultKey keys[VAULT_KEYS_MAX];
    unsigned n;
} VaultKeys;
void vault_keys_done(VaultKeys *k);

/* -ENOENT: there is none. -EBADMSG: it is damaged. */
int vault_file_load(int data_fd, const char *name, VaultKeys *ret);
/* Durable; what is there stays when it fails. A key that was in it in clear, and is not in it now, is
 * overwritten. */
int vault_file_store(int data_fd, const char *name, const VaultKeys *k);

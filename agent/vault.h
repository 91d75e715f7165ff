/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The key of the store, over its life. It is in a file beside the store while there are no keys in a TPM;
 * else the TPM has sealed it, bound to the generation of the keys. With each generation comes another key,
 * and the store is written anew with it before the counter goes on, so that a backup of before is of no use
 * when the former generation ends. Each TPM of a home that several machines share has a store of its own:
 * that with the plain name belongs to the first. */

#include "agent/manager.h"
#include "libhmsg/db/seal.h"

/* r 0: the store can be opened, with the functions below; else what tells why not is in the log, and it is
 * tried again where that may help. Called for each try. May not free v. An error ends the agent. */
typedef int (*vault_tried_t)(int r, void *userdata);

int vault_new(Manager *m, vault_tried_t tried, void *userdata, Vault **ret);
Vault *vault_free(Vault *v);
DEFINE_CLEANUP(Vault *, vault_free)

/* Finds the key: at once when it is in a file, else the TPM is asked as soon as it is known, which is told by
 * vault_tried_t. *ret_waits: that is so. */
int vault_start(Vault *v, bool *ret_waits);
/* The TPM has answered, or will not. *ret_waits: it has been asked for the key. */
int vault_go_on(Vault *v, bool *ret_waits);

/* What the names of the store's files end with: "" or "-" and the start of the SRK's Name. */
const char *vault_suffix(const Vault *v);
DbSeal *vault_seal(const Vault *v);

/* Can be NULL, which is as open. */
bool vault_is_open(const Vault *v);
/* It is not open, and will be one day: the TPM may be away, or has not answered yet. v may be NULL. */
bool vault_may_open(const Vault *v);
/* Why it is not open, a sentence, and what to do; both "" when it is. */
const char *vault_problem(const Vault *v, const char **ret_help);
/* "file" or "tpm": what protects the key of an open store. */
const char *vault_protection(const Vault *v);

/* Is something sealed yet under a generation of before, so that the counter must not go on? v may be NULL. */
bool vault_is_behind(const Vault *v);

/* The keys are about to be deleted: the key goes back into a file. A store that cannot be opened is put aside
 * in the data folder, as lost-TIME, and a new one begun. STORAGE_FULL, -errno: they must stay. v may be NULL.
 */
int vault_leave(Vault *v);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An identity with keys in software, and contacts without a store, in place of the agent's own: for tests of
 * what lies above them. They answer from the event loop, as the true ones do, and count. */

#include <glib.h>

#include "agent/contacts.h"
#include "agent/identity.h"

typedef struct Double Double;

/* A manager with event loop, keyring, configuration, identity and contacts; nothing else. */
Double *double_new(void);
void double_free(Double *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Double, double_free)

/* All doubles from here on have the same keys, one after the other: making them takes most of the time. */
void double_reuse_keys(void);

Manager *double_manager(Double *d);
/* Runs the event loop until *done. */
void double_run(Double *d, const bool *done);
/* One round of it, without waiting. */
void double_turn(Double *d);

/* As identity_lock and identity_unlock. */
void double_lock(Double *d);
void double_unlock(Double *d);
/* New keys; those of before have signed for them. */
void double_rotate(Double *d);
/* As if the keys were in files, and not in a TPM. */
void double_software(Double *d);
/* The TPM does not answer until it is called again with false. */
void double_hold(Double *d, bool hold);
/* What the TPM says from now on instead of doing its work; 0: works. */
void double_fail(Double *d, int r);
unsigned double_count_decrypt(const Double *d);
unsigned double_count_sign(const Double *d);

/* What contacts know of a sign key, and what only the directory does. NONE: nothing. */
void double_know(Double *d, ContactTrust store, ContactTrust directory, const char *address);
void double_directory_fail(Double *d, int r);
unsigned double_count_known(const Double *d);
unsigned double_count_directory(const Double *d);

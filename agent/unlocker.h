/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One question for the PIN, on behalf of all calls that meanwhile find the identity locked: there is one
 * window, and one try in the TPM, whose result each of them gets. The window goes when nobody waits any more.
 */

#include "agent/identity.h"

typedef struct UnlockWait UnlockWait;

int unlocker_new(Manager *m, Unlocker **ret);
Unlocker *unlocker_free(Unlocker *u);
DEFINE_CLEANUP(Unlocker *, unlocker_free)

/* done is called once, from the loop, unless the wait is freed before; the caller frees it, also inside the
 * callback. 0: unlocked, by this or otherwise. CANCELLED: by the user. LOCKED: a wrong PIN, nobody could be
 * asked, or the identity was locked anew meanwhile; at once: there is no PIN to ask for. Else as
 * identity_unlock; force: as there, and for all who wait. */
int unlocker_wait(Unlocker *u, bool force, identity_done_t done, void *userdata, UnlockWait **ret);
UnlockWait *unlock_wait_free(UnlockWait *w);
DEFINE_CLEANUP(UnlockWait *, unlock_wait_free)

/* At the start of a method that uses the keys, once its arguments are read: true when the method ends here,
 * since the identity is locked, message allows that the user is asked, and the user is being asked.
 * Afterwards the method is called anew with message, or message is answered. False: it goes on, and may find
 * it locked. */
bool unlock_first(Manager *m, sd_bus_message *message);

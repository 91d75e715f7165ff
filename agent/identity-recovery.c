/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Recovery keys of our own: they belong to a generation, so that a change of them is told like new keys. */

#include "agent/identity-internal.h"

void identity_name_recovery(IdentityWork *w, const RecoveryKeys *recovery)
{
    recovery_keys_done(&w->recovery);
    recovery_keys_copy(recovery, &w->recovery);
    w->has_recovery = true;
}

void identity_take_recovery(IdentityWork *w, IdentityKeys *k)
{
    if (!w->has_recovery)
        return;
    recovery_keys_done(&k->public.recovery);
    recovery_keys_copy(&w->recovery, &k->public.recovery);
}

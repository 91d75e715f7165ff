/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Locks the identity by itself: when no program has called the agent for some time, and some time after it
 * was unlocked in any case, as agent.conf [lock] idle and lifetime say. By default neither happens. */

#include "agent/manager.h"

/* -EINVAL: agent.conf is wrong, as the log tells. */
int expiry_new(Manager *m, Expiry **ret);
Expiry *expiry_free(Expiry *e);
DEFINE_CLEANUP(Expiry *, expiry_free)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What systemd-logind tells of suspend, the locked screen and logout (org.freedesktop.login1(5)): each erases
 * the session keys or locks the identity, as agent.conf [lock] says. Before a suspend that is certain, since
 * an inhibitor holds it back until then. Without a system bus or logind nothing is noticed; a bus that goes
 * away is looked for again. */

#include "agent/manager.h"

/* -EINVAL: agent.conf is wrong, as the log tells. */
int logind_new(Manager *m, Logind **ret);
Logind *logind_free(Logind *l);
DEFINE_CLEANUP(Logind *, logind_free)
/* Is the system bus there, on which it tells? */
bool logind_is_there(const Logind *l);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From here on this process and its threads have the sockets of the machine and no other, start no program,
 * and open nothing but their data folder, the TPM and what configuration and libraries are read from. By the
 * agent itself: seccomp in a user's systemd unit would imply NoNewPrivileges for the courier too. */

#include "agent/manager.h"

/* The data folder is there. Before any thread. */
int agent_sandbox_enter(const Places *places);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From here on this process and its threads can open no socket but Unix ones, and start no program (EACCES).
 * By seccomp in code, because seccomp in a user's systemd unit implies NoNewPrivileges for the courier too.
 */
int sandbox_enter(void);

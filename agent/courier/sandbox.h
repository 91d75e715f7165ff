/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The courier runs as its user, who may call the agent, use the TPM and read everything; who takes over the
 * courier must not. For this process and its threads, for good: no socket but of the internet, nothing is
 * opened for writing (the TPM neither) or changed by its path, no program is started, no other process
 * touched, no key of the kernel; where the kernel has Landlock nothing is read but what finding hosts takes;
 * a file that it was given grows to ATTACHMENT_SIZE_MAX and no further. Before any thread. */

int courier_sandbox_enter(void);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The agent may be installed set-gid to the group of /dev/tpmrm0, so that users reach the TPM through it and
 * not by themselves. Linux: credentials belong to a thread, and a saved group id may be taken back. */

/* To be called once, while the process has one thread. Files, children and every thread but the TPM's
 * (libhmsg/tpm/runner-worker.c) go on with the user's own group. The group is kept for the kernel's resource
 * manager alone, "device:/dev/tpmrm" and a number: any other TCTI may run what the user likes, so that the
 * group is dropped for good. */
int tpm_group_set_aside(const char *tcti);
/* For good, in this process. */
int tpm_group_drop(void);

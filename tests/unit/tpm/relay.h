/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A man in the middle between the TSS and swtpm: it sees all, and can refuse commands in the TPM's place,
 * change answers, and start the TPM up as firmware does. Functions may be called while it runs. */

#include <glib.h>
#include <stdbool.h>

#include "tests/lib/swtpm.h"

typedef struct Relay Relay;

Relay *relay_new(TestSwtpm *tpm);
/* The connection to it must be closed before. */
void relay_free(Relay *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Relay, relay_free)

/* "swtpm:path=…" */
const char *relay_tcti(const Relay *r);
/* The next so many of these commands (0: none any more) are answered with rc and do not reach the TPM. */
void relay_refuse(Relay *r, guint32 command_code, guint32 rc, unsigned times);
/* The next answer to this command has another byte at the offset. */
void relay_tamper(Relay *r, guint32 command_code, size_t offset);
/* The next answer to this command is lost, and the connection with it. */
void relay_cut(Relay *r, guint32 command_code);
/* Resets the TPM, and starts it up before the next command. */
void relay_reset(Relay *r);
/* Were these bytes in any command or answer? */
bool relay_saw(Relay *r, const void *data, size_t n);
/* How many of these commands (0: of all) came by. */
unsigned relay_count(Relay *r, guint32 command_code);

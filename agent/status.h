/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* GetStatus and Diagnose. */

#include "agent/manager.h"

/* Answers at once, without asking the TPM. */
int status_reply(Manager *m, sd_bus_message *call);
/* Answers when the TPM has: asks it anew. */
int diagnose_start(Manager *m, sd_bus_message *call);

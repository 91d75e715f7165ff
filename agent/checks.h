/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What hmsgctl doctor tells of the machine around the agent: firmware, buses, sandbox, SELinux, clock. */

#include "agent/manager.h"
#include "libhmsg/tpm/runner.h"

/* One (ssss) of Diagnose; help NULL: nothing is to be done. */
int checks_append(sd_bus_message *reply, const char *name, const char *result, const char *text,
                  const char *help);

typedef struct Finding {
    const char *result, *text, *help; /* static; as those of checks_append */
} Finding;

/* What is known of firmware that hurts RSA keys. */
Finding checks_firmware(const TpmFacts *f);

/* What others may think of signatures with a salt of so many bytes. */
Finding checks_signature(unsigned salt);

/* The other checks, each appended to a container that is open; negative: it could not be. */
int checks_append_machine(const Manager *m, sd_bus_message *reply);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A TCTI around another that does what goes wrong on the way to a TPM, once, at one command of many. The
 * loader of the TSS finds it by its name, as it finds any other. */

#include <stddef.h>
#include <stdint.h>

#define FAULT_NEVER UINT32_MAX
#define FAULT_CONF_SIZE 64u

typedef enum FaultKind {
    FAULT_CODE,         /* the command does not reach the TPM; code is the answer */
    FAULT_EMPTY,        /* an answer without a byte */
    FAULT_SHORT,        /* half of it */
    FAULT_LAST_BYTE,    /* without its last byte */
    FAULT_LONG,         /* more than its head says */
    FAULT_SIZE,         /* the head says more than there is */
    FAULT_GARBAGE,      /* of its size, head and all */
    FAULT_GARBAGE_BODY, /* after a good head */
    FAULT_REFUSED,      /* the connection does not take the command, and is lost */
    FAULT_LOST,         /* the connection is lost before the answer */
    FAULT_SILENT,       /* no answer ever comes, though the TPM may have done it */
    FAULT_RESET,        /* the machine restarts its TPM before the command, which finds nothing of ours */
} FaultKind;

/* To be changed only while no command is on its way. */
typedef struct FaultPlan {
    const char *inner; /* the other TCTI */
    FaultKind kind;
    uint32_t code;
    uint32_t at;                   /* the command: 0 is the next one after seen was set to 0; FAULT_NEVER */
    uint32_t seen;                 /* commands */
    void (*reset)(void *userdata); /* for FAULT_RESET; what firmware sends comes from here */
    void *userdata;
} FaultPlan;

/* For Tss2_TctiLdr_Initialize; the plan must live as long as the connection. */
void fault_conf(FaultPlan *plan, char ret[static FAULT_CONF_SIZE]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why the TPM could not be used, beside HMSG_ERROR_TPM_UNAVAILABLE and HMSG_ERROR_TPM_LOCKED_OUT: what a
 * program shows to people. */

#include "libhmsg/base/error.h"
#include "libhmsg/base/macro.h"

typedef enum TpmReason {
    TPM_REASON_NONE,
    TPM_REASON_NO_ACCESS,    /* the device is there, but this user may not open it */
    TPM_REASON_ABSENT,       /* no device, no emulator, no such TCTI */
    TPM_REASON_NO_ANSWER,    /* did not answer in time, or the connection broke */
    TPM_REASON_WRONG_TPM,    /* its SRK has another Name than the pinned: another or a cleared TPM */
    TPM_REASON_FAILURE_MODE, /* TPM 2.0 Part 1, section 12.2.3: it works no more until it is reset */
    TPM_REASON_NO_ROOM,      /* objects or sessions of other programs fill it */
    TPM_REASON_LOCKED_OUT,   /* dictionary-attack protection */
    TPM_REASON_WRONG_AUTH,   /* the key's authorization value is another one */
    TPM_REASON_OWNER_AUTH,   /* the owner hierarchy has a password, and there is no persistent SRK */
    TPM_REASON_KEY,          /* the key was not made by this TPM, or its file is damaged */
    TPM_REASON_NV_AUTH,      /* no counter: the owner hierarchy has a password */
    TPM_REASON_NV_ROOM,      /* no counter: no NV memory is left */
    TPM_REASON_DESTROYED,    /* the counter is gone, and with it the keys that are bound to it */
    TPM_REASON_SOFTWARE_KEY, /* the file of a key in software is damaged */
    TPM_REASON_PCR,          /* the PCRs are not what was approved */
    TPM_REASON_OTHER,        /* see the response code */
    TPM_REASON_MAX_,
} TpmReason;

#define TPM_PROBLEM_TEXT_SIZE 256u

typedef struct TpmProblem {
    TpmReason reason;
    uint32_t rc;                      /* the TSS2_RC, 0 when there was none */
    char text[TPM_PROBLEM_TEXT_SIZE]; /* one sentence without full stop: what is wrong and where */
} TpmProblem;

/* The HmsgError that goes with the reason; 0 for TPM_REASON_NONE. */
int tpm_reason_error(TpmReason reason);
/* What the user can do about it, a sentence without full stop; NULL when there is nothing to say. */
const char *tpm_reason_help(TpmReason reason);

/* Fills p and returns tpm_reason_error(reason). where names the TCTI or key; rc (or 0) is decoded into text.
 */
int tpm_problem_set(TpmProblem *p, TpmReason reason, const char *where, uint32_t rc);

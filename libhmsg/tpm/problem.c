/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/tpm/problem.h"

#include <stdio.h>
#include <string.h>
#include <tss2/tss2_rc.h>

static const struct {
    int error;
    const char *text;
    const char *help;
} table[TPM_REASON_MAX_] = {
    [TPM_REASON_NONE] = {0, "", NULL},
    [TPM_REASON_NO_ACCESS] =
        {HMSG_ERROR_TPM_UNAVAILABLE, "this user may not open the TPM",
         "have the agent set-gid to the group tss: \"sudo systemd-tmpfiles --create\"; or "
         "join the group tss with \"sudo usermod -aG tss $USER\", then log out and in "
         "again"},
    [TPM_REASON_ABSENT] =
        {HMSG_ERROR_TPM_UNAVAILABLE, "there is no TPM here",
         "enable the TPM in the firmware's setup, or name another one with HMSG_TCTI; for a "
         "machine that has none there is, less protected, \"hmsgctl identity create "
         "--protection software\""},
    [TPM_REASON_NO_ANSWER] = {HMSG_ERROR_TPM_UNAVAILABLE, "the TPM does not answer",
                              "try again; when it stays so, restart the machine"},
    [TPM_REASON_WRONG_TPM] = {HMSG_ERROR_TPM_UNAVAILABLE,
                              "this is another TPM than the keys were made in, or it was cleared",
                              "use the machine where the identity was made, or make a new identity"},
    [TPM_REASON_FAILURE_MODE] = {HMSG_ERROR_TPM_UNAVAILABLE, "the TPM is in failure mode",
                                 "switch the machine off and on again"},
    [TPM_REASON_NO_ROOM] = {HMSG_ERROR_TPM_UNAVAILABLE,
                            "the TPM has no room left, other programs fill it with keys or sessions",
                            "use the resource manager, /dev/tpmrm0, or run tpm2_flushcontext"},
    [TPM_REASON_LOCKED_OUT] = {HMSG_ERROR_TPM_LOCKED_OUT,
                               "the TPM is locked out after too many wrong passwords",
                               "wait until it forgets the failures; \"hmsgctl doctor\" tells how long"},
    [TPM_REASON_WRONG_AUTH] = {HMSG_ERROR_LOCKED, "the PIN is wrong", NULL},
    [TPM_REASON_OWNER_AUTH] = {HMSG_ERROR_TPM_UNAVAILABLE,
                               "the TPM's owner hierarchy has a password, and there is no storage key at "
                               "0x81000001",
                               "have the administrator make the storage key persistent at 0x81000001"},
    [TPM_REASON_KEY] = {HMSG_ERROR_TPM_UNAVAILABLE,
                        "the TPM does not take this key: another TPM made it, or its file is damaged",
                        "restore the key file, or make a new identity"},
    [TPM_REASON_NV_AUTH] = {HMSG_ERROR_TPM_UNAVAILABLE,
                            "the TPM's owner hierarchy has a password, so no counter can be made",
                            "make the identity with \"--generation none\""},
    [TPM_REASON_NV_ROOM] = {HMSG_ERROR_TPM_UNAVAILABLE, "the TPM has no room left for a counter",
                            "remove what is not needed with tpm2_nvundefine"},
    [TPM_REASON_DESTROYED] = {HMSG_ERROR_NOT_FOUND, "this generation of the keys was destroyed", NULL},
    [TPM_REASON_SOFTWARE_KEY] = {HMSG_ERROR_TPM_UNAVAILABLE, "the file of a key in software is damaged",
                                 "restore the key file, or make a new identity"},
    [TPM_REASON_PCR] =
        {HMSG_ERROR_TPM_UNAVAILABLE, "the machine did not start as it was approved",
         "if it is right as it is, approve it: \"hmsgctl identity approve FILE\", FILE being the policy key"},
    [TPM_REASON_OTHER] = {HMSG_ERROR_TPM_UNAVAILABLE, "the TPM refuses", NULL},
};

static bool known(TpmReason reason)
{
    return (unsigned)reason < TPM_REASON_MAX_;
}

int tpm_reason_error(TpmReason reason)
{
    return known(reason) ? table[reason].error : HMSG_ERROR_TPM_UNAVAILABLE;
}

const char *tpm_reason_help(TpmReason reason)
{
    return known(reason) ? table[reason].help : NULL;
}

int tpm_problem_set(TpmProblem *p, TpmReason reason, const char *where, uint32_t rc)
{
    *p = (TpmProblem){.reason = known(reason) ? reason : TPM_REASON_OTHER, .rc = rc};
    const char *text = table[p->reason].text, *sep = where && *text ? ": " : "";
    if (!where)
        where = "";
    if (rc != 0)
        (void)snprintf(p->text, sizeof(p->text), "%s%s%s (%s, 0x%x)", text, sep, where, Tss2_RC_Decode(rc),
                       rc);
    else
        (void)snprintf(p->text, sizeof(p->text), "%s%s%s", text, sep, where);
    return table[p->reason].error;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/tpm/runner-internal.h"

/* TPM 2.0 Part 2, section 6.6: format-one codes carry in other bits which handle, session or parameter. */
#define FORMAT_ONE 0x080u
#define FORMAT_ONE_CODE 0x0bfu
#define OF_PARAMETER 0x040u
#define OF_SESSION 0x800u
#define PATH_SIZE 256u

TPM2_RC rc_plain(TSS2_RC rc)
{
    TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;
    if (layer != TSS2_TPM_RC_LAYER && layer != TSS2_RESMGR_TPM_RC_LAYER)
        return 0;
    rc &= ~TSS2_RC_LAYER_MASK;
    return (rc & FORMAT_ONE) != 0 ? rc & FORMAT_ONE_CODE : rc;
}

bool rc_is_auth(TSS2_RC rc)
{
    return rc_plain(rc) == TPM2_RC_BAD_AUTH || rc_plain(rc) == TPM2_RC_AUTH_FAIL;
}

static bool between(TPM2_RC rc, TPM2_RC first, TPM2_RC last)
{
    return rc >= first && rc <= last;
}

Remedy rc_remedy(TSS2_RC rc)
{
    TPM2_RC code = rc_plain(rc);

    if (rc == TSS2_RC_SUCCESS)
        return REMEDY_NONE;
    if (code == 0)
        return (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_MEMORY ? REMEDY_NONE : REMEDY_FRESH;
    if (between(code, TPM2_RC_REFERENCE_H0, TPM2_RC_REFERENCE_H6) ||
        between(code, TPM2_RC_REFERENCE_S0, TPM2_RC_REFERENCE_S6))
        return REMEDY_FRESH;
    switch (code) {
    case TPM2_RC_INITIALIZE:
    case TPM2_RC_HANDLE:
    case TPM2_RC_AUTH_FAIL: /* our handles mean something else now: after a reset others may have them */
    case TPM2_RC_BAD_AUTH:
        return REMEDY_FRESH;
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_CANCELED:
    case TPM2_RC_NV_RATE:
    case TPM2_RC_NV_UNAVAILABLE:
        return REMEDY_WAIT;
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_OBJECT_HANDLES:
    case TPM2_RC_SESSION_MEMORY:
    case TPM2_RC_SESSION_HANDLES:
    case TPM2_RC_MEMORY:
        return REMEDY_ROOM;
    default:
        return REMEDY_NONE;
    }
}

static TpmReason reason_of(Step step, TSS2_RC rc)
{
    TPM2_RC code = rc_plain(rc);

    if (rc_remedy(rc) == REMEDY_ROOM)
        return TPM_REASON_NO_ROOM;
    switch (code) {
    case TPM2_RC_LOCKOUT:
        return TPM_REASON_LOCKED_OUT;
    case TPM2_RC_FAILURE:
        return TPM_REASON_FAILURE_MODE;
    case 0:
    case TPM2_RC_INITIALIZE:
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
        return TPM_REASON_NO_ANSWER;
    default:
        break;
    }
    if (step == STEP_DEFINE && rc_is_auth(rc))
        return TPM_REASON_NV_AUTH;
    if (step == STEP_DEFINE && code == TPM2_RC_NV_SPACE)
        return TPM_REASON_NV_ROOM;
    if (step == STEP_COUNTER && (code == TPM2_RC_HANDLE || code == TPM2_RC_POLICY || rc_is_auth(rc)))
        return TPM_REASON_DESTROYED;
    if (step == STEP_SRK && rc_is_auth(rc))
        return TPM_REASON_OWNER_AUTH;
    return step == STEP_LOAD ? TPM_REASON_KEY : TPM_REASON_OTHER;
}

void rc_settle(Work *w, Step step, TSS2_RC rc, const char *where)
{
    if (rc_plain(rc) == 0 && (rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_MEMORY) {
        w->r = -ENOMEM;
        return;
    }
    TpmReason reason = step == STEP_OPEN ? tcti_reason(where) : reason_of(step, rc);
    w->r = tpm_problem_set(&w->problem, reason, where, rc);
}

bool rc_is_oaep(TSS2_RC rc, bool *ret_ask)
{
    TPM2_RC code = rc_plain(rc);
    bool of_parameter = (rc & OF_PARAMETER) != 0 || (rc & OF_SESSION) == 0;

    *ret_ask = code == TPM2_RC_FAILURE;
    return code == TPM2_RC_FAILURE || code == TPM2_RC_NO_RESULT ||
           (of_parameter && (code == TPM2_RC_VALUE || code == TPM2_RC_SIZE));
}

/* The file behind "device:PATH" and "swtpm:path=PATH". */
static bool tcti_path(const char *conf, char ret[static PATH_SIZE])
{
    static const char device[] = "device:", emulator[] = "swtpm:path=";
    const char *path = NULL;

    if (strncmp(conf, device, sizeof(device) - 1) == 0)
        path = conf + sizeof(device) - 1;
    else if (strncmp(conf, emulator, sizeof(emulator) - 1) == 0)
        path = conf + sizeof(emulator) - 1;
    return path && snprintf(ret, PATH_SIZE, "%s", path) < (int)PATH_SIZE;
}

TpmReason tcti_reason(const char *conf)
{
    char path[PATH_SIZE];

    if (!tcti_path(conf, path))
        return TPM_REASON_ABSENT;
    if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) < 0)
        return errno == EACCES || errno == EPERM ? TPM_REASON_NO_ACCESS : TPM_REASON_ABSENT;
    if (strncmp(conf, "device:", 7) != 0)
        return TPM_REASON_ABSENT;
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 || errno == EBUSY)
        return TPM_REASON_NO_ANSWER;
    return errno == EACCES || errno == EPERM ? TPM_REASON_NO_ACCESS : TPM_REASON_ABSENT;
}

bool tcti_is_bare(const char *conf)
{
    static const char *const bare[] = {"swtpm", "mssim", "device:/dev/tpm0", "device:/dev/tpm1"};
    for (size_t i = 0; i < ELEMENTSOF(bare); i++)
        if (strncmp(conf, bare[i], strlen(bare[i])) == 0)
            return true;
    return false;
}

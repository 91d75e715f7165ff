/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/error.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/macro.h"

#define AGENT_ERROR "org.hmsg.Agent1.Error."

static const struct {
    const char *name;
    const char *message;
    int exit_status;
} table[HMSG_ERROR_MAX_] = {
    [HMSG_ERROR_NO_IDENTITY] = {AGENT_ERROR "NoIdentity", "there is no identity yet", 3},
    [HMSG_ERROR_LOCKED] = {AGENT_ERROR "Locked", "the agent is locked", 3},
    [HMSG_ERROR_NOT_FOUND] = {AGENT_ERROR "NotFound", "not found", 4},
    [HMSG_ERROR_ALREADY_EXISTS] = {AGENT_ERROR "AlreadyExists", "it exists already", 1},
    [HMSG_ERROR_BAD_PACKAGE] = {AGENT_ERROR "BadPackage", "this is not a package that hmsg can read", 5},
    [HMSG_ERROR_AUTHENTICATION_FAILED] = {AGENT_ERROR "AuthenticationFailed", "authentication failed", 5},
    [HMSG_ERROR_NOT_FOR_US] = {AGENT_ERROR "NotForUs", "this is encrypted to another key", 5},
    [HMSG_ERROR_UNTRUSTED] = {AGENT_ERROR "Untrusted", "the sender, key or relay is not trusted", 8},
    [HMSG_ERROR_TPM_UNAVAILABLE] = {AGENT_ERROR "TpmUnavailable", "the TPM cannot be used", 6},
    [HMSG_ERROR_TPM_LOCKED_OUT] = {AGENT_ERROR "TpmLockedOut", "the TPM is locked out", 6},
    [HMSG_ERROR_RELAY_UNAVAILABLE] = {AGENT_ERROR "RelayUnavailable", "the relay cannot be reached", 7},
    [HMSG_ERROR_QUOTA_EXCEEDED] = {AGENT_ERROR "QuotaExceeded", "a quota is exhausted", 1},
    [HMSG_ERROR_STORAGE_FULL] = {AGENT_ERROR "StorageFull", "there is no space left", 1},
    [HMSG_ERROR_TOO_LARGE] = {AGENT_ERROR "TooLarge", "this is larger than the limit", 1},
    [HMSG_ERROR_DENIED] = {AGENT_ERROR "Denied", "the caller may not do this", 1},
    [HMSG_ERROR_CANCELLED] = {AGENT_ERROR "Cancelled", "cancelled", 1},
    [HMSG_ERROR_INVALID_ARGS] = {"org.freedesktop.DBus.Error.InvalidArgs", "invalid argument", 2},
};

const char *error_dbus_name(int r)
{
    if (r > 0 && r < HMSG_ERROR_MAX_)
        return table[r].name;
    switch (-r) {
    case ENOMEM:
        return "org.freedesktop.DBus.Error.NoMemory";
    case ENOSPC:
    case EDQUOT:
        return table[HMSG_ERROR_STORAGE_FULL].name;
    case EACCES:
    case EPERM:
        return "org.freedesktop.DBus.Error.AccessDenied";
    case EINVAL:
        return table[HMSG_ERROR_INVALID_ARGS].name;
    default:
        return "org.freedesktop.DBus.Error.Failed";
    }
}

int error_from_dbus_name(const char *name)
{
    for (int e = 1; name && e < HMSG_ERROR_MAX_; e++)
        if (strcmp(name, table[e].name) == 0)
            return e;
    return 0;
}

const char *error_message(int r)
{
    if (r > 0 && r < HMSG_ERROR_MAX_)
        return table[r].message;
    if (r == 0)
        return "success";
    const char *text = strerrordesc_np(-r);
    return text ? text : "unknown error";
}

int error_exit_status(int r)
{
    if (r == 0)
        return 0;
    if (r > 0 && r < HMSG_ERROR_MAX_)
        return table[r].exit_status;
    return 1;
}

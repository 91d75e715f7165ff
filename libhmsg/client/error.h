/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Functions of libhmsg return 0 or more when done, a negative errno when the system or the connection failed,
 * or one of these positive codes when the agent said no. They are the errors of
 * org.hmsg.Agent1.Error, whose meaning is in the interface's XML file; the numbers never change. */

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HMSG_E_NO_IDENTITY = 1,
    HMSG_E_LOCKED = 2,
    HMSG_E_NOT_FOUND = 3,
    HMSG_E_ALREADY_EXISTS = 4,
    HMSG_E_BAD_PACKAGE = 5,
    HMSG_E_AUTHENTICATION_FAILED = 6,
    HMSG_E_NOT_FOR_US = 7,
    HMSG_E_UNTRUSTED = 8,
    HMSG_E_TPM_UNAVAILABLE = 9,
    HMSG_E_TPM_LOCKED_OUT = 10,
    HMSG_E_RELAY_UNAVAILABLE = 11,
    HMSG_E_QUOTA_EXCEEDED = 12,
    HMSG_E_STORAGE_FULL = 13,
    HMSG_E_TOO_LARGE = 14,
    HMSG_E_DENIED = 15,
    HMSG_E_CANCELLED = 16,
    HMSG_E_INVALID_ARGS = 17,
};

/* One short English sentence without full stop for what a function returned. Never NULL. */
const char *hmsg_error_message(int r);

#ifdef __cplusplus
}
#endif

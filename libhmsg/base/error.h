/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one convention of return values in hmsg:
 *   0         done
 *   negative  -errno: the system failed (memory, disk, a bug)
 *   positive  an HmsgError: the answer to the caller's request is no, and this says why
 * Libraries hand both up unchanged and never log. The D-Bus names and exit statuses below are part of the
 * contract (docs/protocol.md). */

typedef enum HmsgError {
    HMSG_ERROR_NO_IDENTITY = 1,
    HMSG_ERROR_LOCKED,
    HMSG_ERROR_NOT_FOUND,
    HMSG_ERROR_ALREADY_EXISTS,
    HMSG_ERROR_BAD_PACKAGE,           /* not of the form that the protocol fixes */
    HMSG_ERROR_AUTHENTICATION_FAILED, /* OAEP, commitment, MAC, padding, signature: one and the same error */
    HMSG_ERROR_NOT_FOR_US,
    HMSG_ERROR_UNTRUSTED,
    HMSG_ERROR_TPM_UNAVAILABLE,
    HMSG_ERROR_TPM_LOCKED_OUT,
    HMSG_ERROR_RELAY_UNAVAILABLE,
    HMSG_ERROR_QUOTA_EXCEEDED,
    HMSG_ERROR_STORAGE_FULL,
    HMSG_ERROR_TOO_LARGE,
    HMSG_ERROR_DENIED,
    HMSG_ERROR_CANCELLED,
    HMSG_ERROR_INVALID_ARGS,
    HMSG_ERROR_MAX_,
} HmsgError;

/* The D-Bus error name of r, "org.hmsg.Agent1.Error.Locked"; a negative errno gives
 * org.freedesktop.DBus.Error.Failed or a closer standard name. Never NULL. */
const char *error_dbus_name(int r);

/* The HmsgError of a D-Bus error name; 0 when the name is none of ours. */
int error_from_dbus_name(const char *name);

/* One short English sentence without full stop, for people. Never NULL. */
const char *error_message(int r);

/* Exit status of hmsgctl for r (0 done, 1 failed, 2 usage, 3 no identity or locked, 4 not found,
 * 5 authentication failed, 6 TPM, 7 relay, 8 untrusted). */
int error_exit_status(int r);

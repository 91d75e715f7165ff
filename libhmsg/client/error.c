/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/client/error.h"

#include "libhmsg/base/error.h"

#define SAME(name)                                                                                           \
    _Static_assert((int)HMSG_E_##name == (int)HMSG_ERROR_##name, "the numbers are an interface")

SAME(NO_IDENTITY);
SAME(LOCKED);
SAME(NOT_FOUND);
SAME(ALREADY_EXISTS);
SAME(BAD_PACKAGE);
SAME(AUTHENTICATION_FAILED);
SAME(NOT_FOR_US);
SAME(UNTRUSTED);
SAME(TPM_UNAVAILABLE);
SAME(TPM_LOCKED_OUT);
SAME(RELAY_UNAVAILABLE);
SAME(QUOTA_EXCEEDED);
SAME(STORAGE_FULL);
SAME(TOO_LARGE);
SAME(DENIED);
SAME(CANCELLED);
SAME(INVALID_ARGS);
_Static_assert((int)HMSG_E_INVALID_ARGS + 1 == (int)HMSG_ERROR_MAX_, "every error is public");

const char *hmsg_error_message(int r)
{
    return error_message(r);
}

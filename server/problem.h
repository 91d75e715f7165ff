/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Problem documents (RFC 9457): what a client is told when its request fails. Handlers return one of these
 * where libraries return an HmsgError; the type of the document is "urn:hmsg:problem:NAME". */

#include "libhmsg/base/buf.h"

typedef enum Problem {
    PROBLEM_BAD_REQUEST = 1,
    PROBLEM_LOGIN_REQUIRED,
    PROBLEM_REFUSED,
    PROBLEM_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_CONFLICT,
    PROBLEM_TOO_LARGE,
    PROBLEM_UNSUPPORTED_MEDIA_TYPE,
    PROBLEM_TOO_MANY_REQUESTS,
    PROBLEM_INTERNAL,
    PROBLEM_UNAVAILABLE,
    PROBLEM_FULL,
    PROBLEM_INVITE_REQUIRED,
    PROBLEM_BLOCKED,
    PROBLEM_RECIPIENT_REFUSES,
    PROBLEM_MAX_,
} Problem;

#define PROBLEM_RETRY_DEFAULT 30u /* seconds, for the problems that say when to try again */

unsigned problem_status(Problem p);  /* HTTP status */
const char *problem_name(Problem p); /* "not-found" */
bool problem_retry(Problem p);       /* goes with Retry-After */

/* The problem that fits a result of a library: a negative errno or an HmsgError. */
Problem problem_from_error(int r);

/* Appends the JSON document; detail may be NULL. */
int problem_write(Problem p, const char *detail, Buf *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why a call cannot be answered, in the form of the courier's D-Bus errors (dbus/org.hmsg.Courier1.xml), and
 * how a relay's problem documents (RFC 9457) become one. Texts are printable ASCII, whatever came from the
 * relay. */

#include "libhmsg/base/buf.h"

#define PROBLEM_UNREACHABLE "org.hmsg.Courier1.Error.Unreachable"
#define PROBLEM_PIN_MISMATCH "org.hmsg.Courier1.Error.PinMismatch"
#define PROBLEM_LOGIN_REQUIRED "org.hmsg.Courier1.Error.LoginRequired"
#define PROBLEM_NOT_FOUND "org.hmsg.Courier1.Error.NotFound"
#define PROBLEM_CONFLICT "org.hmsg.Courier1.Error.Conflict"
#define PROBLEM_TOO_LARGE "org.hmsg.Courier1.Error.TooLarge"
#define PROBLEM_BUSY "org.hmsg.Courier1.Error.Busy"
#define PROBLEM_FULL "org.hmsg.Courier1.Error.Full"
#define PROBLEM_REFUSED "org.hmsg.Courier1.Error.Refused"
#define PROBLEM_PROTOCOL "org.hmsg.Courier1.Error.Protocol"

#define PROBLEM_REMOTE_TEXT_MAX 200u   /* characters that are the relay's */
#define PROBLEM_TEXT_SIZE 288u         /* with "retry=N " or "pin=PIN ", and the final 0 */
#define PROBLEM_RETRY_AFTER_MAX 86400u /* seconds; what is longer is cut to this */

typedef struct Problem {
    const char *name; /* of the D-Bus error; a constant */
    char text[PROBLEM_TEXT_SIZE];
} Problem;

/* Cuts what is too long; other characters than printable ASCII become '?'. */
void problem_set(Problem *p, const char *name, const char *format, ...) _printf_(3, 4);

/* The relay answered with a status other than 2xx. content_type, retry_after: its header fields or NULL. */
void problem_from_answer(Problem *p, unsigned status, const char *content_type, const char *retry_after,
                         const void *body, size_t n);

/* Of a Retry-After header (RFC 9110 section 10.2.3) in its form of seconds. False: no such form. */
bool retry_after_parse(const char *text, unsigned *ret);

/* The media type in value, parameters aside, is type (RFC 9110 section 8.3.1). */
bool media_type_is(const char *value, const char *type);

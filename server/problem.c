/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "server/problem.h"

typedef struct Kind {
    unsigned status;
    const char *name;
    const char *title;
    bool retry;
} Kind;

static const Kind kinds[PROBLEM_MAX_] = {
    [PROBLEM_BAD_REQUEST] = {400, "bad-request", "The request is not of the right form", false},
    [PROBLEM_LOGIN_REQUIRED] = {401, "login-required", "This needs a login on this connection", false},
    [PROBLEM_REFUSED] = {403, "refused", "The relay refuses this", false},
    [PROBLEM_NOT_FOUND] = {404, "not-found", "There is no such thing here", false},
    [PROBLEM_METHOD_NOT_ALLOWED] = {405, "method-not-allowed", "This cannot be done with it", false},
    [PROBLEM_CONFLICT] = {409, "conflict", "It belongs to someone else already", false},
    [PROBLEM_TOO_LARGE] = {413, "too-large", "The body is too large", false},
    [PROBLEM_UNSUPPORTED_MEDIA_TYPE] = {415, "unsupported-media-type", "The body is of another type", false},
    [PROBLEM_TOO_MANY_REQUESTS] = {429, "too-many-requests", "Too many requests, try again later", true},
    [PROBLEM_INTERNAL] = {500, "internal", "The relay failed", false},
    [PROBLEM_UNAVAILABLE] = {503, "unavailable", "The relay cannot serve this now, try again later", true},
    [PROBLEM_FULL] = {507, "full", "There is no room, try again later", true},
    [PROBLEM_INVITE_REQUIRED] = {403, "invite-required", "New users need an invitation that is still good",
                                 false},
    [PROBLEM_BLOCKED] = {403, "blocked", "Sender or recipient is blocked here", false},
    [PROBLEM_RECIPIENT_REFUSES] = {403, "recipient-refuses", "The recipient takes nothing from this sender",
                                   false},
};

static const Kind *kind(Problem p)
{
    if (p < PROBLEM_BAD_REQUEST || p >= PROBLEM_MAX_)
        p = PROBLEM_INTERNAL;
    return &kinds[p];
}

unsigned problem_status(Problem p)
{
    return kind(p)->status;
}

const char *problem_name(Problem p)
{
    return kind(p)->name;
}

bool problem_retry(Problem p)
{
    return kind(p)->retry;
}

Problem problem_from_error(int r)
{
    switch (r) {
    case HMSG_ERROR_NOT_FOUND:
    case HMSG_ERROR_NO_IDENTITY:
        return PROBLEM_NOT_FOUND;
    case HMSG_ERROR_ALREADY_EXISTS:
        return PROBLEM_CONFLICT;
    case HMSG_ERROR_BAD_PACKAGE:
    case HMSG_ERROR_INVALID_ARGS:
        return PROBLEM_BAD_REQUEST;
    case HMSG_ERROR_AUTHENTICATION_FAILED:
    case HMSG_ERROR_NOT_FOR_US:
    case HMSG_ERROR_UNTRUSTED:
    case HMSG_ERROR_DENIED:
        return PROBLEM_REFUSED;
    case HMSG_ERROR_QUOTA_EXCEEDED:
    case HMSG_ERROR_STORAGE_FULL:
    case -ENOSPC:
    case -EDQUOT:
        return PROBLEM_FULL;
    case HMSG_ERROR_TOO_LARGE:
    case -EMSGSIZE:
        return PROBLEM_TOO_LARGE;
    case HMSG_ERROR_CANCELLED:
    case -EBUSY:
    case -EAGAIN:
    case -EIO: /* what the disk or the system refuses now */
    case -EROFS:
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
        return PROBLEM_UNAVAILABLE;
    default:
        return PROBLEM_INTERNAL;
    }
}

int problem_write(Problem p, const char *detail, Buf *ret)
{
    const Kind *k = kind(p);
    json_t *j = json_object();
    char type[64];
    int r;

    if (!j)
        return -ENOMEM;
    (void)snprintf(type, sizeof(type), "urn:hmsg:problem:%s", k->name);
    r = json_put_text(j, "type", type);
    if (r == 0)
        r = json_put_text(j, "title", k->title);
    if (r == 0)
        r = json_put_number(j, "status", k->status);
    if (r == 0 && detail)
        r = json_put_text(j, "detail", detail);
    if (r == 0)
        r = json_write(j, ret);
    json_decref(j);
    return r;
}

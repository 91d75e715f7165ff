/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "libhmsg/wire/json.h"

#define RETRY_AFTER_DIGITS_MAX 10u

static void make_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

void problem_set(Problem *p, const char *name, const char *format, ...)
{
    va_list ap;

    p->name = name;
    va_start(ap, format);
    (void)vsnprintf(p->text, sizeof(p->text), format, ap);
    va_end(ap);
    make_printable(p->text);
}

bool retry_after_parse(const char *text, unsigned *ret)
{
    size_t n = strspn(text, "0123456789");
    uint64_t v = 0;

    if (n == 0 || n > RETRY_AFTER_DIGITS_MAX || text[n] != 0)
        return false;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (uint64_t)(text[i] - '0');
    *ret = v > PROBLEM_RETRY_AFTER_MAX ? PROBLEM_RETRY_AFTER_MAX : (unsigned)v;
    return true;
}

bool media_type_is(const char *value, const char *type)
{
    size_t n = strlen(type);

    return value && strncasecmp(value, type, n) == 0 && strchr("; \t", value[n]);
}

static const char *name_of_status(unsigned status)
{
    switch (status) {
    case 401:
        return PROBLEM_LOGIN_REQUIRED;
    case 404:
        return PROBLEM_NOT_FOUND;
    case 409:
        return PROBLEM_CONFLICT;
    case 413:
        return PROBLEM_TOO_LARGE;
    case 429:
        return PROBLEM_BUSY;
    case 507:
        return PROBLEM_FULL;
    default:
        if (status >= 400 && status < 500)
            return PROBLEM_REFUSED;
        return status >= 500 && status < 600 ? PROBLEM_UNREACHABLE : PROBLEM_PROTOCOL;
    }
}

/* detail says more than title; both are for people only. */
static int find_text(const char *content_type, const void *body, size_t n, json_t **ret_document,
                     const char **ret)
{
    int r;

    if (!media_type_is(content_type, "application/problem+json"))
        return 0;
    r = json_parse_object(body, n, ret_document);
    if (r != 0)
        return r;
    r = json_get_text(*ret_document, "detail", n, ret, NULL);
    return r == 0 ? 0 : json_get_text(*ret_document, "title", n, ret, NULL);
}

void problem_from_answer(Problem *p, unsigned status, const char *content_type, const char *retry_after,
                         const void *body, size_t n)
{
    const char *name = name_of_status(status), *text = NULL;
    char prefix[32] = "";
    json_t *document = NULL;
    unsigned seconds;

    (void)find_text(content_type, body, n, &document, &text);
    if (status >= 400 && retry_after && retry_after_parse(retry_after, &seconds))
        (void)snprintf(prefix, sizeof(prefix), "retry=%u ", seconds);
    /* the relay's text never stands first, where it could be taken for a prefix of ours */
    if (text && *text)
        problem_set(p, name, "%sThe relay says: %.*s", prefix, (int)PROBLEM_REMOTE_TEXT_MAX, text);
    else
        problem_set(p, name, "%sThe relay answered with status %u", prefix, status);
    json_decref(document);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "server/route.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Percent-decodes n characters to *to, ends with a 0 and moves *to behind it. The result is never longer. */
static int decode(const char *text, size_t n, char **to)
{
    char *p = *to;

    for (size_t i = 0; i < n; i++) {
        char c = text[i];

        if (c == '%') {
            int high = n - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = n - i > 2 ? hex_value(text[i + 2]) : -1;

            if (high < 0 || low < 0)
                return PROBLEM_BAD_REQUEST;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0')
            return PROBLEM_BAD_REQUEST;
        *p++ = c;
    }
    *p++ = '\0';
    *to = p;
    return 0;
}

static int parse_query(const char *text, Target *t)
{
    char *to = t->query;

    while (*text) {
        size_t n = strcspn(text, "&");
        const char *equals = memchr(text, '=', n);
        size_t name_size = equals ? (size_t)(equals - text) : n;
        const char *name = to;
        int r;

        if (name_size == 0 || !equals || t->n_query == QUERY_MAX)
            return PROBLEM_BAD_REQUEST;
        r = decode(text, name_size, &to);
        if (r != 0)
            return r;
        if (target_query(t, name))
            return PROBLEM_BAD_REQUEST;
        t->names[t->n_query] = name;
        t->query_values[t->n_query] = to;
        r = decode(equals + 1, n - name_size - 1, &to);
        if (r != 0)
            return r;
        t->n_query++;
        text += n;
        if (*text == '&' && *++text == '\0')
            return PROBLEM_BAD_REQUEST;
    }
    return 0;
}

int target_parse(const char *text, size_t n, Target *ret)
{
    const char *question = memchr(text, '?', n);
    size_t path_size = question ? (size_t)(question - text) : n;
    char query[TARGET_SIZE_MAX + 1];

    if (n == 0 || n > TARGET_SIZE_MAX || text[0] != '/' || memchr(text, '\0', n) || memchr(text, '#', n))
        return PROBLEM_BAD_REQUEST;
    memset(ret, 0, sizeof(*ret));
    memcpy(ret->path, text, path_size);
    if (!question)
        return 0;
    memcpy(query, question + 1, n - path_size - 1);
    query[n - path_size - 1] = '\0';
    return parse_query(query, ret);
}

const char *target_query(const Target *t, const char *name)
{
    for (size_t i = 0; i < t->n_query; i++)
        if (strcmp(t->names[i], name) == 0)
            return t->query_values[i];
    return NULL;
}

/* 1: path fits the pattern; 0: it does not; PROBLEM_BAD_REQUEST as a negative: it would, but for its coding
 */
static int fits(const char *pattern, Target *t)
{
    const char *path = t->path;
    char *to = t->text;
    unsigned n_values = 0;

    memset(t->values, 0, sizeof(t->values));
    while (*pattern == '/' && *path == '/') {
        size_t want = strcspn(++pattern, "/");
        size_t have = strcspn(++path, "/");

        if (want > 1 && pattern[0] == '{') {
            if (have == 0 || n_values == HTTP_VALUES_MAX)
                return 0;
            t->values[n_values++] = to;
            if (decode(path, have, &to) != 0)
                return -PROBLEM_BAD_REQUEST;
        } else if (want != have || strncmp(pattern, path, want) != 0)
            return 0;
        pattern += want;
        path += have;
    }
    return *pattern == '\0' && *path == '\0';
}

static void allow_method(char allow[static ALLOW_SIZE], const char *method)
{
    size_t n = strlen(allow);

    (void)snprintf(allow + n, ALLOW_SIZE - n, "%s%s", n > 0 ? ", " : "", method);
}

int route_find(const HttpRoute *routes, size_t n_routes, const char *method, Target *t, const HttpRoute **ret,
               char ret_allow[static ALLOW_SIZE])
{
    int other = PROBLEM_NOT_FOUND;

    ret_allow[0] = '\0';
    for (size_t i = 0; i < n_routes; i++) {
        int r = fits(routes[i].pattern, t);

        if (r < 0)
            return -r;
        if (r == 0)
            continue;
        if (strcmp(routes[i].method, method) == 0) {
            *ret = &routes[i];
            return 0;
        }
        allow_method(ret_allow, routes[i].method);
        other = PROBLEM_METHOD_NOT_ALLOWED;
    }
    return other;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which route a request is for, and the parts of its target (RFC 3986): segments are compared before
 * percent-decoding, so that an encoded slash is never a separator; "." and ".." mean nothing. */

#include "server/http.h"

#define TARGET_SIZE_MAX                                                                                      \
    384u             /* characters of path and query; the longest one of the API has 300, all escaped */
#define QUERY_MAX 8u /* parameters */
#define ALLOW_SIZE 64u

typedef struct Target {
    char path[TARGET_SIZE_MAX + 1];
    char query[TARGET_SIZE_MAX + 1]; /* name, 0, value, 0, …, decoded */
    size_t n_query;
    const char *names[QUERY_MAX], *query_values[QUERY_MAX];
    char text[TARGET_SIZE_MAX + 1]; /* the values */
    const char *values[HTTP_VALUES_MAX];
} Target;

/* Splits a target, "/path?query". PROBLEM_BAD_REQUEST: a wrong form, a parameter twice, U+0000. */
int target_parse(const char *text, size_t n, Target *ret);
const char *target_query(const Target *t, const char *name);

/* Finds the route for method and path, sets values. PROBLEM_NOT_FOUND, PROBLEM_BAD_REQUEST, or
 * PROBLEM_METHOD_NOT_ALLOWED with the methods that there are in ret_allow, "GET, PUT". */
int route_find(const HttpRoute *routes, size_t n_routes, const char *method, Target *t, const HttpRoute **ret,
               char ret_allow[static ALLOW_SIZE]);

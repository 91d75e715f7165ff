/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Strict JSON over jansson: an object or array, no duplicate names, nothing behind it, no U+0000, depth at
 * most JSON_DEPTH_MAX. Every error of shape is HMSG_ERROR_BAD_PACKAGE. The get functions fail when the member
 * is missing or of another type; ret is untouched then. */

#include <jansson.h>

#include "libhmsg/base/buf.h"

/* For a program, at its start: when jansson has no memory the program ends there (abort). jansson 2.14 writes
 * behind the end of a string, or leaves out a character, when an allocation fails while it reads one. */
void json_end_without_memory(void);

/* Any JSON value whose outermost is an object (object true) or an array. */
int json_parse_object(const char *text, size_t n, json_t **ret);
int json_parse_array(const char *text, size_t n, json_t **ret);
/* json_parse_object that says when the error is that a name is there twice in one object. */
int json_parse_unique(const char *text, size_t n, bool *ret_twice, json_t **ret);

/* Compact text in the order of insertion, appended. */
int json_write(const json_t *j, Buf *ret);

/* The members of object j are among names (NULL-terminated), no other. */
int json_check_names(const json_t *j, const char *const *names);

bool json_has(const json_t *j, const char *name);
/* Owned by j. Printable or not: the caller checks. */
int json_get_text(const json_t *j, const char *name, size_t max, const char **ret, size_t *ret_size);
int json_get_number(const json_t *j, const char *name, int64_t min, int64_t max, int64_t *ret);
int json_get_object(const json_t *j, const char *name, json_t **ret); /* borrowed */
int json_get_array(const json_t *j, const char *name, json_t **ret);  /* borrowed */
/* Is a string equal to value. */
int json_expect_text(const json_t *j, const char *name, const char *value);
/* base64url of exactly size bytes, or of at most what ret may hold. */
int json_get_bytes(const json_t *j, const char *name, void *ret, size_t size);
int json_get_buf(const json_t *j, const char *name, Buf *ret);

/* Adding: 0 or -ENOMEM. */
int json_put_text(json_t *j, const char *name, const char *value);
int json_put_text_n(json_t *j, const char *name, const char *value, size_t n);
int json_put_number(json_t *j, const char *name, int64_t value);
int json_put_bytes(json_t *j, const char *name, const void *data, size_t n); /* base64url */
int json_put(json_t *j, const char *name, json_t *value); /* steals value; NULL gives -ENOMEM */

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON objects of few members, without copies: for packages, which are read more often than anything else.
 * As strict as json.h (no duplicate names, nothing behind the object), and every error of shape is
 * HMSG_ERROR_BAD_PACKAGE, too. Text that is plain (members are strings of printable ASCII without escapes,
 * integers, objects of the same kind) is read in place; other text is first brought into that form by
 * jansson, so that there is one meaning. */

#include "libhmsg/base/buf.h"

#define FLAT_MEMBERS_MAX 16u

typedef enum FlatKind {
    FLAT_TEXT,
    FLAT_NUMBER,
    FLAT_OBJECT, /* its text, with the braces */
} FlatKind;

typedef struct FlatMember {
    const char *name;
    size_t name_size;
    const char *text;
    size_t size;
    int64_t number;
    FlatKind kind;
} FlatMember;

typedef struct Flat {
    FlatMember members[FLAT_MEMBERS_MAX];
    size_t n;
    Buf rewritten; /* what members point into, unless that is the caller's text */
} Flat;

/* text must stay until flat_done. */
int flat_parse(const char *text, size_t n, Flat *ret);
void flat_done(Flat *f);

/* The members are among names (NULL-terminated), no other. */
int flat_check_names(const Flat *f, const char *const *names);
bool flat_has(const Flat *f, const char *name);
/* The functions of json.h, which see. */
int flat_get_text(const Flat *f, const char *name, size_t max, const char **ret, size_t *ret_size);
int flat_get_number(const Flat *f, const char *name, int64_t min, int64_t max, int64_t *ret);
int flat_get_object(const Flat *f, const char *name, Flat *ret); /* to be given to flat_done */
int flat_expect_text(const Flat *f, const char *name, const char *value);
int flat_get_bytes(const Flat *f, const char *name, void *ret, size_t size);
int flat_get_buf(const Flat *f, const char *name, Buf *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Text for people. What others wrote is escaped: control characters, those that change the direction of
 * writing or are not seen, and bytes that are no UTF-8, so that it can neither steer the terminal nor pose as
 * something else. */

#include <jansson.h>

#include "libhmsg/base/buf.h"

#define RENDER_SIZE_MAX (256u * 1024u * 1024u) /* bytes of a table or text */

/* Appends n bytes, each that could mislead as \xNN or \u{NNNN}. Line feeds and tabs stay when lines is true
 * (CR LF becomes LF), else they are escaped as well. */
int render_text(Buf *out, const void *data, size_t n, bool lines);

typedef enum RenderKind {
    RENDER_TEXT,
    RENDER_BOOL, /* yes, no */
    RENDER_NUMBER,
    RENDER_SIZE, /* bytes, with a unit */
    RENDER_TIME, /* seconds since 1970, in local time */
} RenderKind;

typedef struct RenderField {
    const char *key;   /* in the JSON object; what is not there or empty shows as "-" in tables */
    const char *title; /* of the column or line */
    RenderKind kind;
} RenderField;

/* A line of titles and one for each object of the array; nothing for an empty array. */
int render_table(Buf *out, const json_t *rows, const RenderField *fields, size_t n);
/* "Title:  value" for each field that is there. */
int render_record(Buf *out, const json_t *object, const RenderField *fields, size_t n);
/* One value. */
int render_value(Buf *out, const json_t *value, RenderKind kind);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* DER (X.690), as much of it as CMS needs: tags of one byte, definite lengths in their shortest form, at most
 * of four bytes. A Der is a view of bytes that belong to somebody else. */

#include "libhmsg/base/buf.h"

#define DER_INTEGER 0x02u
#define DER_BIT_STRING 0x03u
#define DER_OCTET_STRING 0x04u
#define DER_NULL 0x05u
#define DER_OID 0x06u
#define DER_SEQUENCE 0x30u
#define DER_SET 0x31u
#define DER_CONTEXT(n) (0x80u | (n))             /* implicit tag of a primitive type */
#define DER_CONTEXT_CONSTRUCTED(n) (0xa0u | (n)) /* explicit tags too */

typedef struct Der {
    const uint8_t *data;
    size_t size;
    bool bad; /* something that was taken from it was not there; it stays so */
} Der;

Der der_of(const void *data, size_t n);

/* The contents of the next element, which must have this tag; d goes on behind it. Else d and what is
 * returned are bad. */
Der der_take(Der *d, uint8_t tag);
/* The same, but with tag and length. */
Der der_take_whole(Der *d, uint8_t tag);
/* Whatever its tag; with tag and length. */
Der der_take_any(Der *d);
/* Does an element of this tag come next? */
bool der_is(const Der *d, uint8_t tag);
/* All of it was taken, and nothing was wrong. */
bool der_done(const Der *d);
bool der_equal(const Der *d, const void *data, size_t n);
/* The next INTEGER, of one byte and not negative; -1: it is none, and d is bad. */
int der_take_small(Der *d);

int der_append(Buf *b, uint8_t tag, const void *data, size_t n);
/* What stands in b from there to its end becomes the contents of an element. */
int der_wrap(Buf *b, size_t from, uint8_t tag);
/* n elements in the order that DER has for those of a SET OF; their order in items changes. */
int der_append_sorted(Buf *b, Buf *items, size_t n);

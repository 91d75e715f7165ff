/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A growing byte buffer with a hard maximum, wiped when freed. One type carries every body, package and
 * plaintext. A Buf set to BUF_MAX(n) refuses the byte n + 1 with -EMSGSIZE. Plain struct: read data and size
 * freely, change them only through the functions. data[size] is always 0, so text can be read as a string. */

#include "libhmsg/base/macro.h"

typedef struct Buf {
    uint8_t *data; /* NULL while empty */
    size_t size;   /* bytes in use */
    size_t allocated;
    size_t max; /* bytes that it may ever hold */
} Buf;

#define BUF_MAX(n) ((Buf){.max = (n)})

int buf_reserve(Buf *b, size_t extra);
int buf_append(Buf *b, const void *data, size_t n);
int buf_append_string(Buf *b, const char *s);
int buf_append_u32(Buf *b, uint32_t v); /* big-endian */
int buf_append_u64(Buf *b, uint64_t v); /* big-endian */
int buf_printf(Buf *b, const char *format, ...) _printf_(2, 3);
void buf_truncate(Buf *b, size_t size); /* wipes what is behind; size <= b->size */
void buf_clear(Buf *b);                 /* wipes the contents, keeps the memory */
void buf_done(Buf *b);                  /* wipes and frees; the Buf can be used again */

/* Its text as a C string; "" while empty. Valid until the next change. */
const char *buf_text(const Buf *b);

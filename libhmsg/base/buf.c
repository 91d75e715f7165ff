/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/base/secret.h"

int buf_reserve(Buf *b, size_t extra)
{
    if (extra > b->max || b->size > b->max - extra)
        return -EMSGSIZE;
    size_t need = b->size + extra + 1;
    if (need <= b->allocated)
        return 0;
    size_t allocated = b->allocated ? b->allocated : 64;
    while (allocated < need)
        allocated = allocated > SIZE_MAX / 2 ? need : allocated * 2;
    if (allocated > b->max + 1)
        allocated = b->max + 1;
    /* Not realloc: it would leave a copy of the old contents behind. */
    uint8_t *data = malloc(allocated);
    if (!data)
        return -ENOMEM;
    if (b->size > 0)
        memcpy(data, b->data, b->size);
    data[b->size] = 0;
    bytes_wipe(b->data, b->size);
    free(b->data);
    b->data = data;
    b->allocated = allocated;
    return 0;
}

int buf_append(Buf *b, const void *data, size_t n)
{
    int r = buf_reserve(b, n);
    if (r < 0)
        return r;
    if (n > 0)
        memcpy(b->data + b->size, data, n);
    b->size += n;
    b->data[b->size] = 0;
    return 0;
}

int buf_append_string(Buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

int buf_append_u32(Buf *b, uint32_t v)
{
    const uint8_t be[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    return buf_append(b, be, sizeof(be));
}

int buf_append_u64(Buf *b, uint64_t v)
{
    int r = buf_append_u32(b, (uint32_t)(v >> 32));
    return r < 0 ? r : buf_append_u32(b, (uint32_t)v);
}

int buf_printf(Buf *b, const char *format, ...)
{
    va_list ap;
    /* Into the room that there is: to count only, without any, is slow. */
    size_t room = b->allocated - b->size;
    va_start(ap, format);
    int n = vsnprintf(room > 0 ? (char *)b->data + b->size : NULL, room, format, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < room) {
        b->size += (size_t)n;
        return 0;
    }
    if (room > 0)
        bytes_wipe(b->data + b->size, room);
    if (n < 0)
        return -EINVAL;
    int r = buf_reserve(b, (size_t)n);
    if (r < 0)
        return r;
    va_start(ap, format);
    (void)vsnprintf((char *)b->data + b->size, (size_t)n + 1, format, ap);
    va_end(ap);
    b->size += (size_t)n;
    return 0;
}

void buf_truncate(Buf *b, size_t size)
{
    if (size >= b->size)
        return;
    bytes_wipe(b->data + size, b->size - size);
    b->size = size;
}

void buf_clear(Buf *b)
{
    bytes_wipe(b->data, b->size);
    b->size = 0;
    if (b->data)
        b->data[0] = 0;
}

void buf_done(Buf *b)
{
    bytes_wipe(b->data, b->size);
    free(b->data);
    *b = BUF_MAX(b->max);
}

const char *buf_text(const Buf *b)
{
    return b->data ? (const char *)b->data : "";
}

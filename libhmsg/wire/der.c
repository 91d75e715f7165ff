/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/der.h"

#include <string.h>

#include "libhmsg/base/secret.h"

#define LENGTH_BYTES_MAX 4u
#define HEADER_MAX (2u + LENGTH_BYTES_MAX)

Der der_of(const void *data, size_t n)
{
    return (Der){.data = data, .size = n};
}

static Der fail(Der *d)
{
    d->bad = true;
    return (Der){.bad = true};
}

/* X.690 sections 8.1.3 and 10.1. False: not in DER, or more than there is. */
static bool read_header(const Der *d, size_t *ret_header, size_t *ret_size)
{
    if (d->bad || d->size < 2 || (d->data[0] & 0x1f) == 0x1f)
        return false;
    size_t header = 2, size = d->data[1];
    if (size >= 0x80) {
        size_t bytes = size & 0x7f;
        if (bytes == 0 || bytes > LENGTH_BYTES_MAX || d->size < header + bytes || d->data[2] == 0)
            return false;
        size = 0;
        for (size_t i = 0; i < bytes; i++)
            size = size << 8 | d->data[header + i];
        if (size < 0x80)
            return false;
        header += bytes;
    }
    *ret_header = header;
    *ret_size = size;
    return size <= d->size - header;
}

static Der take(Der *d, bool whole)
{
    size_t header = 0, size = 0;
    if (!read_header(d, &header, &size))
        return fail(d);
    Der element = whole ? der_of(d->data, header + size) : der_of(d->data + header, size);
    d->data += header + size;
    d->size -= header + size;
    return element;
}

Der der_take(Der *d, uint8_t tag)
{
    return der_is(d, tag) ? take(d, false) : fail(d);
}

Der der_take_whole(Der *d, uint8_t tag)
{
    return der_is(d, tag) ? take(d, true) : fail(d);
}

Der der_take_any(Der *d)
{
    return take(d, true);
}

bool der_is(const Der *d, uint8_t tag)
{
    return !d->bad && d->size > 0 && d->data[0] == tag;
}

bool der_done(const Der *d)
{
    return !d->bad && d->size == 0;
}

bool der_equal(const Der *d, const void *data, size_t n)
{
    return !d->bad && d->size == n && (n == 0 || bytes_equal(d->data, data, n));
}

int der_take_small(Der *d)
{
    Der i = der_take(d, DER_INTEGER);
    if (i.bad || i.size != 1 || i.data[0] >= 0x80) {
        d->bad = true;
        return -1;
    }
    return i.data[0];
}

static size_t make_header(uint8_t tag, size_t n, uint8_t ret[static HEADER_MAX])
{
    ret[0] = tag;
    if (n < 0x80) {
        ret[1] = (uint8_t)n;
        return 2;
    }
    size_t bytes = 1;
    while (bytes < LENGTH_BYTES_MAX && n >> (8 * bytes) != 0)
        bytes++;
    ret[1] = (uint8_t)(0x80u | bytes);
    for (size_t i = 0; i < bytes; i++)
        ret[2 + i] = (uint8_t)(n >> (8 * (bytes - 1 - i)));
    return 2 + bytes;
}

int der_append(Buf *b, uint8_t tag, const void *data, size_t n)
{
    uint8_t header[HEADER_MAX];
    int r = buf_append(b, header, make_header(tag, n, header));
    return r == 0 && n > 0 ? buf_append(b, data, n) : r;
}

int der_wrap(Buf *b, size_t from, uint8_t tag)
{
    uint8_t header[HEADER_MAX];
    size_t n = b->size - from, size = make_header(tag, n, header);
    int r = buf_append(b, header, size);
    if (r != 0)
        return r;
    memmove(b->data + from + size, b->data + from, n);
    memcpy(b->data + from, header, size);
    return 0;
}

/* X.690 section 11.6: as if the shorter one had zeros behind it, which no element of ours begins with. */
static int compare(const void *a, const void *b)
{
    const Buf *x = a, *y = b;
    int r = memcmp(x->data, y->data, x->size < y->size ? x->size : y->size); /* public */
    return r != 0 ? r : (x->size > y->size) - (x->size < y->size);
}

int der_append_sorted(Buf *b, Buf *items, size_t n)
{
    int r = 0;
    qsort(items, n, sizeof(*items), compare);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = buf_append(b, items[i].data, items[i].size);
    return r;
}

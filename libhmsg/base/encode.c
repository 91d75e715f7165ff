/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/encode.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/secret.h"

#define EXACT_MAX 512u /* bytes of what has a fixed size */

static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char std_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t encode(const char *alphabet, const uint8_t *in, size_t n, char *out)
{
    size_t o = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)in[i] << 16;
        if (left > 1)
            v |= (uint32_t)in[i + 1] << 8;
        if (left > 2)
            v |= in[i + 2];
        out[o++] = alphabet[v >> 18];
        out[o++] = alphabet[v >> 12 & 63];
        if (left > 1)
            out[o++] = alphabet[v >> 6 & 63];
        if (left > 2)
            out[o++] = alphabet[v & 63];
    }
    return o;
}

/* The value of each ASCII character, NONE when it is none of the alphabet. The alphabets differ in two. */
#define NONE 64
#define X4 NONE, NONE, NONE, NONE
#define VALUES(plus, minus, slash, underscore)                                                               \
    {                                                                                                        \
        X4, X4, X4, X4, X4, X4, X4, X4, X4, X4, NONE, NONE, NONE, plus, NONE, minus, NONE, slash, 52, 53,    \
            54, 55, 56, 57, 58, 59, 60, 61, NONE, NONE, NONE, X4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,  \
            13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, X4, underscore, NONE, 26, 27, 28, 29, 30,    \
            31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, X4, NONE     \
    }
static const uint8_t url_values[128] = VALUES(NONE, 62, NONE, 63);
static const uint8_t std_values[128] = VALUES(62, NONE, 63, NONE);

/* All of text into out, which has the room. */
static bool decode_all(const uint8_t *values, const uint8_t *text, size_t length, uint8_t *out)
{
    unsigned bad = 0;
    uint32_t v = 0;
    for (; length >= 4; length -= 4, text += 4, out += 3) {
        const uint8_t a = values[text[0] & 127], b = values[text[1] & 127], c = values[text[2] & 127],
                      d = values[text[3] & 127];
        bad |= ((unsigned)text[0] | text[1] | text[2] | text[3]) & 128u;
        bad |= ((unsigned)a | b | c | d) & NONE;
        v = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | d;
        out[0] = (uint8_t)(v >> 16);
        out[1] = (uint8_t)(v >> 8);
        out[2] = (uint8_t)v;
    }
    v = 0;
    for (size_t i = 0; i < length; i++) {
        bad |= (text[i] & 128u) | (values[text[i] & 127] & NONE);
        v = v << 6 | values[text[i] & 127];
    }
    if (length == 2) {
        *out = (uint8_t)(v >> 4);
        bad |= v & 15; /* trailing bits: a second text for the same bytes */
    } else if (length == 3) {
        out[0] = (uint8_t)(v >> 10);
        out[1] = (uint8_t)(v >> 2);
        bad |= v & 3;
    }
    return bad == 0;
}

static int decode(const uint8_t *values, const char *text, size_t length, Buf *ret)
{
    if (length % 4 == 1)
        return -EBADMSG;
    size_t size = length / 4 * 3 + (length % 4 ? length % 4 - 1 : 0);
    int r = buf_reserve(ret, size);
    if (r < 0)
        return r;
    if (!decode_all(values, (const uint8_t *)text, length, ret->data + ret->size)) {
        bytes_wipe(ret->data + ret->size, size);
        return -EBADMSG;
    }
    ret->size += size;
    ret->data[ret->size] = 0;
    return 0;
}

void base64url_encode(const void *data, size_t n, char *text)
{
    text[encode(url_alphabet, data, n, text)] = 0;
}

int base64url_append(Buf *b, const void *data, size_t n)
{
    int r = buf_reserve(b, BASE64URL_SIZE(n));
    if (r < 0)
        return r;
    b->size += encode(url_alphabet, data, n, (char *)b->data + b->size);
    b->data[b->size] = 0;
    return 0;
}

int base64url_decode(const char *text, size_t length, Buf *ret)
{
    return decode(url_values, text, length, ret);
}

int base64url_decode_exact(const char *text, size_t length, void *ret, size_t size)
{
    if (length != BASE64URL_SIZE(size))
        return -EBADMSG;
    uint8_t all[EXACT_MAX];
    if (size > sizeof(all))
        return -EBADMSG;
    bool right = decode_all(url_values, (const uint8_t *)text, length, all);
    if (right)
        memcpy(ret, all, size);
    bytes_wipe(all, size);
    return right ? 0 : -EBADMSG;
}

int base64_append(Buf *b, const void *data, size_t n)
{
    int r = buf_reserve(b, (n + 2) / 3 * 4);
    if (r < 0)
        return r;
    b->size += encode(std_alphabet, data, n, (char *)b->data + b->size);
    while (n % 3 != 0) {
        b->data[b->size++] = '=';
        n++;
    }
    b->data[b->size] = 0;
    return 0;
}

int base64_decode(const char *text, size_t length, Buf *ret)
{
    if (length % 4 != 0)
        return -EBADMSG;
    if (length > 0 && text[length - 1] == '=')
        length -= text[length - 2] == '=' ? 2 : 1;
    return decode(std_values, text, length, ret);
}

void hex_encode(const void *data, size_t n, char *text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = data;
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[in[i] >> 4];
        text[2 * i + 1] = digits[in[i] & 15];
    }
    text[2 * n] = 0;
}

static bool is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Bytes of the character at p, a C string; 0: it is none. */
static size_t utf8_size(const uint8_t *p)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
    if (n < 2)
        return n;
    uint32_t c = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (!is_tail(p[i]))
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    bool noncharacter = (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef);
    return c < least[n] || c > 0x10ffff || surrogate || noncharacter ? 0 : n;
}

bool utf8_is_text(const char *text)
{
    for (const uint8_t *p = (const uint8_t *)text; *p;) {
        size_t n = utf8_size(p);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

void utf8_repair(char *text)
{
    for (uint8_t *p = (uint8_t *)text; *p;) {
        size_t n = utf8_size(p);
        if (n == 0)
            *p = '?';
        p += n > 0 ? n : 1;
    }
}

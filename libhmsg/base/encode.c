/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/encode.h"

#include <errno.h>
#include <string.h>

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

/* The value of a character, -1 when it is none of the alphabet (of which only the last two differ). */
static int value(char c, const char *alphabet)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == alphabet[62])
        return 62;
    if (c == alphabet[63])
        return 63;
    return -1;
}

static int decode(const char *alphabet, const char *text, size_t length, Buf *ret)
{
    if (length % 4 == 1)
        return -EBADMSG;
    size_t size = length / 4 * 3 + (length % 4 ? length % 4 - 1 : 0);
    int r = buf_reserve(ret, size);
    if (r < 0)
        return r;
    uint8_t *out = ret->data + ret->size;
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < length; i++) {
        int d = value(text[i], alphabet);
        if (d < 0)
            return -EBADMSG;
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *out++ = (uint8_t)(v >> bits);
            v &= (1u << bits) - 1;
        }
    }
    if (v != 0) /* trailing bits: a second text for the same bytes */
        return -EBADMSG;
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
    return decode(url_alphabet, text, length, ret);
}

int base64url_decode_exact(const char *text, size_t length, void *ret, size_t size)
{
    if (length != BASE64URL_SIZE(size))
        return -EBADMSG;
    Buf b = BUF_MAX(size);
    int r = decode(url_alphabet, text, length, &b);
    if (r == 0 && b.size != size)
        r = -EBADMSG;
    if (r == 0 && size > 0)
        memcpy(ret, b.data, size);
    buf_done(&b);
    return r;
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
    return decode(std_alphabet, text, length, ret);
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

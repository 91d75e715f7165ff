/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Base64url without padding (RFC 4648 section 5), base64 and hex. Decoding is strict: no padding in
 * base64url, no white space, no non-zero trailing bits, so that every byte string has exactly one text.
 * And UTF-8. */

#include <stdbool.h>

#include "libhmsg/base/buf.h"

/* Characters of the text of n bytes, without the final 0. */
#define BASE64URL_SIZE(n) (((n)*4 + 2) / 3)

int base64url_append(Buf *b, const void *data, size_t n);
/* text must have room for BASE64URL_SIZE(n) + 1. */
void base64url_encode(const void *data, size_t n, char *text);

/* Appends the bytes to ret. -EBADMSG: not strict base64url; -EMSGSIZE: more than ret holds. */
int base64url_decode(const char *text, size_t length, Buf *ret);
/* Exactly size bytes, else -EBADMSG; ret untouched on failure. */
int base64url_decode_exact(const char *text, size_t length, void *ret, size_t size);

/* Standard base64 with padding (RFC 4648 section 4); the same rules. */
int base64_append(Buf *b, const void *data, size_t n);
int base64_decode(const char *text, size_t length, Buf *ret);

/* text must have room for 2n + 1. Lower case. */
void hex_encode(const void *data, size_t n, char *text);

/* Is all of text a D-Bus string: UTF-8 (RFC 3629), no noncharacter, which some readers refuse? */
bool utf8_is_text(const char *text);
/* Puts '?' for each byte that keeps text from being one, such as those of a character that was cut. */
void utf8_repair(char *text);

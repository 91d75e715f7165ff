/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/password.h"

#define BITS_ONE_KIND 3u
#define BITS_MAX 5u
#define BITS_REPEATED 1u

static unsigned kind_of(uint8_t c)
{
    if ((c >= 'a' && c <= 'z') || c == ' ')
        return 0;
    if (c >= 'A' && c <= 'Z')
        return 1;
    return c >= '0' && c <= '9' ? 2 : 3;
}

static bool is_repeated(const uint8_t *p, size_t i)
{
    if (i == 0)
        return false;
    return p[i] == p[i - 1] || p[i] == p[i - 1] + 1 || p[i] + 1 == p[i - 1] || (i > 1 && p[i] == p[i - 2]);
}

unsigned password_bits(const Secret *password)
{
    const uint8_t *p = secret_bytes(password);
    size_t n = secret_size(password);
    bool seen[4] = {false};
    unsigned each = BITS_ONE_KIND - 1, bits = 0;

    for (size_t i = 0; i < n; i++)
        seen[kind_of(p[i])] = true;
    for (size_t k = 0; k < ELEMENTSOF(seen); k++)
        each += seen[k] && each < BITS_MAX ? 1 : 0;
    for (size_t i = 0; i < n; i++)
        bits += is_repeated(p, i) ? BITS_REPEATED : each;
    return bits;
}

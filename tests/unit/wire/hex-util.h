/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdint.h>

#include "libhmsg/wire/limits.h"

/* Hashes and MACs are as another program has made them. */
static inline void expect_hex(const uint8_t bytes[static SHA256_SIZE], const char *hex)
{
    char text[2 * SHA256_SIZE + 1];
    for (size_t i = 0; i < SHA256_SIZE; i++)
        (void)g_snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    g_assert_cmpstr(text, ==, hex);
}

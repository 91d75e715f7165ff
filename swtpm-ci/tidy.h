/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Included before the files that tidy.py has analysed. clang 14's analyzer knows neither that errno is
 * positive after a failed call nor how to negate a symbol, and so follows "return -errno" into the paths of
 * success. Here -errno is -(-1) times something known to be negative. */
#include <errno.h>

int tidy_unknown(void);

static inline int tidy_negative(void)
{
    int e = tidy_unknown();
    if (e >= 0)
        __builtin_unreachable();
    return e;
}

#undef errno
#define errno (-1) * tidy_negative()

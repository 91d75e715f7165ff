/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/clock.h"

#include <time.h>

uint64_t clock_boottime(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

int64_t clock_realtime(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How often something may be done: so many at once, so many per minute (the "generic cell rate algorithm").
 * Times are in microseconds of a clock that does not jump. */

#include "libhmsg/base/macro.h"

typedef struct Rate {
    uint64_t burst, per_minute; /* per_minute 0: no limit */
} Rate;

/* One more of somebody. *due, 0 at first, is when all that was taken would be used up at the steady rate; it
 * lies in the future by the burst at most, and once it is past nothing need be remembered. False: too many,
 * *ret_wait until the next one. */
bool rate_take(const Rate *rate, uint64_t *due, uint64_t now, uint64_t *ret_wait);

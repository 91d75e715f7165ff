/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/rate.h"

#define MINUTE 60000000u /* microseconds */

bool rate_take(const Rate *rate, uint64_t *due, uint64_t now, uint64_t *ret_wait)
{
    if (rate->per_minute == 0)
        return true;
    uint64_t step = MINUTE / rate->per_minute, from = *due > now ? *due : now;
    uint64_t ahead = rate->burst > 1 ? (rate->burst - 1) * step : 0;
    step = step > 0 ? step : 1;
    if (from > now + ahead) {
        *ret_wait = from - ahead - now;
        return false;
    }
    *due = from + step;
    return true;
}

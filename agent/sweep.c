/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <time.h>

#include "agent/sweep.h"
#include "libhmsg/base/clock.h"

#define ACCURACY UINT64_C(1000000) /* µs */

int sweep_arm(sd_event *event, sd_event_source **source, sd_event_time_handler_t handler, void *userdata)
{
    uint64_t when = clock_boottime() + SWEEP_PAUSE;
    int enabled = SD_EVENT_OFF, r;

    if (!*source) {
        r = sd_event_add_time(event, source, CLOCK_BOOTTIME, when, ACCURACY, handler, userdata);
        return r < 0 ? r : 0;
    }
    r = sd_event_source_get_enabled(*source, &enabled);
    if (r < 0)
        return r;
    if (enabled != SD_EVENT_OFF)
        return 0;
    r = sd_event_source_set_time(*source, when);
    if (r >= 0)
        r = sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
    return r < 0 ? r : 0;
}

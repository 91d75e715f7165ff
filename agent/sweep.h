/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A timer that forgets what has timed out and nobody asks for; it rests while there is nothing. */

#include <systemd/sd-event.h>

#define SWEEP_PAUSE UINT64_C(30000000) /* µs */

/* Something is there: handler is called after SWEEP_PAUSE, unless the timer runs already. *source is made by
 * the first call. */
int sweep_arm(sd_event *event, sd_event_source **source, sd_event_time_handler_t handler, void *userdata);

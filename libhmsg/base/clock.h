/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* CLOCK_BOOTTIME in microseconds: goes on during suspend, never jumps. For time-outs and expiries in memory.
 */
uint64_t clock_boottime(void);
/* CLOCK_REALTIME in whole seconds since 1970. For what is written into statements and stores. */
int64_t clock_realtime(void);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The time by which messages end, in seconds since 1970: the wall clock, unless that has been set forward by
 * more than STEADY_LEAP. Then it may be wrong, and whoever has mail here would lose it: for STEADY_HOLD the
 * time goes on from where it was, as CLOCK_BOOTTIME does, unless the clock is put right before. A clock that
 * is set back is believed at once, for then things only last longer; but what is given an end meanwhile gets
 * it by the later time, or it would be over as soon as the clock is right again. */

#include <stdint.h>

#include "libhmsg/base/macro.h"

#define STEADY_LEAP 900    /* seconds */
#define STEADY_HOLD 86400  /* seconds */
#define STEADY_AWAY 129600 /* seconds that a relay may have been away without its clock being doubted */

typedef struct Steady Steady;

/* known: a time of the wall clock when it was still right, up to now; when that is longer ago than
 * STEADY_AWAY, the clock is held from the start. 0: none is known. */
int steady_new(int64_t known, Steady **ret);
Steady *steady_free(Steady *s);
DEFINE_CLEANUP(Steady *, steady_free)

int64_t steady_now(Steady *s);    /* any thread */
int64_t steady_latest(Steady *s); /* any thread: what it may be at most, to count new ends from */
bool steady_held(Steady *s);      /* any thread: it is not the wall clock now */

/* For tests: the same with clocks of theirs, boot in microseconds. */
int steady_new_at(int64_t known, int64_t wall, uint64_t boot, Steady **ret);
int64_t steady_look(Steady *s, int64_t wall, uint64_t boot);
int64_t steady_look_latest(Steady *s, int64_t wall, uint64_t boot);

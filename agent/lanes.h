/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Threads that pass blocks from a source to a destination. Each takes the next block, works on it and gives
 * it away, so that a block stays with one processor; taking and giving are in order and one at a time, while
 * the work goes on at the same time. */

#include "libhmsg/base/macro.h"

#define LANES_MAX 4u

typedef struct LanesTask {
    /* The next block; *ret_end: it is the last one. May wait, for stop_fd as well. */
    int (*take)(void *context, void *block, bool *ret_end, int stop_fd);
    /* At the same time as others. lane < LANES_MAX: of this thread alone. */
    int (*work)(void *context, void *block, unsigned lane);
    /* In order, also for the first block of which take or work failed, with that result; returns it. */
    int (*check)(void *context, void *block, int result);
    /* In order, of what was checked. May wait, for stop_fd as well. */
    int (*give)(void *context, void *block, int stop_fd);
} LanesTask;

/* Until the last block was given: at the most n threads, of which the caller is the first, started as there
 * are blocks; blocks: one for each of n. Returns the error of the first block, in order, that has one; all
 * before it were given, none behind it. On an error stop_fd, an eventfd, is made readable. */
int lanes_run(const LanesTask *task, void *context, void *const *blocks, unsigned n, int stop_fd);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A line on standard error that tells how far long work is; only on a terminal, and only after a while. */

#include <stdbool.h>
#include <stdint.h>

#include "libhmsg/base/buf.h"

typedef struct Progress {
    uint64_t began; /* clock_boottime; 0: there is no terminal */
    uint64_t drawn;
} Progress;

Progress progress_begin(void);
/* An hmsg_progress_t; userdata is the Progress. */
void progress_show(uint64_t done, uint64_t total, void *userdata);
/* Removes the line. */
void progress_end(Progress *p);

/* The text of the line: "  42 %  2.1 MiB of 5.0 MiB", or "2.1 MiB" when the total is not known. */
int progress_text(Buf *out, uint64_t done, uint64_t total);

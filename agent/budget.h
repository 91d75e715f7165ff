/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How many new sessions of each sender the TPM may open: it does a few in a second, for everybody. Memory is
 * fixed: of too many senders those are forgotten who have taken the least. Main thread only. */

#include "libhmsg/base/config.h"

#define BUDGET_SENDERS_MAX 1024u

typedef struct Budget Budget;

/* From [sessions] burst and per-minute; -EINVAL, logged: they are no numbers. */
int budget_new(const Config *config, Budget **ret);
Budget *budget_free(Budget *b);
DEFINE_CLEANUP(Budget *, budget_free)

/* One more for the sender of this kid; NULL: all who are not known, together. now: clock_boottime(). False:
 * too many, *ret_wait seconds until the next one. */
bool budget_take(Budget *b, const char *skid, uint64_t now, unsigned *ret_wait);
unsigned budget_senders(const Budget *b);

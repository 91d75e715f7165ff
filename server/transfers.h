/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Large bodies that are under way, in or out. Each has a file open for as long as it takes, or what is read
 * from a database in memory, so that nobody may have many at a time, nor all together. Used by any thread. */

#include <stdbool.h>

#include "libhmsg/base/macro.h"
#include "libhmsg/wire/limits.h"

#define TRANSFERS_MAX 32u         /* of one user */
#define TRANSFERS_ALL_MAX 2048u   /* 32 KiB of each are in memory */
#define TRANSFERS_GUESTS_MAX 512u /* of those; whoever wants may be many guests */

typedef struct Transfers Transfers;
typedef struct Transfer Transfer;

int transfers_new(Transfers **ret);
Transfers *transfers_unref(Transfers *t); /* lives until the last transfer has ended */

/* PROBLEM_TOO_MANY_REQUESTS: the user has TRANSFERS_MAX. PROBLEM_UNAVAILABLE: there are TRANSFERS_ALL_MAX,
 * or of guests TRANSFERS_GUESTS_MAX. */
int transfer_begin(Transfers *t, const uint8_t user[static KID_SIZE], bool guest, Transfer **ret);
Transfer *transfer_end(Transfer *x); /* takes NULL */
DEFINE_CLEANUP(Transfer *, transfer_end)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "server/admin.h"

#define ADMIN_CODE_SIZE 33u /* of an invitation, with the final 0 */

/* Has the store do w and waits for its answer, as long as a->patience says: -ETIMEDOUT. w holds, of what it
 * points to, the code of an invitation alone, and gets its number. */
int admin_write(const Admin *a, StoreWrite *w);

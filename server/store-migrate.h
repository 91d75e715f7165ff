/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a relay stores, from its data folder to PostgreSQL or back. Rows are copied as they are: what is
 * sealed stays so, and only the check at the end needs the keys. No relay may use either. An interrupted one
 * goes on where it was; until its end a relay refuses the new store, and from then on the former. */

#include "server/at-rest.h"
#include "server/options.h"
#include "server/store.h"

#define MIGRATE_MOVED ".migrated" /* behind the name of the former database in the folder */
#define MIGRATE_MOVING                                                                                       \
    ".moving" /* a file that tells of a migration which may go on; a relay that starts removes it */

/* To the store `to`, whatever o->store says. -EBUSY: a relay uses one of them. -ENOENT: there is nothing to
 * be moved. -EEXIST: the new store has been used. -EBADMSG: what arrived is not sound; the former stays what
 * counts. error, for people: what the server said, or "". */
int store_migrate(const Options *o, OptionStore to, const StoreKeeper *keeper, StoreCounts *ret,
                  char error[static POSTGRES_ERROR_SIZE]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which senders our relays are to refuse, and which are no strangers there: the contacts that the user blocks
 * and allows, as far as they have a sign key. */

#include "libhmsg/db/db.h"
#include "libhmsg/wire/mailbox-settings.h"

/* The senders of ret, which the caller frees by mailbox_settings_done on failure as well. At most
 * SENDER_RULES_MAX: first those that are blocked, then those that were added last; how many
 * others there are is left_out, which may be NULL. */
int contact_rules(Db *db, MailboxSettings *ret, size_t *ret_left_out);

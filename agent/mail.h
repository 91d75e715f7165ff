/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The mail half of the agent as its manager sees it. */

#include "agent/manager.h"

/* Makes store, contacts, relays, mailbox and outbox of m, in this order; the core objects are there. */
int mail_start(Manager *m);
/* Frees them in the reverse order, cancelling what runs; accepts a half-started m. */
void mail_stop(Manager *m);

/* Appends relays, inbox, outbox, courier to the open a{sv} of GetStatus. */
int mail_append_status(Manager *m, sd_bus_message *reply);
/* Appends (ssss) checks of store and relays to the open a(ssss) of Diagnose. */
int mail_append_checks(Manager *m, sd_bus_message *reply);

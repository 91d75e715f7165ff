/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who calls, and may they. A client is a unique name of the session bus or a channel; who it is is asked once
 * and kept until it leaves. Every method call of a watched connection is checked before its vtable sees it:
 * Denied for any user but ours, for what the SELinux policy does not let the caller do, and for what the
 * user's rules do not let its program do (gate.h). */

#include "agent/manager.h"

typedef struct Client Client;

int access_new(Manager *m, Access **ret);
Access *access_free(Access *a); /* cancels every request */
DEFINE_CLEANUP(Access *, access_free)

int access_watch_bus(Access *a, sd_bus *bus);
/* rights: whose call opened the channel. */
int access_watch_channel(Access *a, sd_bus *channel, const Client *rights);
/* The channel is closed: its client leaves. */
void access_channel_closed(Access *a, sd_bus *channel);

/* Does SELinux decide as well? */
bool access_is_confined(const Access *a);

/* When a program of the user last called, CLOCK_BOOTTIME in µs; 0: none has. */
uint64_t access_last_call(const Access *a);

/* May the caller have something signed in the user's name? For methods that sign only when asked to. 0; 1:
 * the user is being asked, the method ends here and is called anew; or a negative errno with *error set. */
int access_may_sign(Access *a, sd_bus_message *call, sd_bus_error *error);

/* The call has passed all this, and comes anew after something else that it waited for: it counts as one. */
void access_passed(Access *a, sd_bus_message *call);

/* The client of a call; -ENXIO: it has left. */
int access_client(Access *a, sd_bus_message *call, Client **ret);

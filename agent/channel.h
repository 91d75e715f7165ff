/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private peer-to-peer D-Bus connections: the same vtables, the rights of the client that asked for one. */

#include "agent/access.h"

#define CHANNELS_MAX 64u         /* open at a time */
#define CHANNEL_UNREAD_MAX 1024u /* messages besides what the socket holds; who reads no more is cut off */

int channels_new(Manager *m, Channels **ret);
Channels *channels_free(Channels *c);
DEFINE_CLEANUP(Channels *, channels_free)

/* The client's end of a new channel for the caller of call. QUOTA_EXCEEDED: too many are open. */
int channels_open(Channels *c, sd_bus_message *call, int *ret_fd);

/* Calls f for the bus of each channel whose client reads; an error on one is none of the others'. */
void channels_each(Channels *c, int (*f)(sd_bus *bus, void *userdata), void *userdata);
/* A call has come on bus: ends its channel, later, when its client has left too much unread. */
void channels_check(Channels *c, sd_bus *bus);

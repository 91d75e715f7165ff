/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A connection to the user's hmsg-agent: a private channel that other programs of the user cannot watch,
 * unlike the session bus. Calls are made with <hmsg/call.h>, return values are explained in <hmsg/error.h>. A
 * client belongs to one thread at a time. */

#include <stdbool.h>
#include <systemd/sd-bus.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct HmsgClient HmsgClient;

/* Not connected yet. -ENOMEM. */
int hmsg_client_new(HmsgClient **ret);
/* Closes the channel, which cancels what is not answered. Takes NULL, returns NULL. */
HmsgClient *hmsg_client_free(HmsgClient *c);

/* Finds the agent on the session bus ($DBUS_SESSION_BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus), which may start
 * it, and opens the channel; the bus is left again. -ENOMEDIUM: no bus is named. -EHOSTUNREACH: the bus knows
 * no agent. Does nothing when connected. */
int hmsg_client_connect(HmsgClient *c);

/* The channel, for signals (sd_bus_match_signal) and event loops (sd_bus_attach_event); NULL while not
 * connected. Owned by the client. */
sd_bus *hmsg_client_bus(HmsgClient *c);

/* Whether the agent may ask the user something (a PIN) for the calls from now on; it may at first. */
void hmsg_client_set_interactive(HmsgClient *c, bool interactive);

/* What the last function that failed on this client has to say beyond its code; "" when nothing. It may hold
 * text of others: escape it before it goes to a terminal. Valid until the next call. */
const char *hmsg_client_error_text(const HmsgClient *c);

#ifdef __cplusplus
}
#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The courier process at the other end of its socket: started when somebody has something for it, started
 * again with growing pauses when it dies. Knows D-Bus and the courier's errors, nothing of relays. */

#include <systemd/sd-bus.h>

#include "libhmsg/base/macro.h"

#define COURIER_CALL_SECONDS 60u /* all calls but Submit and Fetch; the courier itself gives up before */
#define COURIER_RESTART_MIN 1u   /* seconds between the end of one that lived shortly and the next start */
#define COURIER_RESTART_MAX 60u

typedef struct CourierLink CourierLink;

typedef struct CourierHandlers {
    /* Makes a courier; *ret_fd is our end, taken over. */
    int (*start)(void *userdata, int *ret_fd);
    void (*signal)(const char *member, sd_bus_message *m, void *userdata);
    /* It is gone, and with it all connections. Calls under way have failed before. */
    void (*gone)(void *userdata);
} CourierHandlers;

int courier_link_new(sd_event *event, const CourierHandlers *handlers, void *userdata, CourierLink **ret);
CourierLink *courier_link_free(CourierLink *c);
DEFINE_CLEANUP(CourierLink *, courier_link_free)

bool courier_link_runs(const CourierLink *c);

/* A call to append to; starts the courier. RELAY_UNAVAILABLE: it cannot be started now. */
int courier_link_call_new(CourierLink *c, const char *member, sd_bus_message **ret);
/* Sends it. endless: for Submit and Fetch, which take as long as they move. The slot cancels. */
int courier_link_call(CourierLink *c, sd_bus_message *call, bool endless, sd_bus_message_handler_t done,
                      void *userdata, sd_bus_slot **ret_slot);

/* What an error reply of the courier means: an HmsgError. UNTRUSTED: the pin; LOCKED never. */
typedef struct CourierError {
    int error;
    bool login_required;  /* error is RELAY_UNAVAILABLE */
    bool unreachable;     /* the same: no connection, or it was lost */
    unsigned retry_after; /* seconds; 0: not said */
    char detail[400];     /* for people, without the marks at its begin */
} CourierError;
void courier_error_read(const sd_bus_error *e, CourierError *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The courier: the event loop, the bus connection to the agent, and all objects. */

#include <errno.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "libhmsg/base/macro.h"

#define COURIER_PATH "/org/hmsg/Courier1"
#define COURIER_INTERFACE "org.hmsg.Courier1"
#define COURIER_CALLS_MAX 512u       /* not yet answered */
#define COURIER_PEERS_MAX 256u       /* connections to relays */
#define COURIER_SIGNALS_QUEUED 1024u /* not yet read by the agent; more wait at the relay */

typedef struct Peer Peer;
typedef struct Call Call;
typedef struct Probe Probe;

typedef struct Courier {
    sd_event *event;
    sd_bus *bus;
    int tls_index;
    Peer *peers; /* by name */
    Call *calls;
    unsigned n_calls;
    Probe *probes;
} Courier;

extern const sd_bus_vtable courier_vtable[];

/* fd: the socket to the agent; taken over in any case. */
int courier_new(int fd, Courier **ret);
Courier *courier_free(Courier *c);
DEFINE_CLEANUP(Courier *, courier_free)

/* Until the agent is gone. */
int courier_run(Courier *c);

/* Fill *error; negative, always. */
static inline int refused(sd_bus_error *error, const char *name, const char *text)
{
    (void)sd_bus_error_set(error, name, text);
    return -EBADR;
}

static inline int failed(sd_bus_error *error, int r)
{
    (void)sd_bus_error_set_errno(error, r);
    return r < 0 ? r : -EIO;
}

/* Sends a signal; when that cannot be done the agent is as good as gone, and the loop ends. */
void courier_signal(Courier *c, const char *member, const char *types, ...);

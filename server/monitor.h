/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A small HTTP/1.1 server for those who look after the relay, on a socket of its own and on the event loop of
 * its owner: one GET on each connection, answered at once. It has no encryption and asks nobody who they are.
 */

#include <systemd/sd-event.h>

#include "libhmsg/base/buf.h"

#define MONITOR_CLIENTS_MAX 16u /* at a time; more wait */
#define MONITOR_REQUEST_SIZE_MAX 4096u
#define MONITOR_ANSWER_SIZE_MAX 65536u
#define MONITOR_TIMEOUT 5000000u /* microseconds that a client has for all */

typedef struct Monitor Monitor;

/* Appends what is at path to body, plain text, and returns an HTTP status. */
typedef unsigned (*MonitorAnswer)(void *userdata, const char *path, Buf *body);

/* fd: a listening socket that does not block, taken over when it succeeds. */
int monitor_new(sd_event *event, int fd, MonitorAnswer answer, void *userdata, Monitor **ret);
Monitor *monitor_free(Monitor *m);
DEFINE_CLEANUP(Monitor *, monitor_free)

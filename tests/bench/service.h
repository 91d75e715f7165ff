/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the agent is compared with: a bare sd-bus service in a process of its own, that sends back the bytes
 * that it got. */

#include <glib.h>
#include <systemd/sd-bus.h>

#include "tests/bench/measure.h"

#define ECHO_NAME "org.hmsg.Echo"
#define ECHO_PATH "/org/hmsg/Echo"
#define ANSWER_PLAINTEXT 256u

typedef struct Echo Echo;

/* On the bus at address, and on a private connection. */
Echo *echo_new(const char *address);
void echo_free(Echo *e);
pid_t echo_pid(const Echo *e);
/* Our end of the private connection. */
sd_bus *echo_peer(const Echo *e);

/* A connection to the bus at address; and a client on one end of a private connection. */
sd_bus *bench_bus_open(const char *address);
sd_bus *bench_peer_open(int fd);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The relay as a running service: owns its key, sockets, handlers and server, renews what expires, and ends
 * on SIGTERM or SIGINT; SIGHUP makes it read its configuration again. It logs what goes wrong. */

#include "server/handlers.h"
#include "server/key-holder.h"

typedef struct Daemon Daemon;

/* Listens and serves; the options' relay gets the port that it listens on unless it has one of its own. o
 * and holder must outlive it. Blocks SIGTERM and SIGINT for daemon_run. */
int daemon_new(Options *o, KeyHolder *holder, Daemon **ret);
/* Until it is told to end; -EPIPE: the holder has ended. */
int daemon_run(Daemon *d);
Daemon *daemon_free(Daemon *d);
DEFINE_CLEANUP(Daemon *, daemon_free)

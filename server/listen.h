/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sockets that the relay listens on: its own, or those of systemd's socket unit (sd_listen_fds(3)). */

#include "libhmsg/base/macro.h"

/* "ADDR:PORT" with an IPv4 address, or an IPv6 address in brackets; [::] serves IPv4 as well. Port 0: a free
 * one. -EINVAL: not of the form. The socket does not block. */
int listen_open(const char *address, int *ret_fd);
/* Sockets that systemd handed over, at most max; how many, or a negative errno. -EINVAL: one that is no
 * listening TCP socket. */
int listen_inherited(int *ret_fds, size_t max);
int listen_port(int fd, uint16_t *ret);
bool listen_address_valid(const char *address);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/socket.h>

/* Of an IPv4 or IPv6 address in numbers; AF_UNSPEC for any other text. */
struct sockaddr_storage numeric_address(const char *text);

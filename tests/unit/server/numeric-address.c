/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/server/numeric-address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

struct sockaddr_storage numeric_address(const char *text)
{
    union {
        struct sockaddr_storage any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } u = {};
    if (inet_pton(AF_INET, text, &u.v4.sin_addr) == 1)
        u.v4.sin_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &u.v6.sin6_addr) == 1)
        u.v6.sin6_family = AF_INET6;
    return u.any;
}

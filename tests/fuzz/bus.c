/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/bus.h"
#include "tests/fuzz/fuzz.h"

sd_bus *fuzz_bus(void)
{
    static sd_bus *bus;
    static pid_t owner;
    int pair[2];

    if (bus && owner == getpid())
        return bus;
    owner = getpid();
    fuzz_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0, "a socket");
    fuzz_must(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, pair[0], pair[0]) >= 0 &&
                  sd_bus_negotiate_fds(bus, 1) >= 0 && sd_bus_start(bus) >= 0,
              "a connection");
    return bus;
}

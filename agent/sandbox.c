/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <seccomp.h>
#include <sys/socket.h>

#include "agent/sandbox.h"
#include "libhmsg/base/macro.h"

int sandbox_enter(void)
{
    /* io_uring would open sockets past the filter */
    static const int forbidden[] = {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(io_uring_setup)};
    scmp_filter_ctx filter;
    int r;

    filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return -ENOMEM;
    r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_NE, AF_UNIX));
    for (size_t i = 0; i < ELEMENTSOF(forbidden) && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), forbidden[i], 0);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

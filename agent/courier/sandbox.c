/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "libhmsg/sandbox/sandbox.h"
#include "libhmsg/wire/limits.h"

/* Folders and files that are read to find hosts: getaddrinfo(3) and its modules, and OpenSSL's settings. */
static const SandboxPath readable[] = {
    {"/etc", false},
    {"/usr", false},
    {"/lib", false},
    {"/lib64", false},
    {"/run/systemd/resolve", false},
    {"/run/NetworkManager", false},
    {"/run/resolvconf", false},
    {"/run/connman", false},
    {"/proc/self", false},
    {"/proc/sys/vm/overcommit_memory", false},
    {"/dev/null", false},
    {"/dev/urandom", false},
};

int courier_sandbox_enter(void)
{
    static const struct rlimit largest = {ATTACHMENT_SIZE_MAX, ATTACHMENT_SIZE_MAX};
    int r;

    if (setrlimit(RLIMIT_FSIZE, &largest) < 0)
        return -errno;
    /* what is too large is an error of the call */
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return -errno;
    r = sandbox_files(readable, ELEMENTSOF(readable));
    if (r == 0)
        r = sandbox_capabilities(0);
    return r == 0 ? sandbox_calls(SANDBOX_INTERNET) : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/sandbox.h"

#include <errno.h>
#include <libgen.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

#include "libhmsg/base/log.h"
#include "libhmsg/sandbox/sandbox.h"

static const char *const system_folders[] = {
    "/etc",       "/usr",      "/lib",         "/lib64",    "/run/systemd/resolve",
    "/proc/self", "/proc/sys", "/dev/urandom", "/dev/null",
};

#define NAMED_MAX 4u

/* The folders of the configuration and of what is published of the key, which itself is its holder's: a file
 * is replaced by another when it is changed. */
static int restrict_files(const Options *o)
{
    const char *const named[NAMED_MAX] = {o->config, o->key, o->postgres.passfile, o->postgres.certificate};
    char *copies[NAMED_MAX] = {NULL};
    SandboxPath paths[1 + NAMED_MAX + ELEMENTSOF(system_folders)] = {{o->data, true, true}};
    size_t n = 1;
    int r = 0;

    for (size_t i = 0; i < NAMED_MAX && r == 0; i++) {
        if (!named[i])
            continue;
        copies[i] = strdup(named[i]);
        if (copies[i])
            paths[n++].path = dirname(copies[i]);
        else
            r = -ENOMEM;
    }
    for (size_t i = 0; i < ELEMENTSOF(system_folders); i++)
        paths[n++].path = system_folders[i];
    if (r == 0)
        r = sandbox_files(paths, n);
    for (size_t i = 0; i < NAMED_MAX; i++)
        free(copies[i]);
    return r;
}

int relay_sandbox_enter(const Options *o)
{
    int r = restrict_files(o);

    /* root's own relay may listen on a port of the system's, and own what is in the data folder or not */
    if (r == 0)
        r = sandbox_capabilities(1u << CAP_NET_BIND_SERVICE | 1u << CAP_DAC_OVERRIDE);
    if (r == 0)
        r = sandbox_calls(SANDBOX_WRITE_FILES | SANDBOX_UNIX | SANDBOX_INTERNET | SANDBOX_SERVE);
    if (r < 0)
        log_error("The sandbox: %s", strerror(-r));
    return r;
}

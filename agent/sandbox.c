/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/sandbox.h"

#include <errno.h>
#include <libgen.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hmsg-build.h"
#include "libhmsg/sandbox/sandbox.h"

#define TCTI_DEVICE "device"
#define SELINUX_ACCESS "/sys/fs/selinux/access" /* a question to the policy is written there */

static const char *device_of(const char *tcti)
{
    const char *path;

    if (strncmp(tcti, TCTI_DEVICE, strlen(TCTI_DEVICE)) != 0)
        return NULL;
    path = strchr(tcti, ':');
    /* while it is not there any device may become it */
    return path && access(path + 1, F_OK) == 0 ? path + 1 : "/dev";
}

static int restrict_files(const Places *places)
{
    _cleanup_(freep) char *config = strdup(places->config_file);
    const char *device = device_of(places->tcti);

    if (!config)
        return -ENOMEM;
    const SandboxPath paths[] = {
        {places->data_dir, true}, {device ? device : "/dev/null", true},
        {"/dev/null", true},      {"/dev/urandom", false},
        {dirname(config), false}, {HMSG_SYSCONFDIR, false},
        {"/etc", false},          {"/usr", false},
        {"/lib", false},          {"/lib64", false},
        {"/proc/self", false},    {"/proc/key-users", false},
        {"/proc/sys", false},     {"/sys/fs/selinux", false},
        {SELINUX_ACCESS, true},
    };
    return sandbox_files(paths, ELEMENTSOF(paths));
}

int agent_sandbox_enter(const Places *places)
{
    int r = restrict_files(places);

    /* an agent of root's may have to open the TPM's device */
    if (r == 0)
        r = sandbox_capabilities(1u << CAP_DAC_OVERRIDE);
    return r == 0 ? sandbox_calls(SANDBOX_WRITE_FILES | SANDBOX_UNIX | SANDBOX_KEYRING | SANDBOX_GROUP) : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhmsg/sandbox/sandbox.h"

int sandbox_capabilities(uint32_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return -errno;
    if (syscall(SYS_capget, &header, sets) < 0)
        return -errno;
    if (sets[0].permitted == 0 && sets[1].permitted == 0) /* a service's filter may refuse capset(2) */
        return 0;
    keep &= sets[0].permitted;
    for (size_t i = 0; i < ELEMENTSOF(sets); i++)
        sets[i] = (struct __user_cap_data_struct){0};
    sets[0].effective = sets[0].permitted = keep;
    return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

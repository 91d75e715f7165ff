/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "agent/tpm-group.h"

#define DEVICE "device:/dev/tpmrm"

static bool is_resource_manager(const char *tcti)
{
    const char *number;

    if (strncmp(tcti, DEVICE, sizeof(DEVICE) - 1) != 0)
        return false;
    number = tcti + sizeof(DEVICE) - 1;
    return *number && number[strspn(number, "0123456789")] == '\0';
}

int tpm_group_set_aside(const char *tcti)
{
    const gid_t user = getgid();
    const gid_t group = getegid();

    if (group == user)
        return 0;
    return setresgid(user, user, is_resource_manager(tcti) ? group : user) < 0 ? -errno : 0;
}

int tpm_group_drop(void)
{
    const gid_t user = getgid();

    return setresgid(user, user, user) < 0 ? -errno : 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a sandbox refuses: by seccomp, as if the kernel did not have the call, or by Landlock. */

#include <errno.h>
#include <glib.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAILS_WITH(call, error)                                                                              \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        g_assert_cmpint((long)(call), ==, -1);                                                               \
        g_assert_cmpint(errno, ==, error);                                                                   \
    } while (0)
#define REFUSED(call) FAILS_WITH(call, ENOSYS)
#define DENIED(call) FAILS_WITH(call, EACCES)

static inline bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 2;
}

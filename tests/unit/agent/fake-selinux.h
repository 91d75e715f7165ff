/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel, its policy and what the bus knows of callers, as a test wants them: these functions stand
 * before those of libselinux and libsystemd. */

#include <stdbool.h>

#define FAKE_OWN "user_u:user_r:hmsg_agent_t:s0"
#define FAKE_CALLER "user_u:user_r:user_t:s0"

typedef struct FakeSelinux {
    int enabled, enforcing;
    const char *missing; /* a permission; "hmsg": the class */
    const char *allowed; /* the permissions that FAKE_CALLER has, between spaces */
    unsigned asked;
    bool reloaded;     /* while it is asked, for a policy without the class */
    bool bus_is_blind; /* the bus knows no contexts */
} FakeSelinux;

extern FakeSelinux fake_selinux;

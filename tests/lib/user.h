/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Continuous integration runs as root, where permissions and key quotas do not bite: such tests become an
 * ordinary user first. Each parallel test takes a number of its own, for the key quota is one for each user.
 */

#include <glib.h>
#include <grp.h>
#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

#define TEST_USER_BASE 64100u /* no distribution gives these out */

typedef enum TestUser {
    TEST_USER_QUOTA,
    TEST_USER_FULL,
    TEST_USER_FULL_BEFORE,
    TEST_USER_SECRECY,
    TEST_USER_STRANGER,
    TEST_USER_DEVICE,
} TestUser;

/* For this process, for good; in a child only. An ordinary user stays what he is. */
static inline void test_user_become(TestUser user)
{
    const uid_t id = TEST_USER_BASE + (uid_t)user;

    if (geteuid() != 0)
        return;
    if (setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0)
        g_error("uid %u: cannot be taken on", (unsigned)id);
}

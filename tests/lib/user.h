/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Continuous integration runs as root, where permissions and key quotas do not bite: such tests become an
 * ordinary user first. Each parallel test takes a number of its own, for the key quota is one for each user.
 */

#include <glib.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

#define TEST_USER_BASE 64100u /* no distribution gives these out */

typedef enum TestUser {
    TEST_USER_QUOTA,
    TEST_USER_FULL,
    TEST_USER_FULL_BEFORE,
    TEST_USER_SECRECY,
} TestUser;

static inline void test_user_take_on(uid_t uid, gid_t gid)
{
    if (geteuid() != 0)
        return;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        g_error("uid %u: cannot be taken on", (unsigned)uid);
}

/* For this process, for good; in a child only. An ordinary user stays what he is. */
static inline void test_user_become(TestUser user)
{
    test_user_take_on(TEST_USER_BASE + (uid_t)user, TEST_USER_BASE + (gid_t)user);
}

/* The same, for what needs an account: dbus-daemon turns away users that it cannot look up. */
static inline void test_user_become_nobody(void)
{
    const struct passwd *nobody = getpwnam("nobody");

    if (geteuid() == 0 && !nobody)
        g_error("there is no user nobody");
    if (nobody)
        test_user_take_on(nobody->pw_uid, nobody->pw_gid);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhmsg/base/file.h"
#include "libhmsg/sandbox/sandbox.h"

#define VERSION_LEAST 2 /* the first that knows LANDLOCK_ACCESS_FS_REFER */
#define OF_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)
#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITING                                                                                              \
    (READING | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |   \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER)
#define ALL ((LANDLOCK_ACCESS_FS_REFER << 1) - 1) /* that there is in this version */

static int allow(int rules, const SandboxPath *p)
{
    _cleanup_(fd_closep) int fd = open(p->path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr beneath = {.parent_fd = fd};
    struct stat st;

    if (fd < 0)
        return errno == ENOMEM || errno == EMFILE ? -errno : 0; /* not every system has it */
    if (fstat(fd, &st) < 0)
        return -errno;
    beneath.allowed_access = p->writable ? WRITING : READING;
    if (p->sockets)
        beneath.allowed_access |= LANDLOCK_ACCESS_FS_MAKE_SOCK;
    if (!S_ISDIR(st.st_mode))
        beneath.allowed_access &= OF_FILES;
    return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0 ? -errno : 0;
}

int sandbox_files(const SandboxPath *paths, size_t n)
{
    static const struct landlock_ruleset_attr all = {.handled_access_fs = ALL};
    _cleanup_(fd_closep) int rules = -1;
    int r = 0;

    /* a kernel without it, or that has it switched off, says ENOSYS or EOPNOTSUPP */
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < VERSION_LEAST)
        return 0;
    rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
    if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    for (size_t i = 0; i < n && r == 0; i++)
        r = allow(rules, &paths[i]);
    if (r == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        r = -errno;
    return r;
}

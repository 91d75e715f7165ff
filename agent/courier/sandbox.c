/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "libhmsg/base/file.h"
#include "libhmsg/base/macro.h"
#include "libhmsg/wire/limits.h"

#define NETLINK_ROUTING 0 /* NETLINK_ROUTE, by which getaddrinfo(3) learns what addresses there are */
#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* All that there is in the first version of Landlock. */
#define ALL_RIGHTS ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

/* What opens, changes or makes something by its path, besides open(2) and openat(2). */
static const int changes[] = {
    SCMP_SYS(creat),     SCMP_SYS(openat2),      SCMP_SYS(open_by_handle_at),
    SCMP_SYS(truncate),  SCMP_SYS(unlink),       SCMP_SYS(unlinkat),
    SCMP_SYS(rename),    SCMP_SYS(renameat),     SCMP_SYS(renameat2),
    SCMP_SYS(link),      SCMP_SYS(linkat),       SCMP_SYS(symlink),
    SCMP_SYS(symlinkat), SCMP_SYS(mkdir),        SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),     SCMP_SYS(mknod),        SCMP_SYS(mknodat),
    SCMP_SYS(chmod),     SCMP_SYS(fchmod),       SCMP_SYS(fchmodat),
    SCMP_SYS(chown),     SCMP_SYS(lchown),       SCMP_SYS(fchown),
    SCMP_SYS(fchownat),  SCMP_SYS(setxattr),     SCMP_SYS(lsetxattr),
    SCMP_SYS(fsetxattr), SCMP_SYS(removexattr),  SCMP_SYS(lremovexattr),
    SCMP_SYS(utime),     SCMP_SYS(fremovexattr), SCMP_SYS(utimes),
    SCMP_SYS(futimesat), SCMP_SYS(utimensat),    SCMP_SYS(mq_open),
    SCMP_SYS(mq_unlink), SCMP_SYS(shmget),       SCMP_SYS(shmat),
    SCMP_SYS(msgget),    SCMP_SYS(semget),
};

/* Other processes, keys, the kernel itself. io_uring would do all of this past the filter. */
static const int others[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(kill),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(tkill),
    SCMP_SYS(rt_sigqueueinfo),
    SCMP_SYS(rt_tgsigqueueinfo),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(kcmp),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(prlimit64),
    SCMP_SYS(fanotify_init),
#ifndef __SANITIZE_ADDRESS__
    SCMP_SYS(ptrace), /* by which LeakSanitizer stops our own threads */
#endif
};

/* Folders and files that are read to find hosts: getaddrinfo(3) and its modules, and OpenSSL's settings. */
static const char *const readable[] = {
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/connman",
    "/proc/self",
    "/proc/sys/vm/overcommit_memory",
    "/dev/null",
    "/dev/urandom",
};

static int forbid(scmp_filter_ctx filter, const int *calls, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), calls[i], 0);
    return r;
}

/* One rule for each: libseccomp takes one comparison of an argument in a rule. */
static int forbid_sockets(scmp_filter_ctx filter)
{
    int r = 0;

    for (uint64_t family = 0; family < AF_MAX && r == 0; family++)
        if (family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
            r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                                 SCMP_A0(SCMP_CMP_EQ, family));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                             SCMP_A0(SCMP_CMP_GE, AF_MAX));
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 2,
                             SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_NE, NETLINK_ROUTING));
    return r;
}

static int forbid_flag(scmp_filter_ctx filter, uint64_t mask, uint64_t value)
{
    int r;

    r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(open), 1,
                         SCMP_A1(SCMP_CMP_MASKED_EQ, mask, value));
    return r == 0 ? seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 1,
                                     SCMP_A2(SCMP_CMP_MASKED_EQ, mask, value))
                  : r;
}

static int forbid_writing(scmp_filter_ctx filter)
{
    static const uint64_t flags[] = {O_CREAT, O_TRUNC};
    int r = 0;

    for (uint64_t mode = 1; mode <= O_ACCMODE && r == 0; mode++) /* all but O_RDONLY */
        r = forbid_flag(filter, O_ACCMODE, mode);
    for (size_t i = 0; i < ELEMENTSOF(flags) && r == 0; i++)
        r = forbid_flag(filter, flags[i], flags[i]);
    return r;
}

/* Characters that a terminal takes for its user's. */
static int forbid_typing(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(ioctl), 1,
                            SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCSTI));
}

static int filter_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r;

    if (!filter)
        return -ENOMEM;
    r = forbid(filter, changes, ELEMENTSOF(changes));
    if (r == 0)
        r = forbid(filter, others, ELEMENTSOF(others));
    if (r == 0)
        r = forbid_sockets(filter);
    if (r == 0)
        r = forbid_writing(filter);
    if (r == 0)
        r = forbid_typing(filter);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

static int allow_reading(int rules, const char *path)
{
    _cleanup_(fd_closep) int fd = open(path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr beneath = {.allowed_access = READ_RIGHTS, .parent_fd = fd};
    struct stat st;

    if (fd < 0)
        return errno == ENOMEM ? -ENOMEM : 0; /* not every system has it */
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        beneath.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
    return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0 ? -errno : 0;
}

static int restrict_files(void)
{
    static const struct landlock_ruleset_attr all = {.handled_access_fs = ALL_RIGHTS};
    _cleanup_(fd_closep) int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
    int r = 0;

    if (rules < 0) /* a kernel without it, or that has it switched off */
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -errno;
    for (size_t i = 0; i < ELEMENTSOF(readable) && r == 0; i++)
        r = allow_reading(rules, readable[i]);
    if (r == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        r = -errno;
    return r;
}

int courier_sandbox_enter(void)
{
    static const struct rlimit largest = {ATTACHMENT_SIZE_MAX, ATTACHMENT_SIZE_MAX};
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_FSIZE, &largest) < 0)
        return -errno;
    /* what is too large is an error of the call */
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return -errno;
    r = restrict_files();
    return r == 0 ? filter_calls() : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>

#include "libhmsg/sandbox/sandbox.h"

#define NETLINK_ROUTING 0 /* NETLINK_ROUTE, by which getaddrinfo(3) learns what addresses there are */

/* A call of libseccomp's name that the machine does not have is left out by it. */
static const int memory[] = {
    SCMP_SYS(brk),     SCMP_SYS(mmap),       SCMP_SYS(munmap),  SCMP_SYS(mprotect),
    SCMP_SYS(mremap),  SCMP_SYS(madvise),    SCMP_SYS(mlock),   SCMP_SYS(mlock2),
    SCMP_SYS(munlock), SCMP_SYS(membarrier), SCMP_SYS(sysinfo), SCMP_SYS(getrandom),
};

static const int descriptors[] = {
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(close_range),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(copy_file_range),
    SCMP_SYS(sendfile),
    SCMP_SYS(splice),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(memfd_create),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(epoll_create),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    SCMP_SYS(signalfd4),
    SCMP_SYS(inotify_init1),
    SCMP_SYS(inotify_add_watch),
    SCMP_SYS(inotify_rm_watch),
};

static const int looking[] = {
    SCMP_SYS(stat),     SCMP_SYS(lstat),      SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(statfs),   SCMP_SYS(access),     SCMP_SYS(faccessat),  SCMP_SYS(faccessat2),
    SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(getcwd),
    SCMP_SYS(getxattr), SCMP_SYS(lgetxattr),  SCMP_SYS(fgetxattr),  SCMP_SYS(umask),
};

static const int itself[] = {
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getpgrp),
    SCMP_SYS(getpgid),
    SCMP_SYS(getsid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getresuid),
    SCMP_SYS(getresgid),
    SCMP_SYS(getgroups),
    SCMP_SYS(getrlimit),
    SCMP_SYS(getrusage),
    SCMP_SYS(getcpu),
    SCMP_SYS(getpriority),
    SCMP_SYS(capget),
    SCMP_SYS(times),
    SCMP_SYS(uname),
    SCMP_SYS(prctl),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(get_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(futex),
    SCMP_SYS(futex_waitv),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(sched_get_priority_min),
    SCMP_SYS(sched_get_priority_max),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(wait4),
    SCMP_SYS(waitid),
    SCMP_SYS(tgkill), /* abort(3), and threads among themselves */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigpending),
    SCMP_SYS(rt_sigsuspend),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
#ifdef __SANITIZE_ADDRESS__
    /* LeakSanitizer stops our threads from a process of its own */
    SCMP_SYS(clone),
    SCMP_SYS(getdents),
    SCMP_SYS(ptrace),
#endif
};

static const int connections[] = {
    SCMP_SYS(socketpair),  SCMP_SYS(bind),        SCMP_SYS(connect),    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),     SCMP_SYS(sendmmsg),    SCMP_SYS(recvfrom),   SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),    SCMP_SYS(shutdown),    SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname), SCMP_SYS(getpeername),
};

static const int serving[] = {SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4)};

static const int changes[] = {
    SCMP_SYS(open),     SCMP_SYS(openat),    SCMP_SYS(creat),     SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    SCMP_SYS(rename),   SCMP_SYS(renameat),  SCMP_SYS(renameat2), SCMP_SYS(mkdir),  SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),    SCMP_SYS(link),      SCMP_SYS(linkat),    SCMP_SYS(chmod),  SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat), SCMP_SYS(utimensat), SCMP_SYS(fchown), /* SQLite gives its files the owner of the
                                                                  database when root runs it */
};

static const int keyring[] = {SCMP_SYS(keyctl), SCMP_SYS(add_key)};

static const int groups[] = {SCMP_SYS(setfsgid)};

static int allow(scmp_filter_ctx filter, const int *calls, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return r;
}
#define ALLOW(filter, calls) allow(filter, calls, ELEMENTSOF(calls))

/* Threads, and no processes. The flags of clone3(2) cannot be seen: the C library goes on to clone(2). */
static int allow_threads(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                            SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
}

/* The limits of this process are read, getrlimit(3), and not set. */
static int allow_limits(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, SCMP_A0(SCMP_CMP_EQ, 0),
                            SCMP_A2(SCMP_CMP_EQ, 0));
}

static int allow_reading(scmp_filter_ctx filter)
{
    const uint64_t mask = O_ACCMODE | O_CREAT | O_TRUNC;
    int r;

    r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                         SCMP_A1(SCMP_CMP_MASKED_EQ, mask, O_RDONLY));
    return r == 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                     SCMP_A2(SCMP_CMP_MASKED_EQ, mask, O_RDONLY))
                  : r;
}

/* What is harmless: others type for the user of a terminal, or speak to devices. */
static int allow_ioctl(scmp_filter_ctx filter)
{
    static const uint64_t harmless[] = {FIONREAD, FIONBIO, TCGETS}; /* the last is isatty(3) */
    int r = 0;

    for (size_t i = 0; i < ELEMENTSOF(harmless) && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, harmless[i]));
    return r;
}

static int allow_family(scmp_filter_ctx filter, uint64_t family)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family));
}

static int allow_internet(scmp_filter_ctx filter)
{
    int r = allow_family(filter, AF_INET);

    if (r == 0)
        r = allow_family(filter, AF_INET6);
    return r == 0 ? seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                                     SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTING))
                  : r;
}

static int fill(scmp_filter_ctx filter, unsigned may)
{
    int r = ALLOW(filter, memory);

    if (r == 0)
        r = ALLOW(filter, descriptors);
    if (r == 0)
        r = ALLOW(filter, looking);
    if (r == 0)
        r = ALLOW(filter, itself);
    if (r == 0)
        r = ALLOW(filter, connections);
    if (r == 0)
        r = allow_threads(filter);
    if (r == 0)
        r = allow_limits(filter);
    if (r == 0)
        r = allow_ioctl(filter);
    if (r == 0)
        r = may & SANDBOX_WRITE_FILES ? ALLOW(filter, changes) : allow_reading(filter);
    if (r == 0 && may & SANDBOX_UNIX)
        r = allow_family(filter, AF_UNIX);
    if (r == 0 && may & SANDBOX_INTERNET)
        r = allow_internet(filter);
    if (r == 0 && may & SANDBOX_SERVE)
        r = ALLOW(filter, serving);
    if (r == 0 && may & SANDBOX_KEYRING)
        r = ALLOW(filter, keyring);
    if (r == 0 && may & SANDBOX_GROUP)
        r = ALLOW(filter, groups);
    return r;
}

int sandbox_calls(unsigned may)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int r;

    if (!filter)
        return -ENOMEM;
    r = fill(filter, may);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* attempt WHAT ARGUMENT..., attempt run PROGRAM ARGUMENT...: tries what should be refused. Exit status 0: it
 * went; 13: refused with EACCES or EPERM; 1: it failed otherwise; 2: usage. Run in the guest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define REFUSED 13
#define USAGE 2

/* -1: not a number above 0 */
static int parse_number(const char *text)
{
    char *end = NULL;
    long n = strtol(text, &end, 10);

    return *text && *end == '\0' && n > 0 && n <= INT32_MAX ? (int)n : -1;
}

static int try_open(const char *path, const char *ignored)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -1 : close(fd);
}

static int try_open_write(const char *path, const char *ignored)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    return fd < 0 ? -1 : close(fd);
}

static int try_ptrace(const char *pid, const char *ignored)
{
    return (int)ptrace(PTRACE_SEIZE, parse_number(pid), NULL, NULL);
}

static int try_memory(const char *pid, const char *ignored)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%s/mem", pid);
    return try_open(path, NULL);
}

static int try_read_memory(const char *pid, const char *ignored)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)4096, 1};

    return process_vm_readv(parse_number(pid), &here, 1, &there, 1, 0) < 0 ? -1 : 0;
}

static int try_take_fd(const char *pid, const char *fd)
{
    int process = (int)syscall(SYS_pidfd_open, parse_number(pid), 0);

    return process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, parse_number(fd), 0);
}

static int try_socket(const char *family, const char *ignored)
{
    return socket(strcmp(family, "inet6") == 0 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int try_relabel(const char *path, const char *context)
{
    return setxattr(path, "security.selinux", context, strlen(context) + 1, 0);
}

static int try_keyring(const char *description, const char *ignored)
{
    return syscall(SYS_add_key, "user", description, "x", 1, KEY_SPEC_PROCESS_KEYRING) < 0 ? -1 : 0;
}

static const struct {
    const char *name;
    int n_arguments;
    int (*run)(const char *a, const char *b);
} attempts[] = {
    {"open", 1, try_open},     {"open-write", 1, try_open_write},   {"ptrace", 1, try_ptrace},
    {"memory", 1, try_memory}, {"read-memory", 1, try_read_memory}, {"take-fd", 2, try_take_fd},
    {"socket", 1, try_socket}, {"relabel", 2, try_relabel},         {"keyring", 1, try_keyring},
};

int main(int argc, char **argv)
{
    /* what may become another program by its label */
    if (argc > 2 && strcmp(argv[1], "run") == 0) {
        (void)execv(argv[2], argv + 2);
        return errno == EACCES || errno == EPERM ? REFUSED : 1;
    }
    for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
        if (argc < 3 || strcmp(argv[1], attempts[i].name) != 0 || argc != 2 + attempts[i].n_arguments)
            continue;
        if (attempts[i].run(argv[2], argc > 3 ? argv[3] : NULL) >= 0)
            return 0;
        int error = errno;
        printf("%s %s: %s\n", argv[1], argv[2], strerror(error));
        return error == EACCES || error == EPERM ? REFUSED : 1;
    }
    fputs("Usage: attempt WHAT ARGUMENT...\n", stderr);
    return USAGE;
}

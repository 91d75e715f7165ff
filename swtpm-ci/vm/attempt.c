/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* attempt WHAT ARGUMENT..., attempt run PROGRAM ARGUMENT...: tries what should be refused, or looks at what
 * only some domain may. Exit status 0: it went; 13: refused with EACCES or EPERM; 1: it failed otherwise; 2:
 * usage. Run in the guest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define REFUSED 13
#define USAGE 2
#define LOOK_SIZE_MAX (64L << 20) /* bytes of a file that is looked into */

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

/* Mode, owner and label of a file, in one line. */
static int try_describe(const char *path, const char *ignored)
{
    char label[256] = "";
    struct stat st;

    if (stat(path, &st) < 0 || getxattr(path, "security.selinux", label, sizeof(label) - 1) < 0)
        return -1;
    printf("%o %u %s\n", (unsigned)st.st_mode & 07777, (unsigned)st.st_uid, label);
    return 0;
}

/* 1: it stands somewhere in the file. */
static int find_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "re");
    char *data = malloc(LOOK_SIZE_MAX);
    size_t n;
    int found;

    if (!f || !data) {
        free(data);
        if (f)
            (void)fclose(f);
        return -1;
    }
    n = fread(data, 1, LOOK_SIZE_MAX, f);
    found = memmem(data, n, text, strlen(text)) != NULL;
    if (ferror(f) || n == 0 || n == LOOK_SIZE_MAX) {
        errno = EIO; /* then it says nothing */
        found = -1;
    }
    free(data);
    (void)fclose(f);
    return found;
}

static int try_contains(const char *path, const char *text)
{
    int found = find_text(path, text);

    if (found == 0)
        errno = ENODATA;
    return found == 1 ? 0 : -1;
}

static int try_lacks(const char *path, const char *text)
{
    int found = find_text(path, text);

    if (found == 1)
        errno = EEXIST;
    return found == 0 ? 0 : -1;
}

static const struct {
    const char *name;
    int n_arguments;
    int (*run)(const char *a, const char *b);
} attempts[] = {
    {"open", 1, try_open},         {"open-write", 1, try_open_write},   {"ptrace", 1, try_ptrace},
    {"memory", 1, try_memory},     {"read-memory", 1, try_read_memory}, {"take-fd", 2, try_take_fd},
    {"socket", 1, try_socket},     {"relabel", 2, try_relabel},         {"keyring", 1, try_keyring},
    {"describe", 1, try_describe}, {"contains", 2, try_contains},       {"lacks", 2, try_lacks},
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

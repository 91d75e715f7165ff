/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What somebody could do who has taken over the courier. */

#include "agent/courier/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "libhmsg/base/file.h"
#include "libhmsg/wire/limits.h"
#include "tests/lib/child.h"
#include "tests/lib/refused.h"

/* A file of the user's, of which the courier has a descriptor, as for a message. */
typedef struct Fixture {
    char *path;
    int fd;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->fd = g_file_open_tmp("hmsg-XXXXXX", &f->path, NULL);
    g_assert_cmpint(f->fd, >=, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    close(f->fd);
    g_assert_cmpint(unlink(f->path), ==, 0);
    g_free(f->path);
}

static void try_sockets(void *data)
{
    int fd;

    g_assert_cmpint(courier_sandbox_enter(), ==, 0);
    /* the session bus, the agent's own, the name service cache */
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
    REFUSED(socket(AF_UNIX, SOCK_DGRAM, 0));
    REFUSED(socket(AF_VSOCK, SOCK_STREAM, 0));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 15)); /* NETLINK_KOBJECT_UEVENT */
    REFUSED(socket(AF_MAX + 1, SOCK_STREAM, 0));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    fd = socket(AF_NETLINK, SOCK_RAW, 0);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
}

static void try_files(void *data)
{
    const Fixture *f = data;
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", f->fd);

    g_assert_cmpint(courier_sandbox_enter(), ==, 0);
    REFUSED(open("/dev/null", O_WRONLY)); /* as /dev/tpmrm0 */
    REFUSED(open(f->path, O_RDWR));
    REFUSED(open(f->path, O_RDONLY | O_TRUNC));
    REFUSED(open(self, O_WRONLY));
    REFUSED(openat(AT_FDCWD, "/tmp/hmsg-new", O_RDONLY | O_CREAT, 0600));
    REFUSED(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", NULL, 0));
    REFUSED(unlink(f->path));
    REFUSED(rename(f->path, "/tmp/hmsg-other"));
    REFUSED(chmod(f->path, 0666));
    REFUSED(truncate(f->path, 0));
    REFUSED(mkdir("/tmp/hmsg-folder", 0700));
    REFUSED(symlink("/etc", "/tmp/hmsg-link"));
}

static void try_reading(void *data)
{
    const Fixture *f = data;

    if (!has_landlock())
        return;
    g_assert_cmpint(courier_sandbox_enter(), ==, 0);
    DENIED(open(f->path, O_RDONLY));
    DENIED(open("/var", O_RDONLY | O_DIRECTORY));
    DENIED(open("/proc/1/environ", O_RDONLY));
    g_assert_cmpint(open("/etc/passwd", O_RDONLY), >=, 0);
}

static void try_others(void *data)
{
    char *const none[] = {NULL};
    struct iovec v = {0};

    g_assert_cmpint(courier_sandbox_enter(), ==, 0);
    REFUSED(execve("/bin/true", none, none));
    REFUSED(kill(getppid(), 0));
    REFUSED(process_vm_readv(getppid(), &v, 1, &v, 1, 0));
    REFUSED(syscall(SYS_keyctl, 0, -3, 0));
    REFUSED(syscall(SYS_add_key, "user", "x", "x", 1, -3));
    REFUSED(syscall(SYS_io_uring_setup, 1, NULL));
    REFUSED(syscall(SYS_unshare, 0));
    REFUSED(ioctl(STDERR_FILENO, TIOCSTI, "x"));
#ifndef __SANITIZE_ADDRESS__
    REFUSED(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
#endif
}

/* The descriptors that it was given: written, but not without end. */
static void try_given(void *data)
{
    const Fixture *f = data;

    g_assert_cmpint(courier_sandbox_enter(), ==, 0);
    g_assert_cmpint(pwrite(f->fd, "x", 1, 0), ==, 1);
    g_assert_cmpint(pwrite(f->fd, "x", 1, (off_t)ATTACHMENT_SIZE_MAX - 1), ==, 1);
    g_assert_cmpint(pwrite(f->fd, "x", 1, (off_t)ATTACHMENT_SIZE_MAX), ==, -1);
    g_assert_cmpint(errno, ==, EFBIG);
    g_assert_cmpint(ftruncate(f->fd, (off_t)ATTACHMENT_SIZE_MAX + 1), ==, -1);
}

/* What it is for still works. */
static void try_hosts(void *data)
{
    struct addrinfo *found = NULL;

    g_assert_cmpint(courier_sandbox_enter(), ==, 0);
    g_assert_cmpint(getaddrinfo("localhost", "7443", NULL, &found), ==, 0);
    g_assert_nonnull(found);
    freeaddrinfo(found);
}

#define TEST(name)                                                                                           \
    static void test_##name(Fixture *f, gconstpointer data)                                                  \
    {                                                                                                        \
        test_in_child(try_##name, f);                                                                        \
    }
TEST(sockets)
TEST(files)
TEST(reading)
TEST(others)
TEST(given)
TEST(hosts)

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/courier/sandbox/sockets", test_sockets}, {"/courier/sandbox/files", test_files},
        {"/courier/sandbox/reading", test_reading}, {"/courier/sandbox/others", test_others},
        {"/courier/sandbox/given", test_given},     {"/courier/sandbox/hosts", test_hosts},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].f, tear_down);
    return g_test_run();
}

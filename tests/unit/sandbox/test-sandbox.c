/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/sandbox/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "tests/lib/child.h"
#include "tests/lib/refused.h"

#define EVERYTHING                                                                                           \
    (SANDBOX_WRITE_FILES | SANDBOX_UNIX | SANDBOX_INTERNET | SANDBOX_SERVE | SANDBOX_KEYRING | SANDBOX_GROUP)

static void given(int fd)
{
    g_assert_cmpint(fd, >=, 0);
    close(fd);
}

static void try_nothing(void *data)
{
    g_assert_cmpint(sandbox_calls(0), ==, 0);
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
    REFUSED(listen(0, 1));
    REFUSED(open("/dev/null", O_WRONLY));
    REFUSED(open("/tmp", O_TMPFILE | O_RDWR, 0600));
    REFUSED(unlink("/tmp/hmsg-nothing"));
    REFUSED(syscall(SYS_keyctl, 0, -3, 0));
    given(open("/dev/null", O_RDONLY));
    g_assert_cmpint(sandbox_calls(SANDBOX_UNIX), <, 0); /* what is gone is gone: no second filter */
}

static void try_everything(void *data)
{
    char *const none[] = {NULL};
    struct iovec v = {0};
    struct rlimit limit;

    g_assert_cmpint(sandbox_calls(EVERYTHING), ==, 0);
    REFUSED(execve("/bin/true", none, none));
    REFUSED(execveat(AT_FDCWD, "/bin/true", none, none, 0));
#ifndef __SANITIZE_ADDRESS__
    REFUSED(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0));
    REFUSED(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
#endif
    REFUSED(syscall(SYS_clone3, NULL, 0));
    REFUSED(kill(getppid(), 0));
    REFUSED(process_vm_readv(getppid(), &v, 1, &v, 1, 0));
    REFUSED(syscall(SYS_pidfd_open, getppid(), 0));
    REFUSED(syscall(SYS_pidfd_getfd, 0, 0, 0));
    REFUSED(syscall(SYS_io_uring_setup, 1, NULL));
    REFUSED(syscall(SYS_bpf, 0, NULL, 0));
    REFUSED(syscall(SYS_userfaultfd, 0));
    REFUSED(unshare(CLONE_NEWUSER));
    REFUSED(symlink("/etc", "/tmp/hmsg-link"));
    REFUSED(mknod("/tmp/hmsg-node", S_IFIFO | 0600, 0));
    REFUSED(ioctl(STDERR_FILENO, TIOCSTI, "x"));
    REFUSED(socket(AF_VSOCK, SOCK_STREAM, 0));
    REFUSED(socket(AF_ALG, SOCK_SEQPACKET, 0));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 15)); /* NETLINK_KOBJECT_UEVENT */
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    REFUSED(setrlimit(RLIMIT_NOFILE, &limit));
    given(socket(AF_UNIX, SOCK_STREAM, 0));
    given(socket(AF_INET, SOCK_STREAM, 0));
    given(socket(AF_INET6, SOCK_STREAM, 0));
    given(socket(AF_NETLINK, SOCK_RAW, 0));
    given(open("/dev/null", O_WRONLY));
}

static void *in_thread(void *data)
{
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    return NULL;
}

static void try_threads(void *data)
{
    pthread_t thread;

    g_assert_cmpint(sandbox_calls(SANDBOX_UNIX), ==, 0);
    g_assert_cmpint(pthread_create(&thread, NULL, in_thread, NULL), ==, 0);
    g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
}

static void try_files(void *data)
{
    const char *folder = data;
    g_autofree char *own = g_build_filename(folder, "own", NULL);
    g_autofree char *sub = g_build_filename(own, "sub", NULL);
    g_autofree char *read = g_build_filename(folder, "read", NULL);
    g_autofree char *mine = g_build_filename(own, "file", NULL), *moved = g_build_filename(sub, "file", NULL);
    g_autofree char *theirs = g_build_filename(read, "file", NULL);
    g_autofree char *other = g_build_filename(folder, "other", NULL);
    const SandboxPath paths[] = {
        {.path = own, .writable = true}, {.path = read}, {.path = "/nonexistent", .writable = true}};

    if (!has_landlock())
        return;
    g_assert_cmpint(sandbox_files(paths, G_N_ELEMENTS(paths)), ==, 0);
    given(open(mine, O_RDWR | O_CREAT, 0600));
    g_assert_cmpint(mkdir(sub, 0700), ==, 0);
    g_assert_cmpint(rename(mine, moved), ==, 0);
    g_assert_cmpint(unlink(moved), ==, 0);
    g_assert_cmpint(rmdir(sub), ==, 0);
    given(open(theirs, O_RDONLY));
    DENIED(open(theirs, O_WRONLY));
    DENIED(unlink(theirs));
    DENIED(symlink("/etc", mine));
    DENIED(open(other, O_RDONLY));
    DENIED(open("/etc/passwd", O_RDONLY));
    DENIED(mkdir(g_build_filename(folder, "new", NULL), 0700));
}

static uint64_t permitted(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};

    g_assert_cmpint(syscall(SYS_capget, &header, sets), ==, 0);
    g_assert_cmpuint(sets[0].effective, ==, sets[0].permitted);
    return (uint64_t)sets[1].permitted << 32 | sets[0].permitted;
}

static void try_capabilities(void *data)
{
    uint64_t before = permitted();

    g_assert_cmpint(sandbox_capabilities(1u << CAP_DAC_OVERRIDE | 1u << CAP_KILL), ==, 0);
    g_assert_cmpuint(permitted(), ==, before & (1u << CAP_DAC_OVERRIDE | 1u << CAP_KILL));
    g_assert_cmpint(sandbox_capabilities(0), ==, 0);
    g_assert_cmpuint(permitted(), ==, 0);
}

typedef struct Try {
    const char *path;
    void (*f)(void *data);
} Try;

static void test_in(gconstpointer data)
{
    test_in_child(((const Try *)data)->f, NULL);
}

static void test_files(void)
{
    g_autofree char *folder = g_dir_make_tmp("hmsg-test.XXXXXX", NULL);
    g_autofree char *own = g_build_filename(folder, "own", NULL),
                    *read = g_build_filename(folder, "read", NULL);
    g_autofree char *file = g_build_filename(read, "file", NULL),
                    *other = g_build_filename(folder, "other", NULL);

    g_assert_cmpint(mkdir(own, 0700), ==, 0);
    g_assert_cmpint(mkdir(read, 0700), ==, 0);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_assert_true(g_file_set_contents(other, "x", 1, NULL));
    if (!has_landlock())
        g_test_skip("this kernel has no Landlock");
    test_in_child(try_files, folder);
    g_assert_cmpint(unlink(file), ==, 0);
    g_assert_cmpint(unlink(other), ==, 0);
    g_assert_cmpint(rmdir(own), ==, 0);
    g_assert_cmpint(rmdir(read), ==, 0);
    g_assert_cmpint(rmdir(folder), ==, 0);
}

int main(int argc, char **argv)
{
    static const Try tries[] = {
        {"/sandbox/calls/nothing", try_nothing},
        {"/sandbox/calls/everything", try_everything},
        {"/sandbox/calls/threads", try_threads},
        {"/sandbox/capabilities", try_capabilities},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tries); i++)
        g_test_add_data_func(tries[i].path, &tries[i], test_in);
    g_test_add_func("/sandbox/files", test_files);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "tests/lib/child.h"

static void try_socket(int family, int expected)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    g_assert_cmpint(error, ==, expected);
}

static void try_sockets(void *data)
{
    int pair[2];

    g_assert_cmpint(sandbox_enter(), ==, 0);
    try_socket(AF_INET, EACCES);
    try_socket(AF_INET6, EACCES);
    try_socket(AF_NETLINK, EACCES);
    try_socket(AF_UNIX, 0);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    g_assert_cmpint(syscall(SYS_io_uring_setup, 1, NULL), ==, -1);
    g_assert_cmpint(errno, ==, EACCES);
}

static void try_programs(void *data)
{
    char *const argv[] = {NULL}, *const environment[] = {NULL};

    g_assert_cmpint(sandbox_enter(), ==, 0);
    g_assert_cmpint(execve("/bin/true", argv, environment), ==, -1);
    g_assert_cmpint(errno, ==, EACCES);
    g_assert_cmpint(execveat(AT_FDCWD, "/bin/true", argv, environment, 0), ==, -1);
    g_assert_cmpint(errno, ==, EACCES);
}

static void *in_thread(void *data)
{
    try_socket(AF_INET, EACCES);
    return NULL;
}

static void try_thread(void *data)
{
    pthread_t thread;

    g_assert_cmpint(sandbox_enter(), ==, 0);
    g_assert_cmpint(pthread_create(&thread, NULL, in_thread, NULL), ==, 0);
    g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
}

static void test_sockets(void)
{
    test_in_child(try_sockets, NULL);
}

static void test_programs(void)
{
    test_in_child(try_programs, NULL);
}

static void test_thread(void)
{
    test_in_child(try_thread, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/sandbox/sockets", test_sockets);
    g_test_add_func("/agent/sandbox/programs", test_programs);
    g_test_add_func("/agent/sandbox/threads", test_thread);
    return g_test_run();
}

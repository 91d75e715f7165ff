/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/listen.h"

static void test_open(void)
{
    g_autofree char *again = NULL;
    uint16_t port = 0;
    int fd = -1, second = -1;

    g_assert_cmpint(listen_open("127.0.0.1:0", &fd), ==, 0);
    g_assert_cmpint(listen_port(fd, &port), ==, 0);
    g_assert_cmpuint(port, >, 0);
    g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    again = g_strdup_printf("127.0.0.1:%u", port);
    g_assert_cmpint(listen_open(again, &second), ==, -EADDRINUSE);
    close(fd);
    g_assert_cmpint(listen_open(again, &second), ==, 0);
    close(second);
}

static void test_ipv6(void)
{
    uint16_t port = 0;
    int fd = -1;
    int r = listen_open("[::1]:0", &fd);

    if (r < 0) {
        g_test_skip("no IPv6 here");
        return;
    }
    g_assert_cmpint(listen_port(fd, &port), ==, 0);
    g_assert_cmpuint(port, >, 0);
    close(fd);
}

static void test_bad(void)
{
    static const char *const bad[] = {
        "",      ":80",     "127.0.0.1", "127.0.0.1:",   "127.0.0.1:a",     "127.0.0.1:-1",  "::1:80",
        "[::1]", "[::1]80", "[]:80",     "localhost:80", "127.0.0.1:65536", "127.0.0.1: 80", "256.0.0.0:80",
    };
    int fd = -1;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(listen_address_valid(bad[i]));
        g_assert_cmpint(listen_open(bad[i], &fd), ==, -EINVAL);
    }
    g_assert_cmpint(fd, ==, -1);
    g_assert_true(listen_address_valid("[::]:7443"));
}

static void test_nothing_inherited(void)
{
    int fds[2];

    g_unsetenv("LISTEN_FDS");
    g_assert_cmpint(listen_inherited(fds, 2), ==, 0);
}

/* In a process of its own, since descriptor 3 must be the socket. */
static int inherit(int fd, size_t max)
{
    g_autofree char *pid = g_strdup_printf("%d", getpid());
    int fds[2] = {-1, -1};

    if (dup2(fd, 3) < 0)
        return -errno;
    g_setenv("LISTEN_PID", pid, TRUE);
    g_setenv("LISTEN_FDS", "1", TRUE);
    int r = listen_inherited(fds, max);
    if (r == 1 && (fds[0] != 3 || !(fcntl(3, F_GETFL) & O_NONBLOCK)))
        return -EPROTO;
    return r;
}

static void expect_inherited(int fd, size_t max, int expected)
{
    pid_t child = fork();
    int status = 0;

    if (child == 0)
        _exit(inherit(fd, max) == expected ? 0 : 1);
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
}

static void test_inherited(void)
{
    int pair[2];
    int fd = -1;

    g_assert_cmpint(listen_open("127.0.0.1:0", &fd), ==, 0);
    g_assert_cmpint(fcntl(fd, F_SETFL, 0), ==, 0); /* systemd hands over sockets that block */
    expect_inherited(fd, 2, 1);
    expect_inherited(fd, 0, -E2BIG);
    close(fd);
    g_assert_cmpint(pipe(pair), ==, 0);
    expect_inherited(pair[0], 2, -EINVAL);
    close(pair[0]);
    close(pair[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/server/listen/open", test_open);
    g_test_add_func("/server/listen/ipv6", test_ipv6);
    g_test_add_func("/server/listen/bad", test_bad);
    g_test_add_func("/server/listen/inherited", test_inherited);
    g_test_add_func("/server/listen/nothing-inherited", test_nothing_inherited);
    return g_test_run();
}

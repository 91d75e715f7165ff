/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/app.h"
#include "agent/launcher.h"
#include "agent/pinentry.h"
#include "agent/tpm-group.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"

enum {
    LAUNCH_COURIER = 1, /* the closed list */
    LAUNCH_PINENTRY,
    LAUNCH_QUESTION, /* to pinentry too */
    LAUNCH_LOOK,     /* no program: a process of its own for it */
    LAUNCH_END,
};

#define PASSED_FD 3

typedef struct Programs {
    const char *courier, *pinentry;
} Programs;

/* What is sent to the launcher; the text may be shorter: a question, or a process id. */
typedef struct Order {
    uint8_t what;
    char text[PINENTRY_TEXT_MAX + 1];
} Order;

struct Launcher {
    int fd;
    pid_t pid;
};

/* In the grandchild: it ends with the launcher, which ends with the agent. */
static bool child_begin(void)
{
    sigset_t none;

    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return false;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    return true;
}

/* Comes back only when the program cannot be started. */
static void child_exec(const char *program, int fd)
{
    static const char *const environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", NULL};
    const char *argv[] = {program, NULL};
    int null;

    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return;
    if (fd == PASSED_FD) {
        if (fcntl(fd, F_SETFD, 0) < 0)
            return;
    } else if (dup2(fd, PASSED_FD) < 0)
        return;
    if (close_range(PASSED_FD + 1, ~0U, 0) < 0)
        return;
    (void)execve(program, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)environment);
}

/* Whoever owns our own program could change that as well. One that is not there is for execve(2) to miss. */
static bool others_may_change(const char *program)
{
    struct stat st, own;
    mode_t others = S_IWOTH;

    if (stat(program, &st) < 0)
        return false;
    if (st.st_uid != 0 && st.st_uid != getuid() &&
        (stat("/proc/self/exe", &own) < 0 || st.st_uid != own.st_uid))
        return true;
    if (st.st_gid != 0 && st.st_gid != getgid())
        others |= S_IWGRP;
    return (st.st_mode & others) != 0;
}

static bool may_start(const char *program)
{
    if (!others_may_change(program))
        return true;
    log_error("%s is not started, for others may change it", program);
    return false;
}

static void look(const char *pid, int fd)
{
    App app;

    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(APP_LOOK_SECONDS);
    app_look("/proc", (pid_t)strtol(pid, NULL, 10), &app);
    (void)file_write_fd(fd, &app, sizeof(app));
}

static void child_do(const Programs *programs, const Order *order, int fd)
{
    switch (order->what) {
    case LAUNCH_COURIER:
        if (may_start(programs->courier))
            child_exec(programs->courier, fd);
        break;
    case LAUNCH_PINENTRY:
        if (may_start(programs->pinentry))
            pinentry_ask(programs->pinentry, order->text, fd);
        break;
    case LAUNCH_QUESTION:
        if (may_start(programs->pinentry))
            pinentry_confirm(programs->pinentry, order->text, fd);
        break;
    default:
        look(order->text, fd);
    }
}

/* One order: which program, and the socket for it. 1: go on, 0: the agent is gone. */
static int serve_one(int fd, const Programs *programs)
{
    union {
        struct cmsghdr header;
        uint8_t space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    Order order = {0};
    struct iovec iov = {&order, sizeof(order) - 1}; /* the text ends with a 0 */
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    _cleanup_(fd_closep) int passed = -1;
    struct cmsghdr *c;
    ssize_t n;

    n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EINTR;
    if (n == 0)
        return 0;
    c = CMSG_FIRSTHDR(&message);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&passed, CMSG_DATA(c), sizeof(passed));
    if (order.what < LAUNCH_COURIER || order.what >= LAUNCH_END || passed < 0)
        return 1;
    /* a failure is told by the closing of the socket */
    if (fork() == 0) {
        if (child_begin()) {
            fd_close(fd);
            child_do(programs, &order, passed);
        }
        _exit(127);
    }
    return 1;
}

static void launcher_run(int fd, const Programs *programs)
{
    if (tpm_group_drop() < 0)
        _exit(1);
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* nobody waits: no zombies */
    (void)prctl(PR_SET_NAME, "hmsg-launcher");
    while (serve_one(fd, programs) > 0)
        ;
    _exit(0);
}

int launcher_new(const char *courier, const char *pinentry, Launcher **ret)
{
    const Programs programs = {courier, pinentry};
    _cleanup_(launcher_freep) Launcher *l = NULL;
    int pair[2];

    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->fd = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    l->pid = fork();
    if (l->pid < 0) {
        int r = -errno;

        fd_close(pair[0]);
        fd_close(pair[1]);
        return r;
    }
    if (l->pid == 0) {
        fd_close(pair[0]);
        launcher_run(pair[1], &programs);
    }
    fd_close(pair[1]);
    l->fd = pair[0];
    *ret = TAKE_PTR(l);
    return 0;
}

Launcher *launcher_free(Launcher *l)
{
    if (!l)
        return NULL;
    l->fd = fd_close(l->fd);
    if (l->pid > 0)
        while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    free(l);
    return NULL;
}

static int send_order(const Launcher *l, const Order *order, size_t size, int fd)
{
    union {
        struct cmsghdr header;
        uint8_t space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)order, size};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return sendmsg(l->fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int start(Launcher *l, const Order *order, size_t size, int *ret_fd)
{
    _cleanup_(fd_closep) int ours = -1;
    _cleanup_(fd_closep) int theirs = -1;
    int pair[2];
    int r;

    if (!l || l->fd < 0)
        return -EPIPE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    ours = pair[0];
    theirs = pair[1];
    r = send_order(l, order, size, theirs);
    if (r == 0)
        *ret_fd = TAKE_FD(ours);
    return r;
}

int launcher_start_courier(Launcher *l, int *ret_fd)
{
    const Order order = {.what = LAUNCH_COURIER};

    return start(l, &order, 1, ret_fd);
}

static int start_with_text(Launcher *l, uint8_t what, const char *text, int *ret_fd)
{
    Order order = {.what = what};
    size_t n = strlen(text);

    if (n >= sizeof(order.text))
        return -EINVAL;
    memcpy(order.text, text, n);
    return start(l, &order, 1 + n, ret_fd);
}

int launcher_ask_pin(Launcher *l, const char *text, int *ret_fd)
{
    return start_with_text(l, LAUNCH_PINENTRY, text, ret_fd);
}

int launcher_ask(Launcher *l, const char *text, int *ret_fd)
{
    return start_with_text(l, LAUNCH_QUESTION, text, ret_fd);
}

int launcher_look(Launcher *l, pid_t pid, int *ret_fd)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%d", (int)pid);
    return start_with_text(l, LAUNCH_LOOK, text, ret_fd);
}

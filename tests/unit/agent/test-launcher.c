/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/launcher.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/process.h"

#define ANSWER_MAX 4096u
#define LEAK_FD 20
#define OTHER 64302u /* user and group; no distribution gives it out */

/* Says who it is and what it has, then waits for its end. */
#define SCRIPT                                                                                               \
    "#!/bin/sh\n"                                                                                            \
    "echo \"pid=$$\" >&3\n"                                                                                  \
    "env >&3\n"                                                                                              \
    "for fd in /proc/$$/fd/*; do echo \"fd=${fd##*/}\" >&3; done\n"                                          \
    "echo \"arguments=$#\" >&3\n"                                                                            \
    "echo end >&3\n"                                                                                         \
    "exec sleep 1000\n"

typedef struct Fixture {
    char *folder, *program;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->program = g_build_filename(f->folder, "courier", NULL);
    g_assert_true(g_file_set_contents(f->program, SCRIPT, -1, NULL));
    g_assert_cmpint(g_chmod(f->program, 0700), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_free(f->program);
    test_folder_remove(f->folder);
}

/* What comes until "end" or the end of the file. */
static char *read_answer(int fd)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char buffer[256];

    while (text->len < ANSWER_MAX && !strstr(text->str, "end\n")) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        g_assert_cmpint(poll(&p, 1, TEST_AWAIT_SECONDS * 1000), ==, 1);
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n <= 0)
            break;
        g_string_append_len(text, buffer, n);
    }
    return g_strdup(text->str);
}

static pid_t answered_pid(const char *answer)
{
    const char *at = strstr(answer, "pid=");

    g_assert_nonnull(at);
    return (pid_t)g_ascii_strtoll(at + strlen("pid="), NULL, 10);
}

static bool is_gone(pid_t pid)
{
    return kill(pid, 0) < 0 && errno == ESRCH;
}

/* Nothing of our environment, no descriptor but the four, no argument. */
static void test_clean(Fixture *f, gconstpointer data)
{
    _cleanup_(launcher_freep) Launcher *l = NULL;
    _cleanup_(fd_closep) int fd = -1;

    g_assert_cmpint(dup2(STDERR_FILENO, LEAK_FD), ==, LEAK_FD); /* not close-on-exec */
    g_setenv("HMSG_TEST_LEAK", "leak", TRUE);
    g_assert_cmpint(launcher_new(f->program, f->program, &l), ==, 0);
    g_assert_cmpint(launcher_start_courier(l, &fd), ==, 0);
    g_autofree char *answer = read_answer(fd);
    g_assert_nonnull(strstr(answer, "end\n"));
    g_assert_null(strstr(answer, "HMSG_TEST_LEAK"));
    g_assert_null(strstr(answer, "HOME="));
    g_assert_nonnull(strstr(answer, "arguments=0\n"));
    g_assert_nonnull(strstr(answer, "fd=3\n"));
    g_assert_null(strstr(answer, "fd=20\n"));
    close(LEAK_FD);
}

/* One after the other, and both at once. */
static void test_several(Fixture *f, gconstpointer data)
{
    _cleanup_(launcher_freep) Launcher *l = NULL;
    _cleanup_(fd_closep) int first = -1;
    _cleanup_(fd_closep) int second = -1;

    g_assert_cmpint(launcher_new(f->program, f->program, &l), ==, 0);
    g_assert_cmpint(launcher_start_courier(l, &first), ==, 0);
    g_assert_cmpint(launcher_start_courier(l, &second), ==, 0);
    g_autofree char *a = read_answer(first);
    g_autofree char *b = read_answer(second);
    g_assert_cmpint(answered_pid(a), !=, answered_pid(b));
    pid_t pid = answered_pid(a);
    g_assert_cmpint(kill(pid, SIGTERM), ==, 0);
    g_autofree char *rest = read_answer(first); /* to the end of the file: it is gone */
    g_assert_cmpstr(rest, ==, "");
    TEST_AWAIT(is_gone(pid));
    g_assert_false(is_gone(answered_pid(b)));
}

static void test_missing(Fixture *f, gconstpointer data)
{
    _cleanup_(launcher_freep) Launcher *l = NULL;
    _cleanup_(fd_closep) int fd = -1;

    g_assert_cmpint(g_unlink(f->program), ==, 0);
    g_assert_cmpint(launcher_new(f->program, f->program, &l), ==, 0);
    g_assert_cmpint(launcher_start_courier(l, &fd), ==, 0);
    g_autofree char *answer = read_answer(fd);
    g_assert_cmpstr(answer, ==, "");
}

/* Does it start as it is now? */
static bool starts(const Fixture *f)
{
    _cleanup_(launcher_freep) Launcher *l = NULL;
    _cleanup_(fd_closep) int fd = -1;

    g_assert_cmpint(launcher_new(f->program, f->program, &l), ==, 0);
    g_assert_cmpint(launcher_start_courier(l, &fd), ==, 0);
    g_autofree char *answer = read_answer(fd);
    g_assert_true(*answer == '\0' || strstr(answer, "end\n"));
    return *answer;
}

/* A program that others may have put there. */
static void test_changeable(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(g_chmod(f->program, 0775), ==, 0); /* a group of the user's own */
    g_assert_true(starts(f));
    g_assert_cmpint(g_chmod(f->program, 0757), ==, 0);
    g_assert_false(starts(f));
    g_assert_cmpint(g_chmod(f->program, 0775), ==, 0);
    if (getuid() != 0) {
        g_test_message("only root can give files away");
        return;
    }
    g_assert_cmpint(chown(f->program, 0, OTHER), ==, 0);
    g_assert_false(starts(f));
    g_assert_cmpint(g_chmod(f->program, 0755), ==, 0);
    g_assert_true(starts(f));
    g_assert_cmpint(chown(f->program, OTHER, 0), ==, 0);
    g_assert_false(starts(f));
}

static void test_end(Fixture *f, gconstpointer data)
{
    Launcher *l = NULL;
    _cleanup_(fd_closep) int fd = -1;

    g_assert_cmpint(launcher_new(f->program, f->program, &l), ==, 0);
    g_assert_cmpint(launcher_start_courier(l, &fd), ==, 0);
    g_autofree char *answer = read_answer(fd);
    g_assert_null(launcher_free(l));
    TEST_AWAIT(is_gone(answered_pid(answer)));
    g_assert_cmpint(launcher_start_courier(NULL, &fd), ==, -EPIPE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/agent/launcher/clean", Fixture, NULL, set_up, test_clean, tear_down);
    g_test_add("/agent/launcher/several", Fixture, NULL, set_up, test_several, tear_down);
    g_test_add("/agent/launcher/missing", Fixture, NULL, set_up, test_missing, tear_down);
    g_test_add("/agent/launcher/changeable", Fixture, NULL, set_up, test_changeable, tear_down);
    g_test_add("/agent/launcher/end", Fixture, NULL, set_up, test_end, tear_down);
    return g_test_run();
}

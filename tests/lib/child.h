/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A part of a test in a process of its own, for what cannot be undone: another user, a sandbox, a keyring. */

#include <glib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs f(data) in a child; its assertions fail the test, for an assertion aborts the child. */
static inline void test_in_child(void (*f)(void *data), void *data)
{
    int status = 0;
    pid_t pid = fork();

    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        (void)dup2(STDERR_FILENO, STDOUT_FILENO); /* the parent alone writes TAP */
        f(data);
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

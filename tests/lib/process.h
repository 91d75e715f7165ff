/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What tests of whole processes share. All of it fails the test by g_error() when something goes wrong that
 * is not the test's subject. Nothing depends on speed: TEST_AWAIT's deadline only ends what would never end.
 */

#include <glib.h>
#include <stdbool.h>

#define TEST_AWAIT_SECONDS 300
#define TEST_AWAIT_PAUSE 5000 /* microseconds */

/* Until condition holds; it is evaluated again and again. */
#define TEST_AWAIT(condition)                                                                                \
    do {                                                                                                     \
        gint64 await_end_ = g_get_monotonic_time() + (gint64)TEST_AWAIT_SECONDS * G_USEC_PER_SEC;            \
        while (!(condition)) {                                                                               \
            if (g_get_monotonic_time() > await_end_)                                                         \
                g_error("%s:%d: waited in vain for %s", __FILE__, __LINE__, #condition);                     \
            g_usleep(TEST_AWAIT_PAUSE);                                                                      \
        }                                                                                                    \
    } while (0)

/* A new folder of mode 0700 with a path short enough for Unix sockets in it; to be given to
 * test_folder_remove. */
char *test_folder_new(void);
/* Removes it with all that is in it, and frees the path. Takes NULL. */
void test_folder_remove(char *path);
/* With all that cp -a keeps; what was at to before is gone. */
void test_folder_copy(const char *from, const char *to);

typedef struct TestProcess TestProcess;

/* Starts argv[0] (with a '/', or looked up in PATH) with standard input empty and standard output and error
 * appended to the file log (NULL: the test's standard error, so that TAP stays clean). environment:
 * NULL-terminated "NAME=VALUE" that are set besides the test's own; "NAME" alone unsets. It is killed when
 * the test dies. */
TestProcess *test_process_start(const char *const argv[], const char *const environment[], const char *log);
/* SIGTERM, waits for the end, frees. Returns the wait status. Takes NULL (returns 0). */
int test_process_stop(TestProcess *p);
/* Sends a signal (SIGKILL, SIGSTOP, SIGCONT). */
void test_process_signal(TestProcess *p, int signal);
/* Waits for its end by itself, frees; returns the wait status. */
int test_process_wait(TestProcess *p);
bool test_process_runs(TestProcess *p);
int test_process_pid(const TestProcess *p);

/* Runs argv to its end. *ret_out and *ret_err (each may be NULL) get what it wrote, NUL-terminated; input
 * (may be NULL) is what it reads. Returns the exit status, or 128 + the signal. */
int test_run(const char *const argv[], const char *const environment[], const char *input, char **ret_out,
             char **ret_err);

static inline void test_process_clear(TestProcess *p)
{
    (void)test_process_stop(p);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestProcess, test_process_clear)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/lib/bus.h"
#include "tests/lib/process.h"

static void test_run_output(void)
{
    const char *const argv[] = {"sh", "-c", "cat; echo \"$ADDED\" >&2; exit ${HOME+1}0", NULL};
    const char *const environment[] = {"ADDED=a=b", "HOME", NULL};
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;

    g_assert_cmpint(test_run(argv, environment, "input", &out, &err), ==, 0);
    g_assert_cmpstr(out, ==, "input");
    g_assert_cmpstr(err, ==, "a=b\n");
    g_assert_cmpint(test_run(argv, NULL, NULL, NULL, NULL), ==, 10);
}

static bool has_content(const char *file, const char *content)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(file, &text, NULL, NULL) && g_str_equal(text, content);
}

static void test_process(void)
{
    char *folder = test_folder_new();
    g_autofree char *log = g_build_filename(folder, "log", NULL);
    const char *const argv[] = {"sh", "-c", "echo started; exec sleep 1000", NULL};
    TestProcess *p = test_process_start(argv, NULL, log);

    TEST_AWAIT(has_content(log, "started\n"));
    g_assert_true(test_process_runs(p));
    int status = test_process_stop(p);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGTERM);
    g_assert_cmpint(test_process_stop(NULL), ==, 0);

    test_folder_remove(g_strdup(folder));
    g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    g_free(folder);
}

static int get_id(TestBus *b, const char *name)
{
    g_autofree char *bus = g_strdup_printf("--bus=%s", test_bus_address(b));
    g_autofree char *to = g_strdup_printf("--dest=%s", name);
    const char *const argv[] = {"dbus-send", bus, "--print-reply", to, "/", "org.freedesktop.DBus.Peer.Ping",
                                NULL};

    return test_run(argv, NULL, NULL, NULL, NULL);
}

static void test_bus(void)
{
    char *one = test_folder_new(), *two = test_folder_new();
    TestBus *a = test_bus_new(one), *b = test_bus_new(two);
    g_autofree char *mark = g_build_filename(one, "mark", NULL);
    g_autofree char *command = g_strdup_printf("/bin/sh -c \"touch %s; exit 1\"", mark);

    g_assert_cmpstr(test_bus_address(a), !=, test_bus_address(b));
    g_assert_cmpint(get_id(a, "org.freedesktop.DBus"), ==, 0);
    g_assert_cmpint(get_id(b, "org.hmsg.Absent"), !=, 0);
    /* It is started, and leaves without the name: the call fails. */
    test_bus_activate(a, "org.hmsg.Absent", command);
    g_assert_cmpint(get_id(a, "org.hmsg.Absent"), !=, 0);
    g_assert_true(g_file_test(mark, G_FILE_TEST_EXISTS));
    test_bus_free(a);
    test_bus_free(b);
    test_folder_remove(one);
    test_folder_remove(two);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/lib/process/run", test_run_output);
    g_test_add_func("/lib/process/process", test_process);
    g_test_add_func("/lib/bus", test_bus);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What somebody could do who has taken over the relay. */

#include "server/sandbox.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/lib/child.h"
#include "tests/lib/refused.h"

typedef struct Fixture {
    char *folder;
    char *data;
    char *config;
    char *other;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = g_dir_make_tmp("hmsg-test.XXXXXX", NULL);
    f->data = g_build_filename(f->folder, "data", NULL);
    f->config = g_build_filename(f->folder, "etc", NULL);
    f->other = g_build_filename(f->folder, "other", NULL);
    g_assert_cmpint(mkdir(f->data, 0700), ==, 0);
    g_assert_cmpint(mkdir(f->config, 0700), ==, 0);
    g_assert_true(g_file_set_contents(f->other, "x", 1, NULL));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(g_remove(f->data), ==, 0);
    g_assert_cmpint(g_remove(f->config), ==, 0);
    g_assert_cmpint(g_remove(f->other), ==, 0);
    g_assert_cmpint(g_remove(f->folder), ==, 0);
    g_free(f->data);
    g_free(f->config);
    g_free(f->other);
    g_free(f->folder);
}

static void enter(const Fixture *f)
{
    g_autofree char *config = g_build_filename(f->config, "relay.conf", NULL);
    const Options o = {.config = config, .data = f->data};

    g_assert_cmpint(relay_sandbox_enter(&o), ==, 0);
}

static void try_calls(void *data)
{
    char *const none[] = {NULL};
    int fd;

    enter(data);
    REFUSED(execve("/bin/true", none, none));
    REFUSED(kill(getppid(), 0));
    REFUSED(syscall(SYS_keyctl, 0, -3, 0));
    REFUSED(syscall(SYS_io_uring_setup, 1, NULL));
    REFUSED(socket(AF_VSOCK, SOCK_STREAM, 0));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
}

static void try_files(void *data)
{
    const Fixture *f = data;
    g_autofree char *stored = g_build_filename(f->data, "stored", NULL);
    g_autofree char *changed = g_build_filename(f->config, "relay.conf", NULL);

    enter(f);
    g_assert_true(g_file_set_contents(stored, "x", 1, NULL));
    g_assert_cmpint(unlink(stored), ==, 0);
    DENIED(open(changed, O_WRONLY | O_CREAT, 0600));
    DENIED(open(f->other, O_RDONLY));
    DENIED(open("/dev/full", O_WRONLY));
    DENIED(open("/proc/1/environ", O_RDONLY));
}

static void test_calls(Fixture *f, gconstpointer data)
{
    test_in_child(try_calls, f);
}

static void test_files(Fixture *f, gconstpointer data)
{
    if (!has_landlock()) {
        g_test_skip("this kernel has no Landlock");
        return;
    }
    test_in_child(try_files, f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/relay/sandbox/calls", Fixture, NULL, set_up, test_calls, tear_down);
    g_test_add("/relay/sandbox/files", Fixture, NULL, set_up, test_files, tear_down);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What somebody could do who has taken over the agent. */

#include "agent/sandbox.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/lib/child.h"
#include "tests/lib/refused.h"

typedef struct Fixture {
    char *home;
    char *secret; /* of another program, in the same home */
    char *config;
    Places places;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->home = g_dir_make_tmp("hmsg-test.XXXXXX", NULL);
    f->secret = g_build_filename(f->home, "secret", NULL);
    f->config = g_build_filename(f->home, "config", NULL);
    f->places.data_dir = g_build_filename(f->home, "data", NULL);
    f->places.config_file = g_build_filename(f->config, "agent.conf", NULL);
    f->places.tcti = g_strdup("swtpm:path=/nonexistent");
    g_assert_true(g_file_set_contents(f->secret, "x", 1, NULL));
    g_assert_cmpint(mkdir(f->config, 0700), ==, 0);
    g_assert_cmpint(mkdir(f->places.data_dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(f->places.config_file, "", 0, NULL));
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(g_remove(f->secret), ==, 0);
    g_assert_cmpint(g_remove(f->places.config_file), ==, 0);
    g_assert_cmpint(g_remove(f->places.data_dir), ==, 0);
    g_assert_cmpint(g_remove(f->config), ==, 0);
    g_assert_cmpint(g_remove(f->home), ==, 0);
    g_free(f->places.tcti);
    g_free(f->places.data_dir);
    g_free(f->places.config_file);
    g_free(f->config);
    g_free(f->secret);
    g_free(f->home);
}

static void try_calls(void *data)
{
    Fixture *f = data;
    char *const none[] = {NULL};
    int pair[2];

    g_assert_cmpint(agent_sandbox_enter(&f->places), ==, 0);
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    REFUSED(socket(AF_INET6, SOCK_STREAM, 0));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
    REFUSED(listen(0, 1));
    REFUSED(execve("/bin/true", none, none));
    REFUSED(kill(getppid(), 0));
    REFUSED(syscall(SYS_io_uring_setup, 1, NULL));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
}

static void try_files(void *data)
{
    Fixture *f = data;
    g_autofree char *file = g_build_filename(f->places.data_dir, "file", NULL);

    g_assert_cmpint(agent_sandbox_enter(&f->places), ==, 0);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_assert_cmpint(unlink(file), ==, 0);
    g_assert_cmpint(open(f->places.config_file, O_RDONLY), >=, 0);
    DENIED(open(f->places.config_file, O_WRONLY));
    DENIED(open(f->secret, O_RDONLY));
    DENIED(unlink(f->secret));
    DENIED(open("/dev/full", O_WRONLY)); /* as any device but the TPM */
    DENIED(open("/proc/1/environ", O_RDONLY));
}

static void try_device(void *data)
{
    Fixture *f = data;

    g_free(f->places.tcti);
    f->places.tcti = g_strdup("device:/dev/full");
    g_assert_cmpint(agent_sandbox_enter(&f->places), ==, 0);
    g_assert_cmpint(open("/dev/full", O_RDWR), >=, 0);
    DENIED(open("/dev/zero", O_RDWR));
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
    test_in_child(try_device, f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/agent/sandbox/calls", Fixture, NULL, set_up, test_calls, tear_down);
    g_test_add("/agent/sandbox/files", Fixture, NULL, set_up, test_files, tear_down);
    return g_test_run();
}

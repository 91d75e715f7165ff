/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Streams take constant memory: neither agent nor hmsgctl ever has more than 32 MiB resident, whatever the
 * size of a file. With a sanitizer, which has memory of its own, the files go through and nothing is said. */

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/measure.h"
#include "tests/lib/scene.h"

#define MIB (1024u * 1024u)
#define LIMIT_KIB (32u * 1024u)
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#define SIZE (16u * MIB)
#else
#define SANITIZED false
#define SIZE (256u * MIB)
#endif
#define WORDS_MAX 12u

/* identity create and export; "key:FILE", to be freed. */
static char *key_of(Scene *s, SceneUser *u, const char *name)
{
    g_autofree char *path = scene_path(s, name);

    scene_ctl_expect(u, 0, "identity", "create", NULL);
    scene_ctl_expect(u, 0, "identity", "export", "--format=pem", "-o", path, NULL);
    return g_strconcat("key:", path, NULL);
}

static void expect_small(const char *what, uint64_t kib)
{
    g_test_message("%s: %.1f MiB at most", what, (double)kib / 1024);
    g_assert_cmpuint(kib, >, 0);
    if (!SANITIZED)
        g_assert_cmpuint(kib, <=, LIMIT_KIB);
}

/* hmsgctl with these words; its memory. */
static void run_ctl(SceneUser *u, const char *const words[])
{
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    const char *argv[WORDS_MAX] = {ctl};
    g_autoptr(GError) error = NULL;
    struct rusage usage = {0};
    int status = 0;
    GPid pid = 0;

    for (size_t i = 0; words[i]; i++) {
        g_assert_cmpuint(i + 2, <, WORDS_MAX);
        argv[i + 1] = words[i];
    }
    g_assert_true(g_spawn_async(NULL, (char **)(uintptr_t)argv, (char **)(uintptr_t)scene_environment(u),
                                G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, &error));
    g_assert_cmpint(wait4(pid, &status, 0, &usage), ==, pid);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_small(words[0], (uint64_t)usage.ru_maxrss);
}

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, SIZE), ==, 0);
    g_assert_cmpint(pwrite(fd, "first", 5, 0), ==, 5);
    g_assert_cmpint(pwrite(fd, "last", 4, SIZE - 4), ==, 4);
    close(fd);
}

static void test_stream(void)
{
    g_autoptr(Scene) s = scene_new();
    SceneUser *alice = scene_user_new(s, "alice"), *bob = scene_user_new(s, "bob");
    g_autofree char *to_alice = key_of(s, alice, "alice.pem"), *to_bob = key_of(s, bob, "bob.pem");
    g_autofree char *plain = scene_path(s, "plain"), *sealed = scene_path(s, "sealed"),
                    *opened = scene_path(s, "opened");
    g_autofree char *ctl = g_build_filename(g_getenv("HMSG_BUILD"), "cli", "hmsgctl", NULL);
    const char *const one[] = {"encrypt", "-r", to_alice, "-o", sealed, plain, NULL};
    const char *const two[] = {"encrypt",         "-r", to_alice, "-r",  to_bob,
                               "--format=stream", "-o", sealed,   plain, NULL};
    const char *const open_it[] = {"decrypt", "-o", opened, sealed, NULL};
    const char *const compare[] = {"cmp", plain, opened, NULL};
    const char *const pipes[] = {
        "/bin/sh", "-c", "\"$0\" encrypt -r \"$1\" <\"$2\" | \"$0\" decrypt | cmp - \"$2\"", ctl, to_alice,
        plain,     NULL};

    make_file(plain);
    run_ctl(alice, one);
    run_ctl(alice, open_it);
    g_assert_cmpint(test_run(compare, NULL, NULL, NULL, NULL), ==, 0);
    g_assert_cmpint(unlink(sealed), ==, 0);
    g_assert_cmpint(unlink(opened), ==, 0);
    run_ctl(alice, two);
    run_ctl(alice, open_it);
    g_assert_cmpint(test_run(compare, NULL, NULL, NULL, NULL), ==, 0);
    g_assert_cmpint(unlink(sealed), ==, 0);
    g_assert_cmpint(unlink(opened), ==, 0);
    g_assert_cmpint(test_run(pipes, scene_environment(alice), NULL, NULL, NULL), ==, 0);
    expect_small("agent", bench_status_kib(scene_agent_pid(alice), "VmHWM"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/stream", test_stream);
    return g_test_run();
}

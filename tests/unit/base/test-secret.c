/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhmsg/base/secret.h"

static void test_basic(void)
{
    _cleanup_(secret_freep) Secret *a = NULL, *b = NULL, *c = NULL;
    g_assert_cmpint(secret_new(0, &a), ==, -EINVAL);
    g_assert_cmpint(secret_new(SECRET_SIZE_MAX + 1, &a), ==, -EINVAL);
    g_assert_null(a);
    g_assert_cmpint(secret_new_random(64, &a), ==, 0);
    g_assert_cmpint(secret_new_copy(secret_bytes(a), 64, &b), ==, 0);
    g_assert_true(secret_equal(a, b));
    secret_data(b)[63] ^= 1;
    g_assert_false(secret_equal(a, b));
    g_assert_cmpint(secret_new_copy(secret_bytes(a), 63, &c), ==, 0);
    g_assert_false(secret_equal(a, c));
}

static void test_full_heap(void)
{
    /* A full locked heap gives -ENOMEM, never unlocked memory. */
    Secret *all[2 * SECRET_HEAP_SIZE / SECRET_SIZE_MAX] = {NULL};
    size_t n = 0;
    while (n < G_N_ELEMENTS(all) && secret_new(SECRET_SIZE_MAX - 64, &all[n]) == 0)
        n++;
    g_assert_cmpuint(n, >, 0);
    g_assert_cmpuint(n, <, G_N_ELEMENTS(all));
    for (size_t i = 0; i < n; i++)
        secret_free(all[i]);
}

/* Room for many little secrets, as of the connections of a server. In a process of its own: the heap is made
 * once. */
static void test_more(void)
{
    enum { N = 20000 };
    static Secret *all[N];
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
        g_test_trap_assert_passed();
        return;
    }
    g_assert_cmpint(secret_init_more(SIZE_MAX), ==, -EINVAL);
    g_assert_cmpint(secret_init_more(N), ==, 0);
    for (size_t i = 0; i < N; i++)
        g_assert_cmpint(secret_new(48, &all[i]), ==, 0);
    for (size_t i = 0; i < N; i++)
        secret_free(all[i]);
}

/* Not even by the file of its own memory, which root's debugger uses as well. In a process of its own: the
 * heap is made once. */
static void test_hidden(void)
{
    static const char text[] = "a secret that nobody reads";
    _cleanup_(secret_freep) Secret *s = NULL;
    char seen[sizeof(text)] = "";

    if (!g_test_subprocess()) {
        int fd = (int)syscall(SYS_memfd_secret, 0);

        if (fd < 0 || access("/sys/power/disk", F_OK) == 0) {
            g_test_skip("this kernel has no memfd_secret(2), or may hibernate");
            return;
        }
        close(fd);
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
        g_test_trap_assert_passed();
        return;
    }
    g_assert_cmpint(secret_init(), ==, 0);
    g_assert_cmpint(secret_new_copy(text, sizeof(text), &s), ==, 0);
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(memory, >=, 0);
    g_assert_cmpint(pread(memory, seen, sizeof(seen), (off_t)(uintptr_t)text), ==, sizeof(seen));
    g_assert_cmpstr(seen, ==, text);
    g_assert_cmpint(pread(memory, seen, sizeof(seen), (off_t)(uintptr_t)secret_bytes(s)), ==, -1);
    close(memory);
    s = secret_free(s);
    test_full_heap();
}

static void test_harden(void)
{
    struct rlimit core;
    g_assert_cmpint(process_harden(), ==, 0);
    g_assert_cmpint(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), ==, 0);
    g_assert_cmpint(getrlimit(RLIMIT_CORE, &core), ==, 0);
    g_assert_cmpuint(core.rlim_cur, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/secret/basic", test_basic);
    g_test_add_func("/base/secret/full-heap", test_full_heap);
    g_test_add_func("/base/secret/more", test_more);
    g_test_add_func("/base/secret/hidden", test_hidden);
    g_test_add_func("/base/secret/harden", test_harden);
    return g_test_run();
}

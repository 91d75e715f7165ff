/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "libhmsg/base/file.h"

static void test_atomic(void)
{
    g_autofree char *folder = g_dir_make_tmp("file-XXXXXX", NULL);
    _cleanup_(fd_closep) int fd = open(folder, O_RDONLY | O_DIRECTORY);
    struct stat st;
    Buf b = BUF_MAX(10);
    g_assert_cmpint(file_write_atomic(fd, "x", "one", 3, 0600, true), ==, 0);
    g_assert_cmpint(file_write_atomic(fd, "x", "two", 3, 0600, true), ==, -EEXIST);
    g_assert_cmpint(file_read(fd, "x", &b), ==, 0);
    g_assert_cmpstr(buf_text(&b), ==, "one");
    g_assert_cmpint(file_write_atomic(fd, "x", "three", 5, 0640, false), ==, 0);
    g_assert_cmpint(fstatat(fd, "x", &st, 0), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0640);
    /* nothing else was left in the folder */
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_assert_cmpstr(g_dir_read_name(dir), ==, "x");
    g_assert_null(g_dir_read_name(dir));
    g_assert_cmpint(file_remove(fd, "x"), ==, 0);
    g_assert_cmpint(file_remove(fd, "x"), ==, -ENOENT);
    g_assert_cmpint(rmdir(folder), ==, 0);
    buf_done(&b);
}

static void test_read_limit(void)
{
    g_autofree char *folder = g_dir_make_tmp("file-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "a/b/c", NULL);
    g_autofree char *file = g_build_filename(path, "f", NULL);
    Buf five = BUF_MAX(5), four = BUF_MAX(4);
    g_assert_cmpint(file_make_folders(path, 0700), ==, 0);
    g_assert_cmpint(file_make_folders(path, 0700), ==, 0);
    g_assert_cmpint(file_write_atomic(AT_FDCWD, file, "12345", 5, 0600, false), ==, 0);
    g_assert_cmpint(file_read(AT_FDCWD, file, &five), ==, 0);
    g_assert_cmpstr(buf_text(&five), ==, "12345");
    g_assert_cmpint(file_read(AT_FDCWD, file, &four), ==, -EMSGSIZE);
    g_assert_cmpuint(four.size, ==, 0);
    g_assert_cmpint(file_read(AT_FDCWD, "/nonexistent/x", &four), ==, -ENOENT);
    buf_done(&five);
    buf_done(&four);
}

/* In a process of its own: what is closed is filled, what is open stays. */
static void test_keep_standard(void)
{
    pid_t child = fork();
    int status = 0;
    if (child == 0) {
        bool good = close(STDIN_FILENO) == 0 && close(STDOUT_FILENO) == 0 && file_keep_standard() == 0;
        int next = open("/dev/null", O_RDWR | O_CLOEXEC);
        good = good && next > STDERR_FILENO && write(STDOUT_FILENO, "x", 1) < 0 && errno == EBADF &&
               read(STDIN_FILENO, &next, 1) < 0 && errno == EBADF && write(STDERR_FILENO, "", 0) == 0;
        _exit(good && file_keep_standard() == 0 ? 0 : 1);
    }
    g_assert_cmpint(child, >, 0);
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_cmpint(status, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/file/atomic", test_atomic);
    g_test_add_func("/base/file/keep-standard", test_keep_standard);
    g_test_add_func("/base/file/read-limit", test_read_limit);
    return g_test_run();
}

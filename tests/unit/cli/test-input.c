/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>

#include "libhmsg/base/file.h"
#include "tests/lib/process.h"

#define LIMIT 100000u
#define BODY_MAX (16u * 1024u * 1024u)

typedef struct Fixture {
    char *folder, *path, *body;
    int saved;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    f->path = g_build_filename(f->folder, "in put", NULL);
    f->body = g_malloc(BODY_MAX);
    for (size_t i = 0; i < BODY_MAX; i++)
        f->body[i] = (char)(i * 7 + i / 251);
    f->saved = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(dup2(f->saved, STDIN_FILENO), ==, STDIN_FILENO);
    close(f->saved);
    g_free(f->body);
    g_free(f->path);
    test_folder_remove(f->folder);
}

static void expect_all(Fixture *f, Input *in, size_t size)
{
    Buf got = BUF_MAX(BODY_MAX);
    int fd = -1;

    g_assert_cmpint(input_fd(in, &fd), ==, 0);
    g_assert_cmpint(file_read_fd(fd, &got), ==, 0);
    g_assert_cmpmem(got.data, got.size, f->body, size);
    g_assert_cmpint(input_finish(in), ==, 0);
    buf_done(&got);
}

static void check_file(Fixture *f, size_t size)
{
    Input *in = NULL;

    g_assert_true(g_file_set_contents(f->path, f->body, (gssize)size, NULL));
    g_assert_cmpint(input_open(f->path, LIMIT, &in), ==, 0);
    g_assert_cmpstr(input_name(in), ==, "in put");
    g_assert_true(input_whole(in) == (size <= LIMIT));
    g_assert_cmpuint(input_size(in), ==, size);
    if (size <= LIMIT)
        g_assert_cmpmem(buf_text(input_data(in)), input_data(in)->size, f->body, size);
    expect_all(f, in, size);
    g_assert_null(input_free(in));
}

static void test_file(Fixture *f, gconstpointer data)
{
    check_file(f, 0);
    check_file(f, LIMIT);
    check_file(f, LIMIT + 1);
    check_file(f, 3000000);
}

/* A pipe that another process fills. */
static void check_pipe(Fixture *f, size_t size)
{
    Input *in = NULL;
    int ends[2];
    pid_t writer;

    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    writer = fork();
    if (writer == 0) {
        close(ends[0]);
        _exit(file_write_fd(ends[1], f->body, size) == 0 ? 0 : 1);
    }
    g_assert_cmpint(dup2(ends[0], STDIN_FILENO), ==, STDIN_FILENO);
    close(ends[0]);
    close(ends[1]);
    g_assert_cmpint(input_open(size % 2 ? "-" : NULL, LIMIT, &in), ==, 0);
    g_assert_null(input_name(in));
    g_assert_true(input_whole(in) == (size <= LIMIT));
    g_assert_cmpuint(input_size(in), ==, size <= LIMIT ? size : 0);
    expect_all(f, in, size);
    input_free(in);
}

static void test_pipe(Fixture *f, gconstpointer data)
{
    check_pipe(f, 0);
    check_pipe(f, LIMIT);
    check_pipe(f, LIMIT + 1);
    check_pipe(f, 3000000);
}

/* Nobody reads and the writer never ends: it can be given up all the same. */
static void test_endless(Fixture *f, gconstpointer data)
{
    Input *in = NULL;
    int ends[2], fd;

    g_assert_cmpint(pipe2(ends, O_CLOEXEC | O_NONBLOCK), ==, 0);
    g_assert_cmpint(fcntl(ends[1], F_SETPIPE_SZ, 262144), >, 0);
    g_assert_cmpint(file_write_fd(ends[1], f->body, LIMIT + 1), ==, 0);
    g_assert_cmpint(fcntl(ends[0], F_SETFL, 0), ==, 0);
    g_assert_cmpint(dup2(ends[0], STDIN_FILENO), ==, STDIN_FILENO);
    g_assert_cmpint(input_open(NULL, LIMIT, &in), ==, 0);
    g_assert_false(input_whole(in));
    g_assert_cmpint(input_fd(in, &fd), ==, 0);
    input_free(in);
    close(ends[0]);
    close(ends[1]);
}

/* A part of a file is read from where it stands. */
static void test_offset(Fixture *f, gconstpointer data)
{
    Buf got = BUF_MAX(BODY_MAX);
    Input *in = NULL;
    int fd;

    g_assert_true(g_file_set_contents(f->path, "head body", -1, NULL));
    fd = open(f->path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(lseek(fd, 5, SEEK_SET), ==, 5);
    g_assert_cmpint(dup2(fd, STDIN_FILENO), ==, STDIN_FILENO);
    close(fd);
    g_assert_cmpint(input_open(NULL, LIMIT, &in), ==, 0);
    g_assert_cmpstr(buf_text(input_data(in)), ==, "body");
    g_assert_cmpint(input_fd(in, &fd), ==, 0);
    g_assert_cmpint(file_read_fd(fd, &got), ==, 0);
    g_assert_cmpstr(buf_text(&got), ==, "body");
    buf_done(&got);
    input_free(in);
}

static void test_refused(Fixture *f, gconstpointer data)
{
    Input *in = NULL;

    g_assert_cmpint(input_open(f->path, LIMIT, &in), ==, -ENOENT);
    g_assert_cmpint(input_open(f->folder, LIMIT, &in), ==, -EISDIR);
    g_assert_null(in);
    g_assert_null(input_free(NULL));
}

#define ADD(name, function) g_test_add("/cli/input/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    ADD("file", test_file);
    ADD("pipe", test_pipe);
    ADD("endless", test_endless);
    ADD("offset", test_offset);
    ADD("refused", test_refused);
    return g_test_run();
}

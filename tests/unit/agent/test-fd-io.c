/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "agent/fd-io.h"

#define SIZE 300000u

typedef struct Flow {
    FdIo io;
    int stop;
    GByteArray *bytes;
    int r;
} Flow;

static gpointer write_all(gpointer userdata)
{
    Flow *f = userdata;

    f->r = fd_io_write(&f->io, f->bytes->data, f->bytes->len, f->stop);
    fd_io_done(&f->io);
    return NULL;
}

static gpointer read_all(gpointer userdata)
{
    Flow *f = userdata;
    uint8_t piece[10000];
    ssize_t n;

    while ((n = fd_io_read(&f->io, piece, sizeof(piece), f->stop)) > 0)
        g_byte_array_append(f->bytes, piece, (guint)n);
    f->r = (int)n;
    fd_io_done(&f->io);
    return NULL;
}

static GByteArray *pattern(void)
{
    GByteArray *b = g_byte_array_new();

    for (guint i = 0; i < SIZE; i++) {
        uint8_t byte = (uint8_t)(i * 7 + i / 256);

        g_byte_array_append(b, &byte, 1);
    }
    return b;
}

/* Takes both ends over. */
static void move_through(int reader, int writer)
{
    Flow in = {.stop = eventfd(0, 0), .bytes = g_byte_array_new()};
    Flow out = {.stop = eventfd(0, 0), .bytes = pattern()};

    g_assert_cmpint(fd_io_open(reader, false, &in.io), ==, 0);
    g_assert_cmpint(fd_io_open(writer, true, &out.io), ==, 0);
    close(reader);
    close(writer);
    GThread *a = g_thread_new("write", write_all, &out);
    GThread *b = g_thread_new("read", read_all, &in);
    g_thread_join(a);
    g_thread_join(b);
    g_assert_cmpint(in.r, ==, 0);
    g_assert_cmpint(out.r, ==, 0);
    g_assert_cmpmem(in.bytes->data, in.bytes->len, out.bytes->data, out.bytes->len);
    g_byte_array_unref(in.bytes);
    g_byte_array_unref(out.bytes);
    close(in.stop);
    close(out.stop);
}

static void test_pipes(void)
{
    int p[2];

    g_assert_cmpint(pipe2(p, O_CLOEXEC), ==, 0);
    move_through(p[0], p[1]);
    g_assert_cmpint(pipe2(p, O_CLOEXEC | O_NONBLOCK), ==, 0);
    move_through(p[0], p[1]);
    /* flags that others see stay as they are */
    FdIo io;
    g_assert_cmpint(pipe2(p, O_CLOEXEC), ==, 0);
    g_assert_cmpint(fd_io_open(p[1], true, &io), ==, 0);
    g_assert_cmpint(fcntl(p[1], F_GETFL) & O_NONBLOCK, ==, 0);
    fd_io_done(&io);
    close(p[0]);
    close(p[1]);
}

static void test_sockets(void)
{
    int p[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), ==, 0);
    move_through(p[0], p[1]);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p), ==, 0);
    move_through(p[0], p[1]);
}

static void test_files(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("hmsg-XXXXXX", &path, NULL), stop = eventfd(0, 0);
    char text[8] = "";
    FdIo out, in;

    g_assert_cmpint(fd, >=, 0);
    unlink(path);
    g_assert_cmpint(fd_io_open(fd, true, &out), ==, 0);
    g_assert_cmpint(fd_io_open(fd, false, &in), ==, 0);
    g_assert_cmpint(fd_io_write(&out, "hello", 5, stop), ==, 0);
    g_assert_cmpint(lseek(fd, 1, SEEK_SET), ==, 1);
    g_assert_cmpuint(fd_io_size(&in), ==, 4); /* from where it stands */
    g_assert_cmpint(fd_io_read(&in, text, sizeof(text), stop), ==, 4);
    g_assert_cmpstr(text, ==, "ello");
    g_assert_cmpint(fd_io_read(&in, text, sizeof(text), stop), ==, 0);
    g_assert_true(fd_io_is_file(&in));
    g_assert_cmpint(lseek(fd, 0, SEEK_SET), ==, 0);
    g_assert_cmpint(fd_io_skip(&in, 2), ==, 0);
    g_assert_cmpint(fd_io_skip(&in, 1), ==, 0);
    g_assert_cmpint(fd_io_read(&in, text, sizeof(text), stop), ==, 2);
    g_assert_cmpmem(text, 2, "lo", 2);
    g_assert_cmpint(fd_io_skip(&in, UINT64_MAX), ==, -EOVERFLOW);
    fd_io_done(&in);
    fd_io_done(&out);
    close(fd);
    close(stop);
}

static void test_stop(void)
{
    static char much[1024 * 1024];
    int p[2], stop = eventfd(1, 0);
    char c;
    FdIo in, out;

    g_assert_cmpint(pipe(p), ==, 0);
    g_assert_cmpint(fd_io_open(p[0], false, &in), ==, 0);
    g_assert_cmpint(fd_io_open(p[1], true, &out), ==, 0);
    g_assert_cmpint(fd_io_read(&in, &c, 1, stop), ==, -ECANCELED);
    g_assert_false(fd_io_is_file(&in));
    g_assert_cmpint(fd_io_skip(&in, 1), ==, -ESPIPE);
    g_assert_cmpint(fd_io_write(&out, much, sizeof(much), stop), ==, -ECANCELED);
    fd_io_done(&in);
    fd_io_done(&out);
    close(p[0]);
    close(p[1]);
    close(stop);
}

static void test_refused(void)
{
    FdIo io;
    int folder = open("/", O_RDONLY | O_DIRECTORY), p[2];

    g_assert_cmpint(fd_io_open(folder, false, &io), ==, -EINVAL);
    g_assert_cmpint(fd_io_open(-1, false, &io), ==, -EBADF);
    g_assert_cmpint(pipe(p), ==, 0);
    g_assert_cmpint(fd_io_open(p[0], true, &io), ==, -EBADF);
    g_assert_cmpint(fd_io_open(p[1], false, &io), ==, -EBADF);
    close(folder);
    close(p[0]);
    close(p[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fd-io/pipes", test_pipes);
    g_test_add_func("/fd-io/sockets", test_sockets);
    g_test_add_func("/fd-io/files", test_files);
    g_test_add_func("/fd-io/stop", test_stop);
    g_test_add_func("/fd-io/refused", test_refused);
    return g_test_run();
}

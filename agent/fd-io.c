/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/fd-io.h"

enum {
    KIND_FILE,   /* always ready */
    KIND_SOCKET, /* has a flag for each call */
    KIND_OTHER,
};

/* A pipe opened anew does not wait, while the one that we were given may. */
static int reopen(int fd, bool to_write)
{
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, (to_write ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

int fd_io_open(int fd, bool to_write, FdIo *ret)
{
    FdIo io = {.kind = KIND_OTHER, .at_once = SSIZE_MAX};
    struct stat st;
    int flags, again;

    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) || (flags & O_PATH))
        return -EINVAL;
    if ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != (to_write ? O_WRONLY : O_RDONLY))
        return -EBADF;
    io.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (io.fd < 0)
        return -errno;
    if (S_ISREG(st.st_mode)) {
        io.kind = KIND_FILE;
        if (!to_write)
            (void)posix_fadvise(io.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    } else if (S_ISSOCK(st.st_mode)) {
        io.kind = KIND_SOCKET;
    } else if (!(flags & O_NONBLOCK)) {
        again = S_ISFIFO(st.st_mode) ? reopen(io.fd, to_write) : -1;
        if (again >= 0) {
            fd_close(io.fd);
            io.fd = again;
        } else {
            io.at_once = PIPE_BUF; /* what poll(2) promises */
        }
    }
    *ret = io;
    return 0;
}

void fd_io_done(FdIo *io)
{
    io->fd = fd_close(io->fd);
}

static int wait_for(const FdIo *io, short events, int stop_fd)
{
    struct pollfd fds[] = {{.fd = io->fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};

    for (;;) {
        if (poll(fds, ELEMENTSOF(fds), -1) >= 0)
            return fds[1].revents ? -ECANCELED : 0;
        if (errno != EINTR)
            return -errno;
    }
}

static bool try_again(void)
{
    return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK;
}

ssize_t fd_io_read(const FdIo *io, void *data, size_t n, int stop_fd)
{
    ssize_t got;
    int r;

    for (;;) {
        r = wait_for(io, POLLIN, stop_fd);
        if (r < 0)
            return r;
        if (io->kind == KIND_SOCKET)
            got = recv(io->fd, data, n, MSG_DONTWAIT);
        else
            got = read(io->fd, data, n);
        if (got >= 0)
            return got;
        if (!try_again())
            return -errno;
    }
}

int fd_io_write(const FdIo *io, const void *data, size_t n, int stop_fd)
{
    const uint8_t *from = data;
    ssize_t put;
    int r;

    while (n > 0) {
        size_t piece = n < io->at_once ? n : io->at_once;

        r = wait_for(io, POLLOUT, stop_fd);
        if (r < 0)
            return r;
        if (io->kind == KIND_SOCKET)
            put = send(io->fd, from, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            put = write(io->fd, from, piece);
        if (put < 0 && !try_again())
            return -errno;
        if (put > 0) {
            from += put;
            n -= (size_t)put;
        }
    }
    return 0;
}

bool fd_io_is_file(const FdIo *io)
{
    return io->kind == KIND_FILE;
}

int fd_io_skip(const FdIo *io, uint64_t n)
{
    if (io->kind != KIND_FILE)
        return -ESPIPE;
    if (n > INT64_MAX)
        return -EOVERFLOW;
    return lseek(io->fd, (off_t)n, SEEK_CUR) < 0 ? -errno : 0;
}

uint64_t fd_io_size(const FdIo *io)
{
    struct stat st;
    off_t at;

    if (io->kind != KIND_FILE || fstat(io->fd, &st) < 0)
        return 0;
    at = lseek(io->fd, 0, SEEK_CUR);
    return at >= 0 && at < st.st_size ? (uint64_t)(st.st_size - at) : 0;
}

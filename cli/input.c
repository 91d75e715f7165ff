/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/input.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "libhmsg/base/file.h"

#define COPY_SIZE 65536u

struct Input {
    int fd;
    int other_fd; /* memory or pipe; -1 */
    pid_t feeder; /* 0: none */
    char *name;
    Buf data;
    bool whole;
    off_t start; /* of a regular file; -1: cannot go back */
    uint64_t size;
};

static int open_file(Input *in, const char *path)
{
    const char *slash = strrchr(path, '/');

    in->name = strdup(slash ? slash + 1 : path);
    if (!in->name)
        return -ENOMEM;
    in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return in->fd < 0 ? -errno : 0;
}

static int read_beginning(Input *in, size_t limit)
{
    struct stat st;

    if (fstat(in->fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    in->start = S_ISREG(st.st_mode) ? lseek(in->fd, 0, SEEK_CUR) : -1;
    if (in->start >= 0 && st.st_size > in->start)
        in->size = (uint64_t)(st.st_size - in->start);
    /* one byte more than the limit tells whether there is more */
    in->data.max = limit + 1;
    while (in->data.size <= limit) {
        size_t room = limit + 1 - in->data.size;
        size_t want = room < COPY_SIZE ? room : COPY_SIZE;
        int r = buf_reserve(&in->data, want);
        ssize_t n = r < 0 ? -1 : read(in->fd, in->data.data + in->data.size, want);

        if (r < 0 || (n < 0 && errno != EINTR))
            return r < 0 ? r : -errno;
        if (n == 0) {
            in->whole = true;
            in->size = in->data.size;
            return 0;
        }
        in->data.size += n > 0 ? (size_t)n : 0;
        in->data.data[in->data.size] = 0;
    }
    return 0;
}

int input_open(const char *path, size_t limit, Input **ret)
{
    _cleanup_(input_freep) Input *in = calloc(1, sizeof(*in));
    int r = 0;

    if (!in)
        return -ENOMEM;
    in->fd = in->other_fd = -1;
    in->start = -1;
    if (path && strcmp(path, "-") != 0)
        r = open_file(in, path);
    else if ((in->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) < 0)
        r = -errno;
    if (r == 0)
        r = read_beginning(in, limit);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(in);
    return 0;
}

Input *input_free(Input *in)
{
    if (!in)
        return NULL;
    if (in->feeder > 0) {
        (void)kill(in->feeder, SIGKILL);
        (void)waitpid(in->feeder, NULL, 0);
    }
    (void)fd_close(in->fd);
    (void)fd_close(in->other_fd);
    buf_done(&in->data);
    free(in->name);
    free(in);
    return NULL;
}

bool input_whole(const Input *in)
{
    return in->whole;
}

const Buf *input_data(const Input *in)
{
    return &in->data;
}

uint64_t input_size(const Input *in)
{
    return in->size;
}

const char *input_name(const Input *in)
{
    return in->name;
}

static int memory(Input *in)
{
    int r;

    in->other_fd = memfd_create("hmsgctl", MFD_CLOEXEC);
    if (in->other_fd < 0)
        return -errno;
    r = file_write_fd(in->other_fd, in->data.data, in->data.size);
    if (r == 0 && lseek(in->other_fd, 0, SEEK_SET) < 0)
        r = -errno;
    return r;
}

/* In the child: what was read already, then the rest. */
static int feed(const Input *in, int to)
{
    uint8_t block[COPY_SIZE];
    int r;

    r = file_write_fd(to, in->data.data, in->data.size);
    while (r == 0) {
        ssize_t n = read(in->fd, block, sizeof(block));

        if (n == 0)
            return 0;
        if (n > 0)
            r = file_write_fd(to, block, (size_t)n);
        else if (errno != EINTR)
            r = -errno;
    }
    return r;
}

static int start_feeder(Input *in)
{
    pid_t parent = getpid();
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    in->feeder = fork();
    if (in->feeder == 0) {
        (void)fd_close(ends[0]);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getppid() == parent && feed(in, ends[1]) == 0 ? 0 : 1);
    }
    (void)fd_close(ends[1]);
    in->other_fd = ends[0];
    if (in->feeder < 0) {
        in->feeder = 0;
        return -errno;
    }
    return 0;
}

int input_fd(Input *in, int *ret_fd)
{
    int r = 0;

    if (in->start >= 0) {
        *ret_fd = in->fd;
        return lseek(in->fd, in->start, SEEK_SET) < 0 ? -errno : 0;
    }
    if (in->other_fd < 0)
        r = in->whole ? memory(in) : start_feeder(in);
    if (r == 0)
        *ret_fd = in->other_fd;
    return r;
}

int input_finish(Input *in)
{
    int status = 0;

    if (in->feeder == 0)
        return 0;
    in->other_fd = fd_close(in->other_fd);
    if (waitpid(in->feeder, &status, 0) != in->feeder)
        return -errno;
    in->feeder = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

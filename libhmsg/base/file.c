/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "libhmsg/base/encode.h"

int fd_close(int fd)
{
    int saved = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = saved;
    return -1;
}

int string_printf(char **ret, const char *format, ...)
{
    va_list ap;
    char *s = NULL;
    va_start(ap, format);
    int n = vasprintf(&s, format, ap);
    va_end(ap);
    if (n < 0)
        return -ENOMEM;
    *ret = s;
    return 0;
}

int file_read_fd(int fd, Buf *ret)
{
    size_t before = ret->size;
    for (;;) {
        size_t room = ret->max - ret->size;
        size_t want = room < 65536 ? room : 65536;
        uint8_t one;
        if (want > 0) {
            int r = buf_reserve(ret, want);
            if (r < 0)
                return r;
        }
        /* With no room left one byte more tells a file that fits from one that does not. */
        ssize_t n = read(fd, want > 0 ? ret->data + ret->size : &one, want > 0 ? want : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (n > 0 && want == 0)) {
            int e = n < 0 ? errno : EMSGSIZE;
            ret->size = before;
            return -e;
        }
        if (ret->data)
            ret->data[ret->size + (want > 0 ? (size_t)n : 0)] = 0;
        if (n == 0)
            return 0;
        ret->size += (size_t)n;
    }
}

int file_read(int dir_fd, const char *path, Buf *ret)
{
    _cleanup_(fd_closep) int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : file_read_fd(fd, ret);
}

int file_write_fd(int fd, const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -errno;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

/* Opens the folder that holds path and gives the last part of path. */
static int open_parent(int dir_fd, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *parent =
        slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!parent)
        return -ENOMEM;
    int fd = openat(dir_fd, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_name = slash ? slash + 1 : path;
    return fd;
}

int file_write_atomic(int dir_fd, const char *path, const void *data, size_t n, mode_t mode, bool exclusive)
{
    const char *name;
    _cleanup_(fd_closep) int folder = open_parent(dir_fd, path, &name);
    if (folder < 0)
        return folder;
    uint8_t random[8];
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return -EIO;
    char suffix[sizeof(random) * 2 + 1];
    hex_encode(random, sizeof(random), suffix);
    _cleanup_(freep) char *temporary = NULL;
    int r = string_printf(&temporary, ".%s.%s", name, suffix);
    if (r < 0)
        return r;

    _cleanup_(fd_closep) int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    r = file_write_fd(fd, data, n);
    if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
        r = -errno;
    if (r == 0 && (exclusive ? linkat(folder, temporary, folder, name, 0)
                             : renameat(folder, temporary, folder, name)) < 0)
        r = -errno;
    if (r < 0 || exclusive)
        (void)unlinkat(folder, temporary, 0);
    if (r == 0 && fsync(folder) < 0)
        r = -errno;
    return r;
}

int file_make_folders(const char *path, mode_t mode)
{
    _cleanup_(freep) char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char c = *p;
        *p = 0;
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return -errno;
        *p = c;
        if (c == 0)
            return 0;
    }
}

int file_remove(int dir_fd, const char *path)
{
    const char *name;
    _cleanup_(fd_closep) int folder = open_parent(dir_fd, path, &name);
    if (folder < 0)
        return folder;
    if (unlinkat(folder, name, 0) < 0)
        return -errno;
    return fsync(folder) < 0 ? -errno : 0;
}

int file_wipe(int dir_fd, const char *path)
{
    static const char zeros[4096];
    _cleanup_(fd_closep) int fd = openat(dir_fd, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1) {
        for (off_t left = st.st_size; left > 0; left -= (off_t)sizeof(zeros))
            if (file_write_fd(fd, zeros, left < (off_t)sizeof(zeros) ? (size_t)left : sizeof(zeros)) != 0)
                break;
        (void)fdatasync(fd);
    }
    return file_remove(dir_fd, path);
}

int file_keep_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && (errno != EBADF || open("/", O_PATH | O_CLOEXEC) != fd))
            return errno > 0 ? -errno : -EBADF;
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading and writing of descriptors that others gave us, from a thread: files, pipes, sockets and devices,
 * blocking or not, never stuck for longer than until stop_fd is readable (regular files excepted: the kernel
 * waits for a disk). Flags of the open file, which others share, are not changed. */

#include "libhmsg/base/macro.h"

typedef struct FdIo {
    int fd;         /* ours */
    int kind;       /* private */
    size_t at_once; /* bytes that may be written without waiting */
} FdIo;

#define FD_IO_NONE ((FdIo){.fd = -1})

/* Duplicates fd. -EINVAL: a directory, or something else without contents. */
int fd_io_open(int fd, bool to_write, FdIo *ret);
void fd_io_done(FdIo *io);

/* Waits for something: 1..n bytes; 0: the end. -ECANCELED: stop_fd. */
ssize_t fd_io_read(const FdIo *io, void *data, size_t n, int stop_fd);
/* All of it. -ECANCELED: stop_fd. */
int fd_io_write(const FdIo *io, const void *data, size_t n, int stop_fd);

/* A regular file, in which one can go to any place. */
bool fd_io_is_file(const FdIo *io);
/* Goes n bytes on in a file. -ESPIPE: it is none. */
int fd_io_skip(const FdIo *io, uint64_t n);

/* What is left to read, 0 when nobody can tell. */
uint64_t fd_io_size(const FdIo *io);

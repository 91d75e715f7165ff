/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "libhmsg/base/buf.h"

/* Reads the whole file into ret (which keeps what it had on failure). -EMSGSIZE: larger than ret may hold. */
int file_read(int dir_fd, const char *path, Buf *ret);
/* The same for an open descriptor, to its end. */
int file_read_fd(int fd, Buf *ret);

/* Writes all n bytes, whatever the kernel takes at a time. */
int file_write_fd(int fd, const void *data, size_t n);

/* Replaces or makes path so that after a crash it is either the old or the new file, whole: temporary file in
 * the same folder, fsync, rename, fsync of the folder. With exclusive an existing file is kept: -EEXIST. */
int file_write_atomic(int dir_fd, const char *path, const void *data, size_t n, mode_t mode, bool exclusive);

/* mkdir -p; folders that it makes have this mode. */
int file_make_folders(const char *path, mode_t mode);

/* Removes path and makes its absence durable. -ENOENT when there is none. */
int file_remove(int dir_fd, const char *path);
/* The same, and overwrites it before, unless it has another name as well: for file systems that write in
 * place; that may fail unnoticed. */
int file_wipe(int dir_fd, const char *path);

/* For the beginning of main(): standard input, output and error that are closed are opened, for neither
 * reading nor writing, so that no other file gets one of these numbers and what is printed. */
int file_keep_standard(void);

/* printf into a new string, -ENOMEM. */
int string_printf(char **ret, const char *format, ...) _printf_(2, 3);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What somebody gets who takes a program over. Each function holds for the calling thread and those that it
 * starts, for good, so each is called before any thread; 0 or -errno. */

#include "libhmsg/base/macro.h"

/* What a program does besides the rest: memory, threads, descriptors that it has, reading files, clocks. */
typedef enum SandboxMay {
    SANDBOX_WRITE_FILES = 1 << 0, /* open for writing, make, rename and delete */
    SANDBOX_UNIX = 1 << 1,        /* sockets of the machine */
    SANDBOX_INTERNET = 1 << 2,    /* and asking the kernel what addresses there are, netlink(7) */
    SANDBOX_SERVE = 1 << 3,       /* listen(2), accept(2) */
    SANDBOX_KEYRING = 1 << 4,     /* keyctl(2), add_key(2) */
    SANDBOX_GROUP = 1 << 5,       /* open files with a group that it set aside, setfsgid(2) */
} SandboxMay;

/* seccomp(2), an allow-list: every other call fails as if the kernel did not have it (ENOSYS), so that a
 * library takes the way that it has for such kernels. In no case is a program started, a process forked, or
 * another one touched. Sets no_new_privs, prctl(2). may: of SandboxMay. */
int sandbox_calls(unsigned may);

typedef struct SandboxPath {
    const char *path; /* a file, or a folder with all that is in it; one that does not exist is left out */
    bool writable;
    bool sockets; /* of the machine may be made in it */
} SandboxPath;

/* landlock(7): no file but these is opened, made, renamed or deleted; descriptors that are there stay. 0 as
 * well where the kernel has none, or none that lets files be renamed from one folder to another (Linux 5.19):
 * then the file's permissions decide alone. Sets no_new_privs. */
int sandbox_files(const SandboxPath *paths, size_t n);

/* capabilities(7): none is left but, for a program that root starts, those of keep: bits of 1 << CAP_…
 * below 32.
 */
int sandbox_capabilities(uint32_t keep);

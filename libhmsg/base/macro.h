/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ownership by scope. A variable marked _cleanup_(f) is passed to f when it goes out of scope; TAKE_PTR and
 * TAKE_FD hand it over instead. Every destructor of hmsg takes NULL (or -1) and returns NULL. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _unused_ __attribute__((unused))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _warn_unused_ __attribute__((warn_unused_result))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))

#define TAKE_PTR(p)                                                                                          \
    ({                                                                                                       \
        __typeof__(p) taken_ = (p);                                                                          \
        (p) = NULL;                                                                                          \
        taken_;                                                                                              \
    })

#define TAKE_FD(fd)                                                                                          \
    ({                                                                                                       \
        int taken_ = (fd);                                                                                   \
        (fd) = -1;                                                                                           \
        taken_;                                                                                              \
    })

/* Defines f##p, the cleanup function for a variable of type T that f destroys. */
#define DEFINE_CLEANUP(T, f)                                                                                 \
    static inline void f##p(T *p)                                                                            \
    {                                                                                                        \
        if (*p)                                                                                              \
            (void)f(*p);                                                                                     \
    }

static inline void freep(void *p)
{
    free(*(void **)p);
}

/* close() that takes -1, keeps errno and returns -1. */
int fd_close(int fd);

static inline void fd_closep(int *fd)
{
    (void)fd_close(*fd);
}

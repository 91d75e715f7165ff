/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/crypto-memory.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(size_t n, const char *file, int line)
{
    return malloc(n);
}

static void wipe_and_free(void *p, const char *file, int line)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

/* Not realloc: it would leave a copy of the old contents behind. */
static void *reallocate(void *p, size_t n, const char *file, int line)
{
    size_t before = p ? malloc_usable_size(p) : 0;
    void *next;

    if (n == 0) {
        wipe_and_free(p, file, line);
        return NULL;
    }
    if (p && n <= before && n >= before / 2)
        return p;
    next = malloc(n);
    if (!next)
        return NULL;
    if (p)
        memcpy(next, p, before < n ? before : n);
    wipe_and_free(p, file, line);
    return next;
}

int crypto_memory_wipe_freed(void)
{
    return CRYPTO_set_mem_functions(allocate, reallocate, wipe_and_free) == 1 ? 0 : -EBUSY;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one type for key material: a fixed size, in locked memory that no core dump contains (OpenSSL's secure
 * heap, CRYPTO_secure_malloc(3)), wiped when freed, never resized, never copied by accident. */

#include "libhmsg/base/macro.h"

#define SECRET_HEAP_SIZE (1024u * 1024u) /* bytes of locked memory for all secrets of a process */
#define SECRET_SIZE_MAX (16u * 1024u)    /* bytes of one secret */

typedef struct Secret Secret;

/* Sets up the locked heap; programs call it once at start, so that a low RLIMIT_MEMLOCK is told early, and
 * fork no more afterwards: where the kernel has memfd_secret(2), and the machine is not one that hibernates,
 * the heap is in such memory, which a forked process would share. -ENOMEM: the memory could not be locked.
 * When nobody called it secret_new makes a heap that is locked only. */
int secret_init(void);
/* The same with room for n secrets of up to 48 bytes besides; before any other function. */
int secret_init_more(size_t n);

/* A zeroed secret of size bytes, 1..SECRET_SIZE_MAX. The caller frees it with secret_free. */
int secret_new(size_t size, Secret **ret);
int secret_new_copy(const void *data, size_t size, Secret **ret);
int secret_new_random(size_t size, Secret **ret);

uint8_t *secret_data(Secret *s);
const uint8_t *secret_bytes(const Secret *s);
size_t secret_size(const Secret *s);

/* Constant time in the contents; false when the sizes differ. */
bool secret_equal(const Secret *a, const Secret *b);

Secret *secret_free(Secret *s);
DEFINE_CLEANUP(Secret *, secret_free)

/* Constant-time comparison of n bytes, for tags and hashes. */
bool bytes_equal(const void *a, const void *b, size_t n);

/* Overwrites memory in a way that the compiler keeps. */
void bytes_wipe(void *p, size_t n);

/* Makes this process safe to hold secrets: not dumpable (ptrace(2), /proc/PID/mem), no core file, umask 077.
 */
int process_harden(void);

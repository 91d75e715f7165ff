/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What keys in bytes (PEM, JWK, exported identities, certificates) were found to be: reading one takes longer
 * than to encrypt a message to it. By the SHA-256 of the bytes, so that a hit is the same key. */

#include "agent/cipher.h"

#define KEY_CACHE_MAX 64u /* the oldest goes */

typedef struct KeyCache KeyCache;

int key_cache_new(KeyCache **ret);
KeyCache *key_cache_free(KeyCache *c);
DEFINE_CLEANUP(KeyCache *, key_cache_free)

/* ret points into the cache, until its next call. BAD_PACKAGE and others of recipient_from_key. */
int key_cache_read(KeyCache *c, const void *data, size_t size, SealKey *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/wire: what packages and streams share. */

#include "libhmsg/wire/package.h"

#define PACKAGE_VERSION 1
#define KEY_COMMITMENT_LABEL "hmsg/1 key commitment"
#define AES_BLOCK 16u

typedef struct Flat Flat;

Package *package_new(PackageKind kind);
/* Of the object j: the protected header, whose text as received is kept, being the AAD; what belongs to this
 * package alone; what is the same throughout its session; and the SHA-256 of the latter as text. */
int package_read_protected(const Flat *j, Package *p);
int package_read_content(const Flat *j, Package *p);
int package_read_session(const Flat *j, Package *p);
int package_recall_id(const Flat *j, const Package *p, uint8_t ret[static SHA256_SIZE]);
/* The statement speaks of this package and of no other. */
bool package_is_of(const Package *p, const SessionStatement *s);

/* HMAC-SHA-256 over the label by all session keys. */
int package_commitment(const Secret *keys, uint8_t ret[static KEY_COMMITMENT_SIZE]);

/* package_build for both kinds; recipients counts those of a stream. */
int package_write(const WireSession *s, PackageKind kind, size_t recipients, uint64_t seq, int64_t ts,
                  int64_t exp, const void *plaintext, size_t n, Buf *ret);

/* package_find that also gives the number of packages in text. */
int package_find_counted(const char *text, size_t n, PackageKind kind, const uint8_t (*kids)[KID_SIZE],
                         size_t n_kids, Package **ret, size_t *ret_kid, size_t *ret_count);

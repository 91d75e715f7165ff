/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/db: pages and the heads of frames of the log, as they are on disk. */

#include "libhmsg/db/seal.h"
#include "libhmsg/db/vfs.h"

#define SEAL_HEAD_SIZE                                                                                       \
    24u /* of a frame: page 4, size of the store 4, salts 8, checksums 8 (SQLite's file format) */
#define SEAL_KEY_NAME_SIZE 4u

/* What is derived from one key. */
typedef struct SealKey {
    Secret *page, *head; /* NULL: no key */
    uint8_t name[SEAL_KEY_NAME_SIZE];
} SealKey;

struct DbSeal {
    VfsLayer layer;  /* first */
    SealKey keys[2]; /* the one to write with, and that of before */
};

/* Where a page is. */
typedef struct SealPlace {
    const uint8_t *head; /* of its frame, not encrypted; NULL: in the store itself */
    uint64_t offset;     /* of the page in its file */
} SealPlace;

/* page has DB_SEAL_PAGE_SIZE bytes, and ret as many; the last DB_SEAL_RESERVED of a page are 0 for SQLite. */
int seal_page(const DbSeal *s, const SealPlace *at, const uint8_t *page, uint8_t *ret);
/* -EBADMSG: of no key of ours, changed, or of another place. page == ret is allowed. */
int seal_open_page(const DbSeal *s, const SealPlace *at, const uint8_t *page, uint8_t *ret);
/* Does it say that it is of a key of ours? Not proven. */
bool seal_names_key(const DbSeal *s, const uint8_t *page);

/* A head keeps its size, and so has no tag: what is wrong in it is found by SQLite's checksums and by the tag
 * of its page. It has the key of that page, since no key is changed within a transaction; page: as it is on
 * disk. */
int seal_head(const DbSeal *s, uint64_t offset, const uint8_t *head, uint8_t *ret);
int seal_open_head(const DbSeal *s, uint64_t offset, const uint8_t *head, const uint8_t *page, uint8_t *ret);

/* Makes SQLite know the layer. 0 or an SQLite code. */
int seal_vfs_register(DbSeal *s);
void seal_vfs_unregister(DbSeal *s);

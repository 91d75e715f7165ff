/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A store of which the disk sees nothing but its size: each page, in the file and in the log, is encrypted
 * with AES-256-GCM (NIST SP 800-38D) under a random nonce and bound to its place; nonce and tag are in bytes
 * at the end of the page that SQLite leaves free. Whole pages, or the whole file, can be put back as they
 * were before; nothing else can be changed unnoticed. */

#include "libhmsg/base/secret.h"

#define DB_SEAL_KEY_SIZE 32u
#define DB_SEAL_PAGE_SIZE 4096u
#define DB_SEAL_RESERVED 32u /* bytes at the end of each page: tag 16, nonce 12, name of the key 4 */

typedef struct DbSeal DbSeal;

/* key has DB_SEAL_KEY_SIZE bytes and is copied. It must outlive every Db that is opened with it. */
int db_seal_new(const Secret *key, DbSeal **ret);
DbSeal *db_seal_free(DbSeal *s);
DEFINE_CLEANUP(DbSeal *, db_seal_free)

/* What is written from now on is written with this key; what there is can still be read. db_reseal writes all
 * of it anew. -EBUSY: there are two keys already. */
int db_seal_change(DbSeal *s, const Secret *key);
/* The key of before is needed no more. */
void db_seal_forget(DbSeal *s);

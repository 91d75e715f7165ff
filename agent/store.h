/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The agent's store: DATA/store.db with the tables below, sealed (libhmsg/db/seal.h) with the key that
 * vault.h keeps, and DATA/mail/ for the bodies of mail that are too large for a row, as they came: encrypted.
 * Modules prepare their own statements on store_db. Kids, skids and message ids are their 43 characters of
 * text everywhere in it; what has no value is NULL. */

#include "libhmsg/base/buf.h"
#include "libhmsg/db/db.h"

#define STORE_BODY_ROW_MAX (64u * 1024u) /* bytes of a body in a row; more is a file */
#define STORE_FILE_NAME_SIZE 33u         /* of a body's file, with the final 0 */

typedef struct Store Store;

#define STORE_MAIL_FOLDER "mail"

/* folder: the data folder; it must exist. suffix: of the names of file and folder ("": none). seal must
 * outlive the store; one that is in clear is sealed with it. NULL: in clear, for tests. */
int store_new(const char *folder, const char *suffix, DbSeal *seal, Store **ret);
/* Is there such a file, and not in clear? */
int store_is_sealed(int data_fd, const char *name, bool *ret);
Store *store_free(Store *s); /* the statements of its modules must be gone */
DEFINE_CLEANUP(Store *, store_free)

Db *store_db(Store *s);

/* Where a body is: in memory, to be put into a row, or a file of the mail folder. */
typedef struct StoreBody {
    char file[STORE_FILE_NAME_SIZE]; /* "" when in bytes */
    Buf bytes;
} StoreBody;
void store_body_done(StoreBody *b); /* frees; the file stays */

/* A new empty file of a random name, open for reading and writing. One that no row names is removed by the
 * next store_new; so rows are written after store_body_keep and files removed after their rows. */
int store_body_create(Store *s, char ret_name[static STORE_FILE_NAME_SIZE], int *ret_fd);
/* Takes what create made and somebody filled to size bytes: makes the file durable, or reads a small one into
 * ret->bytes and removes it. -EBADMSG: the file has not this size. */
int store_body_keep(Store *s, const char *name, int fd, uint64_t size, StoreBody *ret);
/* A body that is in memory. */
int store_body_put(Store *s, const Buf *content, StoreBody *ret);
int store_body_open(Store *s, const char *name, int *ret_fd);
/* Another name for the same kept body, so that each row has a file of its own. */
int store_body_link(Store *s, const char *name, char ret_name[static STORE_FILE_NAME_SIZE]);
/* Removes a file; nothing happens for NULL, "" and a file that is not there. */
void store_body_remove(Store *s, const char *name);

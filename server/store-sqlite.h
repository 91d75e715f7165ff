/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The store of one machine: FOLDER/relay.sqlite, and bodies over MESSAGE_SIZE_MAX in FOLDER/blobs/. One
 * thread owns the only connection that writes; another makes blobs durable before their rows are written. */

#include "server/at-rest.h"
#include "server/store.h"

/* Makes the folder's files when they are missing, encrypts what a version before stored in clear, and removes
 * blobs that no message has. -EBUSY: in use. HMSG_ERROR_AUTHENTICATION_FAILED: the keys of the store were
 * wrapped by another keeper; nothing was changed. keeper's userdata must outlive the store. */
int store_sqlite_open(const char *folder, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret);
/* Looks on from another process, without a Store; -ENOENT: there is no store. -ESTALE: one of a version
 * before. */
/* Has keeper wrap the index and root keys of a store anew, all or none; it unwraps what is there. The store
 * must not be in use: -EBUSY. -ENOENT: there is none. Other errors as store_sqlite_open has them. */
int store_sqlite_rewrap(const char *folder, const StoreKeeper *keeper);
/* keeper must outlive the reader. */
int store_sqlite_open_reader(const char *folder, const StoreKeeper *keeper, StoreReader **ret);
/* Reads and decrypts everything: the database is sound, all that is sealed opens, and each blob is there
 * whole, else -EBADMSG. */
int store_sqlite_check(StoreReader *r);
/* The same, and tells of each thing that is damaged; goes on to the end. */
int store_sqlite_check_tell(StoreReader *r, store_damage_t tell, void *userdata);
/* Has the keys changed at the next STORE_REKEY, of this process or another that has the store open. */
int store_sqlite_request_rekey(const char *folder);
/* A copy of what the store holds at one moment, which another process may have open, as a new folder `to`
 * that store_sqlite_open takes: checked as by store_sqlite_check, on disk, and there as a whole or not at
 * all. *ret_damaged: it holds damaged rows, which are so in the store as well. -EEXIST: it, or TO.part, is
 * there. -EAGAIN: messages went faster than they could be copied. -EBADMSG: the store is damaged otherwise,
 * or the copy alone is. */
int store_sqlite_backup(const char *folder, const StoreKeeper *keeper, const char *to, bool *ret_damaged);

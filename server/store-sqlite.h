/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The store of one machine: FOLDER/relay.sqlite, and bodies over MESSAGE_SIZE_MAX in FOLDER/blobs/. One
 * thread owns the only connection that writes; another makes blobs durable before their rows are written. */

#include "server/store.h"

/* Makes the folder's files when they are missing; removes blobs that no message has. -EBUSY: in use. */
int store_sqlite_open(const char *folder, const StoreLimits *limits, Store **ret);
/* Looks on from another process, without a Store; -ENOENT: there is no store. */
int store_sqlite_open_reader(const char *folder, StoreReader **ret);
/* Reads everything: the database is sound and each blob is there with its size, else -EBADMSG. */
int store_sqlite_check(StoreReader *r);

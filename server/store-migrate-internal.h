/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to server/store-migrate*.c. */

#include "server/options.h"
#include "server/store-postgres-internal.h"
#include "server/store-sqlite-internal.h"

typedef struct Migration {
    const Options *options;
    OptionStore to;
    Db *from, *into;
    StoreRemote *remote;    /* of the one in PostgreSQL */
    RemoteUploads *uploads; /* bodies on their way to it */
    RemoteBodies *bodies;   /* and from it */
    DbStatement *keep;
    char *path; /* of the database in the folder */
    int blobs;
    bool moved; /* the former database has its other name already */
    char token[MOVE_TOKEN_SIZE];
} Migration;

/* store-migrate-copy.c: goes on where the copy ends. */
int migration_copy(Migration *m);
/* All is there, and opens. */
int migration_check(const Migration *m, const StoreKeeper *keeper, StoreCounts *ret);

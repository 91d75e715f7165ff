/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The store in a PostgreSQL database, which several relays may share; the same statements as for SQLite.
 * Large bodies are in the database as well. FOLDER/blobs/ has files without a name for what is on its way. */

#include "libhmsg/wire/statement.h"
#include "server/at-rest.h"
#include "server/postgres.h"
#include "server/store.h"

#define POSTGRES_PATIENCE 10u       /* seconds that a relay's clients wait for what is read */
#define POSTGRES_START_PATIENCE 20u /* and a relay that starts, for each answer */

/* Makes the tables when they are missing. A database that does not answer, or lets a commit wait, is given up
 * whatever the patience of o. Errors as of postgres_open and store_sqlite_open; error: what
 * people should know, or "". -EOPNOTSUPP: the program was built without PostgreSQL. */
int store_postgres_open(const PostgresOptions *o, const char *folder, const StoreLimits *limits,
                        const StoreKeeper *keeper, Store **ret, char error[static POSTGRES_ERROR_SIZE]);
/* The next tick (ticks.h) of all relays that share the store, or the one that another has made less than a
 * minute ago: it is theirs together. first: what to begin with; NULL: -ENOENT when there is none. Takes as
 * long as o is patient. */
int store_postgres_tick(const PostgresOptions *o, const Ticks *first, Ticks *ret,
                        char error[static POSTGRES_ERROR_SIZE]);
/* Whether a relay may use it, or make its tables: it was not moved away, and has arrived. */
bool store_postgres_ready(Db *db, char error[static POSTGRES_ERROR_SIZE]);
/* As store_sqlite_rewrap. -EBUSY: somebody else is connected to the store. */
int store_postgres_rewrap(const PostgresOptions *o, const StoreKeeper *keeper,
                          char error[static POSTGRES_ERROR_SIZE]);
/* A reader without a Store. keeper must outlive it. */
int store_postgres_open_reader(const PostgresOptions *o, const StoreKeeper *keeper, StoreReader **ret,
                               char error[static POSTGRES_ERROR_SIZE]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For store-migrate.c alone. */

#include "server/store-postgres.h"
#include "server/store-remote.h"

#define MOVE_TOKEN_SIZE 33u /* hexadecimal, with the final 0 */

/* What stands of a migration in the database: it is being filled, or has been moved away, so that relays
 * refuse it; or it is being read, which the next relay that uses it takes back. token: of this migration, ""
 * without. */
typedef enum StoreMove { MOVE_NONE, MOVE_IN, MOVE_OUT, MOVE_MOVED } StoreMove;

/* The database with its tables, for one who is alone there as long as *ret lives. -EBUSY: somebody uses it.
 */
int store_postgres_open_alone(const PostgresOptions *o, Db **ret, StoreRemote **ret_remote,
                              char error[static POSTGRES_ERROR_SIZE]);
int store_postgres_get_move(Db *db, StoreMove *ret, char token[static MOVE_TOKEN_SIZE]);
int store_postgres_set_move(Db *db, StoreMove move, const char *token);
/* Whether a relay has stored something in it. */
int store_postgres_used(Db *db, bool *ret);
/* Empties all tables. */
int store_postgres_wipe(Db *db);
/* The last tick; number 0: none. */
int store_postgres_last_tick(Db *db, Ticks *ret);
/* What relays that will share it go on from: the next tick is another. */
int store_postgres_set_tick(Db *db, const Ticks *t);
/* 0, or what a relay that wants to use it is told. */
int store_postgres_refused(Db *db, char error[static POSTGRES_ERROR_SIZE]);

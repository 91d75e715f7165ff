/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "libhmsg/base/error.h"
#include "server/store-postgres-internal.h"

/* A program that was built without PostgreSQL. */

static int refuse(char error[static POSTGRES_ERROR_SIZE])
{
    (void)snprintf(error, POSTGRES_ERROR_SIZE, "hmsg-relay was built without PostgreSQL");
    return -EOPNOTSUPP;
}

int postgres_options_check(const PostgresOptions *o, char error[static POSTGRES_ERROR_SIZE])
{
    (void)refuse(error);
    return HMSG_ERROR_INVALID_ARGS;
}

int postgres_open(const PostgresOptions *o, Db **ret, char error[static POSTGRES_ERROR_SIZE])
{
    return refuse(error);
}

int store_postgres_open(const PostgresOptions *o, const char *folder, const StoreLimits *limits,
                        const StoreKeeper *keeper, Store **ret, char error[static POSTGRES_ERROR_SIZE])
{
    return refuse(error);
}

int store_postgres_tick(const PostgresOptions *o, const Ticks *first, Ticks *ret,
                        char error[static POSTGRES_ERROR_SIZE])
{
    return refuse(error);
}

bool store_postgres_ready(Db *db, char error[static POSTGRES_ERROR_SIZE])
{
    return false;
}

int store_postgres_rewrap(const PostgresOptions *o, const StoreKeeper *keeper,
                          char error[static POSTGRES_ERROR_SIZE])
{
    return refuse(error);
}

int store_postgres_open_reader(const PostgresOptions *o, const StoreKeeper *keeper, StoreReader **ret,
                               char error[static POSTGRES_ERROR_SIZE])
{
    return refuse(error);
}

int store_postgres_open_alone(const PostgresOptions *o, Db **ret, StoreRemote **ret_remote,
                              char error[static POSTGRES_ERROR_SIZE])
{
    return refuse(error);
}

int store_postgres_get_move(Db *db, StoreMove *ret, char token[static MOVE_TOKEN_SIZE])
{
    return -EOPNOTSUPP;
}

int store_postgres_set_move(Db *db, StoreMove move, const char *token)
{
    return -EOPNOTSUPP;
}

int store_postgres_used(Db *db, bool *ret)
{
    return -EOPNOTSUPP;
}

int store_postgres_wipe(Db *db)
{
    return -EOPNOTSUPP;
}

int store_postgres_last_tick(Db *db, Ticks *ret)
{
    return -EOPNOTSUPP;
}

int store_postgres_set_tick(Db *db, const Ticks *t)
{
    return -EOPNOTSUPP;
}

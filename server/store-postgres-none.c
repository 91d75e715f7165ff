/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "libhmsg/base/error.h"
#include "server/store-postgres.h"

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

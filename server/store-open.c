/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store-open.h"

#include <errno.h>

#include "libhmsg/base/log.h"
#include "server/store-postgres.h"
#include "server/store-sqlite.h"

static int tell(int r, const char *error)
{
    if (r != 0 && error[0])
        log_error("The database: %s", error);
    return r;
}

int store_open(const Options *o, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (o->store == STORE_SQLITE)
        return store_sqlite_open(o->data, limits, keeper, ret);
    return tell(store_postgres_open(&o->postgres, o->data, limits, keeper, ret, error), error);
}

int store_open_reader(const Options *o, const StoreKeeper *keeper, StoreReader **ret)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (o->store == STORE_SQLITE)
        return store_sqlite_open_reader(o->data, keeper, ret);
    return tell(store_postgres_open_reader(&o->postgres, keeper, ret, error), error);
}

int store_rewrap(const Options *o, const StoreKeeper *keeper)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (o->store == STORE_SQLITE)
        return store_sqlite_rewrap(o->data, keeper);
    return tell(store_postgres_rewrap(&o->postgres, keeper, error), error);
}

int store_check(StoreReader *r)
{
    return store_sqlite_check(r);
}

const char *store_name(const Options *o)
{
    return o->store == STORE_SQLITE ? o->data : "the database";
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store-open.h"

#include <errno.h>
#include <unistd.h>

#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"
#include "server/store-migrate.h"
#include "server/store-postgres.h"
#include "server/store-sqlite.h"

static int say(int r, const char *error)
{
    if (r != 0 && error[0])
        log_error("The database: %s", error);
    return r;
}

/* Whether the data folder has a file of the database with this behind its name. */
static bool has_file(const Options *o, const char *more)
{
    _cleanup_(freep) char *path = NULL;
    return string_printf(&path, "%s/relay.sqlite%s", o->data, more) == 0 && access(path, F_OK) == 0;
}

/* A database that was moved away, or is not all here yet, is not begun anew, nor taken for none. */
static int check_folder(const Options *o)
{
    if (has_file(o, ""))
        return 0;
    if (has_file(o, ".part"))
        return say(-EINPROGRESS, "a migration from it has not ended (hmsg-relay store migrate sqlite)");
    if (has_file(o, MIGRATE_MOVED))
        return say(-ENODATA, "what the data folder held was moved to it (store = postgres)");
    return 0;
}

static int open_folder(const Options *o, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret)
{
    _cleanup_(freep) char *moving = NULL;
    int r = check_folder(o);
    if (r == 0)
        r = string_printf(&moving, "%s/relay.sqlite" MIGRATE_MOVING, o->data);
    if (r == 0)
        r = store_sqlite_open(o->data, limits, keeper, ret);
    if (r == 0) /* a migration that was interrupted begins anew */
        (void)unlink(moving);
    return r;
}

int store_open(const Options *o, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (o->store == STORE_SQLITE)
        return open_folder(o, limits, keeper, ret);
    return say(store_postgres_open(&o->postgres, o->data, limits, keeper, ret, error), error);
}

int store_open_reader(const Options *o, const StoreKeeper *keeper, StoreReader **ret)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (o->store == STORE_SQLITE) {
        int r = check_folder(o);
        return r == 0 ? store_sqlite_open_reader(o->data, keeper, ret) : r;
    }
    return say(store_postgres_open_reader(&o->postgres, keeper, ret, error), error);
}

int store_rewrap(const Options *o, const StoreKeeper *keeper)
{
    char error[POSTGRES_ERROR_SIZE] = "";
    if (o->store == STORE_SQLITE) {
        int r = check_folder(o);
        return r == 0 ? store_sqlite_rewrap(o->data, keeper) : r;
    }
    return say(store_postgres_rewrap(&o->postgres, keeper, error), error);
}

int store_check(StoreReader *r, store_damage_t tell, void *userdata)
{
    return store_sqlite_check_tell(r, tell, userdata);
}

const char *store_name(const Options *o)
{
    return o->store == STORE_SQLITE ? o->data : "the database";
}

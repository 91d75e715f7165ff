/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/db/vfs.h"

#include <stdio.h>

int vfs_open_under(sqlite3_vfs *vfs, const char *name, VfsFile *file, size_t file_size, int flags,
                   int *ret_flags)
{
    file->under = (sqlite3_file *)(void *)((char *)file + file_size);
    return vfs_under(vfs)->xOpen(vfs_under(vfs), name, file->under, flags, ret_flags);
}

int vfs_close(sqlite3_file *file)
{
    return vfs_file_under(file)->pMethods->xClose(vfs_file_under(file));
}

int vfs_read(sqlite3_file *file, void *ret, int n, sqlite3_int64 offset)
{
    return vfs_file_under(file)->pMethods->xRead(vfs_file_under(file), ret, n, offset);
}

int vfs_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
    return vfs_file_under(file)->pMethods->xWrite(vfs_file_under(file), data, n, offset);
}

int vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return vfs_file_under(file)->pMethods->xTruncate(vfs_file_under(file), size);
}

int vfs_sync(sqlite3_file *file, int flags)
{
    return vfs_file_under(file)->pMethods->xSync(vfs_file_under(file), flags);
}

int vfs_file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return vfs_file_under(file)->pMethods->xFileSize(vfs_file_under(file), ret);
}

int vfs_lock(sqlite3_file *file, int level)
{
    return vfs_file_under(file)->pMethods->xLock(vfs_file_under(file), level);
}

int vfs_unlock(sqlite3_file *file, int level)
{
    return vfs_file_under(file)->pMethods->xUnlock(vfs_file_under(file), level);
}

int vfs_check_reserved(sqlite3_file *file, int *ret)
{
    return vfs_file_under(file)->pMethods->xCheckReservedLock(vfs_file_under(file), ret);
}

int vfs_control(sqlite3_file *file, int op, void *argument)
{
    return vfs_file_under(file)->pMethods->xFileControl(vfs_file_under(file), op, argument);
}

int vfs_sector_size(sqlite3_file *file)
{
    return vfs_file_under(file)->pMethods->xSectorSize(vfs_file_under(file));
}

int vfs_characteristics(sqlite3_file *file)
{
    return vfs_file_under(file)->pMethods->xDeviceCharacteristics(vfs_file_under(file));
}

static int delete (sqlite3_vfs *vfs, const char *name, int sync)
{
    return vfs_under(vfs)->xDelete(vfs_under(vfs), name, sync);
}

static int access_file(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    return vfs_under(vfs)->xAccess(vfs_under(vfs), name, flags, ret);
}

static int full_path(sqlite3_vfs *vfs, const char *name, int n, char *ret)
{
    return vfs_under(vfs)->xFullPathname(vfs_under(vfs), name, n, ret);
}

static int randomness(sqlite3_vfs *vfs, int n, char *ret)
{
    return vfs_under(vfs)->xRandomness(vfs_under(vfs), n, ret);
}

static int sleep_for(sqlite3_vfs *vfs, int microseconds)
{
    return vfs_under(vfs)->xSleep(vfs_under(vfs), microseconds);
}

static int current_time(sqlite3_vfs *vfs, double *ret)
{
    return vfs_under(vfs)->xCurrentTime(vfs_under(vfs), ret);
}

static int last_error(sqlite3_vfs *vfs, int n, char *ret)
{
    return vfs_under(vfs)->xGetLastError(vfs_under(vfs), n, ret);
}

int vfs_register(VfsLayer *layer, const char *kind, size_t file_size, VfsOpen *open)
{
    layer->under = sqlite3_vfs_find(NULL);
    if (!layer->under)
        return SQLITE_ERROR;
    (void)snprintf(layer->name, sizeof(layer->name), "%s-%p", kind, (void *)layer);
    layer->vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = (int)file_size + layer->under->szOsFile,
        .mxPathname = layer->under->mxPathname,
        .zName = layer->name,
        .pAppData = layer,
        .xOpen = open,
        .xDelete = delete,
        .xAccess = access_file,
        .xFullPathname = full_path,
        .xRandomness = randomness,
        .xSleep = sleep_for,
        .xCurrentTime = current_time,
        .xGetLastError = last_error,
    };
    return sqlite3_vfs_register(&layer->vfs, 0);
}

void vfs_unregister(VfsLayer *layer)
{
    if (layer->under)
        (void)sqlite3_vfs_unregister(&layer->vfs);
}

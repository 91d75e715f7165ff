/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/db/wal-vfs.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GATHERED_SIZE_MAX (124u * 1024u) /* SQLite takes less than 128 KiB of one write */

typedef struct WalFile {
    VfsFile file;
    uint8_t *gathered; /* GATHERED_SIZE_MAX */
    size_t n;
    sqlite3_int64 offset; /* where they belong */
} WalFile;

static WalFile *wal_of(sqlite3_file *file)
{
    return (WalFile *)(void *)file;
}

/* What fails is forgotten: SQLite gives up the transaction that it was of, and the next one begins at its
 * place. */
static int flush(WalFile *f)
{
    size_t n = f->n;
    f->n = 0;
    return n > 0 ? vfs_write(&f->file.base, f->gathered, (int)n, f->offset) : SQLITE_OK;
}

static int wal_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
    WalFile *f = wal_of(file);
    bool follows = f->n > 0 && offset == f->offset + (sqlite3_int64)f->n;
    if (!follows || (size_t)n > GATHERED_SIZE_MAX - f->n) {
        int code = flush(f);
        if (code != SQLITE_OK)
            return code;
    }
    if ((size_t)n > GATHERED_SIZE_MAX)
        return vfs_write(file, data, n, offset);
    if (f->n == 0)
        f->offset = offset;
    memcpy(f->gathered + f->n, data, (size_t)n);
    f->n += (size_t)n;
    return SQLITE_OK;
}

static int wal_read(sqlite3_file *file, void *ret, int n, sqlite3_int64 offset)
{
    int code = flush(wal_of(file));
    return code == SQLITE_OK ? vfs_read(file, ret, n, offset) : code;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int code = flush(wal_of(file));
    return code == SQLITE_OK ? vfs_truncate(file, size) : code;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    int code = flush(wal_of(file));
    return code == SQLITE_OK ? vfs_sync(file, flags) : code;
}

static int wal_file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    int code = flush(wal_of(file));
    return code == SQLITE_OK ? vfs_file_size(file, ret) : code;
}

/* What is still here is of a transaction that was given up. */
static int wal_close(sqlite3_file *file)
{
    WalFile *f = wal_of(file);
    free(f->gathered);
    f->gathered = NULL;
    f->n = 0;
    return vfs_close(file);
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_file_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_check_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector_size,
    .xDeviceCharacteristics = vfs_characteristics,
};

static int wal_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    WalFile *f = wal_of(file);
    if ((flags & SQLITE_OPEN_WAL) == 0)
        return vfs_under(vfs)->xOpen(vfs_under(vfs), name, file, flags, ret_flags);
    *f = (WalFile){.gathered = malloc(GATHERED_SIZE_MAX)};
    if (!f->gathered)
        return SQLITE_NOMEM;
    int code = vfs_open_under(vfs, name, &f->file, sizeof(*f), flags, ret_flags);
    if (code == SQLITE_OK)
        f->file.base.pMethods = &methods;
    else
        free(f->gathered);
    return code;
}

int wal_vfs_register(VfsLayer *layer)
{
    return vfs_register(layer, "hmsg-wal", sizeof(WalFile), wal_open);
}

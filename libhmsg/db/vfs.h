/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/db: what is the same in each layer between SQLite and the files of the system
 * (sqlite.org/vfs.html). */

#include <sqlite3.h>
#include <stddef.h>

#define VFS_NAME_SIZE 32u

/* The beginning of a layer's own file. Behind that file, in one piece of memory that SQLite has made, stands
 * the one that it lies over. */
typedef struct VfsFile {
    sqlite3_file base; /* first: what SQLite sees */
    sqlite3_file *under;
} VfsFile;

/* The beginning of what pAppData of a layer points to. */
typedef struct VfsLayer {
    sqlite3_vfs vfs, *under;  /* NULL: not registered */
    char name[VFS_NAME_SIZE]; /* for sqlite3_open_v2 */
} VfsLayer;

typedef int VfsOpen(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags);

/* Over the system's own, with a name of its own that begins with kind; file_size: of the layer's file. layer
 * must stay. 0 or an SQLite code. */
int vfs_register(VfsLayer *layer, const char *kind, size_t file_size, VfsOpen *open);
void vfs_unregister(VfsLayer *layer);

static inline sqlite3_vfs *vfs_under(sqlite3_vfs *vfs)
{
    return ((const VfsLayer *)vfs->pAppData)->under;
}

static inline sqlite3_file *vfs_file_under(sqlite3_file *file)
{
    return ((VfsFile *)(void *)file)->under;
}

/* Opens what file, of file_size, lies over. */
int vfs_open_under(sqlite3_vfs *vfs, const char *name, VfsFile *file, size_t file_size, int flags,
                   int *ret_flags);

/* Methods of a file that do nothing by themselves. */
int vfs_close(sqlite3_file *file);
int vfs_read(sqlite3_file *file, void *ret, int n, sqlite3_int64 offset);
int vfs_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset);
int vfs_truncate(sqlite3_file *file, sqlite3_int64 size);
int vfs_sync(sqlite3_file *file, int flags);
int vfs_file_size(sqlite3_file *file, sqlite3_int64 *ret);
int vfs_lock(sqlite3_file *file, int level);
int vfs_unlock(sqlite3_file *file, int level);
int vfs_check_reserved(sqlite3_file *file, int *ret);
int vfs_control(sqlite3_file *file, int op, void *argument);
int vfs_sector_size(sqlite3_file *file);
int vfs_characteristics(sqlite3_file *file);

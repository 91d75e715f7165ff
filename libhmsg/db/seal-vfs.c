/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The files of a sealed store, below SQLite (sqlite.org/vfs.html): the store and its log, and no other.
 * SQLite writes whole pages to the store; to the log (sqlite.org/fileformat2.html, section 4) a head of 32
 * bytes, and frames of a head and a page, each of which may be written without the other. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "libhmsg/db/seal-internal.h"

#define LOG_HEAD_SIZE 32u
#define STORE_HEAD_SIZE 100u
#define FRAME_SIZE (SEAL_HEAD_SIZE + DB_SEAL_PAGE_SIZE)
#define NOWHERE UINT64_MAX

typedef struct SealFile {
    VfsFile file;
    const DbSeal *seal;
    bool is_log;
    uint64_t head_at; /* the last head that was written; NOWHERE */
    uint8_t head[SEAL_HEAD_SIZE];
} SealFile;

static int read_real(SealFile *f, void *ret, size_t n, uint64_t offset)
{
    return vfs_read(&f->file.base, ret, (int)n, (sqlite3_int64)offset);
}

static int write_real(SealFile *f, const void *data, size_t n, uint64_t offset)
{
    return vfs_write(&f->file.base, data, (int)n, (sqlite3_int64)offset);
}

/* SQLite asks for the head of the store before it looks at the log. When the machine stopped while the first
 * page was carried over, only the log has that page whole: then it gets what the head of each sealed store
 * says about pages, finds the page in the log, or is refused when it asks for all of it. Not with a key that
 * is none of the page's: that would find nothing in the log, and remove it. */
static bool rescue_head(const SealFile *f, const uint8_t *page, uint8_t *ret, size_t n, uint64_t offset)
{
    static const uint8_t of_pages[] = {DB_SEAL_PAGE_SIZE >> 8, 0, 2, 2, DB_SEAL_RESERVED, 64, 32, 32};
    static const char magic[16] = "SQLite format 3";

    if (offset != 0 || n != STORE_HEAD_SIZE || !seal_names_key(f->seal, page))
        return false;
    memset(ret, 0, n);
    memcpy(ret, magic, sizeof(magic));
    memcpy(ret + sizeof(magic), of_pages, sizeof(of_pages));
    return true;
}

/* The store, in whatever pieces. */
static int read_store(SealFile *f, uint8_t *ret, size_t n, uint64_t offset)
{
    uint8_t page[DB_SEAL_PAGE_SIZE];

    while (n > 0) {
        uint64_t begin = offset - offset % DB_SEAL_PAGE_SIZE;
        size_t from = (size_t)(offset - begin), part = DB_SEAL_PAGE_SIZE - from;
        const SealPlace at = {.offset = begin};
        int code = read_real(f, page, sizeof(page), begin);

        part = part < n ? part : n;
        if (code == SQLITE_IOERR_SHORT_READ)
            memset(ret, 0, n);
        if (code != SQLITE_OK)
            return code;
        if (seal_open_page(f->seal, &at, page, page) != 0)
            return rescue_head(f, page, ret, n, offset) ? SQLITE_OK : SQLITE_IOERR_DATA;
        memcpy(ret, page + from, part);
        bytes_wipe(page, sizeof(page));
        ret += part;
        offset += part;
        n -= part;
    }
    return SQLITE_OK;
}

static int write_store(SealFile *f, const uint8_t *data, size_t n, uint64_t offset)
{
    const SealPlace at = {.offset = offset};
    uint8_t page[DB_SEAL_PAGE_SIZE];

    if (n != DB_SEAL_PAGE_SIZE || offset % DB_SEAL_PAGE_SIZE != 0 || seal_page(f->seal, &at, data, page) != 0)
        return SQLITE_IOERR_WRITE;
    return write_real(f, page, sizeof(page), offset);
}

/* Where a frame is, and what of it. */
typedef struct Piece {
    uint64_t frame; /* offset */
    size_t from;    /* in the frame */
} Piece;

static bool find_piece(uint64_t offset, size_t n, Piece *ret)
{
    if (offset < LOG_HEAD_SIZE)
        return false;
    ret->from = (size_t)((offset - LOG_HEAD_SIZE) % FRAME_SIZE);
    ret->frame = offset - ret->from;
    return ret->from + n <= FRAME_SIZE;
}

static SealPlace place_of(uint64_t frame, const uint8_t *head)
{
    return (SealPlace){.head = head, .offset = frame + SEAL_HEAD_SIZE};
}

/* A frame that was cut off when the machine stopped is, as one that was never written, nothing that SQLite
 * may stumble over: it is asked for as a whole when the end of the log is looked for. */
static int read_log(SealFile *f, uint8_t *ret, size_t n, uint64_t offset)
{
    uint8_t frame[FRAME_SIZE], *page = frame + SEAL_HEAD_SIZE;
    SealPlace at;
    Piece p;
    int code;

    if (offset == 0 && n <= LOG_HEAD_SIZE)
        return read_real(f, ret, n, offset);
    if (!find_piece(offset, n, &p))
        return SQLITE_IOERR_READ;
    code = read_real(f, frame, sizeof(frame), p.frame);
    if (code == SQLITE_IOERR_SHORT_READ)
        memset(ret, 0, n);
    if (code != SQLITE_OK)
        return code;
    at = place_of(p.frame, frame);
    if (seal_open_head(f->seal, p.frame, frame, page, frame) != 0 ||
        seal_open_page(f->seal, &at, page, page) != 0) {
        memset(ret, 0, n);
        return p.from == 0 ? SQLITE_OK : SQLITE_IOERR_DATA;
    }
    memcpy(ret, frame + p.from, n);
    bytes_wipe(frame, sizeof(frame));
    return SQLITE_OK;
}

static int write_head(SealFile *f, const uint8_t *head, uint64_t frame)
{
    uint8_t sealed[SEAL_HEAD_SIZE];
    int code;

    if (seal_head(f->seal, frame, head, sealed) != 0)
        return SQLITE_IOERR_WRITE;
    code = write_real(f, sealed, sizeof(sealed), frame);
    f->head_at = code == SQLITE_OK ? frame : NOWHERE;
    memcpy(f->head, head, sizeof(f->head));
    return code;
}

/* The head of a frame whose page is written anew. */
static int find_head(SealFile *f, uint64_t frame)
{
    uint8_t sealed[FRAME_SIZE];
    int code;

    if (f->head_at == frame)
        return SQLITE_OK;
    code = read_real(f, sealed, sizeof(sealed), frame);
    if (code != SQLITE_OK)
        return code;
    if (seal_open_head(f->seal, frame, sealed, sealed + SEAL_HEAD_SIZE, f->head) != 0)
        return SQLITE_IOERR_DATA;
    return SQLITE_OK;
}

static int write_log(SealFile *f, const uint8_t *data, size_t n, uint64_t offset)
{
    uint8_t page[DB_SEAL_PAGE_SIZE];
    SealPlace at;
    Piece p;
    int code;

    if (offset == 0 && n == LOG_HEAD_SIZE)
        return write_real(f, data, n, offset);
    if (!find_piece(offset, n, &p))
        return SQLITE_IOERR_WRITE;
    if (p.from == 0 && n == SEAL_HEAD_SIZE)
        return write_head(f, data, p.frame);
    if (p.from != SEAL_HEAD_SIZE || n != DB_SEAL_PAGE_SIZE)
        return SQLITE_IOERR_WRITE;
    code = find_head(f, p.frame);
    if (code != SQLITE_OK)
        return code;
    at = place_of(p.frame, f->head);
    if (seal_page(f->seal, &at, data, page) != 0)
        return SQLITE_IOERR_WRITE;
    return write_real(f, page, sizeof(page), offset);
}

static int seal_read(sqlite3_file *file, void *ret, int n, sqlite3_int64 offset)
{
    SealFile *f = (SealFile *)(void *)file;

    return (f->is_log ? read_log : read_store)(f, ret, (size_t)n, (uint64_t)offset);
}

static int seal_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 offset)
{
    SealFile *f = (SealFile *)(void *)file;

    return (f->is_log ? write_log : write_store)(f, data, (size_t)n, (uint64_t)offset);
}

static int seal_close(sqlite3_file *file)
{
    SealFile *f = (SealFile *)(void *)file;

    bytes_wipe(f->head, sizeof(f->head));
    return vfs_close(file);
}

static int seal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    ((SealFile *)(void *)file)->head_at = NOWHERE;
    return vfs_truncate(file, size);
}

/* Without it SQLite writes a page of the log in two pieces. */
static int seal_characteristics(sqlite3_file *file)
{
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* Version 1: no shared memory, since one connection alone has the store, and no mapped pages. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = seal_close,
    .xRead = seal_read,
    .xWrite = seal_write,
    .xTruncate = seal_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_file_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_unlock,
    .xCheckReservedLock = vfs_check_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector_size,
    .xDeviceCharacteristics = seal_characteristics,
};

static int seal_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    SealFile *f = (SealFile *)(void *)file;
    int code;

    *f = (SealFile){.seal = vfs->pAppData, .is_log = (flags & SQLITE_OPEN_WAL) != 0, .head_at = NOWHERE};
    /* a journal or a temporary file would hold pages as they are */
    if ((flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) == 0)
        return SQLITE_CANTOPEN;
    code = vfs_open_under(vfs, name, &f->file, sizeof(*f), flags, ret_flags);
    if (code == SQLITE_OK)
        f->file.base.pMethods = &methods;
    return code;
}

int seal_vfs_register(DbSeal *s)
{
    return vfs_register(&s->layer, "hmsg-seal", sizeof(SealFile), seal_open);
}

void seal_vfs_unregister(DbSeal *s)
{
    vfs_unregister(&s->layer);
}

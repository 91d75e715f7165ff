/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store-remote.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define PARTS_PER_COMMIT 16u
#define NAME_SIZE 16u

struct RemoteUploads {
    StoreRemote *remote;
    Db *db;
    DbStatement *drop, *begin, *part;
    uint8_t piece[REMOTE_PART_SIZE];
};

struct RemoteBodies {
    unsigned refs; /* of one thread */
    StoreRemote *remote;
    Db *db;
    DbStatement *part;
};

/* One body that is read. */
typedef struct RemoteBody {
    RemoteBodies *from;
    uint8_t name[NAME_SIZE];
    int64_t part;   /* in piece; -1: none */
    uint8_t *piece; /* REMOTE_PART_SIZE; NULL: none yet */
    size_t size;
} RemoteBody;

StoreRemote *store_remote_ref(StoreRemote *r)
{
    (void)atomic_fetch_add(&r->refs, 1);
    return r;
}

StoreRemote *store_remote_unref(StoreRemote *r)
{
    if (r && atomic_fetch_sub(&r->refs, 1) == 1)
        r->free(r);
    return NULL;
}

int remote_uploads_new(StoreRemote *remote, RemoteUploads **ret)
{
    RemoteUploads *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->remote = store_remote_ref(remote);
    int r = remote->connect(remote, true, &u->db);
    if (r == 0)
        r = db_prepare(u->db, "DELETE FROM bodies WHERE blob = ?1", &u->drop);
    if (r == 0)
        r = db_prepare(u->db,
                       "INSERT INTO uploads(blob, created) VALUES(?1, ?2) ON CONFLICT(blob) DO NOTHING",
                       &u->begin);
    if (r == 0)
        r = db_prepare(u->db, "INSERT INTO bodies(blob, part, data) VALUES(?1, ?2, ?3)", &u->part);
    if (r == 0)
        *ret = u;
    else
        (void)remote_uploads_free(u);
    return r;
}

RemoteUploads *remote_uploads_free(RemoteUploads *u)
{
    if (!u)
        return NULL;
    (void)db_statement_free(u->drop);
    (void)db_statement_free(u->begin);
    (void)db_statement_free(u->part);
    (void)db_close(u->db);
    (void)store_remote_unref(u->remote);
    free(u);
    return NULL;
}

void remote_uploads_interrupt(const RemoteUploads *u)
{
    u->remote->interrupt(u->db);
}

/* As much as there is, up to a part. */
static int read_part(RemoteUploads *u, int fd, int64_t part, size_t *ret_n)
{
    size_t have = 0;
    while (have < sizeof(u->piece)) {
        ssize_t n = pread(fd, u->piece + have, sizeof(u->piece) - have,
                          (off_t)((uint64_t)part * REMOTE_PART_SIZE + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    *ret_n = have;
    return 0;
}

static int upload_some(RemoteUploads *u, const void *name, size_t n, int fd, int64_t *part, bool *ret_more)
{
    _cleanup_(db_rollbackp) Db *transaction = u->db;
    size_t size = REMOTE_PART_SIZE;
    int r = db_begin_shared(transaction);
    if (r == 0 && *part == 0) { /* after what an attempt before has left */
        db_bind_bytes(u->drop, 1, name, n);
        r = db_run(u->drop);
    }
    if (r == 0 && *part == 0) {
        db_bind_bytes(u->begin, 1, name, n);
        db_bind_number(u->begin, 2, clock_realtime());
        r = db_run(u->begin);
    }
    for (unsigned i = 0; r == 0 && i < PARTS_PER_COMMIT && size == REMOTE_PART_SIZE; i++) {
        r = read_part(u, fd, *part, &size);
        if (r != 0 || size == 0)
            break;
        db_bind_bytes(u->part, 1, name, n);
        db_bind_number(u->part, 2, (*part)++);
        db_bind_bytes(u->part, 3, u->piece, size);
        r = db_run(u->part);
    }
    *ret_more = size == REMOTE_PART_SIZE;
    return r == 0 ? db_commit(transaction) : r;
}

int remote_upload(RemoteUploads *u, const void *name, size_t n, int fd)
{
    int64_t part = 0;
    bool more = true;
    int r = 0;
    while (r == 0 && more)
        r = upload_some(u, name, n, fd, &part, &more);
    return r;
}

int remote_bodies_new(StoreRemote *remote, RemoteBodies **ret)
{
    RemoteBodies *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->refs = 1;
    b->remote = store_remote_ref(remote);
    int r = remote->connect(remote, false, &b->db);
    if (r == 0)
        r = db_prepare(b->db,
                       "SELECT substring(data FROM CAST(?3 AS INTEGER) FOR CAST(?4 AS INTEGER)) FROM bodies"
                       " WHERE blob = ?1 AND part = ?2",
                       &b->part);
    if (r == 0)
        *ret = b;
    else
        (void)remote_bodies_unref(b);
    return r;
}

RemoteBodies *remote_bodies_unref(RemoteBodies *b)
{
    if (!b || --b->refs > 0)
        return NULL;
    (void)db_statement_free(b->part);
    (void)db_close(b->db);
    (void)store_remote_unref(b->remote);
    free(b);
    return NULL;
}

/* At most n bytes of a part. false: there is no such part. */
static int ask_part(DbStatement *sql, const void *name, size_t n_name, int64_t part, size_t at, size_t n,
                    bool *ret)
{
    db_bind_bytes(sql, 1, name, n_name);
    db_bind_number(sql, 2, part);
    db_bind_number(sql, 3, (int64_t)at + 1);
    db_bind_number(sql, 4, (int64_t)n);
    return db_step(sql, ret);
}

int remote_download(RemoteBodies *b, const void *name, size_t n, int fd)
{
    bool row = true;
    int r = 0;
    for (int64_t part = 0; r == 0 && row; part++) {
        _cleanup_(db_resetp) DbStatement *sql = b->part;
        size_t size = 0;
        r = ask_part(sql, name, n, part, 0, REMOTE_PART_SIZE, &row);
        if (r == 0 && !row && part == 0)
            r = -EBADMSG;
        if (r != 0 || !row)
            break;
        const void *data = db_column_bytes(sql, 0, &size);
        r = size > 0 ? file_write_fd(fd, data, size) : 0;
    }
    return r;
}

static int fetch(RemoteBody *b, int64_t part, size_t at, void *to, size_t n, size_t *ret_n)
{
    _cleanup_(db_resetp) DbStatement *sql = b->from->part;
    bool row = false;
    size_t have = 0;
    int r = ask_part(sql, b->name, sizeof(b->name), part, at, n, &row);
    if (r != 0 || !row)
        return r != 0 ? r : -EBADMSG; /* or it was acknowledged meanwhile */
    const void *data = db_column_bytes(sql, 0, &have);
    if (have > n)
        return -EBADMSG;
    if (have > 0)
        memcpy(to, data, have);
    *ret_n = have;
    return 0;
}

/* Without one a body is read chunk by chunk, which takes more questions. */
static bool has_piece(RemoteBody *b)
{
    StoreRemote *remote = b->from->remote;
    if (b->piece)
        return true;
    bool room = atomic_fetch_add(&remote->pieces, 1) < REMOTE_PIECES_MAX;
    b->piece = room ? malloc(REMOTE_PART_SIZE) : NULL;
    if (!b->piece)
        (void)atomic_fetch_sub(&remote->pieces, 1);
    return b->piece != NULL;
}

/* Whole chunks, of which none reaches over a part's end. */
static int read_body(void *userdata, uint64_t offset, void *to, size_t n)
{
    RemoteBody *b = userdata;
    int64_t part = (int64_t)(offset / REMOTE_PART_SIZE);
    size_t at = (size_t)(offset % REMOTE_PART_SIZE), have = 0;
    int r = 0;
    if (!has_piece(b)) {
        r = fetch(b, part, at, to, n, &have);
        return r == 0 && have < n ? -EBADMSG : r;
    }
    if (b->part != part) {
        b->part = -1;
        r = fetch(b, part, 0, b->piece, REMOTE_PART_SIZE, &b->size);
    }
    if (r != 0)
        return r;
    b->part = part;
    if (at > b->size || n > b->size - at)
        return -EBADMSG;
    memcpy(to, b->piece + at, n);
    return 0;
}

static void body_done(void *userdata)
{
    RemoteBody *b = userdata;
    if (b->piece)
        (void)atomic_fetch_sub(&b->from->remote->pieces, 1);
    free(b->piece);
    (void)remote_bodies_unref(b->from);
    free(b);
}

int remote_body_open(RemoteBodies *from, const void *name, size_t n, const uint8_t key[static BODY_KEY_SIZE],
                     uint64_t size, BodyReader **ret)
{
    RemoteBody *b = n == NAME_SIZE ? calloc(1, sizeof(*b)) : NULL;
    if (!b)
        return n == NAME_SIZE ? -ENOMEM : -EBADMSG;
    memcpy(b->name, name, NAME_SIZE);
    b->part = -1;
    b->from = from;
    from->refs++;
    int r = body_reader_new_from(key, &(BodySource){read_body, body_done, b}, size, ret);
    if (r != 0)
        body_done(b);
    return r;
}

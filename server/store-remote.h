/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to server/store-*.c: a database that is not a file of the store's folder, and large bodies in it.
 * Shared by a store and its readers. */

#include <stdatomic.h>

#include "libhmsg/db/db.h"
#include "server/sealed-body.h"

#define REMOTE_PART_SIZE (16u * BODY_SEALED_CHUNK_SIZE) /* of a body, in one row */
#define REMOTE_PIECES_MAX 256u  /* parts that all bodies which are read have in memory together: 64 MiB */
#define REMOTE_UPLOAD_MAX 86400 /* seconds after which a body that no message has is forgotten */

typedef struct StoreRemote {
    atomic_uint refs;
    /* At first use. patient: as long as it takes; else who waits serves others, and must not be kept for
     * long. */
    int (*connect)(const struct StoreRemote *r, bool patient, Db **ret);
    void (*interrupt)(Db *db);            /* any thread: for good, and what waits fails within seconds */
    uint64_t (*connection)(const Db *db); /* grows when it was made again */
    bool (*doubtful)(const Db *db);       /* the last commit failed, but may be found all the same */
    atomic_uint doubts;                   /* how often that was so */
    atomic_uint pieces;                   /* REMOTE_PIECES_MAX */
    void (*free)(struct StoreRemote *r);
} StoreRemote;

StoreRemote *store_remote_ref(StoreRemote *r);
StoreRemote *store_remote_unref(StoreRemote *r);
DEFINE_CLEANUP(StoreRemote *, store_remote_unref)

/* Where bodies go; of one thread. */
typedef struct RemoteUploads RemoteUploads;
int remote_uploads_new(StoreRemote *r, RemoteUploads **ret);
RemoteUploads *remote_uploads_free(RemoteUploads *u);
/* Any thread: what it waits for is given up. */
void remote_uploads_interrupt(const RemoteUploads *u);
/* All of fd under a name, committed when it returns. It is forgotten unless a message takes it. */
int remote_upload(RemoteUploads *u, const void *name, size_t n, int fd);

/* Where they come from; of one thread. */
typedef struct RemoteBodies RemoteBodies;
int remote_bodies_new(StoreRemote *r, RemoteBodies **ret);
RemoteBodies *remote_bodies_unref(RemoteBodies *b);
/* All of it, as it is, into fd. -EBADMSG: it is not there. */
int remote_download(RemoteBodies *b, const void *name, size_t n, int fd);
/* ret may outlive b. */
int remote_body_open(RemoteBodies *b, const void *name, size_t n, const uint8_t key[static BODY_KEY_SIZE],
                     uint64_t size, BodyReader **ret);

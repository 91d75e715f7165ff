/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to server/store-sqlite*.c. */

#include <pthread.h>

#include "libhmsg/db/db.h"
#include "server/store-sqlite.h"

#define BLOB_NAME_SIZE 16u                      /* random bytes; in hex the name of the file */
#define BLOB_TEXT_SIZE (BLOB_NAME_SIZE * 2 + 1) /* with the final 0 */
#define DEAD_BLOBS_SIZE_MAX (16u << 20)         /* bytes of the names that one transaction frees */
#define SPACE_CHECK_SIZE (1u << 20)             /* bytes of a blob between looks at the room on the disk */

typedef enum SqlWrite {
    SQL_FIND_SKID,
    SQL_FIND_CONFLICT,
    SQL_ADD_IDENTITY,
    SQL_UPDATE_IDENTITY,
    SQL_ADD_MAILBOX,
    SQL_FIND_MAILBOX,
    SQL_FIND_PARTIES,
    SQL_FIND_MESSAGE,
    SQL_FIND_SHARE,
    SQL_ADD_MESSAGE,
    SQL_COUNT_MAILBOX,
    SQL_COUNT_SHARE,
    SQL_DROP_SHARE,
    SQL_END_MESSAGE,
    SQL_EXPIRED,
    SQL_FORGET_MESSAGE,
    SQL_MAILBOX_BLOBS,
    SQL_DELETE_MESSAGES,
    SQL_DELETE_SHARES,
    SQL_DELETE_MAILBOX,
    SQL_DELETE_IDENTITY,
    SQL_FIND_REGISTERED,
    SQL_FIND_REPEATED,
    SQL_FIND_USED,
    SQL_ADD_FORMER,
    SQL_TRIM_FORMER,
    SQL_REPLACE_KEYS,
    SQL_FIND_SUCCESSOR,
    SQL_DELETE_FORMER,
    SQL_WRITE_MAX_,
} SqlWrite;

typedef struct WriteQueue {
    StoreWrite *head, **tail;
    size_t n;
    uint64_t bytes;
    pthread_cond_t some;
    bool stop;
} WriteQueue;

typedef struct SqliteStore {
    Store base;
    StoreLimits limits;
    char *path; /* of the database */
    int blobs;  /* folder */
    Db *db;     /* of the writer thread, as the statements */
    DbStatement *sql[SQL_WRITE_MAX_];
    uint64_t total; /* bytes of all messages; of the writer thread */
    Buf dead;       /* names of blobs that the running transaction frees */
    /* A commit that failed may be found in the log after a crash all the same, until another one has taken
     * its place there. Blobs that it names stay until then, else there would be a row without its blob. */
    bool in_doubt;
    Buf doubtful; /* their names */
    pthread_mutex_t lock;
    WriteQueue writes, syncs; /* to be committed; with a blob to be made durable before */
    pthread_t writer, syncer;
    bool writer_runs, syncer_runs;
} SqliteStore;

typedef struct SqliteBlob {
    StoreBlob base;
    SqliteStore *store;
    uint8_t name[BLOB_NAME_SIZE];
    int fd;
    uint64_t size;
    bool durable; /* under its own name, on disk */
    bool kept;    /* a row has it, or may */
} SqliteBlob;

/* The number of whose decrypt key is ?1, or was given up at `time` or later. */
#define KID_OR_FORMER(time)                                                                                  \
    "coalesce((SELECT number FROM identities WHERE kid = ?1),"                                               \
    " (SELECT identity FROM former WHERE kid = ?1 AND retired >= " time "))"

extern const DbSchema store_sqlite_schema;
extern const StoreOps store_sqlite_ops;

/* store-sqlite-write.c: runs one request within the transaction. Positive: the answer, nothing was changed;
 * negative, and any other error of the database: the transaction is to be rolled back. */
int store_sqlite_execute(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
int store_sqlite_prepare(SqliteStore *s);

/* Whether less is free than puts may leave. */
bool store_sqlite_space_low(const SqliteStore *s);

/* store-sqlite-rotate.c */
extern const char *const store_sqlite_rotate_texts[SQL_WRITE_MAX_]; /* of its own statements */
int store_sqlite_rotate(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
/* Makes a sign key that was given up the one of now. */
int store_sqlite_successor(SqliteStore *s, uint8_t skid[static KID_SIZE]);

/* store-sqlite-blob.c */
int blob_new(Store *store, StoreBlob **ret);
int blob_append(StoreBlob *blob, const void *data, size_t n);
StoreBlob *blob_free(StoreBlob *blob);
int blob_make_durable(SqliteBlob *b);
void blob_text(const uint8_t name[static BLOB_NAME_SIZE], char ret[static BLOB_TEXT_SIZE]);
/* Removes the files named in s->dead. */
void blob_remove_dead(SqliteStore *s);
/* Removes the files that no row names; no request may run. */
int blob_remove_orphans(SqliteStore *s);

/* store-sqlite-read.c */
int reader_new(Store *store, StoreReader **ret);
StoreReader *reader_free(StoreReader *reader);
int reader_find_name(StoreReader *reader, const char *name, StoreIdentity *ret);
int reader_find_key(StoreReader *reader, const uint8_t *kid, StoreIdentity *ret);
int reader_find_former(StoreReader *reader, const uint8_t *kid, StoreIdentity *ret);
int reader_chain(StoreReader *reader, const uint8_t *skid, const uint8_t *from,
                 int (*f)(const StoreLink *l, void *userdata), void *userdata);
int reader_snapshot(StoreReader *reader);
void reader_snapshot_end(StoreReader *reader);
int reader_list(StoreReader *reader, const uint8_t *mailbox, int64_t after, size_t max, StoreMessage *ret,
                size_t *ret_n);
int reader_fetch(StoreReader *reader, const uint8_t *mailbox, const uint8_t *id, Buf *ret, int *ret_fd,
                 uint64_t *ret_size);
int reader_status(StoreReader *reader, const uint8_t *submitter, const uint8_t *id, StoreState *ret);
int reader_room(StoreReader *reader, const uint8_t *mailbox, uint64_t size);
int reader_counts(StoreReader *reader, StoreCounts *ret);

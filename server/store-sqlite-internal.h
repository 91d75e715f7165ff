/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to server/store-sqlite*.c. */

#include <pthread.h>
#include <stdatomic.h>

#include "libhmsg/db/db.h"
#include "server/sealed-body.h"
#include "server/store-remote.h"
#include "server/store-sqlite.h"

#define BLOB_NAME_SIZE 16u                      /* random bytes; in hex the name of the file */
#define BLOB_TEXT_SIZE (BLOB_NAME_SIZE * 2 + 1) /* with the final 0 */
#define DEAD_BLOBS_SIZE_MAX (16u << 20)         /* bytes of the names that one transaction frees */
#define STORE_TAG_SIZE 16u
#define NEWS_KEPT 600               /* seconds, after which nobody misses them */
#define NEWS_ROWS_MAX 8192u         /* that one look takes; more is STORE_NEWS_LOST */
#define NEWS_SNAPSHOT_MAX 65536u    /* bytes of what PostgreSQL has running, as text */
#define REKEY_REQUEST "rekey"       /* file in the folder that asks for new keys */
#define SPACE_CHECK_SIZE (1u << 20) /* bytes of a blob between looks at the room on the disk */

/* What is sealed of a message: id, submitter, key of the body, and the share that it counts to, if it is not
 * the one of all guests. */
#define MESSAGE_PLAIN_SIZE (ID_SIZE + KID_SIZE + BODY_KEY_SIZE + AT_REST_INDEX_SIZE + 1u)
#define MESSAGE_SEALED_SIZE (MESSAGE_PLAIN_SIZE + AT_REST_EXTRA)
#define MESSAGE_AT_SUBMITTER ID_SIZE
#define MESSAGE_AT_KEY (ID_SIZE + KID_SIZE)
#define MESSAGE_AT_SHARE (ID_SIZE + KID_SIZE + BODY_KEY_SIZE)
#define MESSAGE_AT_SHARED (MESSAGE_AT_SHARE + AT_REST_INDEX_SIZE)
/* What is sealed of an identity: keys, name and statement, each behind its length. */
#define FORMER_PACKED_MAX (2u * JWS_SIZE_MAX + ROTATION_BODY_SIZE_MAX + 16u)
#define IDENTITY_PACKED_MAX (2u * KID_SIZE + 2u * SPKI_SIZE_MAX + NAME_SIZE_MAX + JWS_SIZE_MAX + 16u)

/* The key of a message in a query of messages AS m, with the tables that FROM needs: root, number, wrapped.
 */
#define MESSAGE_KEY "coalesce(f.root, i.root), m.key, coalesce(f.wrapped, i.wrapped)"
#define MESSAGE_KEY_TABLES " messages AS m CROSS JOIN identities AS i ON i.number = m.mailbox" OLD_KEY
/* Which message m is: SQLite finds it by sealed_id_start, other databases by all of it. */
#define MESSAGE_IS(id) " m.id = " id " AND substr(m.id, 1, 16) = substr(" id ", 1, 16) "
#define OLD_KEY " LEFT JOIN old_keys AS f ON f.owner = m.mailbox AND f.key = m.key "

typedef enum SqlWrite {
    SQL_FIND_SKID,
    SQL_FIND_CONFLICT,
    SQL_ADD_IDENTITY,
    SQL_ADD_IDENTITY_AS,
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
    SQL_USE_GUEST,
    SQL_EACH_GUEST,
    SQL_FIND_REGISTERED,
    SQL_FIND_REPEATED,
    SQL_FIND_USED,
    SQL_ADD_FORMER,
    SQL_NEXT_FORMER,
    SQL_RESEAL_FORMER,
    SQL_TRIM_FORMER,
    SQL_REPLACE_KEYS,
    SQL_FIND_SUCCESSOR,
    SQL_DELETE_FORMER,
    SQL_FIND_KEY,
    SQL_SET_KEY,
    SQL_ADD_OLD_KEY,
    SQL_DELETE_OLD_KEY,
    SQL_FIND_ROOT,
    SQL_ADD_ROOT,
    SQL_DELETE_ROOTS,
    SQL_FIND_REKEY,
    SQL_FIND_OLD_KEY,
    SQL_FIND_RESEAL,
    SQL_RESEAL,
    SQL_RESEALED,
    SQL_COUNT_INVITES,
    SQL_FIND_INVITE,
    SQL_ADD_INVITE,
    SQL_USE_INVITE,
    SQL_DROP_INVITES,
    SQL_DELETE_INVITE,
    SQL_BLOCK,
    SQL_COUNT_CAPABILITIES,
    SQL_FIND_GRANT,
    SQL_ADD_CAPABILITY,
    SQL_FIND_CAPABILITY,
    SQL_USE_CAPABILITY,
    SQL_END_CAPABILITY,
    SQL_DROP_CAPABILITIES,
    SQL_DELETE_CAPABILITIES,
    SQL_FIND_SETTINGS,
    SQL_SET_SETTINGS,
    SQL_ADD_SENDER,
    SQL_EACH_SKID,
    SQL_FIND_SENDER,
    SQL_DELETE_SENDERS,
    SQL_DELETE_SETTINGS,
    SQL_EACH_SEALED,
    SQL_SET_USE,
    SQL_LEAVE_KEY,
    SQL_HAS_FORMER,
    SQL_REMOTE_MIN_, /* those of a remote database alone */
    SQL_KEEP_BODY = SQL_REMOTE_MIN_,
    SQL_DELETE_BODY,
    SQL_FORGET_UPLOADS,
    SQL_FORGET_UPLOADED,
    SQL_LOCK_MAILBOXES,
    SQL_ADD_NEWS,
    SQL_FIND_OLDEST,
    SQL_FORGET_NEWS,
    SQL_ADD_TOTAL,
    SQL_READ_TOTAL,
    SQL_DROP_TOTALS,
    SQL_WRITE_MAX_,
} SqlWrite;

typedef enum SqlRead {
    SQL_NAME,
    SQL_KEY,
    SQL_FORMER,
    SQL_CHAIN,
    SQL_CLAIMS,
    SQL_SKIDS,
    SQL_LIST,
    SQL_FETCH,
    SQL_STATUS,
    SQL_ROOM,
    SQL_COUNTS,
    SQL_EACH_IDENTITY,
    SQL_EACH_FORMER,
    SQL_EACH_MESSAGE,
    SQL_NEXT_INVITE,
    SQL_USE,
    SQL_CAPABILITY,
    SQL_NEXT_CAPABILITY,
    SQL_SETTINGS,
    SQL_RULE_PARTIES,
    SQL_RULE_SKIDS,
    SQL_RULE,
    SQL_NEWS, /* of a remote database alone */
    SQL_READ_MAX_,
} SqlRead;

/* A data key as it stands in a row. */
typedef struct WrappedKey {
    int64_t root, number;
    uint8_t bytes[AT_REST_WRAPPED_SIZE];
} WrappedKey;

/* The data key that was used last, unwrapped. */
typedef struct DataKey {
    AtRest *at_rest; /* borrowed */
    int64_t owner;   /* number of the identity; 0: none yet */
    WrappedKey wrapped;
    Secret *secret;
} DataKey;

/* What a request needs that the threads which hand it in can make. */
typedef struct Prepared {
    uint8_t mailbox[AT_REST_INDEX_SIZE];
    /* put: indexes, what is to be sealed with the data key, and the body sealed */
    uint8_t id[AT_REST_INDEX_SIZE], submitter[AT_REST_INDEX_SIZE], receipt[AT_REST_INDEX_SIZE];
    Secret *plain;
    Buf body;
    uint8_t capability[AT_REST_INDEX_SIZE]; /* put.has_capability */
    uint8_t *ids;                           /* acknowledge: indexes */
} Prepared;

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
    StoreKeeper keeper;
    AtRest *at_rest;
    StoreRemote *remote;         /* NULL: the database is a file of the folder */
    RemoteUploads *uploads;      /* of the syncer thread; set with lock */
    uint8_t tag[STORE_TAG_SIZE]; /* by which it knows its own news */
    char *path;                  /* of the database */
    char *request;               /* file whose presence asks for new keys */
    int blobs;                   /* folder */
    Db *db;                      /* of the writer thread, as all down to lock */
    DbStatement *sql[SQL_WRITE_MAX_];
    DataKey key;
    Secret *plain;                    /* MESSAGE_PLAIN_SIZE of the message at hand */
    bool rekey_begun;                 /* by the running transaction */
    int64_t guests_at;                /* how far the sweeps have looked for guests that are here no more */
    int64_t news_end, news_end_found; /* a transaction before which all had ended then; when; 0: none yet */
    bool erase, erased;               /* deleted things are in the log still: at once; at the next sweep */
    uint64_t total;                   /* bytes of all messages; of the writer thread */
    int64_t total_change;             /* by the running transaction */
    bool scarce;                      /* the last batch had to be alone for them */
    Buf dead;                         /* names of blobs that the running transaction frees */
    /* A commit that failed may be found in the log after a crash all the same, until another one has taken
     * its place there. Blobs that it names stay until then, else there would be a row without its blob. */
    bool in_doubt;
    Buf doubtful;          /* their names */
    atomic_bool space_low; /* and the log says so */
    pthread_mutex_t lock;
    WriteQueue writes, syncs; /* to be committed; with a blob to be made durable before */
    pthread_t writer, syncer;
    bool writer_runs, syncer_runs;
    atomic_bool given_up; /* a remote database was waited for long enough: what is left fails */
} SqliteStore;

typedef struct SqliteBlob {
    StoreBlob base;
    SqliteStore *store;
    uint8_t name[BLOB_NAME_SIZE];
    Secret *key;
    BodyWriter *writer;
    int fd;
    uint64_t size;
    bool durable; /* under its own name, on disk or in the remote database */
    bool kept;    /* a row has it, or may */
} SqliteBlob;

/* The number of whose decrypt key is ?1, or was given up at `time` or later. */
#define KID_OR_FORMER(time)                                                                                  \
    "coalesce((SELECT number FROM identities WHERE kid = ?1),"                                               \
    " (SELECT identity FROM former WHERE kid = ?1 AND retired >= " time "))"

/* store-sqlite.c: remote may be NULL. */
int store_sqlite_open_with(const char *folder, const StoreLimits *limits, const StoreKeeper *keeper,
                           StoreRemote *remote, Store **ret);
/* store-sqlite-read.c */
int store_sqlite_open_remote_reader(StoreRemote *remote, const StoreKeeper *keeper, StoreReader **ret);

/* store-sqlite-rewrap.c */
int store_sqlite_rewrap_in(Db *db, const StoreKeeper *keeper);

extern const DbSchema store_sqlite_schema;
extern const StoreOps store_sqlite_ops;

/* store-sqlite-write.c: runs one request within the transaction. Positive: the answer, nothing was changed;
 * negative, and any other error of the database: the transaction is to be rolled back. */
int store_sqlite_execute(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
int store_sqlite_prepare(SqliteStore *s); /* the statements */

/* store-sqlite-prepare.c: w->prepared of a put or an acknowledgement. */
int store_sqlite_prepare_write(SqliteStore *s, StoreWrite *w);
void store_sqlite_unprepare(StoreWrite *w);

/* store-sqlite-keys.c. Errors of what does not open are -EBADMSG. */
/* Of the store: makes them when the store is empty. */
int keys_open(SqliteStore *s, int64_t now);
/* Of a reader. */
int keys_load(Db *db, const StoreKeeper *keeper, AtRest *a);
/* The root keys again, of a store that others use as well. */
int keys_watch(AtRest *a, StoreRemote *remote, const StoreKeeper *keeper);
int keys_add_root(SqliteStore *s, int64_t number, int64_t now);
/* The one of now. */
typedef struct RootState {
    int64_t number, created;
    bool former; /* there are others */
} RootState;
int keys_find_root(SqliteStore *s, RootState *ret);
int data_key_init(DataKey *k, AtRest *a);
void data_key_done(DataKey *k);
/* Reads root, number and wrapped from three columns. */
int wrapped_key_read(DbStatement *sql, int column, WrappedKey *ret);
int data_key_use(DataKey *k, int64_t owner, const WrappedKey *w);
int message_seal(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], int64_t size,
                 const Secret *plain, uint8_t ret[static MESSAGE_SEALED_SIZE]);
int message_open(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], int64_t size,
                 const void *sealed, size_t n, Secret *ret);
/* Gives an identity a data key under the root of now, and seals packed with it. since: the number of the
 * next message. */
int keys_new(SqliteStore *s, int64_t owner, int64_t number, int64_t since, const Buf *packed);
/* Takes a new data key in place of the one of now, which stays until nothing is sealed with it.
 * HMSG_ERROR_AUTHENTICATION_FAILED: what stands there does not open; nothing was changed. */
int keys_replace(SqliteStore *s, int64_t owner);
/* As keys_use; HMSG_ERROR_AUTHENTICATION_FAILED: its data key does not open. */
int keys_try(SqliteStore *s, int64_t owner);
/* s->key is the data key of an identity afterwards. */
int keys_use(SqliteStore *s, int64_t owner);
/* What is sealed of an identity; s->key is its data key afterwards. */
int keys_read(SqliteStore *s, int64_t owner, Buf *ret);
/* Seals packed with the data key that the identity has. */
int keys_reseal(SqliteStore *s, int64_t owner, const Buf *packed);

/* store-sqlite-rekey.c */
int store_sqlite_rekey(SqliteStore *s, StoreWrite *w);

/* store-sqlite-identity.c: what is sealed of an identity. ret is written to on failure as well. */
int identity_pack(const StoreIdentity *i, Buf *ret);
int identity_unpack(const Buf *packed, StoreIdentity *ret);
int identity_seal(const DataKey *k, const Buf *packed, Buf *ret);
int identity_open(const DataKey *k, const void *sealed, size_t n, Buf *ret);
/* The same of keys that were given up, known by the index of the sign key. ret of unpack points into packed.
 */
int former_pack(const StoreLink *link, Buf *ret);
int former_unpack(const Buf *packed, StoreLink *ret);
int former_seal(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], const Buf *packed,
                Buf *ret);
int former_open(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], const void *sealed,
                size_t n, Buf *ret);
int identity_index(const AtRest *a, IndexKind kind, const void *data, size_t n,
                   uint8_t ret[static AT_REST_INDEX_SIZE]);
/* Of what is in a mailbox, so that nobody sees that the same is in another. */
int mailbox_index(const AtRest *a, IndexKind kind, int64_t mailbox, const void *data, size_t n,
                  uint8_t ret[static AT_REST_INDEX_SIZE]);
int identity_key_indexes(const AtRest *a, const uint8_t skid[static KID_SIZE],
                         const uint8_t kid[static KID_SIZE], uint8_t ret_skid[static AT_REST_INDEX_SIZE],
                         uint8_t ret_kid[static AT_REST_INDEX_SIZE]);

/* store-sqlite-upgrade.c: encrypts what a version before stored in clear; goes on where it was stopped. */
int store_sqlite_upgrade(SqliteStore *s);
int store_sqlite_is_clear(Db *db, bool *ret); /* it was not at the end yet */
int store_sqlite_drop_clear(Db *db);          /* the tables in clear, which must be empty */

/* store-total.c */
extern const char *const store_total_texts[SQL_WRITE_MAX_]; /* of its own statements */
/* Of the running transaction: s->total, and what it changes. */
void store_total_add(SqliteStore *s, uint64_t bytes);
void store_total_subtract(SqliteStore *s, uint64_t bytes);
/* Of a limited remote database. What all relays have by now, but those in the middle of a transaction. */
int store_total_read(SqliteStore *s);
/* Whether nobody else may be in a transaction beside one with this batch. */
bool store_total_is_scarce(const SqliteStore *s, StoreWrite **batch, size_t n);
/* What the running transaction changes, for the other relays. */
int store_total_write(SqliteStore *s);
/* From the mailboxes, by one who is alone with the database: instead of what all relays have written. */
int store_total_renew(SqliteStore *s);
int store_total_begin(SqliteStore *s); /* at the start */

/* store-sqlite-write.c */
/* What is counted together in a mailbox. */
typedef struct Share {
    uint8_t bytes[AT_REST_INDEX_SIZE];
    size_t size; /* 0: the one of all guests */
} Share;
/* submitter: the index of his sign key, the first one that he had. */
int store_sqlite_share(const SqliteStore *s, int64_t mailbox,
                       const uint8_t submitter[static AT_REST_INDEX_SIZE], bool stranger, Share *ret);
void store_sqlite_put_share(const Share *share, Secret *plain);
Share store_sqlite_get_share(const Secret *plain);

/* store-sqlite-damage.c */
extern const char *const store_sqlite_damage_texts[SQL_WRITE_MAX_]; /* of its own statements */
/* Whether a result of what opens what is sealed says that it never will. Not of what the database answers. */
bool store_sqlite_is_damage(const SqliteStore *s, int r);
/* To the log, without any id. */
void store_sqlite_tell_damage(const char *what, int64_t number, int64_t client, const char *then);
/* Sets what a mailbox and its shares hold to what is there: of a message that did not open it was not known
 * whose share it counted to. */
int store_sqlite_recount(SqliteStore *s, int64_t mailbox);

/* store-sqlite-register.c: as store_sqlite_execute. */
int store_sqlite_register(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
int store_sqlite_unregister(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
/* All that is kept of an identity, mailbox, keys and messages included. */
int store_sqlite_forget(SqliteStore *s, int64_t owner);

/* store-sqlite-guest.c */
extern const char *const store_sqlite_guest_texts[SQL_WRITE_MAX_]; /* of its own statements */
/* A guest is here, which his row tells by `created`; and what is kept of some who were not for
 * STORE_GUEST_SECONDS goes. */
int store_sqlite_use_guest(SqliteStore *s, int64_t number, int64_t now);
int store_sqlite_forget_guests(SqliteStore *s, int64_t now);
/* A statement that has a number as its first parameter, as most of those that delete. */
int store_sqlite_run_number(SqliteStore *s, SqlWrite which, int64_t number);
/* Adds an identity, and its mailbox if it has a name. number 0: the next one. */
int store_sqlite_add_identity(SqliteStore *s, int64_t number, const StoreIdentity *i);

/* store-sqlite-admin.c: as store_sqlite_execute. */
extern const char *const store_sqlite_admin_texts[SQL_WRITE_MAX_]; /* of its own statements */
int store_sqlite_invite(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
int store_sqlite_revoke(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
int store_sqlite_block(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
/* Uses it once, and drops it with that when it was the last time. HMSG_ERROR_DENIED: nothing was changed. */
int store_sqlite_use_invite(SqliteStore *s, const char *code, int64_t now);

/* Whether less is free than puts may leave. */
bool store_sqlite_space_low(SqliteStore *s);

/* store-sqlite-rotate.c */
extern const char *const store_sqlite_rotate_texts[SQL_WRITE_MAX_]; /* of its own statements */
int store_sqlite_rotate(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
/* Makes a sign key that was given up the one of now. */
int store_sqlite_successor(SqliteStore *s, uint8_t skid[static KID_SIZE]);

/* store-sqlite-chain.c */
extern const char *const store_sqlite_chain_texts[SQL_WRITE_MAX_]; /* of its own statements */
/* Adds keys that i has given up at a time. */
int store_sqlite_add_former(SqliteStore *s, int64_t identity, const StoreIdentity *i, const StoreLink *link,
                            int64_t retired);
/* Those that a registration tells of, the oldest first; none when there are some already, or one of them is
 * somebody's. */
int store_sqlite_claim(SqliteStore *s, int64_t identity, const StoreFormer *former, size_t n);

/* store-sqlite-blob.c */
int blob_new(Store *store, StoreBlob **ret);
int blob_append(StoreBlob *blob, const void *data, size_t n);
StoreBlob *blob_free(StoreBlob *blob);
int blob_make_durable(SqliteBlob *b);
/* Within the running transaction: a message has taken the body; those in s->dead go. Nothing without a remote
 * database. */
int blob_keep(SqliteStore *s, const SqliteBlob *b);
int blob_delete_dead(SqliteStore *s);
int blob_forget_uploads(SqliteStore *s, int64_t now);
void blob_text(const uint8_t name[static BLOB_NAME_SIZE], char ret[static BLOB_TEXT_SIZE]);
/* Removes the files named in s->dead. */
void blob_remove_dead(SqliteStore *s);
/* Removes the files that no row names; no request may run. */
int blob_remove_orphans(SqliteStore *s);

typedef struct SqliteReader {
    StoreReader base;
    StoreLimits limits;
    AtRest *at_rest;
    const StoreKeeper *keeper; /* NULL: the keys are the store's */
    DataKey key;
    Secret *plain; /* MESSAGE_PLAIN_SIZE of the message at hand */
    int blobs;     /* folder */
    StoreRemote *remote;
    RemoteBodies *bodies; /* of remote, once there was one */
    uint8_t tag[STORE_TAG_SIZE];
    Buf news; /* what had ended when they were read last, as text; empty: begin anew */
    uint64_t news_connection;
    unsigned news_doubts; /* remote->doubts then */
    uint64_t told;        /* when it was last told that messages are left out; 0: never */
    Db *db;
    DbStatement *sql[SQL_READ_MAX_];
} SqliteReader;

/* store-news.c: of a remote database. */
extern const char *const store_news_texts[SQL_WRITE_MAX_]; /* of its own statements */
/* Puts and acknowledgements alone: their mailboxes are nobody else's until the transaction ends. In one
 * order, so that no two relays wait for each other. */
int store_lock_mailboxes(SqliteStore *s, StoreWrite **batch, size_t n);
int store_add_news(SqliteStore *s, StoreWrite **batch, size_t n);
int store_forget_news(SqliteStore *s, int64_t now);
int reader_index(StoreReader *reader, const uint8_t *kid, uint8_t *ret);
int reader_news(StoreReader *reader, void (*f)(const StoreNews *news, void *userdata), void *userdata);

/* store-sqlite-read.c */
/* Of path and blobs, or of remote; with the keys of a, or with its own from keeper. */
int reader_open(const char *path, int blobs, StoreRemote *remote, const StoreLimits *limits, AtRest *a,
                const StoreKeeper *keeper, StoreReader **ret);
/* ret points into packed. */
int reader_read_link(SqliteReader *s, DbStatement *sql, Buf *packed, StoreLink *ret);
/* What is sealed of the message of the row, into s->plain. */
int reader_open_message(SqliteReader *s, DbStatement *sql);
/* The body of it, into ret, or as *ret_file. */
int reader_read_body(SqliteReader *s, DbStatement *sql, Buf *ret, StoreFile **ret_file);
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
int reader_fetch(StoreReader *reader, const uint8_t *mailbox, const uint8_t *id, Buf *ret,
                 StoreFile **ret_file, uint64_t *ret_size);
ssize_t reader_file_read(StoreFile *file, uint64_t offset, void *to, size_t n);
StoreFile *reader_file_free(StoreFile *file);
int reader_status(StoreReader *reader, const uint8_t *submitter, const uint8_t *id, StoreState *ret);
int reader_room(StoreReader *reader, const uint8_t *mailbox, uint64_t size);
int reader_counts(StoreReader *reader, StoreCounts *ret);
int reader_next_identity(StoreReader *reader, int64_t *number, StoreIdentity *ret);
/* For store-sqlite-admin.c. room stays until the statement is reset. */
DbStatement *reader_statement(StoreReader *reader, SqlRead which);
/* value: KID_SIZE or SHA256_SIZE, which are one. */
int reader_bind_index(StoreReader *reader, DbStatement *sql, int at, IndexKind kind, const uint8_t *value,
                      uint8_t room[static AT_REST_INDEX_SIZE]);
/* store-sqlite-settings.c */
extern const char *const store_sqlite_settings_texts[SQL_WRITE_MAX_]; /* of its own statements */
#define EACH_SKID                                                                                            \
    "SELECT skid FROM identities WHERE number = ?1 UNION ALL SELECT skid FROM former WHERE identity = ?1"
#define FIND_SENDER "SELECT allowed FROM senders WHERE mailbox = ?1 AND sender = ?2"
int store_sqlite_settings(SqliteStore *s, StoreWrite *w, bool *ret_rollback); /* as store_sqlite_execute */
/* A put does what the owner has said; three columns are lifetime, number of rules, and number of the sender.
 */
int store_sqlite_follow(SqliteStore *s, StoreWrite *w, int64_t mailbox, DbStatement *sql, int column,
                        StoreRule *ret);
int reader_settings(StoreReader *reader, const uint8_t *mailbox, StoreSettings *ret);
int reader_rule(StoreReader *reader, const uint8_t *mailbox, const uint8_t *submitter, StoreRule *ret);

/* store-sqlite-capability.c: as store_sqlite_execute. */
extern const char *const store_sqlite_capability_texts[SQL_WRITE_MAX_]; /* of its own statements */
/* Number of a mailbox, and of its next message. HMSG_ERROR_NOT_FOUND. */
int store_sqlite_mailbox(SqliteStore *s, const uint8_t kid[static KID_SIZE], int64_t *ret, int64_t *ret_next);
int store_sqlite_grant(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
int store_sqlite_withdraw(SqliteStore *s, StoreWrite *w, bool *ret_rollback);
/* Its number if it is good now, else 0. */
int store_sqlite_find_capability(SqliteStore *s, int64_t mailbox, const uint8_t *index, int64_t now,
                                 int64_t *ret);
int store_sqlite_use_capability(SqliteStore *s, int64_t mailbox, int64_t number); /* once */
int reader_capability(StoreReader *reader, const uint8_t *mailbox, const uint8_t *hash);
int reader_next_capability(StoreReader *reader, const uint8_t *mailbox, StoreCapability *c);
/* store-sqlite-admin.c */
int reader_next_invite(StoreReader *reader, StoreInvite *i);
int reader_use(StoreReader *reader, const uint8_t *mailbox, StoreUse *ret);

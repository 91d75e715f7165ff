/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store-sqlite-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "libhmsg/base/log.h"

/* At most the pages that change all the time of a million messages in a hundred thousand mailboxes; and the
 * log is carried over when many changes of one page have become one. docs/scale.md has what that brings. */
#define CACHE_KIB 16384u
#define CACHE_KIB_MAX 131072u
#define CHECKPOINT_PAGES 16000u      /* DB_LOG_SIZE */
#define CHECKPOINT_PAGES_MAX 256000u /* 1 GiB */
#define STOP_SECONDS 5               /* then what a remote database is busy with is given up */

/* A message's id is the hash of its mailbox and its body, so that the index by id alone is an index by
 * mailbox and id as well, and answers a submitter's question too. Rows of messages that are no longer waiting
 * stay, without body, so that a second submission is known. From the third version on ids and names are
 * indexes (at-rest.h), everything else that tells something is sealed; the tables of those before are emptied
 * by store_sqlite_upgrade. */
static const char *const steps[] = {
    "CREATE TABLE identities(number INTEGER PRIMARY KEY AUTOINCREMENT, skid BLOB NOT NULL UNIQUE,"
    " kid BLOB NOT NULL UNIQUE, name TEXT UNIQUE, sign BLOB NOT NULL, decrypt BLOB NOT NULL,"
    " statement TEXT NOT NULL, generation INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;"
    "CREATE TABLE mailboxes(number INTEGER PRIMARY KEY REFERENCES identities(number),"
    " next INTEGER NOT NULL, bytes INTEGER NOT NULL, count INTEGER NOT NULL) STRICT;"
    "CREATE TABLE shares(mailbox INTEGER NOT NULL REFERENCES mailboxes(number), submitter BLOB NOT NULL,"
    " bytes INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(mailbox, submitter)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE messages(number INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailboxes(number),"
    " seq INTEGER NOT NULL, id BLOB NOT NULL, submitter BLOB NOT NULL, share BLOB NOT NULL,"
    " size INTEGER NOT NULL, accepted INTEGER NOT NULL, expires INTEGER NOT NULL, state INTEGER NOT NULL,"
    " blob BLOB, body BLOB) STRICT;"
    "CREATE UNIQUE INDEX messages_id ON messages(id, mailbox);"
    "CREATE INDEX messages_mailbox ON messages(mailbox, state, seq);"
    "CREATE INDEX messages_expires ON messages(expires);"
    "CREATE INDEX messages_blob ON messages(blob) WHERE blob IS NOT NULL",
    /* Keys that were given up, and how: statement and steps led to next. */
    "CREATE TABLE former(number INTEGER PRIMARY KEY, identity INTEGER NOT NULL REFERENCES identities(number),"
    " skid BLOB NOT NULL UNIQUE, kid BLOB NOT NULL UNIQUE, statement TEXT NOT NULL, steps TEXT NOT NULL,"
    " next TEXT NOT NULL, retired INTEGER NOT NULL) STRICT;"
    "CREATE INDEX former_identity ON former(identity, number)",
    "ALTER TABLE identities RENAME TO clear_identities; ALTER TABLE mailboxes RENAME TO clear_mailboxes;"
    "ALTER TABLE shares RENAME TO clear_shares; ALTER TABLE messages RENAME TO clear_messages;"
    "ALTER TABLE former RENAME TO clear_former;"
    "CREATE TABLE roots(number INTEGER PRIMARY KEY, kept BLOB NOT NULL, created INTEGER NOT NULL) STRICT;"
    "CREATE TABLE identities(number INTEGER PRIMARY KEY AUTOINCREMENT, skid BLOB NOT NULL UNIQUE,"
    " kid BLOB NOT NULL UNIQUE, name BLOB UNIQUE, generation INTEGER NOT NULL, created INTEGER NOT NULL,"
    " root INTEGER NOT NULL, key INTEGER NOT NULL, since INTEGER NOT NULL, wrapped BLOB NOT NULL,"
    " sealed BLOB NOT NULL) STRICT;"
    "CREATE INDEX identities_root ON identities(root);"
    "CREATE TABLE old_keys(owner INTEGER NOT NULL REFERENCES identities(number), key INTEGER NOT NULL,"
    " root INTEGER NOT NULL, wrapped BLOB NOT NULL, resealed INTEGER NOT NULL, PRIMARY KEY(owner, key))"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE mailboxes(number INTEGER PRIMARY KEY REFERENCES identities(number),"
    " next INTEGER NOT NULL, bytes INTEGER NOT NULL, count INTEGER NOT NULL) STRICT;"
    "CREATE TABLE shares(mailbox INTEGER NOT NULL REFERENCES mailboxes(number), share BLOB NOT NULL,"
    " bytes INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(mailbox, share)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE messages(number INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailboxes(number),"
    " seq INTEGER NOT NULL, id BLOB NOT NULL, submitter BLOB NOT NULL, size INTEGER NOT NULL,"
    " accepted INTEGER NOT NULL, expires INTEGER NOT NULL, state INTEGER NOT NULL, key INTEGER NOT NULL,"
    " blob BLOB, sealed BLOB, body BLOB) STRICT;"
    "CREATE UNIQUE INDEX sealed_id ON messages(id, mailbox);"
    "CREATE INDEX sealed_mailbox ON messages(mailbox, state, seq);"
    "CREATE INDEX sealed_expires ON messages(expires);"
    "CREATE INDEX sealed_blob ON messages(blob) WHERE blob IS NOT NULL;"
    "CREATE TABLE former(number INTEGER PRIMARY KEY, identity INTEGER NOT NULL REFERENCES identities(number),"
    " skid BLOB NOT NULL UNIQUE, kid BLOB NOT NULL UNIQUE, sealed BLOB NOT NULL, retired INTEGER NOT NULL)"
    " STRICT;"
    "CREATE INDEX sealed_former ON former(identity, number)",
    /* Invitations, by the index of their code. */
    "CREATE TABLE invites(number INTEGER PRIMARY KEY AUTOINCREMENT, code BLOB NOT NULL UNIQUE,"
    " uses INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT;"
    "ALTER TABLE identities ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0",
    /* Sending capabilities, by the index of their hash. */
    "CREATE TABLE capabilities(mailbox INTEGER NOT NULL REFERENCES mailboxes(number),"
    " number INTEGER NOT NULL, code BLOB NOT NULL, uses INTEGER NOT NULL, created INTEGER NOT NULL,"
    " expires INTEGER NOT NULL, PRIMARY KEY(mailbox, number)) STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX capabilities_code ON capabilities(mailbox, code)",
    /* What owners have said of their mailboxes; senders by the index of their sign key. */
    "CREATE TABLE settings(mailbox INTEGER PRIMARY KEY REFERENCES mailboxes(number),"
    " revision INTEGER NOT NULL, lifetime INTEGER NOT NULL, rules INTEGER NOT NULL, digest BLOB NOT NULL) "
    "STRICT;"
    "CREATE TABLE senders(mailbox INTEGER NOT NULL REFERENCES mailboxes(number), sender BLOB NOT NULL,"
    " allowed INTEGER NOT NULL, PRIMARY KEY(mailbox, sender)) STRICT, WITHOUT ROWID",
    /* Ids come at random, so that each message changes another page of their index: half of the id, which is
     * as unique, makes half of the pages. */
    "DROP INDEX sealed_id; CREATE UNIQUE INDEX sealed_id_start ON messages(substr(id, 1, 16), mailbox)",
};
const DbSchema store_sqlite_schema = {0x484d5252 /* HMRR */, steps, ELEMENTSOF(steps)};

static uint64_t in_memory(const StoreWrite *w)
{
    return w->kind == STORE_PUT && !w->put.blob ? w->put.size : 0;
}

static void push(WriteQueue *q, StoreWrite *w)
{
    w->next = NULL;
    *q->tail = w;
    q->tail = &w->next;
    q->n++;
    q->bytes += in_memory(w);
    (void)pthread_cond_signal(&q->some);
}

static StoreWrite *pop(WriteQueue *q)
{
    StoreWrite *w = q->head;
    q->head = w->next;
    if (!q->head)
        q->tail = &q->head;
    q->n--;
    q->bytes -= in_memory(w);
    w->next = NULL;
    return w;
}

/* Everything that waits, within the limits of a batch; 0: the end. */
static size_t take_batch(SqliteStore *s, StoreWrite *batch[static STORE_BATCH_MAX])
{
    size_t n = 0;
    uint64_t bytes = 0;
    (void)pthread_mutex_lock(&s->lock);
    while (!s->writes.head && !s->writes.stop)
        (void)pthread_cond_wait(&s->writes.some, &s->lock);
    while (s->writes.head && n < STORE_BATCH_MAX && bytes < STORE_BATCH_BYTES_MAX) {
        batch[n] = pop(&s->writes);
        bytes += in_memory(batch[n]);
        n++;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

bool store_sqlite_space_low(SqliteStore *s)
{
    struct statvfs v;
    if (s->remote || s->limits.space_reserve == 0 || fstatvfs(s->blobs, &v) < 0)
        return false;
    bool low = (uint64_t)v.f_bavail * v.f_frsize < s->limits.space_reserve;
    bool before = atomic_exchange(&s->space_low, low);
    if (low && !before)
        log_event(LOG_WARNING, LOG_FIELDS({"HMSG_EVENT", "disk-full"}),
                  "The disk of the data folder has less than %" PRIu64
                  " MiB left: no message is taken until it has more",
                  s->limits.space_reserve >> 20);
    else if (!low && before)
        log_event(LOG_INFO, LOG_FIELDS({"HMSG_EVENT", "disk-room"}),
                  "The disk of the data folder has room again");
    return low;
}

/* A commit has taken the place of the one that failed. */
static void end_doubt(SqliteStore *s)
{
    /* what does not fit is an orphan, which the next start removes */
    (void)buf_append(&s->dead, s->doubtful.data, s->doubtful.size);
    buf_clear(&s->doubtful);
    s->in_doubt = false;
}

/* What is counted and stored in mailboxes alone needs no more than these. */
static bool is_shared(const SqliteStore *s, StoreWrite **batch, size_t n)
{
    for (size_t i = 0; s->remote && i < n; i++)
        if (batch[i]->kind != STORE_PUT && batch[i]->kind != STORE_ACKNOWLEDGE)
            return false;
    return s->remote != NULL;
}

static int begin_as(SqliteStore *s, bool shared)
{
    int r = shared ? db_begin_shared(s->db) : db_begin(s->db);
    return r == 0 && s->remote && s->limits.total_bytes > 0 ? store_total_read(s) : r;
}

static int begin(SqliteStore *s, StoreWrite **batch, size_t n)
{
    bool limited = s->remote && s->limits.total_bytes > 0;
    bool shared = is_shared(s, batch, n) && !(limited && s->scarce);
    if (atomic_load(&s->given_up))
        return -EIO;
    int r = begin_as(s, shared);
    s->scarce = r == 0 && limited && store_total_is_scarce(s, batch, n);
    if (shared && s->scarce) {
        db_rollback(s->db);
        return begin_as(s, false);
    }
    return r == 0 && shared ? store_lock_mailboxes(s, batch, n) : r;
}

/* What a commit in doubt has taken away cannot be taken away again: it succeeds now. Everything else tells by
 * itself that it is there. */
static int execute(SqliteStore *s, StoreWrite *w, bool *ret_rollback)
{
    int r = store_sqlite_execute(s, w, ret_rollback);
    bool takes_away = w->kind == STORE_UNREGISTER || w->kind == STORE_REVOKE;
    return r == HMSG_ERROR_NOT_FOUND && takes_away && w->maybe_done ? 0 : r;
}

static void fail(StoreWrite **batch, size_t n, int r, bool doubt)
{
    for (size_t i = 0; i < n; i++) {
        batch[i]->maybe_done = batch[i]->maybe_done || (doubt && batch[i]->result == 0);
        store_write_done(batch[i]);
        batch[i]->result = r;
    }
}

static bool needs_room(StoreKind k)
{
    return k == STORE_PUT || k == STORE_REGISTER || k == STORE_INVITE || k == STORE_GRANT ||
           k == STORE_SETTINGS;
}

/* All or nothing. */
static int run(SqliteStore *s, StoreWrite **batch, size_t n)
{
    _cleanup_(db_rollbackp) Db *transaction = s->db;
    bool low = store_sqlite_space_low(s), rollback = false, doubt = false;
    int64_t changes = db_total_changes(s->db);
    uint64_t total = s->total;
    s->total_change = 0;
    buf_clear(&s->dead);
    s->erase = s->erase || low; /* what the log has is room */
    int r = begin(s, batch, n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        store_write_done(batch[i]);
        if (low && needs_room(batch[i]->kind)) {
            batch[i]->result = HMSG_ERROR_STORAGE_FULL;
            continue;
        }
        batch[i]->result = execute(s, batch[i], &rollback);
        if (rollback)
            r = batch[i]->result;
    }
    if (r == 0)
        r = blob_delete_dead(s);
    if (r == 0 && s->remote)
        r = store_add_news(s, batch, n);
    if (r == 0)
        r = store_total_write(s);
    if (r == 0) {
        r = db_commit(transaction);
        s->in_doubt = s->in_doubt || r != 0;
        doubt = r != 0 && s->remote && s->remote->doubtful(s->db);
        if (doubt)
            (void)atomic_fetch_add(&s->remote->doubts, 1);
    }
    if (r == 0) {
        if (s->in_doubt && db_total_changes(s->db) != changes)
            end_doubt(s);
        if (s->rekey_begun)
            (void)unlink(s->request); /* what stays is done again */
        s->rekey_begun = false;
        return 0;
    }
    fail(batch, n, r, doubt);
    s->total = total;
    s->rekey_begun = false;
    s->key.owner = 0; /* perhaps a data key that was rolled back */
    buf_clear(&s->dead);
    return r;
}

/* doubt: perhaps a row has the blob. */
static void answer(SqliteStore *s, StoreWrite *w, bool doubt)
{
    if (w->kind == STORE_PUT && w->put.blob) {
        SqliteBlob *b = (SqliteBlob *)w->put.blob;
        b->kept = (w->result == 0 && w->put.created) || doubt;
        if (doubt && !s->remote)
            (void)buf_append(&s->doubtful, b->name, BLOB_NAME_SIZE);
        w->put.blob = blob_free(&b->base);
    }
    store_sqlite_unprepare(w);
    w->done(w);
}

/* What was deleted, keys above all, stands in the log until that is carried over and cut. While somebody
 * reads it cannot be: the next batch tries again, and the sweeper has one each minute. */
static void erase_log(SqliteStore *s)
{
    if (s->remote)
        s->erase = false;
    if (s->erase && db_checkpoint_try(s->db) == 0)
        s->erase = false;
}

static void *write_all(void *userdata)
{
    SqliteStore *s = userdata;
    StoreWrite *batch[STORE_BATCH_MAX];
    for (size_t n; (n = take_batch(s, batch)) > 0;) {
        int r = run(s, batch, n);
        blob_remove_dead(s);
        /* One bad request, or one that does not fit, must not fail the others; and whether one in doubt is
         * there is known when it is tried again. */
        const bool again = r != 0 && (n > 1 || batch[0]->maybe_done);
        for (size_t i = 0; again && i < n; i++) {
            (void)run(s, &batch[i], 1);
            blob_remove_dead(s);
        }
        for (size_t i = 0; i < n; i++)
            answer(s, batch[i], s->in_doubt && batch[i]->result != 0);
        erase_log(s);
    }
    return NULL;
}

static void *sync_all(void *userdata)
{
    SqliteStore *s = userdata;
    for (;;) {
        (void)pthread_mutex_lock(&s->lock);
        while (!s->syncs.head && !s->syncs.stop)
            (void)pthread_cond_wait(&s->syncs.some, &s->lock);
        StoreWrite *w = s->syncs.head ? pop(&s->syncs) : NULL;
        (void)pthread_mutex_unlock(&s->lock);
        if (!w)
            return NULL;
        w->result = blob_make_durable((SqliteBlob *)w->put.blob);
        if (w->result != 0) {
            answer(s, w, false);
            continue;
        }
        (void)pthread_mutex_lock(&s->lock);
        push(&s->writes, w);
        (void)pthread_mutex_unlock(&s->lock);
    }
}

static int sqlite_write(Store *store, StoreWrite *w)
{
    SqliteStore *s = (SqliteStore *)store;
    w->result = 0;
    w->maybe_done = false;
    w->changes = NULL;
    w->n_changes = 0;
    if (w->kind == STORE_PUT && w->put.blob)
        w->put.size = ((SqliteBlob *)w->put.blob)->size;
    int r = store_sqlite_prepare_write(s, w);
    if (r != 0)
        return r;
    (void)pthread_mutex_lock(&s->lock);
    bool blob = w->kind == STORE_PUT && w->put.blob;
    bool full = s->syncs.stop || s->writes.n + s->syncs.n >= STORE_QUEUE_MAX ||
                s->writes.bytes + in_memory(w) > STORE_QUEUE_BYTES_MAX;
    if (!full)
        push(blob ? &s->syncs : &s->writes, w);
    (void)pthread_mutex_unlock(&s->lock);
    if (full)
        store_sqlite_unprepare(w);
    return full ? -EAGAIN : 0;
}

/* Whether it has ended within some time: without standbys a commit may wait for ever. */
static bool ends(pthread_t thread)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_SECONDS;
    return pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

static void interrupt(SqliteStore *s)
{
    atomic_store(&s->given_up, true);
    s->remote->interrupt(s->db);
    (void)pthread_mutex_lock(&s->lock);
    if (s->uploads)
        remote_uploads_interrupt(s->uploads);
    (void)pthread_mutex_unlock(&s->lock);
}

static void stop(SqliteStore *s, WriteQueue *q, pthread_t thread, bool *runs)
{
    if (!*runs)
        return;
    *runs = false;
    (void)pthread_mutex_lock(&s->lock);
    q->stop = true;
    (void)pthread_cond_signal(&q->some);
    (void)pthread_mutex_unlock(&s->lock);
    while (s->remote && !ends(thread))
        interrupt(s);
    if (!s->remote)
        (void)pthread_join(thread, NULL);
}

static void sqlite_stop(Store *store)
{
    SqliteStore *s = (SqliteStore *)store;
    stop(s, &s->syncs, s->syncer, &s->syncer_runs);
    stop(s, &s->writes, s->writer, &s->writer_runs);
}

static Store *sqlite_free(Store *store)
{
    SqliteStore *s = (SqliteStore *)store;
    sqlite_stop(store);
    for (size_t i = 0; i < SQL_WRITE_MAX_; i++)
        s->sql[i] = db_statement_free(s->sql[i]);
    s->db = db_close(s->db);
    s->uploads = remote_uploads_free(s->uploads);
    (void)fd_close(s->blobs);
    (void)pthread_cond_destroy(&s->writes.some);
    (void)pthread_cond_destroy(&s->syncs.some);
    (void)pthread_mutex_destroy(&s->lock);
    buf_done(&s->dead);
    buf_done(&s->doubtful);
    data_key_done(&s->key);
    (void)secret_free(s->plain);
    (void)at_rest_unref(s->at_rest);
    free(s->path);
    free(s->request);
    s->remote = store_remote_unref(s->remote);
    free(s);
    return NULL;
}

const StoreOps store_sqlite_ops = {
    .free = sqlite_free,
    .stop = sqlite_stop,
    .write = sqlite_write,
    .blob_new = blob_new,
    .blob_append = blob_append,
    .blob_free = blob_free,
    .reader_new = reader_new,
    .reader_free = reader_free,
    .find_name = reader_find_name,
    .find_key = reader_find_key,
    .find_former = reader_find_former,
    .chain = reader_chain,
    .snapshot = reader_snapshot,
    .snapshot_end = reader_snapshot_end,
    .list = reader_list,
    .fetch = reader_fetch,
    .file_read = reader_file_read,
    .file_free = reader_file_free,
    .status = reader_status,
    .room = reader_room,
    .counts = reader_counts,
    .next_identity = reader_next_identity,
    .next_invite = reader_next_invite,
    .use = reader_use,
    .index = reader_index,
    .news = reader_news,
    .capability = reader_capability,
    .next_capability = reader_next_capability,
    .settings = reader_settings,
    .rule = reader_rule,
};

/* So that the database and the folder of blobs are found again. */
static int sync_folder(const char *folder)
{
    _cleanup_(fd_closep) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int open_files(SqliteStore *s, const char *folder)
{
    _cleanup_(freep) char *blobs = NULL;
    const DbOptions options = {.cache_kib = CACHE_KIB,
                               .cache_kib_max = CACHE_KIB_MAX,
                               .checkpoint_pages = CHECKPOINT_PAGES,
                               .checkpoint_pages_max = CHECKPOINT_PAGES_MAX,
                               .size_max = s->limits.size_max};
    int r = string_printf(&s->path, "%s/relay.sqlite", folder);
    if (r == 0)
        r = string_printf(&s->request, "%s/" REKEY_REQUEST, folder);
    if (r == 0)
        r = string_printf(&blobs, "%s/blobs", folder);
    if (r == 0)
        r = file_make_folders(blobs, 0700);
    if (r != 0)
        return r;
    s->blobs = open(blobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->blobs < 0)
        return -errno;
    if (s->remote)
        r = s->remote->connect(s->remote, true, &s->db);
    else
        r = db_open(s->path, &store_sqlite_schema, &options, &s->db);
    if (r == 0)
        r = store_sqlite_prepare(s);
    if (r == 0)
        r = keys_open(s, clock_realtime());
    if (r == 0 && !s->remote)
        r = store_sqlite_upgrade(s);
    if (r == 0)
        r = store_total_begin(s);
    if (r == 0 && !s->remote)
        r = blob_remove_orphans(s);
    return r == 0 ? sync_folder(folder) : r;
}

static int init_keys(SqliteStore *s)
{
    int r = at_rest_new(&s->at_rest);
    if (r == 0)
        r = crypto_random(s->tag, sizeof(s->tag));
    if (r == 0 && s->remote)
        r = keys_watch(s->at_rest, s->remote, &s->keeper);
    if (r == 0)
        r = data_key_init(&s->key, s->at_rest);
    return r == 0 ? secret_new(MESSAGE_PLAIN_SIZE, &s->plain) : r;
}

int store_sqlite_open_with(const char *folder, const StoreLimits *limits, const StoreKeeper *keeper,
                           StoreRemote *remote, Store **ret)
{
    SqliteStore *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->base.ops = &store_sqlite_ops;
    s->limits = *limits;
    s->keeper = *keeper;
    s->remote = remote ? store_remote_ref(remote) : NULL;
    s->blobs = -1;
    s->dead = s->doubtful = BUF_MAX(DEAD_BLOBS_SIZE_MAX);
    s->writes.tail = &s->writes.head;
    s->syncs.tail = &s->syncs.head;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->writes.some, NULL);
    (void)pthread_cond_init(&s->syncs.some, NULL);
    _cleanup_(store_freep) Store *store = &s->base;
    int r = init_keys(s);
    if (r == 0)
        r = open_files(s, folder);
    if (r != 0)
        return r;
    r = -pthread_create(&s->writer, NULL, write_all, s);
    s->writer_runs = r == 0;
    if (r == 0) {
        r = -pthread_create(&s->syncer, NULL, sync_all, s);
        s->syncer_runs = r == 0;
    }
    if (r == 0)
        *ret = TAKE_PTR(store);
    return r;
}

int store_sqlite_open(const char *folder, const StoreLimits *limits, const StoreKeeper *keeper, Store **ret)
{
    return store_sqlite_open_with(folder, limits, keeper, NULL, ret);
}

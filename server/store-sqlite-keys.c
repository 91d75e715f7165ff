/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

#define INDEX_KEY_NUMBER 0 /* in the table of roots */

/* One row of the table of roots. The index key is the same for ever. */
static int load_row(DbStatement *sql, const StoreKeeper *keeper, bool again, AtRest *a)
{
    Secret *key = NULL;
    size_t n = 0;
    int64_t number = db_column_number(sql, 0);
    if (again && number == INDEX_KEY_NUMBER)
        return 0;
    const void *kept = db_column_bytes(sql, 1, &n);
    int r = store_keeper_open(keeper, kept ? kept : "", n, &key);
    if (r != 0)
        return r;
    if (number != INDEX_KEY_NUMBER)
        return at_rest_add_root(a, number, key);
    at_rest_set_index_key(a, key);
    return 0;
}

static int load(Db *db, const StoreKeeper *keeper, bool again, AtRest *a, size_t *ret_n)
{
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    bool row = false;
    size_t n = 0;
    int r = db_prepare(db, "SELECT number, kept FROM roots ORDER BY number", &sql);
    if (r == 0)
        r = db_step(sql, &row);
    while (r == 0 && row) {
        if (n++ == 0 && db_column_number(sql, 0) != INDEX_KEY_NUMBER)
            return -EBADMSG;
        r = load_row(sql, keeper, again, a);
        if (r == 0)
            r = db_step(sql, &row);
    }
    if (r == 0)
        *ret_n = n;
    return r;
}

int keys_load(Db *db, const StoreKeeper *keeper, AtRest *a)
{
    size_t n = 0;
    int r = load(db, keeper, false, a, &n);
    return r == 0 && n < 2 ? -ESTALE : r;
}

typedef struct Watch {
    AtRest *at_rest; /* whose it is */
    StoreRemote *remote;
    StoreKeeper keeper;
} Watch;

/* With a connection of its own: it happens in the middle of whatever runs on the others. */
static int reload(void *userdata)
{
    const Watch *w = userdata;
    _cleanup_(db_closep) Db *db = NULL;
    size_t n = 0;
    int r = w->remote->connect(w->remote, false, &db);
    return r == 0 ? load(db, &w->keeper, true, w->at_rest, &n) : r;
}

static void watch_done(void *userdata)
{
    Watch *w = userdata;
    (void)store_remote_unref(w->remote);
    free(w);
}

int keys_watch(AtRest *a, StoreRemote *remote, const StoreKeeper *keeper)
{
    Watch *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    *w = (Watch){a, store_remote_ref(remote), *keeper};
    at_rest_set_reload(a, reload, watch_done, w);
    return 0;
}

static int add_row(SqliteStore *s, int64_t number, int64_t now, Secret **ret)
{
    _cleanup_(secret_freep) Secret *key = NULL;
    _cleanup_(buf_done) Buf kept = BUF_MAX(AT_REST_KEPT_SIZE_MAX);
    DbStatement *sql = s->sql[SQL_ADD_ROOT];
    int r = store_keeper_make(&s->keeper, &key, &kept);
    if (r != 0)
        return r > 0 ? -EIO : r;
    db_bind_number(sql, 1, number);
    db_bind_bytes(sql, 2, kept.data, kept.size);
    db_bind_number(sql, 3, now);
    r = db_run(sql);
    if (r == 0)
        *ret = TAKE_PTR(key);
    return r;
}

/* It is known before the transaction ends, so that it is when a reader sees what is under it. */
int keys_add_root(SqliteStore *s, int64_t number, int64_t now)
{
    Secret *key = NULL;
    int r = add_row(s, number, now, &key);
    return r == 0 ? at_rest_add_root(s->at_rest, number, key) : r;
}

static int make_keys(SqliteStore *s, int64_t now)
{
    _cleanup_(db_rollbackp) Db *transaction = s->db;
    Secret *index = NULL;
    int r = db_begin(transaction);
    if (r == 0)
        r = add_row(s, INDEX_KEY_NUMBER, now, &index);
    if (r != 0)
        return r;
    at_rest_set_index_key(s->at_rest, index);
    r = keys_add_root(s, 1, now);
    return r == 0 ? db_commit(transaction) : r;
}

int keys_open(SqliteStore *s, int64_t now)
{
    _cleanup_(db_statement_freep) DbStatement *sql = NULL;
    bool used = true;
    size_t n = 0;
    int r = load(s->db, &s->keeper, false, s->at_rest, &n);
    if (r != 0 || n >= 2)
        return r;
    if (n == 0)
        r = db_prepare(s->db, "SELECT 1 FROM identities LIMIT 1", &sql);
    if (n == 0 && r == 0)
        r = db_step(sql, &used);
    sql = db_statement_free(sql);
    if (r != 0)
        return r;
    return used ? -EBADMSG : make_keys(s, now);
}

int data_key_init(DataKey *k, AtRest *a)
{
    k->at_rest = a;
    k->owner = 0;
    return secret_new(AT_REST_KEY_SIZE, &k->secret);
}

void data_key_done(DataKey *k)
{
    k->secret = secret_free(k->secret);
    k->owner = 0;
}

int wrapped_key_read(DbStatement *sql, int column, WrappedKey *ret)
{
    ret->root = db_column_number(sql, column);
    ret->number = db_column_number(sql, column + 1);
    return db_column_exact(sql, column + 2, ret->bytes, sizeof(ret->bytes));
}

static AtRestPlace key_place(int64_t owner, int64_t number)
{
    return (AtRestPlace){.table = 'k', .row = owner, .part = number};
}

int data_key_use(DataKey *k, int64_t owner, const WrappedKey *w)
{
    const AtRestPlace place = key_place(owner, w->number);
    if (k->owner == owner && k->wrapped.root == w->root && k->wrapped.number == w->number &&
        memcmp(k->wrapped.bytes, w->bytes, sizeof(w->bytes)) == 0) /* public */
        return 0;
    k->owner = 0;
    int r = at_rest_unwrap(k->at_rest, w->root, &place, w->bytes, k->secret);
    if (r == 0) {
        k->owner = owner;
        k->wrapped = *w;
    }
    return r > 0 ? -EBADMSG : r;
}

/* A random one, in k. */
static int data_key_make(DataKey *k, int64_t owner, int64_t root, int64_t number)
{
    const AtRestPlace place = key_place(owner, number);
    k->owner = 0;
    int r = crypto_random(secret_data(k->secret), AT_REST_KEY_SIZE);
    if (r == 0)
        r = at_rest_wrap(k->at_rest, root, &place, k->secret, k->wrapped.bytes);
    if (r == 0) {
        k->wrapped.root = root;
        k->wrapped.number = number;
        k->owner = owner;
    }
    return r;
}

int message_seal(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], int64_t size,
                 const Secret *plain, uint8_t ret[static MESSAGE_SEALED_SIZE])
{
    const AtRestPlace place = {.table = 'm', .row = k->owner, .part = size, .index = index};
    return at_rest_seal(k->secret, &place, secret_bytes(plain), MESSAGE_PLAIN_SIZE, ret);
}

int message_open(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], int64_t size,
                 const void *sealed, size_t n, Secret *ret)
{
    const AtRestPlace place = {.table = 'm', .row = k->owner, .part = size, .index = index};
    if (!sealed || n != MESSAGE_SEALED_SIZE)
        return -EBADMSG;
    int r = at_rest_open(k->secret, &place, sealed, n, secret_data(ret));
    return r > 0 ? -EBADMSG : r;
}

/* Writes what k and packed make of an identity. */
static int set_identity(SqliteStore *s, const DataKey *k, int64_t since, const Buf *packed)
{
    _cleanup_(buf_done) Buf sealed = BUF_MAX(IDENTITY_PACKED_MAX + AT_REST_EXTRA);
    DbStatement *sql = s->sql[SQL_SET_KEY];
    int r = identity_seal(k, packed, &sealed);
    if (r != 0)
        return r;
    db_bind_number(sql, 1, k->owner);
    db_bind_number(sql, 2, k->wrapped.root);
    db_bind_number(sql, 3, k->wrapped.number);
    db_bind_number(sql, 4, since);
    db_bind_bytes(sql, 5, k->wrapped.bytes, sizeof(k->wrapped.bytes));
    db_bind_bytes(sql, 6, sealed.data, sealed.size);
    return db_run(sql);
}

int keys_find_root(SqliteStore *s, RootState *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_ROOT];
    bool row = false;
    int r = db_step(sql, &row);
    if (r == 0 && !row)
        r = -EBADMSG;
    if (r != 0)
        return r;
    *ret = (RootState){db_column_number(sql, 0), db_column_number(sql, 1), db_column_number(sql, 2) > 1};
    /* it is counted on from here */
    return ret->number < 1 || ret->number == INT64_MAX || ret->created < 0 ? -EBADMSG : 0;
}

int keys_new(SqliteStore *s, int64_t owner, int64_t number, int64_t since, const Buf *packed)
{
    RootState root;
    int r = keys_find_root(s, &root);
    if (r == 0)
        r = data_key_make(&s->key, owner, root.number, number);
    return r == 0 ? set_identity(s, &s->key, since, packed) : r;
}

/* What stands in the row of an identity; s->key is its data key afterwards. */
typedef struct KeyRow {
    int64_t since, next; /* next: 0 without a mailbox */
    Buf packed;
} KeyRow;

/* HMSG_ERROR_AUTHENTICATION_FAILED: the row is there, and its data key does not open. */
static int find_key(SqliteStore *s, int64_t owner)
{
    DbStatement *sql = s->sql[SQL_FIND_KEY];
    WrappedKey w;
    bool row = false;
    db_bind_number(sql, 1, owner);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : -EBADMSG;
    r = wrapped_key_read(sql, 0, &w);
    if (r == 0)
        r = data_key_use(&s->key, owner, &w);
    return store_sqlite_is_damage(s, r) ? HMSG_ERROR_AUTHENTICATION_FAILED : r;
}

static int plain_error(int r)
{
    return r > 0 ? -EBADMSG : r;
}

int keys_try(SqliteStore *s, int64_t owner)
{
    _cleanup_(db_resetp) _unused_ DbStatement *sql = s->sql[SQL_FIND_KEY];
    return find_key(s, owner);
}

int keys_use(SqliteStore *s, int64_t owner)
{
    return plain_error(keys_try(s, owner));
}

/* As find_key, of what is sealed too. */
static int read_key_row(SqliteStore *s, int64_t owner, KeyRow *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_KEY];
    size_t n = 0;
    int r = find_key(s, owner);
    if (r != 0)
        return r;
    ret->since = db_column_number(sql, 3);
    ret->next = db_column_number(sql, 5);
    const void *sealed = db_column_bytes(sql, 4, &n);
    r = identity_open(&s->key, sealed, n, &ret->packed);
    return r == -EBADMSG ? HMSG_ERROR_AUTHENTICATION_FAILED : r;
}

int keys_read(SqliteStore *s, int64_t owner, Buf *ret)
{
    KeyRow row = {.packed = *ret};
    int r = read_key_row(s, owner, &row);
    *ret = row.packed;
    return plain_error(r);
}

int keys_reseal(SqliteStore *s, int64_t owner, const Buf *packed)
{
    _cleanup_(buf_done) Buf before = BUF_MAX(IDENTITY_PACKED_MAX);
    KeyRow row = {.packed = before};
    int r = read_key_row(s, owner, &row);
    before = row.packed;
    return r == 0 ? set_identity(s, &s->key, row.since, packed) : plain_error(r);
}

/* With the data key old, of the owner of s->key. */
static int reseal_former(SqliteStore *s, const DataKey *old, int64_t *number, bool *ret_found)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_NEXT_FORMER];
    _cleanup_(buf_done) Buf packed = BUF_MAX(FORMER_PACKED_MAX);
    _cleanup_(buf_done) Buf sealed = BUF_MAX(FORMER_PACKED_MAX + AT_REST_EXTRA);
    uint8_t index[AT_REST_INDEX_SIZE];
    size_t n = 0;
    db_bind_number(sql, 1, old->owner);
    db_bind_number(sql, 2, *number);
    int r = db_step(sql, ret_found);
    if (r != 0 || !*ret_found)
        return r;
    *number = db_column_number(sql, 0);
    const void *before = db_column_bytes(sql, 2, &n);
    r = db_column_exact(sql, 1, index, sizeof(index));
    if (r == 0)
        r = former_open(old, index, before, n, &packed);
    if (r == -EBADMSG) { /* which no key opens */
        store_sqlite_tell_damage("The row of former keys", *number, old->owner, "stays as it is");
        return 0;
    }
    if (r == 0)
        r = former_seal(&s->key, index, &packed, &sealed);
    if (r != 0)
        return r;
    db_bind_number(s->sql[SQL_RESEAL_FORMER], 1, *number);
    db_bind_bytes(s->sql[SQL_RESEAL_FORMER], 2, sealed.data, sealed.size);
    return db_run(s->sql[SQL_RESEAL_FORMER]);
}

static int reseal_formers(SqliteStore *s, int64_t owner, const WrappedKey *w)
{
    DataKey old = {};
    bool found = true;
    int64_t number = 0;
    int r = data_key_init(&old, s->at_rest);
    if (r == 0)
        r = data_key_use(&old, owner, w);
    while (r == 0 && found)
        r = reseal_former(s, &old, &number, &found);
    data_key_done(&old);
    return r;
}

static int add_old_key(SqliteStore *s, int64_t owner, const WrappedKey *w)
{
    DbStatement *sql = s->sql[SQL_ADD_OLD_KEY];
    db_bind_number(sql, 1, owner);
    db_bind_number(sql, 2, w->number);
    db_bind_number(sql, 3, w->root);
    db_bind_bytes(sql, 4, w->bytes, sizeof(w->bytes));
    return db_run(sql);
}

int keys_replace(SqliteStore *s, int64_t owner)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(IDENTITY_PACKED_MAX);
    KeyRow row = {.packed = packed};
    int r = read_key_row(s, owner, &row);
    packed = row.packed;
    const WrappedKey old = s->key.wrapped;
    if (r == 0 && row.next > 0)
        r = add_old_key(s, owner, &old);
    if (r == 0)
        r = keys_new(s, owner, old.number + 1, row.next, &packed);
    return r == 0 ? reseal_formers(s, owner, &old) : r;
}

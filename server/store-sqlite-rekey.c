/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"
#include "server/store-sqlite-internal.h"

/* A change of keys: a new root, then for each identity a new data key under it, then each waiting message
 * sealed with the new one, then the former root goes. All in small steps, each of which is a request in a
 * transaction among others; where it is stands in the tables. Bodies stay as they are, under keys of their
 * own that are sealed anew. */

static bool is_due(const SqliteStore *s, const StoreWrite *w, const RootState *root)
{
    int64_t age = w->rekey.now - root->created;
    return access(s->request, F_OK) == 0 ||
           (w->rekey.age_max > 0 && age > 0 && (uint64_t)age >= w->rekey.age_max);
}

static int find_owners(SqliteStore *s, int64_t root, int64_t *owners, size_t *ret_n)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_REKEY];
    bool row = false;
    size_t n = 0;
    db_bind_number(sql, 1, root);
    db_bind_number(sql, 2, STORE_REKEY_MAX);
    int r = db_step(sql, &row);
    while (r == 0 && row && n < STORE_REKEY_MAX) {
        owners[n++] = db_column_number(sql, 0);
        r = db_step(sql, &row);
    }
    *ret_n = n;
    return r;
}

/* A client of whom nothing opens: with the former root it would not either, and must not keep it here. */
static int leave_damaged(SqliteStore *s, int64_t root, int64_t owner)
{
    DbStatement *sql = s->sql[SQL_LEAVE_KEY];
    store_sqlite_tell_damage("The row", owner, owner, "got no new keys");
    db_bind_number(sql, 1, owner);
    db_bind_number(sql, 2, root);
    return db_run(sql);
}

/* Data keys under the root of now. *left: how much more this step may do. */
static int replace_keys(SqliteStore *s, int64_t root, size_t *left)
{
    int64_t owners[STORE_REKEY_MAX];
    size_t n = 0;
    int r = find_owners(s, root, owners, &n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = keys_replace(s, owners[i]);
        if (r > 0)
            r = leave_damaged(s, root, owners[i]);
    }
    *left -= n;
    return r;
}

typedef struct Former {
    int64_t owner, resealed;
    WrappedKey key;
    bool damaged;
} Former;

static int find_former(SqliteStore *s, Former *ret, bool *ret_found)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_OLD_KEY];
    int r = db_step(sql, ret_found);
    if (r == 0 && *ret_found) {
        ret->owner = db_column_number(sql, 0);
        ret->resealed = db_column_number(sql, 1);
        ret->damaged = wrapped_key_read(sql, 2, &ret->key) != 0;
    }
    return r;
}

typedef struct Sealed {
    int64_t number, size, seq;
    uint8_t index[AT_REST_INDEX_SIZE], sealed[MESSAGE_SEALED_SIZE];
    bool damaged;
} Sealed;

static int find_sealed(SqliteStore *s, const Former *f, size_t max, Sealed *ret, size_t *ret_n)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_RESEAL];
    bool row = false;
    size_t n = 0;
    db_bind_number(sql, 1, f->owner);
    db_bind_number(sql, 2, f->resealed);
    db_bind_number(sql, 3, f->key.number);
    db_bind_number(sql, 4, (int64_t)max);
    int r = db_step(sql, &row);
    while (r == 0 && row && n < max) {
        Sealed *m = &ret[n++];
        m->number = db_column_number(sql, 0);
        m->size = db_column_number(sql, 1);
        m->seq = db_column_number(sql, 2);
        m->damaged = db_column_exact(sql, 3, m->index, sizeof(m->index)) != 0 ||
                     db_column_exact(sql, 4, m->sealed, sizeof(m->sealed)) != 0;
        r = db_step(sql, &row);
    }
    *ret_n = n;
    return r;
}

/* Of the owner whose data key of now is new. What does not open never will, and stays as it is. */
static int reseal(SqliteStore *s, DataKey *old, const DataKey *new, const Former *f, const Sealed *m)
{
    uint8_t sealed[MESSAGE_SEALED_SIZE];
    DbStatement *sql = s->sql[SQL_RESEAL];
    int r = m->damaged ? -EBADMSG : data_key_use(old, f->owner, &f->key);
    if (r == 0)
        r = message_open(old, m->index, m->size, m->sealed, sizeof(m->sealed), s->plain);
    if (store_sqlite_is_damage(s, r)) {
        store_sqlite_tell_damage("Message", m->number, f->owner, "got no new key");
        return 0;
    }
    if (r == 0)
        r = message_seal(new, m->index, m->size, s->plain, sealed);
    if (r != 0)
        return r;
    db_bind_number(sql, 1, m->number);
    db_bind_number(sql, 2, new->wrapped.number);
    db_bind_bytes(sql, 3, sealed, sizeof(sealed));
    return db_run(sql);
}

/* The former key has done what it was kept for, or where to go on. */
static int end_former(SqliteStore *s, const Former *f, bool done, int64_t resealed)
{
    DbStatement *sql = s->sql[done ? SQL_DELETE_OLD_KEY : SQL_RESEALED];
    db_bind_number(sql, 1, f->owner);
    db_bind_number(sql, 2, f->key.number);
    if (!done)
        db_bind_number(sql, 3, resealed);
    return db_run(sql);
}

static int reseal_messages(SqliteStore *s, DataKey *old, const Former *f, size_t *left)
{
    _cleanup_(freep) Sealed *all = calloc(*left, sizeof(*all));
    size_t n = 0, max = *left;
    if (!all)
        return -ENOMEM;
    /* with a key that does not open nothing can be done, before or behind */
    int r = f->damaged ? 0 : find_sealed(s, f, max, all, &n);
    if (r == 0 && n > 0)
        r = keys_try(s, f->owner);
    if (r > 0) {
        r = 0;
        n = 0;
    }
    for (size_t i = 0; r == 0 && i < n; i++)
        r = reseal(s, old, &s->key, f, &all[i]);
    if (r == 0)
        r = end_former(s, f, n<max, n> 0 ? all[n - 1].seq : f->resealed);
    *left -= n < max ? n + 1 : max; /* an empty mailbox is work too */
    return r;
}

/* What former data keys sealed. */
static int replace_seals(SqliteStore *s, size_t *left)
{
    DataKey old = {};
    int r = data_key_init(&old, s->at_rest);
    while (r == 0 && *left > 0) {
        Former f;
        bool found = false;
        r = find_former(s, &f, &found);
        if (r == 0 && !found)
            break;
        if (r == 0)
            r = reseal_messages(s, &old, &f, left);
    }
    data_key_done(&old);
    return r;
}

static int drop_roots(SqliteStore *s, const RootState *root)
{
    DbStatement *sql = s->sql[SQL_DELETE_ROOTS];
    if (!root->former) {
        /* no reader is as old as the last step any more */
        at_rest_forget_roots(s->at_rest, root->number);
        return 0;
    }
    db_bind_number(sql, 1, root->number);
    s->erase = true;
    return db_run(sql);
}

int store_sqlite_rekey(SqliteStore *s, StoreWrite *w)
{
    RootState root;
    size_t left = STORE_REKEY_MAX;
    int r = keys_find_root(s, &root);
    if (r == 0 && !root.former && is_due(s, w, &root)) {
        r = keys_add_root(s, root.number + 1, w->rekey.now);
        if (r == 0)
            r = keys_find_root(s, &root);
        s->rekey_begun = true;
    }
    if (r == 0)
        r = replace_keys(s, root.number, &left);
    if (r == 0 && left > 0)
        r = replace_seals(s, &left);
    if (r == 0 && left > 0)
        r = drop_roots(s, &root);
    w->rekey.more = r == 0 && left == 0;
    return r;
}

int store_sqlite_request_rekey(const char *folder)
{
    _cleanup_(freep) char *path = NULL;
    int r = string_printf(&path, "%s/" REKEY_REQUEST, folder);
    if (r != 0)
        return r;
    _cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    return fd < 0 ? -errno : 0;
}

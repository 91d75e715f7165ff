/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a relay does to its store when the database is in the hands of somebody else, who answers each query
 * with rows of his own. The first byte says what is done. */

#include <errno.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rows.h"

#define NOW 1800000000
#define IDS 2u

static const uint8_t ids[IDS * ID_SIZE] = {1};

typedef struct Subject {
    SqliteStore store;
    Rows rows;
    StoreIdentity identity;
    StoreWrite write;
} Subject;

static int wrap(void *userdata, const Secret *key, Buf *ret)
{
    return buf_append(ret, secret_bytes(key), secret_size(key));
}

static int unwrap(void *userdata, const void *wrapped, size_t n, Secret **ret)
{
    return n > 0 ? secret_new_copy(wrapped, n, ret) : HMSG_ERROR_AUTHENTICATION_FAILED;
}

/* As store_sqlite_open_with makes it, without threads and files. */
static void begin(Subject *s, const uint8_t *data, size_t size)
{
    SqliteStore *store = &s->store;

    fuzz_check(rows_init(&s->rows, data, size) == 0, "memory");
    store->base.ops = &store_sqlite_ops;
    store_limits_init(&store->limits);
    store->limits.key_seals = 1000;
    store->limits.total_bytes = 1u << 30;
    store->keeper = (StoreKeeper){.wrap = wrap, .unwrap = unwrap};
    store->remote = &s->rows.remote;
    store->at_rest = s->rows.at_rest;
    store->blobs = -1;
    store->dead = store->doubtful = BUF_MAX(DEAD_BLOBS_SIZE_MAX);
    store->request = (char *)(uintptr_t) "/nonexistent/rekey";
    fuzz_check(data_key_init(&store->key, store->at_rest) == 0 &&
                   secret_new(MESSAGE_PLAIN_SIZE, &store->plain) == 0 &&
                   rows_connect(store->remote, true, &store->db) == 0 && store_sqlite_prepare(store) == 0,
               "memory");
}

static void end(Subject *s)
{
    SqliteStore *store = &s->store;

    store_sqlite_unprepare(&s->write);
    store_write_done(&s->write);
    for (size_t i = 0; i < SQL_WRITE_MAX_; i++)
        store->sql[i] = db_statement_free(store->sql[i]);
    store->db = db_close(store->db);
    data_key_done(&store->key);
    store->plain = secret_free(store->plain);
    buf_done(&store->dead);
    buf_done(&store->doubtful);
    rows_done(&s->rows);
}

static void fill_identity(StoreIdentity *i)
{
    memset(i->skid, 1, KID_SIZE);
    memset(i->kid, 2, KID_SIZE);
    memcpy(i->name, "alice", sizeof("alice"));
    memcpy(i->statement, "a.b.c", sizeof("a.b.c"));
    i->sign_size = i->decrypt_size = 4;
    i->generation = 2;
    i->created = NOW;
}

static SenderRule rules[2] = {{.allowed = true}, {.skid = {1}}};
static const MailboxSettings settings = {1, MAILBOX_LIFETIME_MIN, rules, 2};

static void fill_more(StoreWrite *w)
{
    switch (w->kind) {
    case STORE_SWEEP:
        w->sweep.now = NOW;
        break;
    case STORE_REKEY:
        w->rekey.now = NOW;
        w->rekey.age_max = 86400;
        break;
    case STORE_INVITE:
        w->invite.code = "code";
        w->invite.uses = 1;
        w->invite.now = NOW;
        w->invite.expires = NOW + 60;
        break;
    case STORE_REVOKE:
        w->revoke.number = 1;
        break;
    case STORE_GRANT:
        w->grant.uses = 1;
        w->grant.now = NOW;
        w->grant.expires = NOW + 60;
        break;
    case STORE_WITHDRAW:
        w->withdraw.number = 1;
        break;
    case STORE_SETTINGS:
        w->settings.all = &settings;
        break;
    default:
        break;
    }
}

static void fill(Subject *s)
{
    StoreWrite *w = &s->write;

    switch (w->kind) {
    case STORE_REGISTER:
        w->reg.identity = &s->identity;
        w->reg.by_invite = true;
        w->reg.invite = "code";
        w->reg.now = NOW;
        break;
    case STORE_UNREGISTER:
        memcpy(w->unregister.name, "alice", sizeof("alice"));
        break;
    case STORE_ROTATE:
        w->rotate.identity = &s->identity;
        w->rotate.from = ids;
        w->rotate.from_statement = "a.b.c";
        w->rotate.steps = "[]";
        break;
    case STORE_PUT:
        w->put.body = "hello";
        w->put.size = 5;
        w->put.accepted = NOW;
        w->put.expires = NOW + 60;
        w->put.has_capability = true;
        break;
    case STORE_ACKNOWLEDGE:
        w->acknowledge.ids = ids;
        w->acknowledge.n = IDS;
        break;
    default:
        fill_more(w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Subject s;
    StoreWrite *w = &s.write;
    bool rollback = false;

    if (size == 0)
        return 0;
    s = (Subject){.write.kind = (StoreKind)((uint8_t)(data[0] - '0') % STORE_KIND_MAX_)};
    begin(&s, data + 1, size - 1);
    fill_identity(&s.identity);
    fill(&s);
    int r = store_sqlite_prepare_write(&s.store, w);
    if (r == 0)
        r = store_sqlite_execute(&s.store, w, &rollback);
    fuzz_must(r <= 0 || r < HMSG_ERROR_MAX_, "an error of ours");
    fuzz_must(w->n_changes <= STORE_SWEEP_MAX, "no more changes than there is room for");
    if (r == 0) {
        w->result = r;
        (void)store_add_news(&s.store, (StoreWrite *[]){w}, 1);
    }
    end(&s);
    return 0;
}

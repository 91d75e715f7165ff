/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/fuzz/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define ROOT 1
#define OTHER_ROOT 2
#define BODY_PADDING 4096u

typedef struct Cell {
    uint8_t *bytes; /* NULL: a number, or NULL */
    size_t size;
    int64_t number;
    bool null;
} Cell;

struct Db {
    DbBase base;
    Rows *rows;
};

struct DbStatement {
    DbBase base;
    Rows *rows;
    Cell cells[ROWS_COLUMNS];
};

static uint8_t take(Rows *r)
{
    if (r->size == 0)
        return 0;
    r->size--;
    return *r->data++;
}

static int64_t take_number(Rows *r, unsigned bytes)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | take(r);
    return (int64_t)n;
}

/* Behind its length. */
static const uint8_t *take_bytes(Rows *r, size_t *ret_size)
{
    size_t n = (size_t)take_number(r, 2);
    const uint8_t *bytes = r->data;

    n = n < r->size ? n : r->size;
    r->data += n;
    r->size -= n;
    *ret_size = n;
    return bytes;
}

/* In memory of exactly this size. */
static bool set(Cell *c, const void *data, size_t n)
{
    c->bytes = malloc(n > 0 ? n : 1);
    if (!c->bytes)
        return false;
    memcpy(c->bytes, n > 0 ? data : "", n);
    c->size = n;
    return true;
}

static void forget(DbStatement *s)
{
    for (size_t i = 0; i < ROWS_COLUMNS; i++)
        free(s->cells[i].bytes);
    memset(s->cells, 0, sizeof(s->cells));
}

/* An identity's number and that of its data key, which are wrapped as the first root has them. */
static int use_key(Rows *r)
{
    DataKey *k = &r->key;

    k->owner = take(r);
    const AtRestPlace place = {.table = 'k', .row = k->owner, .part = take(r)};
    return at_rest_wrap(r->at_rest, ROOT, &place, k->secret, k->wrapped.bytes);
}

/* Of a column, which one the input says: where a sealed value stands. */
static const uint8_t *take_index(DbStatement *s)
{
    static const uint8_t nothing[AT_REST_INDEX_SIZE];
    const Cell *index = &s->cells[take(s->rows) % ROWS_COLUMNS];

    return index->size == AT_REST_INDEX_SIZE ? index->bytes : nothing;
}

static bool seal_packed(DbStatement *s, Cell *c, bool former, const Buf *packed)
{
    _cleanup_(buf_done) Buf sealed = BUF_MAX(FORMER_PACKED_MAX + AT_REST_EXTRA);
    int r = former ? former_seal(&s->rows->key, take_index(s), packed, &sealed)
                   : identity_seal(&s->rows->key, packed, &sealed);

    return r == 0 && set(c, sealed.data, sealed.size);
}

/* What the input has of a message, and zeros: so the key of its body is known. A relay seals no other sizes
 * than it takes. */
static bool seal_message(DbStatement *s, Cell *c, const uint8_t *data, size_t n)
{
    const uint8_t *index = take_index(s);
    int64_t size = s->cells[take(s->rows) % ROWS_COLUMNS].number;
    uint8_t sealed[MESSAGE_SEALED_SIZE];

    memset(secret_data(s->rows->plain), 0, MESSAGE_PLAIN_SIZE);
    if (n > 0)
        memcpy(secret_data(s->rows->plain), data, n < MESSAGE_AT_KEY ? n : MESSAGE_AT_KEY);
    if (size < 0 || size > (int64_t)ATTACHMENT_SIZE_MAX)
        size = 0;
    return message_seal(&s->rows->key, index, size, s->rows->plain, sealed) == 0 &&
           set(c, sealed, sizeof(sealed));
}

/* A body, which may be longer than the input. */
static bool seal_body(Rows *r, Cell *c, const uint8_t *data, size_t n)
{
    static const uint8_t key[BODY_KEY_SIZE];
    _cleanup_(buf_done) Buf body = BUF_MAX(UINT16_MAX + 255u * BODY_PADDING), sealed = BUF_MAX(4u << 20);
    size_t padding = (size_t)take(r) * BODY_PADDING;

    if (buf_append(&body, data, n) != 0 || buf_reserve(&body, padding + 1) != 0)
        return false;
    memset(body.data + body.size, 0, padding);
    body.size += padding;
    return body_seal(key, body.data, body.size, &sealed) == 0 && set(c, sealed.data, sealed.size);
}

/* A cell that was sealed as the relay would have. */
static bool fill_sealed(DbStatement *s, Cell *c, uint8_t kind)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(UINT16_MAX);
    size_t n = 0;
    const uint8_t *data = take_bytes(s->rows, &n);

    if (buf_append(&packed, data, n) != 0)
        return false;
    switch (kind) {
    case 'b':
        return seal_body(s->rows, c, data, n);
    case 'm':
        return seal_message(s, c, data, n);
    default:
        return seal_packed(s, c, kind == 'f', &packed);
    }
}

static bool fill(DbStatement *s, Cell *c)
{
    uint8_t kind = take(s->rows);
    size_t n = 0;

    switch (kind) {
    case '#':
        c->number = take(s->rows);
        return true;
    case '8':
        c->number = take_number(s->rows, 8);
        return true;
    case 't': {
        const uint8_t *data = take_bytes(s->rows, &n);

        return set(c, data, n);
    }
    case 'k':
        return use_key(s->rows) == 0 && set(c, s->rows->key.wrapped.bytes, AT_REST_WRAPPED_SIZE);
    case 'b':
    case 'f':
    case 'i':
    case 'm':
        return fill_sealed(s, c, kind);
    default:
        c->null = true;
        return true;
    }
}

static int fake_step(DbStatement *s, bool *ret_row)
{
    uint8_t columns = take(s->rows);

    forget(s);
    *ret_row = false;
    if (columns == UINT8_MAX)
        return -EIO;
    for (size_t i = 0; i < ROWS_COLUMNS; i++)
        s->cells[i].null = i >= columns;
    for (size_t i = 0; i < columns && i < ROWS_COLUMNS; i++)
        if (!fill(s, &s->cells[i]))
            return -ENOMEM;
    *ret_row = columns > 0;
    return 0;
}

static const DbDriver driver;

static Db *fake_close(Db *db)
{
    free(db);
    return NULL;
}

static int fake_exec(Db *db, const char *sql)
{
    return 0;
}

static int fake_begin(Db *db, bool shared)
{
    return 0;
}

static int fake_succeed(Db *db)
{
    return 0;
}

static void fake_rollback(Db *db)
{
}

static int fake_prepare(Db *db, const char *sql, DbStatement **ret)
{
    DbStatement *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->base.driver = &driver;
    s->rows = db->rows;
    *ret = s;
    return 0;
}

static DbStatement *fake_statement_free(DbStatement *s)
{
    forget(s);
    free(s);
    return NULL;
}

static void fake_bind_number(DbStatement *s, int index, int64_t value)
{
}

static void fake_bind_bytes(DbStatement *s, int index, const void *data, size_t n)
{
}

static int fake_run(DbStatement *s)
{
    return 0;
}

static void fake_reset(DbStatement *s)
{
    forget(s);
}

static const Cell *cell(const DbStatement *s, int column)
{
    fuzz_must(column >= 0 && (unsigned)column < ROWS_COLUMNS, "there is such a column");
    return &s->cells[column];
}

static int64_t fake_column_number(DbStatement *s, int column)
{
    return cell(s, column)->number;
}

static const void *fake_column_bytes(DbStatement *s, int column, size_t *ret_size)
{
    const Cell *c = cell(s, column);

    *ret_size = c->size;
    return c->size > 0 ? c->bytes : NULL;
}

static bool fake_column_null(DbStatement *s, int column)
{
    return cell(s, column)->null;
}

static int64_t fake_count(const Db *db)
{
    return 1;
}

static const DbDriver driver = {
    .close = fake_close,
    .exec = fake_exec,
    .begin = fake_begin,
    .begin_read = fake_succeed,
    .commit = fake_succeed,
    .rollback = fake_rollback,
    .prepare = fake_prepare,
    .statement_free = fake_statement_free,
    .bind_number = fake_bind_number,
    .bind_bytes = fake_bind_bytes,
    .start = fake_run,
    .step = fake_step,
    .run = fake_run,
    .reset = fake_reset,
    .column_number = fake_column_number,
    .column_bytes = fake_column_bytes,
    .column_null = fake_column_null,
    .changes = fake_count,
    .total_changes = fake_count,
    .last_row_id = fake_count,
    .check = fake_succeed,
};

int rows_connect(const StoreRemote *remote, bool patient, Db **ret)
{
    Db *db = calloc(1, sizeof(*db));

    if (!db)
        return -ENOMEM;
    db->base.driver = &driver;
    db->rows = (Rows *)(uintptr_t)remote;
    *ret = db;
    return 0;
}

static uint64_t count_connections(const Db *db)
{
    return 1;
}

static void free_remote(StoreRemote *remote)
{
}

static int add_keys(Rows *r)
{
    Secret *key = NULL;
    int e = at_rest_new(&r->at_rest);

    for (int64_t number = 0; e == 0 && number <= OTHER_ROOT; number++) {
        e = secret_new(AT_REST_KEY_SIZE, &key);
        if (e == 0 && number == 0)
            at_rest_set_index_key(r->at_rest, key);
        else if (e == 0)
            e = at_rest_add_root(r->at_rest, number, key);
    }
    return e;
}

int rows_init(Rows *r, const uint8_t *data, size_t size)
{
    *r = (Rows){.data = data, .size = size};
    atomic_init(&r->remote.refs, 1);
    r->remote.connect = rows_connect;
    r->remote.connection = count_connections;
    r->remote.free = free_remote;
    int e = add_keys(r);
    if (e == 0)
        e = data_key_init(&r->key, r->at_rest);
    return e == 0 ? secret_new(MESSAGE_PLAIN_SIZE, &r->plain) : e;
}

void rows_done(Rows *r)
{
    data_key_done(&r->key);
    r->plain = secret_free(r->plain);
    r->at_rest = at_rest_unref(r->at_rest);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

/* What one look at a row has seen. */
typedef struct Look {
    StoreDamage at; /* number: 0 when there was no row that could be read */
    char file[BLOB_TEXT_SIZE];
} Look;

/* One look at a time, so that the relay is not kept from cleaning its log for as long as all takes. Each gets
 * the number of what it looked at, of which it looks at the next, and says that there is none with NOT_FOUND.
 */
typedef int (*look_t)(SqliteReader *s, int64_t number, Look *ret);

static int look_at_client(SqliteReader *s, int64_t number, Look *ret)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    int64_t found = number;
    int r = i ? reader_next_identity(&s->base, &found, i) : -ENOMEM;
    ret->at = (StoreDamage){.kind = STORE_DAMAGED_CLIENT, .client = found};
    ret->at.number = found > number ? found : 0;
    return r;
}

static int look_at_former(SqliteReader *s, int64_t number, Look *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EACH_FORMER];
    _cleanup_(buf_done) Buf packed = BUF_MAX(FORMER_PACKED_MAX);
    StoreLink link;
    bool row = false;
    db_bind_number(sql, 1, number);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    ret->at = (StoreDamage){
        .kind = STORE_DAMAGED_FORMER, .number = db_column_number(sql, 6), .client = db_column_number(sql, 3)};
    return reader_read_link(s, sql, &packed, &link);
}

static int read_file(StoreFile *file)
{
    _cleanup_(store_file_freep) StoreFile *f = file;
    uint8_t piece[BODY_CHUNK_SIZE];
    ssize_t n = 1;
    for (uint64_t at = 0; n > 0; at += (uint64_t)n) {
        n = store_file_read(f, at, piece, sizeof(piece));
        if (n < 0)
            return (int)n;
    }
    return 0;
}

/* Whether what is sealed of the message opened, and only its large body does not. */
static void name_file(DbStatement *sql, Look *ret)
{
    uint8_t name[BLOB_NAME_SIZE];
    ret->at.kind = STORE_DAMAGED_FILE;
    if (db_column_exact(sql, 7, name, sizeof(name)) == 0)
        blob_text(name, ret->file);
}

static int look_at_message(SqliteReader *s, int64_t number, Look *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EACH_MESSAGE];
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    bool row = false;
    db_bind_number(sql, 1, number);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    ret->at = (StoreDamage){.kind = STORE_DAMAGED_MESSAGE,
                            .number = db_column_number(sql, 9),
                            .client = db_column_number(sql, 3)};
    r = reader_open_message(s, sql);
    if (r == 0 && !db_column_null(sql, 7))
        name_file(sql, ret);
    if (r == 0)
        r = reader_read_body(s, sql, &body, &file);
    if (r == 0 && file)
        r = read_file(file);
    /* a disk that cannot read a file can read others; a database that is away answers nothing any more */
    return r > 0 || (r == -EIO && !s->remote) ? -EBADMSG : r;
}

typedef struct Check {
    SqliteReader *reader;
    store_damage_t tell; /* may be NULL */
    void *userdata;
    bool damaged;
} Check;

static void find_damage(Check *c, const StoreDamage *d)
{
    c->damaged = true;
    if (c->tell)
        c->tell(d, c->userdata);
}

/* While the relay runs a message may go between the look at its row and the look at its file: then the second
 * look finds another row. The same with a root key that came or went. */
static int look_twice(const Check *c, look_t look, int64_t number, Look *ret)
{
    SqliteReader *s = c->reader;
    int first = look(s, number, ret);
    int r = first == -ESTALE && s->keeper ? keys_load(s->db, s->keeper, s->at_rest) : 0;
    if (r != 0 || (first != -EBADMSG && first != -ESTALE))
        return r != 0 ? r : first;
    *ret = (Look){};
    r = look(s, number, ret);
    return r == -ESTALE ? -EBADMSG : r;
}

static int check_each(Check *c, const char *table, look_t look)
{
    for (int64_t number = 0;;) {
        Look at = {};
        int r = look_twice(c, look, number, &at);
        if (r == HMSG_ERROR_NOT_FOUND)
            return 0;
        if (r != 0 && r != -EBADMSG)
            return r;
        if (at.at.number <= number) { /* it cannot be read, or comes again, for ever perhaps */
            find_damage(c, &(StoreDamage){STORE_DAMAGED_TABLE, number, 0, table});
            return 0;
        }
        number = at.at.number;
        at.at.text = at.file;
        if (r != 0)
            find_damage(c, &at.at);
    }
}

static void tell_problem(const char *problem, void *userdata)
{
    find_damage(userdata, &(StoreDamage){.kind = STORE_DAMAGED_DATABASE, .text = problem});
}

int store_sqlite_check_tell(StoreReader *reader, store_damage_t tell, void *userdata)
{
    Check c = {(SqliteReader *)reader, tell, userdata, false};
    int r = db_check_tell(c.reader->db, tell_problem, &c);
    if (r == -EBADMSG && !c.damaged)
        tell_problem("it cannot be read", &c);
    if (r == 0 || r == -EBADMSG)
        r = check_each(&c, "identities", look_at_client);
    if (r == 0)
        r = check_each(&c, "former", look_at_former);
    if (r == 0)
        r = check_each(&c, "messages", look_at_message);
    return r == 0 && c.damaged ? -EBADMSG : r;
}

int store_sqlite_check(StoreReader *reader)
{
    return store_sqlite_check_tell(reader, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

/* One look at a time, so that the relay is not kept from cleaning its log for as long as all takes. Each gets
 * the number of what it looked at, of which it looks at the next, and says that there is none with NOT_FOUND.
 */
static int check_identity(SqliteReader *s, int64_t *number)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    return i ? reader_next_identity(&s->base, number, i) : -ENOMEM;
}

static int check_former(SqliteReader *s, int64_t *number)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EACH_FORMER];
    _cleanup_(buf_done) Buf packed = BUF_MAX(FORMER_PACKED_MAX);
    StoreLink link;
    bool row = false;
    db_bind_number(sql, 1, *number);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    r = reader_read_link(s, sql, &packed, &link);
    if (r == 0)
        *number = db_column_number(sql, 6);
    return r;
}

static int check_file(StoreFile *file)
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

static int check_message(SqliteReader *s, int64_t *number)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_EACH_MESSAGE];
    _cleanup_(buf_done) Buf body = BUF_MAX(MESSAGE_SIZE_MAX);
    StoreFile *file = NULL;
    bool row = false;
    db_bind_number(sql, 1, *number);
    int r = db_step(sql, &row);
    if (r != 0 || !row)
        return r != 0 ? r : HMSG_ERROR_NOT_FOUND;
    r = reader_read_body(s, sql, &body, &file);
    if (r == 0 && file)
        r = check_file(file);
    if (r == 0)
        *number = db_column_number(sql, 9);
    return r > 0 ? -EBADMSG : r;
}

/* While the relay runs a message may go between the look at its row and the look at its file: then the second
 * look finds another row. The same with a root key that came or went. */
static int check_each(SqliteReader *s, const StoreKeeper *keeper,
                      int (*check)(SqliteReader *s, int64_t *number))
{
    int64_t number = 0;
    int r = 0;
    while (r == 0) {
        int first = check(s, &number);
        r = first == -ESTALE && keeper ? keys_load(s->db, keeper, s->at_rest) : 0;
        if (r == 0)
            r = first == -EBADMSG || first == -ESTALE ? check(s, &number) : first;
    }
    return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
}

int store_sqlite_check(StoreReader *reader)
{
    SqliteReader *s = (SqliteReader *)reader;
    int r = db_check(s->db);
    if (r == 0)
        r = check_each(s, s->keeper, check_identity);
    if (r == 0)
        r = check_each(s, s->keeper, check_former);
    if (r == 0)
        r = check_each(s, s->keeper, check_message);
    return r == -ESTALE ? -EBADMSG : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that were given up, and how they led to those of now. Those of a rotation were registered here, so
 * that both were proven; those that a registration tells of (claims) were not, or it is forgotten: whoever
 * has the sign key has signed it over, but may have named any decrypt key as its own. So nobody is found by
 * the decrypt key of a claim, no message to it is taken, and it keeps nobody from registering it; only who
 * looks for the owner of now is led from it. */

#include <errno.h>

#include "libhmsg/base/error.h"
#include "server/store-sqlite-internal.h"

#define CLAIMED (-1) /* instead of when a key was given up, for KID_OR_FORMER */

const char *const store_sqlite_chain_texts[SQL_WRITE_MAX_] = {
    [SQL_HAS_FORMER] = "SELECT 1 FROM former WHERE identity = ?1 LIMIT 1",
};

/* In the place of a decrypt key's index: tied to the sign key, so that no two claims hinder each other. */
static int claim_index(const AtRest *a, const uint8_t skid[static AT_REST_INDEX_SIZE], const uint8_t *kid,
                       uint8_t ret[static AT_REST_INDEX_SIZE])
{
    const Chunk parts[] = {{skid, AT_REST_INDEX_SIZE}, {kid, KID_SIZE}};
    return at_rest_index(a, INDEX_CLAIM, parts, ELEMENTSOF(parts), ret);
}

/* By indexes of the keys. */
static int add(SqliteStore *s, int64_t identity, const uint8_t *skid, const uint8_t *kid,
               const StoreLink *link, int64_t retired)
{
    _cleanup_(buf_done) Buf packed = BUF_MAX(FORMER_PACKED_MAX);
    _cleanup_(buf_done) Buf sealed = BUF_MAX(FORMER_PACKED_MAX + AT_REST_EXTRA);
    DbStatement *sql = s->sql[SQL_ADD_FORMER];
    int r = former_pack(link, &packed);
    if (r == 0)
        r = keys_use(s, identity);
    if (r == 0)
        r = former_seal(&s->key, skid, &packed, &sealed);
    if (r != 0)
        return r;
    db_bind_number(sql, 1, identity);
    db_bind_bytes(sql, 2, skid, AT_REST_INDEX_SIZE);
    db_bind_bytes(sql, 3, kid, AT_REST_INDEX_SIZE);
    db_bind_bytes(sql, 4, sealed.data, sealed.size);
    db_bind_number(sql, 5, retired);
    return db_run(sql);
}

int store_sqlite_add_former(SqliteStore *s, int64_t identity, const StoreIdentity *i, const StoreLink *link,
                            int64_t retired)
{
    uint8_t skid[AT_REST_INDEX_SIZE], kid[AT_REST_INDEX_SIZE];
    int r = identity_key_indexes(s->at_rest, i->skid, i->kid, skid, kid);
    return r == 0 ? add(s, identity, skid, kid, link, retired) : r;
}

static int has_former(SqliteStore *s, int64_t identity, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_HAS_FORMER];
    db_bind_number(sql, 1, identity);
    return db_step(sql, ret);
}

/* Is one of the keys somebody's, or was it? */
static int is_used(SqliteStore *s, const StoreFormer *f, bool *ret)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_FIND_USED];
    uint8_t skid[AT_REST_INDEX_SIZE], kid[AT_REST_INDEX_SIZE];
    int r = identity_key_indexes(s->at_rest, f->skid, f->kid, skid, kid);
    db_bind_bytes(sql, 1, skid, sizeof(skid));
    db_bind_bytes(sql, 2, kid, sizeof(kid));
    return r == 0 ? db_step(sql, ret) : r;
}

static int add_claim(SqliteStore *s, int64_t identity, const StoreFormer *f)
{
    uint8_t skid[AT_REST_INDEX_SIZE], claim[AT_REST_INDEX_SIZE];
    int r = identity_index(s->at_rest, INDEX_KEY, f->skid, KID_SIZE, skid);
    if (r == 0)
        r = claim_index(s->at_rest, skid, f->kid, claim);
    return r == 0 ? add(s, identity, skid, claim, &f->link, CLAIMED) : r;
}

int store_sqlite_claim(SqliteStore *s, int64_t identity, const StoreFormer *former, size_t n)
{
    bool known = false;
    int r = n > 0 ? has_former(s, identity, &known) : 0;
    for (size_t i = 0; r == 0 && !known && i < n; i++)
        r = is_used(s, &former[i], &known);
    for (size_t i = 0; r == 0 && !known && i < n; i++)
        r = add_claim(s, identity, &former[i]);
    return r;
}

/* Those that begin at the former key `from`, of which it is the index. */
static int read_chain(SqliteReader *s, const uint8_t *skid, const uint8_t *from,
                      int (*f)(const StoreLink *l, void *userdata), void *userdata, bool *ret_found)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_CHAIN];
    bool row = false;
    db_bind_bytes(sql, 1, skid, AT_REST_INDEX_SIZE);
    db_bind_bytes(sql, 2, from, AT_REST_INDEX_SIZE);
    int r = db_step(sql, &row);
    *ret_found = r == 0 && row;
    while (r == 0 && row) {
        _cleanup_(buf_done) Buf packed = BUF_MAX(FORMER_PACKED_MAX);
        StoreLink link;
        r = reader_read_link(s, sql, &packed, &link);
        if (r == 0)
            r = f(&link, userdata);
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

/* The sign key, as its index, of the claim that has this decrypt key. */
static int find_claim(SqliteReader *s, const uint8_t *skid, const uint8_t *kid,
                      uint8_t ret[static AT_REST_INDEX_SIZE], bool *ret_found)
{
    _cleanup_(db_resetp) DbStatement *sql = s->sql[SQL_CLAIMS];
    uint8_t claimed[AT_REST_INDEX_SIZE], claim[AT_REST_INDEX_SIZE];
    bool row = false;
    db_bind_bytes(sql, 1, skid, AT_REST_INDEX_SIZE);
    int r = db_step(sql, &row);
    while (r == 0 && row && !*ret_found) {
        r = db_column_exact(sql, 0, ret, AT_REST_INDEX_SIZE);
        if (r == 0)
            r = db_column_exact(sql, 1, claimed, sizeof(claimed));
        if (r == 0)
            r = claim_index(s->at_rest, ret, kid, claim);
        *ret_found = r == 0 && bytes_equal(claim, claimed, sizeof(claim));
        if (r == 0)
            r = db_step(sql, &row);
    }
    return r;
}

int reader_chain(StoreReader *reader, const uint8_t *skid, const uint8_t *from,
                 int (*f)(const StoreLink *l, void *userdata), void *userdata)
{
    SqliteReader *s = (SqliteReader *)reader;
    uint8_t now[AT_REST_INDEX_SIZE], then[AT_REST_INDEX_SIZE];
    bool found = false, claimed = false;
    int r = identity_index(s->at_rest, INDEX_KEY, skid, KID_SIZE, now);
    if (r == 0)
        r = identity_index(s->at_rest, INDEX_KEY, from, KID_SIZE, then);
    if (r == 0)
        r = read_chain(s, now, then, f, userdata, &found);
    if (r == 0 && !found)
        r = find_claim(s, now, from, then, &claimed);
    return r == 0 && claimed ? read_chain(s, now, then, f, userdata, &found) : r;
}

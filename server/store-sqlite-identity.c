/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "server/store-sqlite-internal.h"

int identity_index(const AtRest *a, IndexKind kind, const void *data, size_t n,
                   uint8_t ret[static AT_REST_INDEX_SIZE])
{
    const Chunk part = {data, n};
    return at_rest_index(a, kind, &part, 1, ret);
}

int mailbox_index(const AtRest *a, IndexKind kind, int64_t mailbox, const void *data, size_t n,
                  uint8_t ret[static AT_REST_INDEX_SIZE])
{
    const uint64_t number = htobe64((uint64_t)mailbox);
    const Chunk parts[] = {{&number, sizeof(number)}, {data, n}};
    return at_rest_index(a, kind, parts, ELEMENTSOF(parts), ret);
}

int identity_key_indexes(const AtRest *a, const uint8_t skid[static KID_SIZE],
                         const uint8_t kid[static KID_SIZE], uint8_t ret_skid[static AT_REST_INDEX_SIZE],
                         uint8_t ret_kid[static AT_REST_INDEX_SIZE])
{
    int r = identity_index(a, INDEX_KEY, skid, KID_SIZE, ret_skid);
    return r == 0 ? identity_index(a, INDEX_KEY, kid, KID_SIZE, ret_kid) : r;
}

static int put_part(Buf *b, const void *data, size_t n)
{
    int r = buf_append_u32(b, (uint32_t)n);
    return r == 0 ? buf_append(b, data, n) : r;
}

int identity_pack(const StoreIdentity *i, Buf *ret)
{
    int r = buf_append(ret, i->skid, KID_SIZE);
    if (r == 0)
        r = buf_append(ret, i->kid, KID_SIZE);
    if (r == 0)
        r = put_part(ret, i->sign, i->sign_size);
    if (r == 0)
        r = put_part(ret, i->decrypt, i->decrypt_size);
    if (r == 0)
        r = put_part(ret, i->name, strlen(i->name));
    return r == 0 ? put_part(ret, i->statement, strlen(i->statement)) : r;
}

typedef struct Unpack {
    const uint8_t *data;
    size_t left;
    bool bad;
} Unpack;

static void take(Unpack *u, void *to, size_t n)
{
    u->bad = u->bad || n > u->left;
    if (u->bad)
        return;
    memcpy(to, u->data, n);
    u->data += n;
    u->left -= n;
}

static size_t take_size(Unpack *u)
{
    uint8_t b[4] = {0};
    take(u, b, sizeof(b));
    return (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
}

static size_t take_part(Unpack *u, void *to, size_t max)
{
    size_t n = take_size(u);
    u->bad = u->bad || n > max;
    take(u, to, n);
    return u->bad ? 0 : n;
}

static void take_text(Unpack *u, char *to, size_t max)
{
    size_t n = take_part(u, to, max);
    to[n] = '\0';
    u->bad = u->bad || strlen(to) != n;
}

int identity_unpack(const Buf *packed, StoreIdentity *ret)
{
    Unpack u = {packed->data, packed->size, packed->size == 0};
    take(&u, ret->skid, KID_SIZE);
    take(&u, ret->kid, KID_SIZE);
    ret->sign_size = take_part(&u, ret->sign, SPKI_SIZE_MAX);
    ret->decrypt_size = take_part(&u, ret->decrypt, SPKI_SIZE_MAX);
    take_text(&u, ret->name, NAME_SIZE_MAX);
    take_text(&u, ret->statement, JWS_SIZE_MAX);
    return u.bad || u.left > 0 ? -EBADMSG : 0;
}

static int open_row(const DataKey *k, const AtRestPlace *place, const void *sealed, size_t n, size_t max,
                    Buf *ret)
{
    if (n < AT_REST_EXTRA || n - AT_REST_EXTRA > max)
        return -EBADMSG;
    int r = buf_reserve(ret, n - AT_REST_EXTRA);
    if (r == 0)
        r = at_rest_open(k->secret, place, sealed, n, ret->data + ret->size);
    if (r == 0) {
        ret->size += n - AT_REST_EXTRA;
        ret->data[ret->size] = 0;
    }
    return r > 0 ? -EBADMSG : r;
}

static int seal_row(const DataKey *k, const AtRestPlace *place, const Buf *packed, Buf *ret)
{
    int r = buf_reserve(ret, packed->size + AT_REST_EXTRA);
    if (r == 0)
        r = at_rest_seal(k->secret, place, packed->data, packed->size, ret->data + ret->size);
    if (r == 0) {
        ret->size += packed->size + AT_REST_EXTRA;
        ret->data[ret->size] = 0;
    }
    return r;
}

int identity_seal(const DataKey *k, const Buf *packed, Buf *ret)
{
    return seal_row(k, &(AtRestPlace){.table = 'i', .row = k->owner}, packed, ret);
}

int identity_open(const DataKey *k, const void *sealed, size_t n, Buf *ret)
{
    return open_row(k, &(AtRestPlace){.table = 'i', .row = k->owner}, sealed, n, IDENTITY_PACKED_MAX, ret);
}

static int put_text(Buf *b, const char *text)
{
    return put_part(b, text, strlen(text) + 1);
}

int former_pack(const StoreLink *link, Buf *ret)
{
    int r = put_text(ret, link->statement);
    if (r == 0)
        r = put_text(ret, link->steps);
    return r == 0 ? put_text(ret, link->next) : r;
}

static const char *find_text(Unpack *u)
{
    size_t n = take_size(u);
    const char *text = (const char *)u->data;
    u->bad = u->bad || n == 0 || n > u->left || strnlen(text, n) != n - 1;
    if (u->bad)
        return "";
    u->data += n;
    u->left -= n;
    return text;
}

int former_unpack(const Buf *packed, StoreLink *ret)
{
    Unpack u = {packed->data, packed->size, packed->size == 0};
    ret->statement = find_text(&u);
    ret->steps = find_text(&u);
    ret->next = find_text(&u);
    return u.bad || u.left > 0 ? -EBADMSG : 0;
}

int former_seal(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], const Buf *packed, Buf *ret)
{
    return seal_row(k, &(AtRestPlace){.table = 'f', .row = k->owner, .index = index}, packed, ret);
}

int former_open(const DataKey *k, const uint8_t index[static AT_REST_INDEX_SIZE], const void *sealed,
                size_t n, Buf *ret)
{
    return open_row(k, &(AtRestPlace){.table = 'f', .row = k->owner, .index = index}, sealed, n,
                    FORMER_PACKED_MAX, ret);
}

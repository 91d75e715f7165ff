/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/own-devices.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/crypto.h"

static int copy(DbStatement *s, int column, char *ret, size_t size)
{
    size_t n = 0;
    const char *text = db_column_text(s, column, &n);

    if (n >= size)
        return -EBADMSG;
    memcpy(ret, text, n + 1);
    return 0;
}

static int read_row(DbStatement *s, OwnDevice *ret)
{
    OwnDevice d = {.added = db_column_number(s, 3)};
    int r;

    r = copy(s, 0, d.address, sizeof(d.address));
    if (r == 0)
        r = copy(s, 1, d.kid, sizeof(d.kid));
    if (r == 0)
        r = copy(s, 2, d.skid, sizeof(d.skid));
    if (r == 0)
        *ret = d;
    return r;
}

int own_devices_list(Db *db, OwnDevice *ret, size_t *ret_n)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    bool row = false;
    size_t n = 0;
    int r;

    r = db_prepare(db, "SELECT address, kid, skid, added FROM own_devices ORDER BY added, address LIMIT ?1",
                   &s);
    if (r != 0)
        return r;
    db_bind_number(s, 1, DEVICES_MAX);
    while ((r = db_step(s, &row)) == 0 && row && r == 0) {
        r = read_row(s, &ret[n]);
        if (r != 0)
            return r;
        n++;
    }
    if (r == 0)
        *ret_n = n;
    return r;
}

static int to_device(const OwnDevice *d, Device *ret)
{
    int r = base64url_decode_exact(d->kid, strlen(d->kid), ret->kid, KID_SIZE);

    return r == 0 ? base64url_decode_exact(d->skid, strlen(d->skid), ret->skid, KID_SIZE) : r;
}

static int name_all(const OwnDevice *all, size_t n, Devices *ret)
{
    Devices d = {0};
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        Device one;

        r = to_device(&all[i], &one);
        if (r == 0)
            r = devices_add(&d, &one);
    }
    if (r == 0)
        *ret = d;
    return r;
}

int own_devices_name(Db *db, Devices *ret)
{
    OwnDevice all[DEVICES_MAX];
    size_t n = 0;
    int r = own_devices_list(db, all, &n);

    if (r == 0)
        r = name_all(all, n, ret);
    return r > 0 ? -EBADMSG : r;
}

int own_devices_digest(const Devices *d, uint8_t ret[static SHA256_SIZE])
{
    uint8_t keys[DEVICES_MAX][2 * KID_SIZE];

    for (size_t i = 0; i < d->n; i++) {
        memcpy(keys[i], d->list[i].kid, KID_SIZE);
        memcpy(keys[i] + KID_SIZE, d->list[i].skid, KID_SIZE);
    }
    return crypto_sha256(keys, d->n * sizeof(*keys), ret);
}

int own_devices_add(Db *db, const OwnDevice *d)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    OwnDevice all[DEVICES_MAX + 1];
    Devices named;
    size_t n = 0, kept = 0;
    int r;

    r = own_devices_list(db, all, &n);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (strcmp(all[i].address, d->address) != 0)
            all[kept++] = all[i];
    if (r == 0 && kept == DEVICES_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    all[kept] = *d;
    if (r == 0)
        r = name_all(all, kept + 1, &named);
    if (r > 0)
        return HMSG_ERROR_ALREADY_EXISTS;
    if (r == 0)
        r = db_prepare(
            db, "INSERT OR REPLACE INTO own_devices(address, kid, skid, added) VALUES(?1, ?2, ?3, ?4)", &s);
    if (r != 0)
        return r;
    db_bind_text(s, 1, d->address);
    db_bind_text(s, 2, d->kid);
    db_bind_text(s, 3, d->skid);
    db_bind_number(s, 4, d->added);
    return db_run(s);
}

int own_devices_remove(Db *db, const char *address)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    int r = db_prepare(db, "DELETE FROM own_devices WHERE address = ?1", &s);

    if (r != 0)
        return r;
    db_bind_text(s, 1, address);
    r = db_run(s);
    return r == 0 && db_changes(db) == 0 ? HMSG_ERROR_NOT_FOUND : r;
}

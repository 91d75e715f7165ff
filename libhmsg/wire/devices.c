/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/devices.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

#define MEMBER "devices"

bool devices_have(const Devices *d, const uint8_t key[static KID_SIZE])
{
    for (size_t i = 0; i < d->n; i++)
        if (bytes_equal(d->list[i].kid, key, KID_SIZE) || bytes_equal(d->list[i].skid, key, KID_SIZE))
            return true;
    return false;
}

int devices_add(Devices *d, const Device *one)
{
    if (d->n == DEVICES_MAX)
        return -ENOSPC;
    if (devices_have(d, one->kid) || devices_have(d, one->skid) || bytes_equal(one->kid, one->skid, KID_SIZE))
        return HMSG_ERROR_BAD_PACKAGE;
    d->list[d->n++] = *one;
    return 0;
}

int devices_put(const Devices *d, json_t *j)
{
    _cleanup_(json_decrefp) json_t *list = json_array();
    int r = list ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < d->n; i++) {
        _cleanup_(json_decrefp) json_t *one = json_object();
        r = json_put_bytes(one, "kid", d->list[i].kid, KID_SIZE);
        if (r == 0)
            r = json_put_bytes(one, "skid", d->list[i].skid, KID_SIZE);
        if (r == 0)
            r = json_array_append(list, one) == 0 ? 0 : -ENOMEM;
    }
    return r == 0 ? json_put(j, MEMBER, json_incref(list)) : r;
}

static int get_one(const json_t *j, Devices *d)
{
    static const char *const names[] = {"kid", "skid", NULL};
    Device one;
    int r = json_is_object(j) ? json_check_names(j, names) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = json_get_bytes(j, "kid", one.kid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "skid", one.skid, KID_SIZE);
    return r == 0 ? devices_add(d, &one) : r;
}

int devices_get(const json_t *j, Devices *ret)
{
    json_t *list = NULL;
    Devices d = {};
    int r = json_get_array(j, MEMBER, &list);
    size_t n = r == 0 ? json_array_size(list) : 0;
    if (r == 0 && n > DEVICES_MAX)
        r = HMSG_ERROR_BAD_PACKAGE;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = get_one(json_array_get(list, i), &d);
    if (r == 0)
        *ret = d;
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Our other devices, as rows of the store: what our identity statements name. */

#include "libhmsg/db/db.h"
#include "libhmsg/wire/devices.h"

typedef struct OwnDevice {
    char address[ADDRESS_SIZE_MAX + 1];             /* canonical, without pin */
    char kid[HASH_TEXT_SIZE], skid[HASH_TEXT_SIZE]; /* when it was added: it may have others by now */
    int64_t added;
} OwnDevice;

/* Takes the place of one that has this address. HMSG_ERROR_QUOTA_EXCEEDED: DEVICES_MAX.
 * HMSG_ERROR_ALREADY_EXISTS: another device has one of the keys. */
int own_devices_add(Db *db, const OwnDevice *d);
/* HMSG_ERROR_NOT_FOUND */
int own_devices_remove(Db *db, const char *address);
/* All of them, in the order of addition; ret has room for DEVICES_MAX. */
int own_devices_list(Db *db, OwnDevice *ret, size_t *ret_n);
/* As a statement names them. */
int own_devices_name(Db *db, Devices *ret);
/* Whether a relay was told of the same ones: SHA-256 of all their keys. */
int own_devices_digest(const Devices *d, uint8_t ret[static SHA256_SIZE]);

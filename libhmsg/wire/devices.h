/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices (docs/protocol.md, "Devices"): further keys of the same person, each on a machine of its own and
 * with a mailbox of its own, that an identity names in its signed statement. They are named by thumbprints;
 * their keys are in statements of their own. In JSON: "devices":[{"kid":…, "skid":…}, …], an empty array when
 * there are none. */

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/limits.h"

typedef struct Device {
    uint8_t kid[KID_SIZE], skid[KID_SIZE]; /* of the decrypt and the sign key */
} Device;

typedef struct Devices {
    size_t n;
    Device list[DEVICES_MAX];
} Devices;

/* -ENOSPC: DEVICES_MAX. HMSG_ERROR_BAD_PACKAGE: one of the keys is there already, or the two are the same. */
int devices_add(Devices *d, const Device *one);
/* Is key one of them, in either role? */
bool devices_have(const Devices *d, const uint8_t key[static KID_SIZE]);

/* The member "devices" of j. */
int devices_put(const Devices *d, json_t *j);
/* HMSG_ERROR_BAD_PACKAGE: not of its form, or not there. */
int devices_get(const json_t *j, Devices *ret);

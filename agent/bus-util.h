/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the vtables share: options, errors, a{sv}. */

#include <systemd/sd-bus.h>

#include "libhmsg/base/buf.h"

#define BUS_LIST_MAX 256u /* recipients, or keys, of one call */

typedef struct BusBytes {
    const void *data;
    size_t size;
} BusBytes;

typedef struct BusBytesList {
    BusBytes items[BUS_LIST_MAX];
    size_t n;
} BusBytesList;

typedef struct BusStrings {
    const char *items[BUS_LIST_MAX];
    size_t n;
} BusStrings;

typedef struct BusRange {
    uint64_t offset, length;
    bool given;
} BusRange;

/* type: b bool, u uint32_t, t uint64_t, h int, s const char *, y BusBytes (ay), Y BusBytesList (aay), r
 * BusRange ((tt)). What is pointed at lives as long as the message. Absent options leave their field
 * untouched. */
typedef struct BusOption {
    const char *name;
    char type;
    size_t offset;
} BusOption;

/* Reads an a{sv} into the fields of target. A positive INVALID_ARGS with *error set: unknown, twice, or of
 * another type. */
int bus_read_options(sd_bus_message *m, const BusOption *options, size_t n, void *target,
                     sd_bus_error *error);
/* A method that has no options yet. */
int bus_read_no_options(sd_bus_message *m, sd_bus_error *error);
int bus_read_bytes(sd_bus_message *m, BusBytes *ret);
int bus_read_strings(sd_bus_message *m, BusStrings *ret, sd_bus_error *error);

/* Fills *error for an HmsgError or -errno (detail may be NULL) and returns a negative errno, so that a vtable
 * function can `return bus_fail(error, r, detail)`. */
int bus_fail(sd_bus_error *error, int r, const char *detail);

/* The bus sends a broadcast signal on to us only when its sender is who our match names; one that is
 * addressed to us comes from anybody, and sd-bus takes any sender for the one with the well-known name. */
bool bus_is_broadcast(sd_bus_message *m);

/* {sv} entries of an open a{sv}. */
int bus_append_string(sd_bus_message *m, const char *key, const char *value);
int bus_append_strings(sd_bus_message *m, const char *key, const char *const *values, size_t n);
int bus_append_bool(sd_bus_message *m, const char *key, bool value);
int bus_append_u32(sd_bus_message *m, const char *key, uint32_t value);
int bus_append_u64(sd_bus_message *m, const char *key, uint64_t value);

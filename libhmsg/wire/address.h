/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Addresses `name@host[:port][#PIN]` and relays `host[:port][#PIN]`. A name is [a-z0-9+._-]{1,64}; a host is
 * a DNS name or IPv4 address (kept in lower case) or an IPv6 address in brackets; the port is 7443 when
 * absent. What is not of the form is HMSG_ERROR_INVALID_ARGS. */

#include "libhmsg/base/buf.h"
#include "libhmsg/wire/limits.h"

typedef struct Relay {
    char host[HOST_SIZE_MAX + 3]; /* with brackets when IPv6 */
    uint16_t port;
    bool has_pin;
    uint8_t pin[PIN_SIZE];
} Relay;

typedef struct Address {
    char name[NAME_SIZE_MAX + 1];
    Relay relay;
} Address;

bool name_valid(const char *name);
int address_parse(const char *text, Address *ret);
int relay_parse(const char *text, Relay *ret);

/* Appends the canonical text: the port only when it is not 7443, the pin only when wanted and known. */
int address_format(const Address *a, bool with_pin, Buf *ret);
int relay_format(const Relay *r, bool with_pin, Buf *ret);
/* Appends "host:port#PIN", the form of the courier's interface: always with port and pin. -EINVAL: no pin. */
int relay_format_full(const Relay *r, Buf *ret);
bool relay_equal(const Relay *a, const Relay *b); /* host, port, and the pins when both have one */

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the agent answers, as JSON: a{sv} is an object, arrays and structs are arrays. Numbers over 2^63 - 1
 * become that. */

#include <jansson.h>
#include <systemd/sd-bus.h>

#define FACTS_DEPTH_MAX 8u /* containers within containers */

/* The next argument of m, whatever it is. -EBADMSG: too deep, or no such type in the interface. *ret is a new
 * reference. */
int facts_read(sd_bus_message *m, json_t **ret);

/* Makes objects of an array of arrays, with the i-th name for the i-th member. A new reference. */
int facts_name(const json_t *rows, const char *const *names, size_t n, json_t **ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* INI files: [section], key = value, # comments; no continuation, no quotes. A file of at most
 * CONFIG_SIZE_MAX bytes; an unknown form is an error that names its line, a key twice in one section as well.
 */

#include "libhmsg/base/macro.h"

#define CONFIG_SIZE_MAX (64u * 1024u)

typedef struct Config Config;

int config_new(Config **ret); /* an empty one: every get gives its default */
/* -ENOENT: no such file. -EBADMSG: not of the form; *ret_line (if wanted) is where, from 1. */
int config_load(const char *path, Config **ret, unsigned *ret_line);
Config *config_free(Config *c);
DEFINE_CLEANUP(Config *, config_free)

/* Entries of over win against those of c. */
int config_merge(Config *c, const Config *over);

/* The value, owned by c; fallback when there is none. */
const char *config_get(const Config *c, const char *section, const char *key, const char *fallback);
/* Where it stands, from 1; 0: there is none. */
unsigned config_line(const Config *c, const char *section, const char *key);
/* -EINVAL: there is a value but no whole number within min..max (suffixes K, M, G: powers of 1024). */
int config_get_number(const Config *c, const char *section, const char *key, uint64_t fallback, uint64_t min,
                      uint64_t max, uint64_t *ret);
/* Durations: a number with s (default), min, h or d. In seconds. */
int config_get_seconds(const Config *c, const char *section, const char *key, uint64_t fallback,
                       uint64_t *ret);
/* yes, no, true, false, 1, 0 */
int config_get_bool(const Config *c, const char *section, const char *key, bool fallback, bool *ret);

/* Calls f for each entry in file order until it returns non-zero; returns that. For refusing unknown keys. */
int config_each(const Config *c,
                int (*f)(const char *section, const char *key, const char *value, void *userdata),
                void *userdata);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The -r options: addresses and names go to the agent as they are; of key:FILE hmsgctl reads the file, for
 * the agent opens no path that a caller names. */

#include "cli/ctl.h"

#define KEY_PREFIX "key:"
#define KEY_FILE_MAX 16384u /* bytes: PEM, JWK or exported identity */

typedef struct Recipients {
    const char *names[OPTION_RECIPIENTS_MAX];
    size_t n_names;
    Buf keys[OPTION_RECIPIENTS_MAX];
    size_t n_keys;
} Recipients;

int recipients_read(Ctl *ctl, Recipients *ret);
void recipients_done(Recipients *r);
/* The option recipient_keys, when there are keys. */
void recipients_add_keys(const Recipients *r, HmsgCall *call);

/* A key file. */
int recipients_read_key(Ctl *ctl, const char *path, Buf *ret);

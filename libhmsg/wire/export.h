/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files that name somebody's keys: the exported identity {"hmsg":1,"identity":"<identity JWS>"}, and bare
 * public keys as PEM SPKI or JWK, which name a decrypt key only. */

#include "libhmsg/wire/statement.h"

int export_write(const char *statement, size_t n, Buf *ret);

typedef enum KeyFileKind {
    KEY_FILE_PEM,
    KEY_FILE_JWK,
    KEY_FILE_IDENTITY,
} KeyFileKind;

typedef struct KeyFile {
    KeyFileKind kind;
    RsaKey *decrypt;
    RsaKey *sign;               /* NULL unless an exported identity */
    IdentityStatement identity; /* zeroed unless an exported identity */
    Buf statement;              /* its JWS */
} KeyFile;

/* Detects the kind; checks an identity's signature. HMSG_ERROR_BAD_PACKAGE, TOO_LARGE, AUTHENTICATION_FAILED.
 */
int key_file_read(const void *data, size_t n, int64_t now, KeyFile **ret);
KeyFile *key_file_free(KeyFile *k);
DEFINE_CLEANUP(KeyFile *, key_file_free)

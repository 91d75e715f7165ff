/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files that name somebody's keys: the exported identity {"hmsg":1,"identity":"<identity JWS>"}, and bare
 * public keys as PEM SPKI, JWK or X.509 certificate (PEM or DER), which name a decrypt key only. */

#include "libhmsg/wire/statement.h"

int export_write(const char *statement, size_t n, Buf *ret);

typedef enum KeyFileKind {
    KEY_FILE_PEM,
    KEY_FILE_JWK,
    KEY_FILE_IDENTITY,
    KEY_FILE_CERTIFICATE,
} KeyFileKind;

typedef struct KeyFile {
    KeyFileKind kind;
    RsaKey *decrypt;
    RsaKey *sign;               /* NULL unless an exported identity */
    IdentityStatement identity; /* zeroed unless an exported identity */
    Buf statement;              /* its JWS */
    Buf issuer_serial;          /* of a certificate: DER IssuerAndSerialNumber */
} KeyFile;

/* Detects the kind; checks an identity's signature. HMSG_ERROR_BAD_PACKAGE, TOO_LARGE, AUTHENTICATION_FAILED;
 * UNTRUSTED: a certificate to which nothing may be encrypted now. */
int key_file_read(const void *data, size_t n, int64_t now, KeyFile **ret);
KeyFile *key_file_free(KeyFile *k);
DEFINE_CLEANUP(KeyFile *, key_file_free)
/* Why not, in a sentence for people, when it is a certificate; else NULL. */
const char *key_file_refusal(const void *data, size_t n, int64_t now);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/wire/jwe-message*.c. */

#include "libhmsg/wire/json.h"
#include "libhmsg/wire/jwe-message.h"

#define JWE_SHARED_TYPE "hmsg-shared+json"
#define JWE_RESERVED_TYPE "hmsg" /* how every typ of ours begins */

/* A text that belongs to the JWE's. NULL: not there. */
typedef struct JwePart {
    const char *text;
    size_t n;
} JwePart;

typedef struct JweRecipient {
    json_t *header; /* NULL: has none */
    JwePart encrypted_key;
} JweRecipient;

/* The members of any of the three forms. */
typedef struct JweText {
    json_t *root; /* NULL: compact */
    json_t *protected_header;
    json_t *unprotected;
    JwePart protected_text, aad, iv, ciphertext, tag;
    JweRecipient recipients[RECIPIENTS_MAX];
    size_t n_recipients;
    bool allow_oaep_sha1; /* the caller's: it may be of that kind */
    bool oaep_sha1;       /* it is */
    const char *why;      /* constant */
} JweText;

/* Sets why and is HMSG_ERROR_BAD_PACKAGE. */
int jwe_refuse(JweText *t, const char *why);

int jwe_text_read(const char *text, size_t n, JweText *ret);
void jwe_text_done(JweText *t);

/* What the headers may say, and which recipient is ours. */
int jwe_header_check(JweText *t, JweEnc *ret_enc);
int jwe_header_find(JweText *t, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                    uint8_t ret_kid[static KID_SIZE], size_t *ret_index);

/* typ hmsg-shared+json: what is its own. */
int jwe_shared_read(JweText *t, Jwe *j);
/* Added to hash for each recipient. */
int jwe_shared_add_recipient(Sha256 *hash, const uint8_t kid[static KID_SIZE], const void *encrypted_key,
                             size_t n);
/* The statement over hashes that are there. */
typedef struct JweStatement {
    uint8_t skid[KID_SIZE];
    uint8_t protected_sha256[SHA256_SIZE];
    uint8_t recipients_sha256[SHA256_SIZE];
    uint8_t content_sha256[SHA256_SIZE];
} JweStatement;
int jwe_statement_prepare(const JweStatement *s, JwsDraft *ret);
int jwe_statement_check(const char *text, size_t n, const RsaKey *sender, const JweStatement *expected);

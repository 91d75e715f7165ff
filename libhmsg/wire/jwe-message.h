/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JWE (RFC 7516) that are no packages: general, flattened or compact, RSA-OAEP-256 with A256CBC-HS512 or
 * A256GCM. Those that others wrote have no sender. Our own for several recipients (typ hmsg-shared+json,
 * docs/protocol.md) share one content key, so each recipient could write another content: who made it is said
 * only by a statement over all of it. Reading is staged like that of packages:
 *   jwe_parse         size, shape, pinned algorithms, recipient   BAD_PACKAGE, TOO_LARGE, NOT_FOR_US
 *   jwe_check_sender  statement and its signature                 AUTHENTICATION_FAILED
 *   (caller: sender known? then the TPM)
 *   jwe_open          commitment, tag, then the content           AUTHENTICATION_FAILED */

#include "libhmsg/wire/package.h"

typedef enum JweEnc {
    JWE_A256CBC_HS512,
    JWE_A256GCM,
} JweEnc;

/* All fields are for reading. */
typedef struct Jwe {
    JweEnc enc;
    bool oaep_sha1; /* encrypted_key is by RSA-OAEP with SHA-1; jwe_parse_legacy alone reads that */
    bool is_shared; /* typ hmsg-shared+json; the fields up to kc are zero for others */
    bool has_sender;
    bool sender_checked;
    uint8_t skid[KID_SIZE];
    int64_t ts;
    uint8_t kc[KEY_COMMITMENT_SIZE];
    uint8_t kid[KID_SIZE]; /* which of our keys it is for; when it does not say so, that of now */
    Buf encrypted_key;     /* ours */
    Buf aad;               /* what the tag covers besides: protected, "." and aad when there is one */
    uint8_t iv[16];        /* 12 bytes for A256GCM */
    Buf ciphertext;        /* for A256GCM with its tag behind */
    uint8_t tag[32];       /* of A256CBC-HS512 */
    Buf sender_spki;       /* DER */
    Buf statement;         /* compact JWS */
    uint8_t protected_sha256[SHA256_SIZE];  /* of aad */
    uint8_t recipients_sha256[SHA256_SIZE]; /* of each kid and SHA-256(encrypted_key), in their order */
    uint8_t content_sha256[SHA256_SIZE];    /* of iv || ciphertext || tag */
} Jwe;

/* kids: of our decrypt keys, that of now first; without any it is NOT_FOR_US when all else is right.
 * *ret_why: what is wrong with it in words, a constant; NULL: nothing to be said. */
int jwe_parse(const char *text, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids, Jwe **ret,
              const char **ret_why);
/* The same, and what others wrote with "RSA-OAEP", which is SHA-1: for a key in software, on request. */
int jwe_parse_legacy(const char *text, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids, Jwe **ret,
                     const char **ret_why);
Jwe *jwe_free(Jwe *j);
DEFINE_CLEANUP(Jwe *, jwe_free)

/* Without a sender: 0. That the sender is somebody known is for the caller to find out. */
int jwe_check_sender(Jwe *j);

/* Bytes of the content key. */
size_t jwe_key_size(const Jwe *j);
/* key NULL or of another size: it goes on with a random one and fails like a wrong tag in error and time.
 * Appends the plaintext to ret. -EPERM: jwe_check_sender was not called. */
int jwe_open(const Jwe *j, const Secret *key, Buf *ret);

/* One content for several recipients, in the making. */
typedef struct JweWriter JweWriter;
/* sender NULL: anonymous, to be finished with jws NULL. A recipient that is there twice counts once. */
int jwe_writer_new(RsaKey *const *recipients, size_t n, RsaKey *sender, int64_t ts, const void *plaintext,
                   size_t size, JweWriter **ret);
int jwe_writer_prepare(const JweWriter *w, JwsDraft *ret);
/* jws: the signed draft; verified before it is used. Appends general JSON. */
int jwe_writer_finish(const JweWriter *w, const char *jws, Buf *ret);
JweWriter *jwe_writer_free(JweWriter *w);
DEFINE_CLEANUP(JweWriter *, jwe_writer_free)

/* The compact form, for one recipient: it has no place for a sender. */
int jwe_build_compact(const RsaKey *recipient, const void *plaintext, size_t size, Buf *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Compact JWS (RFC 7515) with a protected header of exactly {"alg","typ","kid"}, kid being the RFC 7638
 * thumbprint of the signing key. Signing has two steps because the TPM signs asynchronously. There is no
 * function that signs bytes of a caller: the types below are all there are, and verifiers require theirs. */

#include "libhmsg/wire/key.h"

typedef enum JwsAlg {
    JWS_PS256, /* users, and the identity key of a relay */
    JWS_ES256, /* the online key of a relay */
} JwsAlg;

typedef enum JwsType {
    JWS_SESSION,    /* hmsg-session+jwt */
    JWS_IDENTITY,   /* hmsg-identity+jwt */
    JWS_REGISTER,   /* hmsg-register+jwt */
    JWS_LOGIN,      /* hmsg-login+jwt */
    JWS_RELAY,      /* hmsg-relay+jwt */
    JWS_BINDING,    /* hmsg-binding+jwt */
    JWS_RECEIPT,    /* hmsg-receipt+jwt */
    JWS_STREAM,     /* hmsg-stream+jwt */
    JWS_ROTATE,     /* hmsg-rotate+jwt */
    JWS_SHARED,     /* hmsg-shared+jwt */
    JWS_SUCCESSION, /* hmsg-relay-rotate+jwt */
    JWS_TYPE_MAX_,
} JwsType;

/* What is to be signed. Made by the *_prepare functions of statement.h, package.h and stream.h. */
typedef struct JwsDraft {
    Buf input;                   /* the signing input, ASCII */
    uint8_t digest[SHA256_SIZE]; /* its SHA-256, for the TPM */
    JwsAlg alg;
} JwsDraft;

int jws_prepare(JwsAlg alg, JwsType type, const uint8_t kid[static KID_SIZE], const char *payload, size_t n,
                JwsDraft *ret);
/* Appends the compact JWS to ret. The signature is not verified here. */
int jws_finish(const JwsDraft *d, const void *signature, size_t n, Buf *ret);
/* The same with keys in software. */
int jws_sign_ec(const JwsDraft *d, const EcKey *key, Buf *ret);
int jws_sign_rsa(const JwsDraft *d, struct evp_pkey_st *key, Buf *ret);
void jws_draft_done(JwsDraft *d);

typedef struct Jws {
    uint8_t kid[KID_SIZE];
    uint8_t digest[SHA256_SIZE]; /* of the signing input */
    uint8_t sha256[SHA256_SIZE]; /* of the whole ASCII */
    Buf payload;                 /* JSON text */
    Buf signature;
    JwsAlg alg;
} Jws;

/* Shape, pinned algorithm and type; nothing is verified. Longer than JWS_SIZE_MAX: HMSG_ERROR_TOO_LARGE. */
int jws_parse(const char *text, size_t n, JwsAlg alg, JwsType type, Jws *ret);
void jws_done(Jws *j);

/* HMSG_ERROR_AUTHENTICATION_FAILED: kid is not of this key, or the signature is wrong. */
int jws_check_rsa(const Jws *j, const RsaKey *key);
int jws_check_ec(const Jws *j, const EcKey *key);

/* Parse and check in one; appends the payload to ret. */
int jws_verify_rsa(const char *text, size_t n, JwsType type, const RsaKey *key, Buf *ret);
int jws_verify_ec(const char *text, size_t n, JwsType type, const EcKey *key, Buf *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The signed statements of the protocol (docs/protocol.md), each with prepare (to be signed, jws_finish makes
 * the compact JWS) and parse (shape, signature and all checks; `now` in Unix seconds). Errors of shape:
 * HMSG_ERROR_BAD_PACKAGE; signature, binding to pin/nonce/exporter and times:
 * HMSG_ERROR_AUTHENTICATION_FAILED. ret is written only on success; every *_done takes a zeroed struct. */

#include <jansson.h>

#include "libhmsg/wire/address.h"
#include "libhmsg/wire/devices.h"
#include "libhmsg/wire/jws.h"
#include "libhmsg/wire/recovery.h"

/* Session: one sender key speaks to one recipient key. Part of every signed package. */
typedef struct SessionStatement {
    uint8_t sid[SESSION_ID_SIZE];
    uint8_t skid[KID_SIZE];
    uint8_t kid[KID_SIZE];
    uint8_t ek_sha256[SHA256_SIZE]; /* of encrypted_aes_key, raw bytes */
    uint8_t kc[KEY_COMMITMENT_SIZE];
    int64_t created, expires;
    uint8_t sha256[SHA256_SIZE];      /* by parse: of the ASCII of the JWS */
    uint8_t spki_sha256[SHA256_SIZE]; /* by parse: of the sender's SPKI (DER) */
} SessionStatement;
int session_statement_prepare(const SessionStatement *s, JwsDraft *ret);
int session_statement_parse(const char *text, size_t n, const RsaKey *sender, SessionStatement *ret);

/* Identity: self-signed by the sign key that it holds. */
typedef enum Protection {
    PROTECTION_TPM,
    PROTECTION_SOFTWARE,
    PROTECTION_IMPORTED,
    PROTECTION_MAX_,
} Protection;
const char *protection_text(Protection p);
typedef struct IdentityStatement {
    char address[ADDRESS_SIZE_MAX + 1]; /* canonical, without pin; "": has no mailbox */
    RsaKey *sign, *decrypt;
    uint64_t generation;
    bool has_previous;
    uint8_t previous[SHA256_SIZE];
    Protection protection;
    RecoveryKeys recovery; /* no key of them is one of the two above */
    Devices devices;       /* nor is any of these */
    int64_t iat;
    uint8_t sha256[SHA256_SIZE]; /* by parse: of the ASCII */
} IdentityStatement;
int identity_statement_prepare(const IdentityStatement *s, JwsDraft *ret);
int identity_statement_parse(const char *text, size_t n, int64_t now, IdentityStatement *ret);
/* What a statement that was verified before says of the protection; "" when it says nothing. */
const char *identity_statement_protection(const char *text, size_t n);
/* What a statement that was verified before says of recovery keys. */
int identity_statement_recovery(const char *text, size_t n, RecoveryKeys *ret);
/* What a statement that was verified before says of devices, and when it was made. */
int identity_statement_devices(const char *text, size_t n, Devices *ret, int64_t *ret_iat);
void identity_statement_done(IdentityStatement *s);

/* Rotation: the old sign key names the keys that follow it. It is made once for each rotation, whatever
 * addresses the identity has; the statement of the new keys for each address names, by `previous`, the one
 * that it follows there. */
typedef struct RotateStatement {
    uint8_t skid[KID_SIZE]; /* who signs */
    uint8_t next_skid[KID_SIZE];
    uint8_t next_kid[KID_SIZE];
    uint64_t generation; /* of the new keys */
    int64_t iat;
} RotateStatement;
int rotate_statement_prepare(const RotateStatement *s, JwsDraft *ret);
int rotate_statement_parse(const char *text, size_t n, const RsaKey *sign, int64_t now, RotateStatement *ret);
/* What it claims. Nothing is verified: for one's own. */
int rotate_statement_peek(const char *text, size_t n, RotateStatement *ret);
/* Whether n rotations in a row, each parsed with the sign key that it is of, lead from one parsed identity
 * statement to the next: both ends agree, the address is the same, the generation grows and no key is used
 * again. The first may also be signed by a sign key among the recovery keys of `from`. Else
 * HMSG_ERROR_AUTHENTICATION_FAILED. That `from` holds the keys that are pinned or registered is for the
 * caller to compare. */
int rotate_statement_check(const RotateStatement *s, size_t n, const IdentityStatement *from,
                           const IdentityStatement *to);
/* Is that the first by a recovery key? */
bool rotate_statement_is_recovery(const RotateStatement *first, const IdentityStatement *from);

/* What ties a request to one TLS connection of one relay. */
typedef struct RequestBinding {
    uint8_t pin[PIN_SIZE];
    uint8_t nonce[NONCE_SIZE];
    uint8_t exporter[EXPORTER_SIZE];
} RequestBinding;

/* Registration (member, guest), its end, and its keys' change. */
typedef enum RegisterMethod {
    REGISTER_MEMBER, /* "register" */
    REGISTER_GUEST,
    REGISTER_UNREGISTER,
    REGISTER_ROTATE, /* new keys for what is registered: the relay knows the name */
    REGISTER_METHOD_MAX_,
} RegisterMethod;
typedef struct RegisterRequest {
    RequestBinding binding;
    RegisterMethod method;
    char name[NAME_SIZE_MAX + 1];          /* "" for guests and rotations */
    uint8_t statement_sha256[SHA256_SIZE]; /* not for unregister */
    int64_t iat, exp;
} RegisterRequest;
int register_request_prepare(const RegisterRequest *r, const uint8_t skid[static KID_SIZE], JwsDraft *ret);
int register_request_parse(const char *text, size_t n, const RsaKey *sign, const RequestBinding *expected,
                           int64_t now, RegisterRequest *ret);

/* Login: request by the user, response by the relay's online key. */
typedef struct LoginRequest {
    RequestBinding binding;
    uint8_t epk[X25519_SIZE];
    int64_t iat, exp;
} LoginRequest;
int login_request_prepare(const LoginRequest *r, const uint8_t skid[static KID_SIZE], JwsDraft *ret);
/* For the relay: the skid that the request claims, to find the key. Nothing is verified. */
int login_request_peek(const char *text, size_t n, uint8_t ret_skid[static KID_SIZE]);
int register_request_peek(const char *text, size_t n, uint8_t ret_skid[static KID_SIZE]);
int login_request_parse(const char *text, size_t n, const RsaKey *sign, const RequestBinding *expected,
                        int64_t now, LoginRequest *ret);
typedef struct LoginResponse {
    uint8_t pin[PIN_SIZE];
    uint8_t skid[KID_SIZE]; /* who is logged in */
    uint8_t nonce[NONCE_SIZE];
    uint8_t epk[X25519_SIZE];
    int64_t iat, exp;
} LoginResponse;
int login_response_prepare(const LoginResponse *r, const EcKey *online, JwsDraft *ret);
int login_response_parse(const char *text, size_t n, const EcKey *online, const uint8_t pin[static PIN_SIZE],
                         const uint8_t skid[static KID_SIZE], const uint8_t nonce[static NONCE_SIZE],
                         int64_t now, LoginResponse *ret);

/* Ticks of a relay: it counts them, and draws an id for each, so that it cannot go back to a former state
 * without being seen. number 0: it tells none. */
typedef struct Ticks {
    uint64_t number; /* of the last one */
    uint8_t ids[TICKS_MAX][TICK_SIZE];
    size_t n; /* ids[0] is the last one's, and so on backwards */
} Ticks;
/* The one after t, with an id of its own; the oldest goes when there are TICKS_MAX. */
int ticks_next(Ticks *t);
/* The members "tick" and "ticks" of an object; none when number is 0. */
int ticks_put(json_t *j, const Ticks *t);
int ticks_get(const json_t *j, Ticks *ret);

/* The relay's identity key vouches for its online key. */
typedef struct RelayStatement {
    uint8_t pin[PIN_SIZE];
    RsaKey *identity;
    EcKey *online;
    int64_t nbf, exp;
    bool has_next_pin;
    uint8_t next_pin[PIN_SIZE];
    Ticks ticks;
} RelayStatement;
int relay_statement_prepare(const RelayStatement *s, JwsDraft *ret); /* computes pin from identity */
int relay_statement_parse(const char *text, size_t n, const uint8_t pin[static PIN_SIZE], int64_t now,
                          RelayStatement *ret);
void relay_statement_done(RelayStatement *s);

/* A relay's identity key names the one that follows it. */
typedef struct Succession {
    uint8_t pin[PIN_SIZE]; /* whose key signs; of identity */
    RsaKey *identity;
    uint8_t next_pin[PIN_SIZE];
    int64_t iat;
} Succession;
int succession_prepare(const Succession *s, JwsDraft *ret); /* computes pin from identity */
int succession_parse(const char *text, size_t n, const uint8_t pin[static PIN_SIZE], int64_t now,
                     Succession *ret);
void succession_done(Succession *s);
/* Do such statements, among those in an array of at most SUCCESSIONS_MAX texts, lead from one pin to another?
 * first: what the first of them must lead to; NULL: anywhere. Else HMSG_ERROR_AUTHENTICATION_FAILED. */
int succession_follow(const json_t *array, const uint8_t from[static PIN_SIZE], const uint8_t *first,
                      const uint8_t to[static PIN_SIZE], int64_t now);

/* The directory's answer: this name has these keys. */
typedef struct Binding {
    uint8_t pin[PIN_SIZE];
    char name[NAME_SIZE_MAX + 1]; /* "" for guests */
    uint8_t skid[KID_SIZE];
    uint8_t kid[KID_SIZE];
    uint8_t statement_sha256[SHA256_SIZE];
    int64_t iat, exp;
} Binding;
int binding_prepare(const Binding *b, const EcKey *online, JwsDraft *ret);
int binding_parse(const char *text, size_t n, const EcKey *online, const uint8_t pin[static PIN_SIZE],
                  int64_t now, Binding *ret);

/* A message is durable at the relay. */
typedef enum Durability {
    DURABILITY_DISK,
    DURABILITY_QUORUM,
    DURABILITY_MAX_,
} Durability;
typedef struct Receipt {
    uint8_t pin[PIN_SIZE];
    uint8_t id[ID_SIZE];
    uint8_t body_sha256[SHA256_SIZE];
    uint8_t recipient[KID_SIZE];
    uint8_t submitter[KID_SIZE];
    Durability durability;
    int64_t iat;
} Receipt;
int receipt_prepare(const Receipt *r, const EcKey *online, JwsDraft *ret);
/* The caller compares id, body_sha256, recipient and submitter with what it sent. */
int receipt_parse(const char *text, size_t n, const EcKey *online, const uint8_t pin[static PIN_SIZE],
                  int64_t now, Receipt *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The package (docs/protocol.md). Reading is staged in the order that the protocol fixes:
 *   package_parse or package_find  size, shape, pinned algorithms       BAD_PACKAGE, TOO_LARGE
 *   package_check_recipient        is it for this key                   NOT_FOR_US
 *   package_check_sender           statement, its signature and times   AUTHENTICATION_FAILED
 *   (caller: contact known? session in the cache? else TPM)
 *   package_open                   commitment, MAC, then CBC            AUTHENTICATION_FAILED */

#include "libhmsg/wire/statement.h"

typedef enum PackageKind {
    PACKAGE_MESSAGE, /* typ hmsg+json */
    PACKAGE_STREAM,  /* typ hmsg-stream+json: the plaintext is the key of a stream */
} PackageKind;

typedef enum PackageStage {
    PACKAGE_PARSED,
    PACKAGE_RECIPIENT_CHECKED,
    PACKAGE_SENDER_CHECKED,
} PackageStage;

/* All fields are for reading. */
typedef struct Package {
    PackageKind kind;
    PackageStage stage;
    uint8_t kid[KID_SIZE];
    bool has_sender; /* skid, sender_spki and statement are there; else they are zero and empty */
    uint8_t skid[KID_SIZE];
    uint8_t sid[SESSION_ID_SIZE];
    uint64_t seq;
    int64_t ts;
    int64_t exp;         /* 0: none */
    unsigned recipients; /* of the stream; 1 for a message */
    uint8_t kc[KEY_COMMITMENT_SIZE];
    Buf protected_text; /* ASCII as received: the AAD */
    Buf encrypted_key;
    uint8_t iv[16];
    Buf ciphertext;
    uint8_t tag[32];
    Buf sender_spki;                       /* DER */
    Buf statement;                         /* compact JWS */
    uint8_t ek_sha256[SHA256_SIZE];        /* of encrypted_key */
    uint8_t statement_sha256[SHA256_SIZE]; /* of statement; zero without a sender */
    uint8_t spki_sha256[SHA256_SIZE];      /* of sender_spki; zero without a sender */
    uint8_t recall_id[SHA256_SIZE];        /* package_recall */
    bool recalled;                         /* by package_recall */
} Package;

int package_parse(const char *text, size_t n, PackageKind kind, Package **ret);
/* text is a package or a JSON array of packages: the first for one of n_kids keys (each KID_SIZE bytes),
 * already checked for the recipient; *ret_kid is the index of the key. HMSG_ERROR_NOT_FOR_US when there is
 * none. */
int package_find(const char *text, size_t n, PackageKind kind, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                 Package **ret, size_t *ret_kid);
Package *package_free(Package *p);
DEFINE_CLEANUP(Package *, package_free)

/* Three members are the same in all packages of a session: encrypted_aes_key, sender_public_key, signature.
 * Whoever remembers what package_check_sender made of them (of anonymous ones: kid, sid, kc and all times),
 * under SHA-256 of their text as received, need not have them decoded, hashed and verified again.
 * remember: finds that; NULL: unknown. 0: ret is as after package_check_sender, but without these three and
 * their hashes. -ENOENT: unknown, or something is not right; package_parse or package_find then say what. */
typedef const SessionStatement *(*package_remember_t)(const uint8_t recall_id[static SHA256_SIZE],
                                                      void *userdata);
int package_recall(const char *text, size_t n, package_remember_t remember, void *userdata, Package **ret);

int package_check_recipient(Package *p, const uint8_t kid[static KID_SIZE]);
/* known (or NULL): a statement that an earlier call returned; when it is the one of this package, its
 * signature is not verified again. ret (or NULL): the verified statement, to be kept. Without a sender: 0,
 * ret untouched; whether anonymous packages are allowed is the caller's matter. */
int package_check_sender(Package *p, const SessionStatement *known, SessionStatement *ret);
/* The parsed sender_public_key, checked against skid. */
int package_sender_key(const Package *p, RsaKey **ret);

/* SHA-256(kid || encrypted_aes_key || skid || SHA-256 of the statement): the key of the session cache. */
int package_cache_id(const Package *p, uint8_t ret[static SHA256_SIZE]);

/* keys: SESSION_KEYS_SIZE bytes, or NULL when OAEP failed (or gave another size): then it goes on with random
 * keys and fails like a wrong MAC in error and time. Appends the plaintext to ret. -EPERM: stages skipped. */
int package_open(const Package *p, const Secret *keys, Buf *ret);

/* 0: they are the keys that the package commits to (kc); else HMSG_ERROR_AUTHENTICATION_FAILED. Not needed
 * before package_open, which checks it: for what the caller remembers of a session. */
int package_check_keys(const Package *p, const Secret *keys);

/* A session of the sender: the same for all packages until it expires. Fields are for reading. */
typedef struct WireSession {
    Secret *keys;
    RsaKey *recipient;
    RsaKey *sender;             /* NULL: anonymous */
    SessionStatement statement; /* kid, sid, kc, times also when anonymous */
    Buf encrypted_key;
    Buf jws; /* empty until session_finish, and when anonymous */
} WireSession;

/* Random keys, encrypted to recipient. sender NULL: anonymous, complete at once; else sign the draft of
 * wire_session_prepare and hand the signature to wire_session_finish. lifetime <= SESSION_LIFETIME_MAX. */
int wire_session_new(RsaKey *recipient, RsaKey *sender, int64_t now, unsigned lifetime, WireSession **ret);
int wire_session_prepare(const WireSession *s, JwsDraft *ret);
/* Verifies the signature before it is used. */
int wire_session_finish(WireSession *s, const JwsDraft *d, const void *signature, size_t n);
WireSession *wire_session_free(WireSession *s);
DEFINE_CLEANUP(WireSession *, wire_session_free)

/* Appends one package. exp 0: none. -EINVAL: session not finished or ts outside of it; HMSG_ERROR_TOO_LARGE.
 */
int package_build(const WireSession *s, uint64_t seq, int64_t ts, int64_t exp, const void *plaintext,
                  size_t n, Buf *ret);

/* What a text is, by its first bytes; nothing is checked. */
typedef enum WireFormat {
    FORMAT_UNKNOWN,
    FORMAT_PACKAGE, /* object or array */
    FORMAT_JWE,     /* jwe.h or jwe-message.h */
    FORMAT_SEED,
    FORMAT_STREAM,
    FORMAT_CMS, /* DER, or PEM: cms.h */
} WireFormat;
WireFormat wire_format_detect(const void *data, size_t n);

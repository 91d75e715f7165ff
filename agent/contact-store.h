/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Contacts as rows of the store. */

#include "agent/contacts.h"
#include "libhmsg/db/db.h"
#include "libhmsg/wire/rotation.h"

#define CONTACTS_MAX 65536u       /* rows; strangers whose mail arrives get one each */
#define CONTACT_FORMER_MAX 64u    /* keys remembered that one contact has given up, the newest */
#define CONTACT_NAME_SIZE_MAX 64u /* bytes of the user's own name for somebody */

/* A pair of keys; kid is "" when there are none. */
typedef struct ContactKeys {
    char kid[CONTACT_KID_TEXT];
    char skid[CONTACT_KID_TEXT]; /* "" for a bare decrypt key */
    Buf decrypt_spki, sign_spki; /* DER */
    Buf statement;               /* identity JWS; empty when there was none */
    uint8_t statement_sha256[SHA256_SIZE];
    uint64_t generation;
} ContactKeys;

typedef struct Contact {
    int64_t row;   /* 0: not in the store yet */
    char *name;    /* the user's own; NULL: none */
    char *address; /* canonical, without pin; NULL: none that a relay or the user vouches for */
    char *relay;   /* host:port#PIN; NULL: not known */
    ContactKeys keys;
    ContactKeys presented; /* others, which it presented later: refused until the user has compared */
    bool verified;
    bool blocked;
    bool allowed; /* by the user: no stranger */
    int64_t added;
    bool capable;      /* a capability to send there is known */
    int64_t confirmed; /* when a directory last gave these keys; 0: never */
} Contact;

int contact_new(Contact **ret);
Contact *contact_free(Contact *p);
DEFINE_CLEANUP(Contact *, contact_free)

ContactTrust contact_trust(const Contact *p);
/* What the user calls it, else its address, else its kid. */
const char *contact_label(const Contact *p);
/* The text that people compare; "" for a bare decrypt key. */
int contact_fingerprint(const ContactKeys *k, char ret[static FINGERPRINT_TEXT_SIZE]);

void contact_keys_done(ContactKeys *k);
int contact_keys_from_rsa(const RsaKey *decrypt, const RsaKey *sign, ContactKeys *ret); /* sign may be NULL */
/* statement: the JWS that s was parsed from. */
int contact_keys_from_statement(const IdentityStatement *s, const char *statement, ContactKeys *ret);
/* What its owner says that protects it: "tpm", "software", "imported", or "" when there is no statement. */
const char *contact_keys_protection(const ContactKeys *k);
/* The recovery keys that its owner names; none when there is no statement. */
int contact_keys_recovery(const ContactKeys *k, RecoveryKeys *ret);
/* The devices that its owner names, and when; none, and 0, when there is no statement. */
int contact_keys_devices(const ContactKeys *k, Devices *ret, int64_t *ret_iat);
bool contact_keys_equal(const ContactKeys *a, const ContactKeys *b);

typedef struct ContactStore ContactStore;

int contact_store_new(Db *db, ContactStore **ret);
ContactStore *contact_store_free(ContactStore *s);
DEFINE_CLEANUP(ContactStore *, contact_store_free)

typedef enum ContactColumn {
    CONTACT_BY_ADDRESS,
    CONTACT_BY_NAME,
    CONTACT_BY_KID,
    CONTACT_BY_SKID,
    CONTACT_BY_PRESENTED_SKID,
    CONTACT_BY_FORMER_SKID, /* that it has given up */
    CONTACT_BY_FORMER_KID,
    CONTACT_COLUMN_MAX_,
} ContactColumn;

/* HMSG_ERROR_NOT_FOUND when there is none. */
int contact_store_find(ContactStore *s, ContactColumn column, const char *value, Contact **ret);
/* One without an address, of whom this is the statement of now. NOT_FOUND. */
int contact_store_find_nameless(ContactStore *s, const uint8_t statement_sha256[static SHA256_SIZE],
                                Contact **ret);
/* Writes a new row (and sets p->row) or the one that p was read from. HMSG_ERROR_ALREADY_EXISTS: another has
 * its name or address. HMSG_ERROR_QUOTA_EXCEEDED: CONTACTS_MAX. */
int contact_store_save(ContactStore *s, Contact *p);
/* The same, and the keys that it has given up on the way to those of now. */
int contact_store_save_rotated(ContactStore *s, Contact *p, const Rotation *rotation);
/* When somebody gave up this sign key for another; 0: nobody did. */
int contact_store_retired(ContactStore *s, const char *skid, int64_t *ret);
/* Has p given up one of these before? */
int contact_store_is_former(ContactStore *s, const Contact *p, const ContactKeys *keys, bool *ret);
int contact_store_remove(ContactStore *s, const Contact *p);
/* The code of a capability to send there, in place of one that was known; sets p->capable. */
int contact_store_set_capability(ContactStore *s, Contact *p, const char *code);
/* "" when there is none. */
int contact_store_capability(ContactStore *s, const Contact *p, char ret[static HASH_TEXT_SIZE]);
/* In the order of addition, until f returns non-zero; returns that. f must not change the store. */
int contact_store_each(ContactStore *s, int (*f)(const Contact *p, void *userdata), void *userdata);

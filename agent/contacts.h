/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whom we know: keys pinned on first use, compared by the user, changed or blocked. Asynchronous where a
 * relay must be asked. A callback is called once, from the event loop, never from inside the call that
 * started it; with HmsgError or -errno in r and, then, a sentence for people in detail (never NULL). The
 * caller frees the request with contacts_request_free at any time, also inside its callback: before the
 * callback that cancels it. */

#include <systemd/sd-event.h>

#include "libhmsg/base/buf.h"
#include "libhmsg/wire/devices.h"
#include "libhmsg/wire/limits.h"
#include "libhmsg/wire/recovery.h"

#define CONTACT_KID_TEXT 44u /* 43 characters of base64url and the final 0 */

typedef struct Contacts Contacts;
typedef struct ContactsRequest ContactsRequest;

ContactsRequest *contacts_request_free(ContactsRequest *q);
DEFINE_CLEANUP(ContactsRequest *, contacts_request_free)

typedef enum ContactTrust {
    CONTACT_NONE,     /* a bare key: belongs to nobody that we know */
    CONTACT_PINNED,   /* first use */
    CONTACT_VERIFIED, /* compared by the user, or we ourselves */
    CONTACT_CHANGED,  /* presented another key: nothing goes there or comes from there */
    CONTACT_BLOCKED,
    CONTACT_SUPERSEDED, /* of a sender: gave this key up before that */
} ContactTrust;

/* "pinned", "verified", "changed", "blocked", "superseded"; "" for CONTACT_NONE. */
const char *contact_trust_name(ContactTrust t);

/* One to encrypt to. Texts are never NULL; "" where there is none. */
typedef struct Recipient {
    char kid[CONTACT_KID_TEXT];  /* thumbprint of the decrypt key */
    char skid[CONTACT_KID_TEXT]; /* of the sign key; "" for a bare decrypt key */
    char *address;               /* name@host[:port], no pin */
    char *relay;                 /* host:port#PIN of its mailbox */
    Buf decrypt_spki;            /* DER */
    Buf sign_spki;               /* DER; empty for a bare decrypt key */
    Buf issuer_serial;           /* DER, when the key came in a certificate; else empty */
    RecoveryKeys recovery;       /* that its statement names: to be encrypted to as well */
    Devices devices;             /* that it names: to be asked for, and sent to if they agree */
    ContactTrust trust;
} Recipient;

Recipient *recipient_free(Recipient *p);
DEFINE_CLEANUP(Recipient *, recipient_free)

/* The key in bytes that a user holds: PEM SPKI, JWK, an X.509 certificate, or an exported identity (its
 * signature is checked; gives the sign key and claimed address too). BAD_PACKAGE: none of these, or a key
 * that the protocol does not allow. UNTRUSTED: a certificate that is not valid now, or not for encryption. */
int recipient_from_key(const void *data, size_t size, Recipient **ret);

typedef struct ResolveOptions {
    bool trust_relay;     /* store the pin of a relay that is not known */
    bool fresh;           /* ask the directory even when the pinned key was confirmed a moment ago (Send) */
    bool allow_untrusted; /* hand out changed and blocked contacts too, with their trust */
    const char *relay;    /* of key:<kid>, a device: host:port#PIN whose directory is asked; must stay */
} ResolveOptions;

/* recipient belongs to the callback's caller and is NULL unless r is 0; take what you need out of it. */
typedef void (*contacts_resolve_t)(int r, const char *detail, const Recipient *recipient, void *userdata);

/* recipient: name@host[:port][#PIN], a contact's name, or key:<kid>. A pinned key serves when its relay is
 * away. NOT_FOUND: nobody. UNTRUSTED: relay not known, key changed, or blocked. RELAY_UNAVAILABLE: had to ask
 * and could not. INVALID_ARGS: none of the forms. */
int contacts_resolve(Contacts *c, const char *recipient, const ResolveOptions *options,
                     contacts_resolve_t done, void *userdata, ContactsRequest **ret);

/* Does the device name the one with the decrypt key owner_kid in turn, by that key or one given up for it? */
bool contacts_device_agrees(Contacts *c, const char *owner_kid, const Recipient *device);

/* What is known of the owner of a sign key. */
typedef struct Sender {
    ContactTrust trust;         /* NONE: unknown here and in the directories asked */
    char kid[CONTACT_KID_TEXT]; /* its decrypt key; "" when unknown */
    const char *address;        /* "" when none that a relay vouches for */
    const char *protection;     /* of the keys of now, static: "tpm", "software", "imported" or "" */
    int64_t retired;            /* when this key was given up for others; 0: it is the one of now */
} Sender;
/* For what the key signed at a time: CONTACT_SUPERSEDED when it had been given up by then. Whoever still has
 * such a key can write an earlier time, so this is for what may be old: mail under way, and what is kept. */
static inline ContactTrust sender_trust_at(const Sender *s, int64_t created)
{
    bool late = s->retired != 0 && created > s->retired + (int64_t)CLOCK_SKEW_MAX;

    return late && s->trust != CONTACT_BLOCKED ? CONTACT_SUPERSEDED : s->trust;
}

typedef void (*contacts_sender_t)(int r, const char *detail, const Sender *sender, void *userdata);

/* skid: 43 characters. relay: host:port#PIN whose directory is asked for an unknown one; NULL: all where we
 * are registered; a known answer needs no network. r is 0 also for an unknown sender (trust NONE); the caller
 * refuses NONE (unless its own caller allows), CHANGED and BLOCKED. RELAY_UNAVAILABLE: unknown here, and a
 * directory that might know could not be asked. */
int contacts_check_sender(Contacts *c, const char *skid, const char *relay, contacts_sender_t done,
                          void *userdata, ContactsRequest **ret);

/* The same from the store alone, at once; for lists. address is valid until the next call of contacts. */
int contacts_known_sender(Contacts *c, const char *skid, Sender *ret);

/* The code by which we may send to recipient, an address, or to who has the decrypt key kid; "": none is
 * known.
 */
int contacts_capability(Contacts *c, const char *recipient, const char *kid, char ret[static HASH_TEXT_SIZE]);

/* Goes up whenever an answer of contacts_known_sender may have changed: the session cache keeps answers while
 * it stays the same, so that a cached Decrypt asks no database. */
uint64_t contacts_generation(const Contacts *c);

/* Called when a contact has given up the decrypt key kid for another. One at a time. */
typedef void (*contacts_superseded_t)(const char *kid, void *userdata);
void contacts_on_superseded(Contacts *c, contacts_superseded_t f, void *userdata);
/* Called when whom the user blocks or allows has changed. One at a time. */
typedef void (*contacts_ruled_t)(void *userdata);
void contacts_on_ruled(Contacts *c, contacts_ruled_t f, void *userdata);

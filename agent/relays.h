/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Relays as the agent sees them: which we know and by which pin, through the courier what they say, all of it
 * verified here against the pinned key, and one login for each connection. A relay is written host:port#PIN
 * in all texts, unless said otherwise. Everything that asks a relay is asynchronous: the callback is called
 * once, from the event loop, never inside the call that started it, with 0, an HmsgError or -errno in r and a
 * sentence for people in detail (never NULL). relays_request_free cancels at any time, also inside the
 * callback. What a callback is given is valid during it. */

#include "agent/manager.h"
#include "libhmsg/wire/capability.h"
#include "libhmsg/wire/rotation.h"
#include "libhmsg/wire/statement.h"

#define RELAY_TEXT_SIZE (HOST_SIZE_MAX + 2u + 6u + 1u + HASH_TEXT_SIZE) /* host:port#PIN and the final 0 */

typedef struct RelaysRequest RelaysRequest;
RelaysRequest *relays_request_free(RelaysRequest *q);
DEFINE_CLEANUP(RelaysRequest *, relays_request_free)
/* When the relay of a request that failed wants to be asked again, in seconds; 0: did not say. */
unsigned relays_request_retry_after(const RelaysRequest *q);

int relays_new(Manager *m, Relays **ret);
Relays *relays_free(Relays *r); /* cancels every request */
DEFINE_CLEANUP(Relays *, relays_free)

/* What a directory says of a key, verified: the relay's binding to the statement, which is signed by itself.
 */
typedef struct DirectoryEntry {
    const char *relay;                 /* host:port#PIN that was asked */
    const char *statement;             /* compact JWS */
    const IdentityStatement *identity; /* the same, parsed */
    const Binding *binding;            /* binding->name is "" for a guest: its address is not vouched for */
    const Rotation *rotation;          /* from the key that was named to these, verified; NULL: no such way */
} DirectoryEntry;

/* entry is NULL unless r is 0. */
typedef void (*relays_lookup_t)(int r, const char *detail, const DirectoryEntry *entry, void *userdata);

/* relay: with a pin or without; a pin must be the one we know, when we know one. NOT_FOUND: no such name. The
 * address in the statement is name@relay. from: 43 characters of a key that is known of this name, or NULL.
 * UNTRUSTED: the relay's pin is not known (detail names the form with the pin that it has) unless
 * trust_relay, which stores it; or it is another than that. RELAY_UNAVAILABLE. */
int relays_lookup_name(Relays *r, const Relay *relay, const char *name, const char *from, bool trust_relay,
                       relays_lookup_t done, void *userdata, RelaysRequest **ret);
/* relay: host:port#PIN. kid: of a decrypt or a sign key, which may be a former one: then rotation begins with
 * it. */
int relays_lookup_kid(Relays *r, const char *relay, const char *kid, relays_lookup_t done, void *userdata,
                      RelaysRequest **ret);

/* The relays where we have mailboxes, each once, sorted; *ret is valid until a registration changes. */
size_t relays_ours(Relays *r, const char *const **ret);

/* Our mailboxes. state: connected, connecting, offline, rotating (the relay has still our former keys),
 * unregistered (the key there is of an identity of before, or of none). Calls f for each until it returns
 * non-zero; returns that. */
typedef int (*relays_registration_t)(const char *address, const char *relay, const char *state,
                                     const char *error, void *userdata);
int relays_each_registration(Relays *r, relays_registration_t f, void *userdata);

/* The address of entry was ours, and its keys are lost: one of our rotations is signed by skid, the sign key
 * of a recovery key in the entry. Enters the address as registered, so that its relay is told, as of any
 * rotation. NOT_FOUND: we have no such rotation. */
int relays_take_over(Relays *r, const char *address, const char *relay, const char *lost_kid,
                     const uint8_t skid[static KID_SIZE]);
/* The decrypt keys of addresses that were taken over: mail for them is for us. At most max. */
size_t relays_lost_kids(Relays *r, uint8_t (*ret)[KID_SIZE], size_t max);

/* What a request gave, each field for the calls that name it. */
typedef struct RelaysMessage {
    uint64_t seq, size;
    const char *id, *submitter;
} RelaysMessage;

#define CAPABILITY_NAME_SIZE_MAX 64u /* bytes */
typedef struct RelaysCapability {
    uint64_t number, uses, created, expires; /* uses: left */
    char name[CAPABILITY_NAME_SIZE_MAX + 1]; /* the user's own for it; "" */
} RelaysCapability;

typedef struct RelaysResult {
    const char *address, *relay;   /* register */
    const Receipt *receipt;        /* submit: signed by this relay; the caller compares what it says */
    const uint8_t *submitter;      /* submit: KID_SIZE bytes, our sign key by which we were logged in then */
    const char *state;             /* status: accepted, delivered, expired */
    const RelaysMessage *messages; /* list */
    size_t n;                      /* list */
    bool more;                     /* list */
    uint64_t size;                 /* fetch */
    const char *const *ids;        /* acknowledge: NULL-terminated */
    uint64_t number;               /* grant; its address has the pin */
    const RelaysCapability *capabilities; /* n of them */
} RelaysResult;

/* result is NULL unless r is 0. */
typedef void (*relays_done_t)(int r, const char *detail, const RelaysResult *result, void *userdata);

/* The code of an invitation: text (NULL: none) or in a memfd (-1: none), not both. INVALID_ARGS. */
typedef struct RelaysInvite {
    const char *text;
    int fd;
} RelaysInvite;
/* address: name@host[:port][#PIN]; invite may be NULL, and is read at once. Enters our keys, with a mailbox,
 * and stores it. ALREADY_EXISTS: the name is somebody else's. UNTRUSTED, NO_IDENTITY, LOCKED, TPM_*, DENIED.
 */
int relays_register(Relays *r, const char *address, const RelaysInvite *invite, bool trust_relay,
                    relays_done_t done, void *userdata, RelaysRequest **ret);
/* NOT_FOUND: not registered. A relay that does not know us any more is no failure. */
int relays_unregister(Relays *r, const char *address, relays_done_t done, void *userdata,
                      RelaysRequest **ret);

/* These log in when necessary; as a guest where we have no mailbox. LOCKED, NO_IDENTITY and TPM_* when they
 * would have to and cannot. ids and kids are 43 characters. fd is duplicated. */
typedef struct RelaysMail {
    const char *relay, *kid, *id;
    const char *capability; /* code by which it comes; "": none */
    int fd;
    uint64_t size, expires;
} RelaysMail;
int relays_submit(Relays *r, const RelaysMail *mail, relays_done_t done, void *userdata, RelaysRequest **ret);
int relays_status(Relays *r, const char *relay, const char *id, relays_done_t done, void *userdata,
                  RelaysRequest **ret);
int relays_list(Relays *r, const char *relay, uint64_t after, relays_done_t done, void *userdata,
                RelaysRequest **ret);
int relays_fetch(Relays *r, const char *relay, const char *id, int fd, relays_done_t done, void *userdata,
                 RelaysRequest **ret);
/* ids: n of them, 1..ACKNOWLEDGE_IDS_MAX, copied. */
int relays_acknowledge(Relays *r, const char *relay, const char *const *ids, size_t n, relays_done_t done,
                       void *userdata, RelaysRequest **ret);

/* Sending capabilities of our mailbox at address, which is the only one that there is if "". INVALID_ARGS: no
 * address, or there are several. NOT_FOUND: not one of ours, or no such capability. g and name (at most
 * CAPABILITY_NAME_SIZE_MAX) are copied. QUOTA_EXCEEDED: CAPABILITIES_MAX. */
int relays_grant(Relays *r, const char *address, const CapabilityGrant *g, const char *name,
                 relays_done_t done, void *userdata, RelaysRequest **ret);
int relays_capabilities(Relays *r, const char *address, relays_done_t done, void *userdata,
                        RelaysRequest **ret);
int relays_revoke(Relays *r, const char *address, uint64_t number, relays_done_t done, void *userdata,
                  RelaysRequest **ret);

/* How long messages wait in our mailbox at most, in seconds; 0: as long as the relay lets them. The relay is
 * told when it can be. address as above. INVALID_ARGS besides: not MAILBOX_LIFETIME_MIN to
 * MESSAGE_EXPIRY_MAX. */
int relays_lifetime(Relays *r, const char *address, uint64_t *ret);
int relays_set_lifetime(Relays *r, const char *address, uint64_t seconds);
/* To be called when the user blocks or allows somebody. */
void relays_rules_changed(Relays *r);

/* Events of relays to which we are connected. Fields may be NULL. */
typedef struct RelaysWatcher {
    void (*listening)(const char *relay, void *userdata); /* connected, logged in, told of what happens */
    void (*mail)(const char *relay, const RelaysMessage *message, void *userdata);
    void (*status)(const char *relay, const char *id, const char *state, void *userdata);
    /* the user says that what is at this host and port has this pin, whatever it had before */
    void (*trusted)(const char *relay, void *userdata);
} RelaysWatcher;
/* At most 2; of all relays. */
int relays_watch(Relays *r, const RelaysWatcher *watcher, void *userdata);
/* Whoever watches with userdata is told no more; not from within a watcher. */
void relays_unwatch(Relays *r, const void *userdata);

/* Stay connected to a relay where we have no mailbox, to be told what becomes of messages. */
int relays_keep(Relays *r, const char *relay, bool keep);
bool relays_is_listening(const Relays *r, const char *relay);
/* Is there a pin for host and port? Without one nothing should be sent there that the user did not ask for.
 */
bool relays_knows(Relays *r, const Relay *relay);
/* Try now what waits for its time. */
void relays_hurry(Relays *r);
bool relays_courier_runs(const Relays *r);
/* To be called after every change of state or keys. */
void relays_identity_changed(Relays *r);

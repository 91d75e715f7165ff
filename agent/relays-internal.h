/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to the files relays*.c. */

#include "agent/courier-link.h"
#include "agent/identity.h"
#include "agent/relays.h"
#include "agent/store.h"
#include "libhmsg/wire/proof.h"

#define RELAYS_HOST_PORT_SIZE (HOST_SIZE_MAX + 2u + 7u)
#define RELAYS_WATCHERS_MAX 2u
#define RELAYS_CONNECTIONS_MAX 256u          /* relays spoken to at a time */
#define RELAYS_RECONNECT_MIN 1u              /* seconds */
#define RELAYS_RECONNECT_MAX 300u            /* seconds */
#define RELAYS_REQUEST_LIFETIME 120u         /* seconds, of a signed request */
#define RELAYS_GUESTS_MAX 1024u              /* relays remembered where we are guests, those used last */
#define RELAYS_GUEST_PATIENCE (30u * 86400u) /* seconds in which they are told of new keys unasked */
#define RELAYS_FORMER_MAX 4u /* former keys that are looked for where we may be a guest, the newest */
#define RELAYS_DETAIL_SIZE 640u
/* µs: a call that failed sooner met a connection that was just ending, and is tried on a new one; every
 * request can be repeated without harm. A relay that cannot be reached fails later, or again. */
#define RELAYS_LOST_SOON UINT64_C(10000000)

typedef enum ConnectionState {
    CONNECTION_OFF,
    CONNECTION_LOGGING_IN,
    CONNECTION_LOGGED_IN,
} ConnectionState;

/* One relay. */
typedef struct Connection {
    struct Connection *prev, *next;
    Relays *owner;
    Relay address;               /* with the pin of now */
    char text[RELAY_TEXT_SIZE];  /* our name for it, with the pin that it had first */
    char there[RELAY_TEXT_SIZE]; /* what the courier calls it, with the pin of now */
    ConnectionState state;
    bool listening, kept, unregistered;
    bool telling;           /* of our new keys, as a guest */
    RelaysRequest *login;   /* the one that is logging in */
    RelaysRequest *listen;  /* the one that is beginning to listen */
    RelaysRequest *devices; /* tells of our devices */
    sd_event_source *devices_later;
    RelaysRequest *settings; /* asks or tells what it does with our mail */
    sd_event_source *settings_later;
    bool settings_again;  /* they have changed meanwhile */
    bool settings_behind; /* it had a later revision, and is asked once more */
    RelaysRequest *waiting;
    Secret *ack_key; /* of the login */
    sd_event_source *timer;
    unsigned failures;
    char error[RELAYS_DETAIL_SIZE]; /* "" while all is well */
    /* the relay's statement that was verified last, so that one signature is checked once */
    Buf statement;
    EcKey *online;
    int64_t online_until;
} Connection;

/* A step of a request: 0 when something is under way that will go on with it, else the request's end. */
typedef int (*request_step_t)(RelaysRequest *q);
typedef int (*request_reply_t)(RelaysRequest *q, sd_bus_message *reply);

typedef enum RequestPurpose {
    PURPOSE_MEMBER, /* needs our mailbox there */
    PURPOSE_ANY,    /* a guest may do it */
} RequestPurpose;

struct RelaysRequest {
    RelaysRequest *prev, *next;  /* of owner->requests */
    RelaysRequest *waiting_next; /* of connection->waiting */
    Relays *owner;               /* NULL: finished, or the relays are gone */
    Connection *connection;
    bool is_waiting;
    bool by_keys;            /* signed by itself: begins anew when our keys change */
    bool needs_login, again; /* again: logged in a second time after LoginRequired */
    bool waited;             /* for a login that it does not need */
    bool retried;            /* on another connection, after one was lost */
    bool following;          /* looks whether the relay has changed its key */
    bool followed;           /* has done so */
    uint64_t called;         /* when the call under way was sent, clock_boottime */
    RequestPurpose purpose;
    request_step_t start;  /* when the relay is known and, if needed, we are logged in */
    request_reply_t reply; /* of the call under way */
    int (*refused)(RelaysRequest *q, const CourierError *e); /* of it, may be NULL; as reply */
    sd_bus_slot *slot;
    IdentityWork *work;
    sd_event_source *later;
    int later_error;
    unsigned retry_after;
    char detail[RELAYS_DETAIL_SIZE];

    relays_lookup_t lookup_done;
    relays_done_t done;
    void *userdata;

    /* arguments */
    Relay asked;
    bool trust_relay, probed;
    char name[NAME_SIZE_MAX + 1];
    char kid[HASH_TEXT_SIZE], id[HASH_TEXT_SIZE];
    char from[HASH_TEXT_SIZE]; /* of a look-up; "" */
    uint8_t submitter[KID_SIZE];
    int fd;
    uint64_t size, expires, after;
    uint8_t *ids; /* ID_SIZE bytes each */
    size_t n_ids;
    Secret *invite;       /* a text, with its 0 byte */
    char *stored_address; /* of a registration, as it is stored */
    struct {
        char code[HASH_TEXT_SIZE]; /* of a submission; "" */
        CapabilityGrant grant;
        uint64_t number;
        char name[CAPABILITY_NAME_SIZE_MAX + 1];
    } capability;

    struct {
        uint64_t revision;
        uint8_t digest[SHA256_SIZE];
    } settings;

    /* what a rotation holds on its way */
    request_step_t rotated;                     /* ends it; NULL: there was none */
    request_step_t after_rotation, not_rotated; /* what goes on then, or when no former key is known there */
    unsigned former;                            /* look-ups of former keys until now */
    char entry_name[NAME_SIZE_MAX + 1];         /* under which we are registered; "" as a guest */
    char entry_kid[HASH_TEXT_SIZE];             /* the key of ours that the relay says it has */
    bool has_previous;
    uint8_t previous[SHA256_SIZE]; /* of the statement that is registered */
    uint8_t devices[SHA256_SIZE];  /* digest of those that our statement names; zeros: not known */
    Buf steps;                     /* JSON */

    /* and a registration by keys that the relay does not know */
    Buf chain;      /* JSON that leads to them; empty: none */
    bool chainless; /* the relay did not take it with one */

    /* what a registration or login holds on its way */
    RegisterMethod method;
    request_step_t after_guest;
    RequestBinding binding;
    Buf challenge, identity_statement, request;
    Secret *secret; /* of the proof of possession; X25519 key of a login */
    uint8_t epk[X25519_SIZE];
};

typedef struct Watcher {
    RelaysWatcher f;
    void *userdata;
} Watcher;

struct Relays {
    Manager *m;
    CourierLink *link;
    Connection *connections;
    unsigned n_connections;
    RelaysRequest *requests;
    Watcher watchers[RELAYS_WATCHERS_MAX];
    size_t n_watchers;
    char skid[HASH_TEXT_SIZE]; /* as whom we log in; "" */
    char **ours;               /* sorted, of the registrations */
    size_t n_ours;
    struct {
        DbStatement *pin_get, *pin_put, *registrations, *registration_get, *registration_put,
            *registration_delete, *registration_at, *devices_untold;
        DbStatement *guest_put, *guest_trim, *guest_delete, *guests_due;
        DbStatement *pins_find, *pins_announce, *pins_keep, *pins_follow;
        DbStatement *ticks_get, *ticks_put;
        DbStatement *statement_put, *statements_trim, *statements;
        DbStatement *own_put, *own_by_skid, *own_by_kid, *recovered_put, *recovered;
    } sql;
};

/* relays.c */
int request_alloc(Relays *r, RelaysRequest **ret);
/* The request goes on in the loop: finds its relay, logs in, starts. */
int request_begin(RelaysRequest *q, RelaysRequest **ret);
/* Starts, or waits for the login. */
int request_proceed(RelaysRequest *q);
/* Until the login that is under way has ended. One that does not need it is started all the same when it
 * fails.
 */
void request_wait(RelaysRequest *q);
/* Our keys are others now: what is under way for it ends, and it starts once more, in the loop. */
void request_anew(RelaysRequest *q);
/* Ends it: calls back. Nothing may touch q afterwards. */
void request_finish(RelaysRequest *q, int r, const RelaysResult *result, const DirectoryEntry *entry);
/* Keeps the sentence for people and returns error. */
int request_error(RelaysRequest *q, int error, const char *format, ...) _printf_(3, 4);
/* A call of the courier whose first argument is the relay. */
int request_call_new(RelaysRequest *q, const char *member, sd_bus_message **ret);
/* Sends it, unless appending to it failed with appended, and drops the reference; reply gets the answer. */
int request_call(RelaysRequest *q, sd_bus_message *call, int appended, bool endless, request_reply_t reply);
/* (nonce, [bytes,] exporter) of Nonce and Challenge into q->binding. */
int request_read_nonce(RelaysRequest *q, sd_bus_message *reply, Buf *ret_middle);
/* end_another: when there are too many an idle one may be ended; not where one is in use further up. */
int connection_get(Relays *r, const Relay *relay, bool end_another, Connection **ret);
/* Nothing is under way there, and nothing is to be. */
bool connection_is_idle(const Connection *c);
Connection *connection_find(const Relays *r, const char *text);
/* By the courier's name for it. */
Connection *connection_find_there(const Relays *r, const char *there);
void connection_set_pin(Connection *c, const uint8_t pin[static PIN_SIZE]);
/* The relay's online key out of a statement that came with an answer. AUTHENTICATION_FAILED. */
int connection_online(Connection *c, RelaysRequest *q, const char *statement, EcKey **ret);

/* relays-sql.c */
int relays_sql_prepare(Relays *r);
void relays_sql_done(Relays *r);

/* relays-ours.c */
bool relays_is_ours(const Relays *r, const char *relay);
int relays_load_ours(Relays *r);
void relays_free_ours(Relays *r);

/* relays-pins.c */
typedef struct RelayPins {
    uint8_t root[PIN_SIZE]; /* the one that it had when we met it */
    uint8_t now[PIN_SIZE];
    bool has_next;
    uint8_t next[PIN_SIZE]; /* announced by the key of now */
} RelayPins;
void relays_host_port(const Relay *relay, char ret[static RELAYS_HOST_PORT_SIZE]);
/* Of a relay that has, or had, this pin. A pin that we know nothing of is root and now. */
int pins_find(Relays *r, const Relay *relay, RelayPins *ret);
/* What a statement of the relay, verified, says of its next key. */
int pins_announced(Connection *c, const RelayStatement *s);
/* The relay does not have the key that q asked for, or another is known. Has it changed to one that the
 * former has named, then q goes on there, else it ends with UNTRUSTED. */
int pins_follow(RelaysRequest *q);
int pins_refuse(RelaysRequest *q);

/* relays-ticks.c */
/* Has the relay, as a statement of it says that was verified, gone back to a former state? Then that is told,
 * and remembered. */
int ticks_check(Connection *c, const RelayStatement *s);
/* Within the time that a message may wait. */
bool ticks_went_back(const Relays *r, const char *relay);

/* relays-known.c: finds q->connection for q->asked, at once or after a probe; then request_proceed. */
int known_resolve(RelaysRequest *q);
/* The pin of now of what is known at this host and port, whatever pin relay has. */
int known_by(Relays *r, const Relay *relay, uint8_t ret[static PIN_SIZE], bool *ret_known);
/* Asks the relay of q which key it has, on a connection of its own on which nothing else is said. */
int known_probe(RelaysRequest *q, request_reply_t reply);
/* The relay has answered with its pinned key: a pin that an address named is stored. */
int known_confirm(RelaysRequest *q);

/* relays-login.c */
int login_start(Connection *c);
void login_lost(Connection *c, const char *reason);
void login_stop(Connection *c);
/* The courier closes what nobody needs, or what belongs to an identity that is no more; no answer is waited
 * for. */
void login_forget(Connection *c);
/* Connects and listens where it should; called when something changed. */
void login_keep_all(Relays *r, bool at_once);
void login_keep(Connection *c, bool at_once);

/* relays-register.c: registers as a guest for a login; proves new keys for a rotation. */
int register_guest_start(RelaysRequest *q, request_step_t then);
int register_rotated_start(RelaysRequest *q);
/* The registration of an address is of the keys of now. */
int register_store(RelaysRequest *q);

/* relays-devices.c: what our statements there say of our devices is what it should be, or is told anew. */
void devices_tell(Connection *c);
void devices_tell_all(Relays *r);
void devices_stop(Connection *c);

/* relays-settings.c: the relay does with our mail what it should, or is told. connected: it may have gone
 * back to a former state, so it is asked. */
void settings_tell(Connection *c, bool connected);
void settings_stop(Connection *c);

/* relays-ours.c */
typedef struct OwnMailbox {
    const char *wanted; /* private */
    unsigned n;
    char address[ADDRESS_SIZE_MAX + 1], relay[RELAY_TEXT_SIZE]; /* relay: our name for it */
} OwnMailbox;
/* address "": the only one that there is. NOT_FOUND: it is not ours. INVALID_ARGS: it is none, or none was
 * named where there are several. */
int relays_own_mailbox(Relays *r, const char *address, OwnMailbox *ret);

/* relays-guests.c */
/* We are known there by the key of now, or no more. */
int guests_note(Connection *c);
int guests_forget(Connection *c);
/* Begins to tell all that know a former key. */
int guests_tell(Relays *r);
/* Ends what was begun for that. */
void guests_told(Connection *c);

/* relays-rotate.c */
/* Tells the relay of q of our rotations since the keys that it knows; then goes on with rotated. When it
 * knows none, with not_rotated. */
int rotate_start(RelaysRequest *q, request_step_t rotated, request_step_t not_rotated);
/* Are we registered there, if only as a guest, by a former key? */
bool rotate_is_due(const Relays *r, const char *relay);
/* Was kid our decrypt key, and have its keys led to those of now? */
bool rotate_is_former(const Relays *r, const char *kid);
/* Remembers the keys of now, which may be former ones one day. */
int rotate_note_keys(Relays *r);

/* The rotation by which keys of a statement, as a relay has it, were left, and the key of that; SIZE_MAX:
 * none is known. */
size_t rotate_find_first(const Relays *r, const IdentityStatement *registered, const RsaKey **ret_signer);
/* Adds the rotations from first up to end, which is left out, or all; signer has made the first.
 * HMSG_ERROR_NOT_FOUND: the key of one is not known any more. */
int rotate_put_steps(const Relays *r, size_t first, size_t end, const RsaKey *signer, json_t *steps);

/* relays-chain.c */
/* Keeps what keys of ours have said of themselves at an address. follows: of those before them too. */
int chain_note(Relays *r, const char *address, const uint8_t skid[static KID_SIZE], const char *statement,
               bool follows);
/* What a registration of q->stored_address is to say of the keys before: q->chain, q->previous. */
int chain_prepare(RelaysRequest *q);

/* relays-lookup.c */
int directory_read(RelaysRequest *q, const char *statement, const char *binding, const char *relay_statement,
                   IdentityStatement *ret_identity, Binding *ret_binding);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Relays as the agent sees them: which we know and by which pin, through the courier what they say, all of it
 * verified here against the pinned key, and one login for each connection. A relay is written host:port#PIN
 * in all texts, unless said otherwise. Everything that asks a relay is asynchronous: the callback is called
 * once, from the event loop, never inside the call that started it, with 0, an HmsgError or -errno in r and a
 * sentence for people in detail (never NULL). relays_request_free cancels at any time, also inside the
 * callback. What a callback is given is valid during it. */

#include "agent/manager.h"
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
} DirectoryEntry;

/* entry is NULL unless r is 0. */
typedef void (*relays_lookup_t)(int r, const char *detail, const DirectoryEntry *entry, void *userdata);

/* relay: with a pin or without; a pin must be the one we know, when we know one. NOT_FOUND: no such name. The
 * address in the statement is name@relay. UNTRUSTED: the relay's pin is not known (detail names the form with
 * the pin that it has) unless trust_relay, which stores it; or it is another than that. RELAY_UNAVAILABLE. */
int relays_lookup_name(Relays *r, const Relay *relay, const char *name, bool trust_relay,
                       relays_lookup_t done, void *userdata, RelaysRequest **ret);
/* relay: host:port#PIN. kid: of a decrypt or a sign key. */
int relays_lookup_kid(Relays *r, const char *relay, const char *kid, relays_lookup_t done, void *userdata,
                      RelaysRequest **ret);

/* The relays where we have mailboxes, each once, sorted; *ret is valid until a registration changes. */
size_t relays_ours(Relays *r, const char *const **ret);

/* Our mailboxes. state: connected, connecting, offline, unregistered (the key there is an older one of ours).
 * Calls f for each until it returns non-zero; returns that. */
typedef int (*relays_registration_t)(const char *address, const char *relay, const char *state,
                                     const char *error, void *userdata);
int relays_each_registration(Relays *r, relays_registration_t f, void *userdata);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of contacts share: the object, pinning, and requests that ask directories. */

#include "agent/contact-store.h"
#include "agent/contacts-manage.h"
#include "agent/relays.h"

#define CONTACT_CONFIRMED_FOR 3600 /* seconds for which a directory's answer is not asked for again */
/* Until a directory that is silent counts as out of reach, when the key is pinned. */
#define CONTACT_PATIENCE_SECONDS 5

struct Contacts {
    Manager *m;
    ContactStore *store;
    ContactsRequest *requests;
    uint64_t generation;
    Contact *known; /* holds the text that contacts_known_sender gave out */
    contacts_superseded_t superseded;
    void *superseded_userdata;
    contacts_ruled_t ruled;
    void *ruled_userdata;
};

/* A request in steps: each either starts a look-up or finishes. What it found is given out from the event
 * loop by deliver. */
struct ContactsRequest {
    ContactsRequest *prev, *next;
    Contacts *c;
    sd_event_source *defer, *patience;
    RelaysRequest *lookup;
    void (*deliver)(ContactsRequest *q);
    union {
        contacts_resolve_t resolve;
        contacts_sender_t sender;
        contacts_contact_t contact;
    } done;
    void *userdata;

    Address address; /* what is looked up by name */
    ResolveOptions options;
    char kid[CONTACT_KID_TEXT]; /* what is looked up by kid */
    char **relays;              /* the directories that are asked for it, one after the other */
    size_t n_relays, relay;
    bool unreachable;                             /* one of them could not be asked */
    char *name;                                   /* contacts_add: what the user calls it */
    char capability[HASH_TEXT_SIZE];              /* and by which we may send there; "" */
    Contact *pinned;                              /* what the store has */
    void (*then)(ContactsRequest *q, Contact *p); /* of contacts_pin_led */

    int r;
    char *detail;
    Contact *found; /* the answer; for one of our own addresses a contact that is not stored */
};

int contacts_request_new(Contacts *c, void (*deliver)(ContactsRequest *q), void *userdata,
                         ContactsRequest **ret);
/* The answer: format (or NULL: error_message(r)) is the sentence for people. */
void contacts_request_finish(ContactsRequest *q, int r, const char *format, ...) _printf_(3, 4);
/* Copies the relays to ask for a kid: the one given, or all of ours. */
int contacts_request_set_relays(ContactsRequest *q, const char *relay);

bool contacts_are_ours(const Contacts *c, const char *skid);
/* When this sign key was given up for another, by us too; 0: it was not. */
int contacts_retired(Contacts *c, const char *skid, int64_t *ret);
/* Ourselves, as a contact that is in no store. address NULL: the first of ours. NOT_FOUND: no identity. */
int contacts_self(Contacts *c, const char *address, Contact **ret);
/* Tells watchers that answers may have changed. */
void contacts_changed(Contacts *c);
/* p was written, or is gone: besides, whom the user blocks or allows may have changed. */
void contacts_changed_one(Contacts *c, const Contact *p);
/* Writes p and tells. */
int contacts_save(Contacts *c, Contact *p);

/* A directory has given these keys to address (canonical, without pin), or, address being NULL, knows them as
 * a guest's: pins them on first use; follows from those pinned when their sign key has led to these; else
 * other keys are noted as presented, and KeyChanged is emitted. */
int contacts_pin(Contacts *c, const char *address, const DirectoryEntry *entry, Contact **ret);

/* The same for an entry that was not asked for from what is pinned: if the contact at address has other keys,
 * the directory is asked once more, for the way from those. then gets the contact, or q is finished. */
int contacts_pin_led(ContactsRequest *q, const char *address, const DirectoryEntry *entry,
                     void (*then)(ContactsRequest *q, Contact *p));
/* The decrypt key that is pinned for q->address; "" when there is none. */
int contacts_pinned_kid(ContactsRequest *q, char ret[static CONTACT_KID_TEXT]);

/* Asks the directory of q->address; finishes q with the contact. */
int contacts_ask_name(ContactsRequest *q);
/* UNTRUSTED for a contact that is blocked or changed, with the sentence that helps. */
void contacts_finish_trusted(ContactsRequest *q, Contact *p);

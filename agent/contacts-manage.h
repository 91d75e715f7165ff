/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the user does with contacts. who is an address, the user's own name for somebody, or a kid. */

#include "agent/contact-store.h"
#include "agent/manager.h"

int contacts_new(Manager *m, Contacts **ret);
Contacts *contacts_free(Contacts *c); /* cancels every request */
DEFINE_CLEANUP(Contacts *, contacts_free)

/* contact belongs to the callback's caller and is NULL unless r is 0. */
typedef void (*contacts_contact_t)(int r, const char *detail, const Contact *contact, void *userdata);

/* Asks the directory of an address now, pins on first use. UNTRUSTED: relay not known, or key changed. */
int contacts_lookup(Contacts *c, const char *address, bool trust_relay, contacts_contact_t done,
                    void *userdata, ContactsRequest **ret);

typedef struct ContactAddition {
    const char *address; /* "": none, only with key */
    const char *name;    /* NULL: none */
    const void *key;     /* a key that the user holds, as recipient_from_key; NULL: ask the directory */
    size_t key_size;
    bool trust_relay;
    const char *capability; /* code by which we may send there; NULL: none is given */
} ContactAddition;

/* A capability takes the place of one that is known. ALREADY_EXISTS: another contact has this name, or the
 * address with another key. */
int contacts_add(Contacts *c, const ContactAddition *a, contacts_contact_t done, void *userdata,
                 ContactsRequest **ret);

int contacts_each(Contacts *c, int (*f)(const Contact *p, void *userdata), void *userdata);
/* The user has compared this fingerprint, spaces do not matter. UNTRUSTED: it is not the one that the contact
 * has, or, when that changed, the one that it presented. */
int contacts_verify(Contacts *c, const char *who, const char *fingerprint, Contact **ret);
/* Does the statement that is pinned for this address name our keys, of now or former ones, as a device? */
int contacts_names_us(Contacts *c, const char *address, bool *ret);
int contacts_block(Contacts *c, const char *who, bool blocked);
int contacts_forget(Contacts *c, const char *who);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/contacts-internal.h"
#include "agent/identity.h"
#include "agent/store.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"

int contacts_new(Manager *m, Contacts **ret)
{
    _cleanup_(contacts_freep) Contacts *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    c->generation = 1;
    r = contact_store_new(store_db(m->store), &c->store);
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

Contacts *contacts_free(Contacts *c)
{
    if (!c)
        return NULL;
    /* their owners free them; from now on they belong to nobody and never call back */
    while (c->requests) {
        ContactsRequest *q = c->requests;

        DL_DELETE(c->requests, q);
        q->c = NULL;
        q->defer = sd_event_source_disable_unref(q->defer);
        q->patience = sd_event_source_disable_unref(q->patience);
        q->lookup = relays_request_free(q->lookup);
    }
    (void)contact_free(c->known);
    (void)contact_store_free(c->store);
    free(c);
    return NULL;
}

const char *contact_trust_name(ContactTrust t)
{
    static const char *const names[] = {
        [CONTACT_NONE] = "",           [CONTACT_PINNED] = "pinned",   [CONTACT_VERIFIED] = "verified",
        [CONTACT_CHANGED] = "changed", [CONTACT_BLOCKED] = "blocked",
    };

    return names[t];
}

uint64_t contacts_generation(const Contacts *c)
{
    return c->generation;
}

void contacts_changed(Contacts *c)
{
    c->generation++;
}

int contacts_save(Contacts *c, Contact *p)
{
    int r = contact_store_save(c->store, p);

    if (r == 0)
        contacts_changed(c);
    return r;
}

bool contacts_are_ours(const Contacts *c, const char *skid)
{
    return c->m->identity && identity_is_ours(c->m->identity, skid);
}

typedef struct FirstAddress {
    char *address;
    char *relay;
} FirstAddress;

static int take_first(const char *address, const char *relay, const char *state, const char *error,
                      void *userdata)
{
    FirstAddress *first = userdata;

    first->address = strdup(address);
    first->relay = strdup(relay);
    return first->address && first->relay ? 1 : -ENOMEM;
}

int contacts_self(Contacts *c, const char *address, Contact **ret)
{
    const IdentityPublic *own = c->m->identity ? identity_public(c->m->identity) : NULL;
    _cleanup_(contact_freep) Contact *p = NULL;
    FirstAddress first = {0};
    int r;

    if (!own)
        return HMSG_ERROR_NOT_FOUND;
    r = contact_new(&p);
    if (r == 0)
        r = contact_keys_from_rsa(own->decrypt, own->sign, &p->keys);
    if (r == 0 && c->m->relays)
        r = relays_each_registration(c->m->relays, take_first, &first);
    p->relay = first.relay;
    if (address) {
        free(first.address);
        first.address = strdup(address);
    }
    p->address = first.address;
    if (r < 0 || (address && !p->address))
        return r < 0 ? r : -ENOMEM;
    p->keys.generation = own->generation;
    p->added = own->created;
    p->verified = true;
    *ret = TAKE_PTR(p);
    return 0;
}

/* Whom we know by this sign key: as pinned, or as presented by a contact whose key has changed. */
static int find_sender(Contacts *c, const char *skid, Contact **ret)
{
    int r;

    if (contacts_are_ours(c, skid))
        return contacts_self(c, NULL, ret);
    r = contact_store_find(c->store, CONTACT_BY_SKID, skid, ret);
    return r == HMSG_ERROR_NOT_FOUND ? contact_store_find(c->store, CONTACT_BY_PRESENTED_SKID, skid, ret) : r;
}

int contacts_known_sender(Contacts *c, const char *skid, Sender *ret)
{
    Contact *p = NULL;
    Sender sender = {.trust = CONTACT_NONE, .address = ""};
    int r;

    r = find_sender(c, skid, &p);
    if (r != 0 && r != HMSG_ERROR_NOT_FOUND)
        return r;
    if (r == 0) {
        (void)contact_free(c->known);
        c->known = p;
        sender.trust = contact_trust(p);
        memcpy(sender.kid, p->keys.kid, sizeof(sender.kid));
        sender.address = p->address ? p->address : "";
    }
    *ret = sender;
    return 0;
}

/* The contact that these keys or this address belong to, or a new one. */
static int find_for_pin(Contacts *c, const char *address, const ContactKeys *keys, Contact **ret)
{
    int r = HMSG_ERROR_NOT_FOUND;

    if (address)
        r = contact_store_find(c->store, CONTACT_BY_ADDRESS, address, ret);
    if (r == HMSG_ERROR_NOT_FOUND) {
        Contact *p = NULL;

        r = contact_store_find(c->store, CONTACT_BY_SKID, keys->skid, &p);
        /* one pair of keys may have several addresses: a contact for each */
        if (r == 0 && address && p->address) {
            (void)contact_free(p);
            r = HMSG_ERROR_NOT_FOUND;
        } else if (r == 0) {
            *ret = p;
        }
    }
    return r == HMSG_ERROR_NOT_FOUND ? contact_new(ret) : r;
}

static int replace_text(char **text, const char *with)
{
    char *copy = strdup(with);

    if (!copy)
        return -ENOMEM;
    free(*text);
    *text = copy;
    return 0;
}

/* Takes over keys. *ret_changed: the contact had others. */
static int apply_keys(Contact *p, ContactKeys *keys, bool *ret_changed)
{
    *ret_changed = false;
    if (p->row && !contact_keys_equal(&p->keys, keys)) {
        *ret_changed = !contact_keys_equal(&p->presented, keys);
        contact_keys_done(&p->presented);
        p->presented = *keys;
    } else {
        /* the directory is back at what we have pinned */
        contact_keys_done(&p->presented);
        contact_keys_done(&p->keys);
        p->keys = *keys;
        p->confirmed = clock_realtime();
    }
    *keys = (ContactKeys){0};
    return 0;
}

int contacts_pin(Contacts *c, const char *address, const DirectoryEntry *entry, Contact **ret)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    _cleanup_(contact_keys_done) ContactKeys keys = {0};
    bool changed = false;
    int r;

    r = contact_keys_from_statement(entry->identity, entry->statement, &keys);
    if (r == 0 && contacts_are_ours(c, keys.skid)) {
        r = contacts_self(c, address, &p);
        if (r == 0 && address)
            r = replace_text(&p->relay, entry->relay);
        if (r == 0)
            *ret = TAKE_PTR(p);
        return r;
    }
    if (r == 0)
        r = find_for_pin(c, address, &keys, &p);
    if (r == 0)
        r = apply_keys(p, &keys, &changed);
    if (r == 0 && address && !p->address)
        r = replace_text(&p->address, address);
    if (r == 0 && address)
        r = replace_text(&p->relay, entry->relay);
    if (r == 0 && !p->row)
        p->added = clock_realtime();
    if (r == 0)
        r = contacts_save(c, p);
    if (r == 0 && changed)
        (void)manager_emit(c->m, AGENT_CONTACTS_INTERFACE, "KeyChanged", "sa{sv}", p->keys.kid, 0);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

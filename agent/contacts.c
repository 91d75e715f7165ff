/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/contacts-internal.h"
#include "agent/identity.h"
#include "agent/store.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

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
        [CONTACT_CHANGED] = "changed", [CONTACT_BLOCKED] = "blocked", [CONTACT_SUPERSEDED] = "superseded",
    };

    return names[t];
}

uint64_t contacts_generation(const Contacts *c)
{
    return c->generation;
}

void contacts_on_superseded(Contacts *c, contacts_superseded_t f, void *userdata)
{
    c->superseded = f;
    c->superseded_userdata = userdata;
}

void contacts_on_ruled(Contacts *c, contacts_ruled_t f, void *userdata)
{
    c->ruled = f;
    c->ruled_userdata = userdata;
}

void contacts_changed(Contacts *c)
{
    c->generation++;
}

void contacts_changed_one(Contacts *c, const Contact *p)
{
    contacts_changed(c);
    if ((p->blocked || p->allowed) && c->ruled)
        c->ruled(c->ruled_userdata);
}

int contacts_save(Contacts *c, Contact *p)
{
    int r = contact_store_save(c->store, p);

    if (r == 0)
        contacts_changed_one(c, p);
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

int contacts_retired(Contacts *c, const char *skid, int64_t *ret)
{
    char signer[CONTACT_KID_TEXT];
    RotateStatement s;
    const char *text;

    if (!contacts_are_ours(c, skid))
        return contact_store_retired(c->store, skid, ret);
    *ret = 0;
    for (size_t i = 0; (text = identity_rotation(c->m->identity, i)); i++) {
        if (rotate_statement_peek(text, strlen(text), &s) != 0)
            continue;
        base64url_encode(s.skid, KID_SIZE, signer);
        if (strcmp(signer, skid) == 0)
            *ret = s.iat;
    }
    return 0;
}

/* Whom we know by this sign key: as pinned, or as presented by a contact whose key has changed. */
static int find_sender(Contacts *c, const char *skid, Contact **ret)
{
    int r;

    if (contacts_are_ours(c, skid))
        return contacts_self(c, NULL, ret);
    r = contact_store_find(c->store, CONTACT_BY_SKID, skid, ret);
    if (r == HMSG_ERROR_NOT_FOUND)
        r = contact_store_find(c->store, CONTACT_BY_PRESENTED_SKID, skid, ret);
    return r == HMSG_ERROR_NOT_FOUND ? contact_store_find(c->store, CONTACT_BY_FORMER_SKID, skid, ret) : r;
}

int contacts_known_sender(Contacts *c, const char *skid, Sender *ret)
{
    Contact *p = NULL;
    Sender sender = {.trust = CONTACT_NONE, .address = "", .protection = ""};
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
        sender.protection = contact_keys_protection(&p->keys);
        r = contacts_retired(c, skid, &sender.retired);
        if (r != 0)
            return r;
    }
    *ret = sender;
    return 0;
}

/* Somebody known by a key alone, who had the keys with which this way begins. NOT_FOUND. */
static int find_nameless(Contacts *c, const Rotation *rotation, Contact **ret)
{
    char skid[CONTACT_KID_TEXT];
    Contact *p = NULL;
    int r;

    base64url_encode(rotation->keys[0].skid, KID_SIZE, skid);
    r = contact_store_find(c->store, CONTACT_BY_SKID, skid, &p);
    if (r == 0 && p->address) {
        (void)contact_free(p);
        return HMSG_ERROR_NOT_FOUND;
    }
    if (r == 0)
        *ret = p;
    return r;
}

/* The contact that these keys or this address belong to, or a new one. */
static int find_for_pin(Contacts *c, const char *address, const ContactKeys *keys, const Rotation *rotation,
                        Contact **ret)
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
    if (r == HMSG_ERROR_NOT_FOUND && !address && rotation)
        r = find_nameless(c, rotation, ret);
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

/* The contact's own keys of now lead there, and not back to what it gave up before. */
static int may_follow(Contacts *c, const Contact *p, const ContactKeys *keys, const Rotation *rotation,
                      bool *ret)
{
    char kid[CONTACT_KID_TEXT], skid[CONTACT_KID_TEXT];
    bool former = false;
    int r;

    *ret = false;
    if (!rotation || !p->keys.skid[0])
        return 0;
    base64url_encode(rotation->keys[0].kid, KID_SIZE, kid);
    base64url_encode(rotation->keys[0].skid, KID_SIZE, skid);
    if (strcmp(kid, p->keys.kid) != 0 || strcmp(skid, p->keys.skid) != 0 ||
        (p->keys.statement.size > 0 && rotation->generation != p->keys.generation))
        return 0;
    r = contact_store_is_former(c->store, p, keys, &former);
    if (r == 0)
        *ret = !former;
    return r;
}

/* A statement of the same keys that its owner has replaced: what it named then counts no more. */
static bool is_replaced(const ContactKeys *keys, const ContactKeys *pinned)
{
    int64_t iat = 0, pinned_iat = 0;
    Devices devices;

    return keys->statement.size > 0 && pinned->statement.size > 0 &&
           contact_keys_devices(keys, &devices, &iat) == 0 &&
           contact_keys_devices(pinned, &devices, &pinned_iat) == 0 && iat < pinned_iat;
}

/* Takes over keys. *ret_changed: the contact had others, which did not lead to these. */
static int apply_keys(Contacts *c, Contact *p, ContactKeys *keys, const Rotation *rotation, bool *ret_changed)
{
    bool same = !p->row || contact_keys_equal(&p->keys, keys), follow = false;
    int r = same ? 0 : may_follow(c, p, keys, rotation, &follow);

    if (r != 0)
        return r;
    *ret_changed = false;
    if (!same && !follow) {
        *ret_changed = !contact_keys_equal(&p->presented, keys);
        contact_keys_done(&p->presented);
        p->presented = *keys;
    } else {
        /* the directory is at what we have pinned, or the pinned key has signed for what it has */
        contact_keys_done(&p->presented);
        p->confirmed = clock_realtime();
        if (same && p->row && is_replaced(keys, &p->keys))
            return 0;
        contact_keys_done(&p->keys);
        p->keys = *keys;
    }
    *keys = (ContactKeys){0};
    return 0;
}

/* Who holds a recovery key need not be who was compared: what the user has verified ends with it. */
static bool note_recovery(const Contacts *c, Contact *p, const char *before, const Rotation *rotation)
{
    bool followed = before[0] && strcmp(before, p->keys.kid) != 0;

    if (!followed || !rotation || !rotation->recovered)
        return false;
    p->verified = false;
    log_info("The keys of a contact were recovered: compare the fingerprint again");
    return true;
}

/* Writes p with what led to its keys, as far as that is known. */
static int save_pinned(Contacts *c, Contact *p, const Rotation *rotation)
{
    bool led = rotation && !p->presented.kid[0];
    int r = led ? contact_store_save_rotated(c->store, p, rotation) : contact_store_save(c->store, p);

    if (r == 0)
        contacts_changed_one(c, p);
    return r;
}

/* What was begun with keys that a contact has given up ends. */
static void tell_superseded(const Contacts *c, const char *before, const Contact *p)
{
    if (before[0] && strcmp(before, p->keys.kid) != 0 && c->superseded)
        c->superseded(before, c->superseded_userdata);
}

int contacts_pin(Contacts *c, const char *address, const DirectoryEntry *entry, Contact **ret)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    _cleanup_(contact_keys_done) ContactKeys keys = {0};
    char before[CONTACT_KID_TEXT] = "";
    bool changed = false, recovered = false;
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
        r = find_for_pin(c, address, &keys, entry->rotation, &p);
    if (r == 0)
        memcpy(before, p->keys.kid, sizeof(before));
    if (r == 0)
        r = apply_keys(c, p, &keys, entry->rotation, &changed);
    if (r == 0 && address && !p->address)
        r = replace_text(&p->address, address);
    if (r == 0 && address)
        r = replace_text(&p->relay, entry->relay);
    if (r == 0 && !p->row)
        p->added = clock_realtime();
    if (r == 0)
        recovered = note_recovery(c, p, before, entry->rotation);
    if (r == 0)
        r = save_pinned(c, p, entry->rotation);
    if (r == 0)
        tell_superseded(c, before, p);
    if (r == 0 && changed)
        (void)manager_emit(c->m, AGENT_CONTACTS_INTERFACE, "KeyChanged", "sa{sv}", p->keys.kid, 0);
    if (r == 0 && recovered)
        (void)manager_emit(c->m, AGENT_CONTACTS_INTERFACE, "KeyChanged", "sa{sv}", p->keys.kid, 1,
                           "recovered", "b", true);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who has written. */

#include <errno.h>
#include <string.h>

#include "agent/contacts-internal.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

/* What the contact found is to the key that was asked for. */
static int fill_sender(const ContactsRequest *q, Sender *ret)
{
    const Contact *p = q->found;
    int r;

    r = contacts_retired(q->c, q->kid, &ret->retired);
    if (r != 0)
        return r;
    if (strcmp(p->keys.skid, q->kid) != 0 && strcmp(p->presented.skid, q->kid) != 0 && ret->retired == 0)
        return 0; /* nothing */
    ret->trust = contact_trust(p);
    memcpy(ret->kid, p->keys.kid, sizeof(ret->kid));
    ret->address = p->address ? p->address : "";
    ret->protection = contact_keys_protection(&p->keys);
    return 0;
}

static void deliver(ContactsRequest *q)
{
    Sender sender = {.trust = CONTACT_NONE, .address = "", .protection = ""};
    int r = q->r;

    if (r == 0 && q->found)
        r = fill_sender(q, &sender);
    q->done.sender(r, q->detail ? q->detail : error_message(r), &sender, q->userdata);
}

static int ask_next_directory(ContactsRequest *q);

static void finish_found(ContactsRequest *q, Contact *p)
{
    q->found = p;
    contacts_request_finish(q, 0, NULL);
}

static bool had_key(const ContactsRequest *q, const DirectoryEntry *entry)
{
    char skid[CONTACT_KID_TEXT];

    if (!entry->rotation)
        return false;
    base64url_encode(entry->rotation->keys[0].skid, KID_SIZE, skid);
    return strcmp(skid, q->kid) == 0;
}

static bool is_sender(const ContactsRequest *q, const DirectoryEntry *entry)
{
    char skid[CONTACT_KID_TEXT];

    base64url_encode(rsa_key_thumbprint(entry->identity->sign), KID_SIZE, skid);
    return strcmp(skid, q->kid) == 0;
}

/* What was known by its key alone has an address now: two contacts would be one too many. */
static int drop_nameless(ContactsRequest *q)
{
    const Contact *p = q->pinned;

    if (!p || !p->row || p->row == q->found->row || p->address || p->name || p->blocked || p->verified)
        return 0;
    return contact_store_remove(q->c->store, p);
}

/* The address that a guest claims, asked for at its own relay. What that does not confirm is not used: the
 * guest is then known by its key alone, as the relay has it (q->pinned). */
static void on_home(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    ContactsRequest *q = userdata;

    q->lookup = relays_request_free(q->lookup);
    if (r == 0 && is_sender(q, entry)) {
        r = address_format(&q->address, false, &address);
        if (r == 0)
            r = contacts_pin(q->c, buf_text(&address), entry, &q->found);
        if (r == 0)
            r = drop_nameless(q);
    } else {
        r = 0;
        q->found = TAKE_PTR(q->pinned);
    }
    contacts_request_finish(q, r, NULL);
}

/* Only at a relay that we know: a stranger's mail must not make us connect to where the stranger wants. */
static int ask_home(ContactsRequest *q, const DirectoryEntry *entry)
{
    Relays *relays = q->c->m->relays;
    char kid[CONTACT_KID_TEXT] = "";
    int r;

    r = contacts_pin(q->c, NULL, entry, &q->pinned);
    if (r != 0)
        return r;
    if (address_parse(entry->identity->address, &q->address) == 0 &&
        relays_knows(relays, &q->address.relay)) {
        r = contacts_pinned_kid(q, kid);
        if (r != 0)
            return r;
        return relays_lookup_name(relays, &q->address.relay, q->address.name, *kid ? kid : NULL, false,
                                  on_home, q, &q->lookup);
    }
    q->found = TAKE_PTR(q->pinned);
    contacts_request_finish(q, 0, NULL);
    return 0;
}

/* The way from the key by which a guest is known. Without one the guest is another. */
static void on_guest_led(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    ContactsRequest *q = userdata;
    RelaysRequest *finished = TAKE_PTR(q->lookup);

    if (r == 0 && !is_sender(q, entry)) /* changed meanwhile */
        r = HMSG_ERROR_NOT_FOUND;
    if (r == 0)
        r = ask_home(q, entry);
    if (r != 0)
        contacts_request_finish(q, r, NULL);
    (void)relays_request_free(finished);
}

/* A guest, who has no address by which a contact could be found: the statement that this one follows may be
 * that of somebody known by a key alone. */
static int pin_guest(ContactsRequest *q, const DirectoryEntry *entry)
{
    _cleanup_(contact_freep) Contact *before = NULL;
    const IdentityStatement *s = entry->identity;
    int r = HMSG_ERROR_NOT_FOUND;

    if (s->has_previous && !entry->rotation)
        r = contact_store_find_nameless(q->c->store, s->previous, &before);
    if (r == 0)
        return relays_lookup_kid(q->c->m->relays, q->relays[q->relay], before->keys.kid, on_guest_led, q,
                                 &q->lookup);
    return r == HMSG_ERROR_NOT_FOUND ? ask_home(q, entry) : r;
}

static void on_kid(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    ContactsRequest *q = userdata;
    RelaysRequest *finished = TAKE_PTR(q->lookup);

    if (r == HMSG_ERROR_RELAY_UNAVAILABLE)
        q->unreachable = true;
    if (r == 0 && !is_sender(q, entry) && !had_key(q, entry)) /* it is somebody's decrypt key */
        r = HMSG_ERROR_NOT_FOUND;
    if (r != 0) {
        q->relay++;
        r = ask_next_directory(q);
    } else if (entry->binding->name[0]) {
        r = contacts_pin_led(q, entry->identity->address, entry, finish_found);
    } else {
        r = pin_guest(q, entry);
    }
    if (r != 0)
        contacts_request_finish(q, r, NULL);
    (void)relays_request_free(finished);
}

static int ask_next_directory(ContactsRequest *q)
{
    if (q->relay < q->n_relays)
        return relays_lookup_kid(q->c->m->relays, q->relays[q->relay], q->kid, on_kid, q, &q->lookup);
    if (q->unreachable)
        contacts_request_finish(q, HMSG_ERROR_RELAY_UNAVAILABLE,
                                "The sender is not known, and no relay that might know it can be reached");
    else
        contacts_request_finish(q, 0, NULL);
    return 0;
}

static int check(ContactsRequest *q, const char *relay)
{
    Sender known;
    int r;

    r = contacts_known_sender(q->c, q->kid, &known);
    if (r == 0 && known.trust != CONTACT_NONE) {
        q->found = TAKE_PTR(q->c->known);
        contacts_request_finish(q, 0, NULL);
        return 0;
    }
    if (r == 0)
        r = contacts_request_set_relays(q, relay);
    return r == 0 ? ask_next_directory(q) : r;
}

int contacts_check_sender(Contacts *c, const char *skid, const char *relay, contacts_sender_t done,
                          void *userdata, ContactsRequest **ret)
{
    _cleanup_(contacts_request_freep) ContactsRequest *q = NULL;
    int r;

    if (strlen(skid) != CONTACT_KID_TEXT - 1)
        return -EINVAL;
    r = contacts_request_new(c, deliver, userdata, &q);
    if (r < 0)
        return r;
    q->done.sender = done;
    memcpy(q->kid, skid, CONTACT_KID_TEXT);
    r = check(q, relay);
    if (r != 0)
        contacts_request_finish(q, r, NULL);
    *ret = TAKE_PTR(q);
    return 0;
}

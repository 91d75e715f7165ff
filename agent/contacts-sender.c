/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who has written. */

#include <errno.h>
#include <string.h>

#include "agent/contacts-internal.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

static void deliver(ContactsRequest *q)
{
    Sender sender = {.trust = CONTACT_NONE, .address = ""};

    if (q->found) {
        sender.trust = contact_trust(q->found);
        memcpy(sender.kid, q->found->keys.kid, sizeof(sender.kid));
        sender.address = q->found->address ? q->found->address : "";
    }
    q->done.sender(q->r, q->detail ? q->detail : error_message(q->r), &sender, q->userdata);
}

static int ask_next_directory(ContactsRequest *q);

/* Pins what a directory has said; a contact whose key it changes is found as changed. */
static int finish_with_entry(ContactsRequest *q, const char *address, const DirectoryEntry *entry)
{
    int r = contacts_pin(q->c, address, entry, &q->found);

    if (r == 0)
        contacts_request_finish(q, 0, NULL);
    return r;
}

static bool is_sender(const ContactsRequest *q, const DirectoryEntry *entry)
{
    char skid[CONTACT_KID_TEXT];

    base64url_encode(rsa_key_thumbprint(entry->identity->sign), KID_SIZE, skid);
    return strcmp(skid, q->kid) == 0;
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
    int r;

    r = contacts_pin(q->c, NULL, entry, &q->pinned);
    if (r != 0)
        return r;
    if (address_parse(entry->identity->address, &q->address) == 0 && relays_knows(relays, &q->address.relay))
        return relays_lookup_name(relays, &q->address.relay, q->address.name, false, on_home, q, &q->lookup);
    q->found = TAKE_PTR(q->pinned);
    contacts_request_finish(q, 0, NULL);
    return 0;
}

static void on_kid(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    ContactsRequest *q = userdata;
    RelaysRequest *finished = TAKE_PTR(q->lookup);

    if (r == HMSG_ERROR_RELAY_UNAVAILABLE)
        q->unreachable = true;
    if (r == 0 && !is_sender(q, entry)) /* it is somebody's decrypt key */
        r = HMSG_ERROR_NOT_FOUND;
    if (r != 0) {
        q->relay++;
        r = ask_next_directory(q);
    } else if (entry->binding->name[0]) {
        r = finish_with_entry(q, entry->identity->address, entry);
    } else {
        r = ask_home(q, entry);
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

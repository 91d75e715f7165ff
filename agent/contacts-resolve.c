/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whom to encrypt to. */

#include <errno.h>
#include <string.h>

#include "agent/contacts-internal.h"
#include "agent/identity.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/export.h"

#define KID_PREFIX "key:"

Recipient *recipient_free(Recipient *p)
{
    if (!p)
        return NULL;
    free(p->address);
    free(p->relay);
    buf_done(&p->decrypt_spki);
    buf_done(&p->sign_spki);
    buf_done(&p->issuer_serial);
    recovery_keys_done(&p->recovery);
    free(p);
    return NULL;
}

static int recipient_new(const char *address, const char *relay, const ContactKeys *keys, ContactTrust trust,
                         Recipient **ret)
{
    _cleanup_(recipient_freep) Recipient *p = calloc(1, sizeof(*p));
    int64_t iat = 0;
    int r;

    if (!p)
        return -ENOMEM;
    p->trust = trust;
    p->decrypt_spki = BUF_MAX(SPKI_SIZE_MAX);
    p->sign_spki = BUF_MAX(SPKI_SIZE_MAX);
    p->issuer_serial = BUF_MAX(ISSUER_SERIAL_SIZE_MAX);
    memcpy(p->kid, keys->kid, sizeof(p->kid));
    memcpy(p->skid, keys->skid, sizeof(p->skid));
    p->address = strdup(address ? address : "");
    p->relay = strdup(relay ? relay : "");
    if (!p->address || !p->relay)
        return -ENOMEM;
    r = buf_append(&p->decrypt_spki, keys->decrypt_spki.data, keys->decrypt_spki.size);
    if (r == 0 && keys->sign_spki.size > 0)
        r = buf_append(&p->sign_spki, keys->sign_spki.data, keys->sign_spki.size);
    if (r == 0)
        r = contact_keys_recovery(keys, &p->recovery);
    if (r == 0)
        r = contact_keys_devices(keys, &p->devices, &iat);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

int recipient_from_key(const void *data, size_t size, Recipient **ret)
{
    _cleanup_(key_file_freep) KeyFile *file = NULL;
    _cleanup_(contact_keys_done) ContactKeys keys = {0};
    _cleanup_(recipient_freep) Recipient *p = NULL;
    int r;

    r = key_file_read(data, size, clock_realtime(), &file);
    if (r == 0)
        r = contact_keys_from_rsa(file->decrypt, file->sign, &keys);
    if (r == 0)
        r = recipient_new(file->identity.address, NULL, &keys, CONTACT_NONE, &p);
    if (r == 0)
        recovery_keys_copy(&file->identity.recovery, &p->recovery);
    if (r == 0 && file->issuer_serial.size > 0)
        r = buf_append(&p->issuer_serial, file->issuer_serial.data, file->issuer_serial.size);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

static void deliver(ContactsRequest *q)
{
    _cleanup_(recipient_freep) Recipient *p = NULL;
    int r = q->r;

    if (r == 0)
        r = recipient_new(q->found->address, q->found->relay, &q->found->keys, contact_trust(q->found), &p);
    if (r == 0 && contacts_are_ours(q->c, p->skid) && identity_public(q->c->m->identity))
        recovery_keys_copy(&identity_public(q->c->m->identity)->recovery, &p->recovery);
    q->done.resolve(r, q->detail ? q->detail : error_message(r), p, q->userdata);
}

static int ask_next_directory(ContactsRequest *q);

static bool is_asked(const ContactsRequest *q, const uint8_t kid[static KID_SIZE])
{
    char text[CONTACT_KID_TEXT];

    base64url_encode(kid, KID_SIZE, text);
    return strcmp(text, q->kid) == 0;
}

/* It is the decrypt key of now, or the first of those that led there. */
static int check_kid(const ContactsRequest *q, const DirectoryEntry *entry)
{
    return is_asked(q, rsa_key_thumbprint(entry->identity->decrypt)) ||
                   (entry->rotation && is_asked(q, entry->rotation->keys[0].kid))
               ? 0
               : HMSG_ERROR_NOT_FOUND;
}

/* By kid: the relay vouches for the keys, which are what was asked for; the address is of no matter. */
static void on_kid(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    ContactsRequest *q = userdata;
    RelaysRequest *finished = TAKE_PTR(q->lookup); /* owns the entry */

    if (r == HMSG_ERROR_RELAY_UNAVAILABLE)
        q->unreachable = true;
    /* the directory knows sign keys by their kid too */
    if (r == 0)
        r = check_kid(q, entry);
    if (r != 0) {
        q->relay++;
        r = ask_next_directory(q);
    } else {
        r = contacts_pin_led(q, entry->binding->name[0] ? entry->identity->address : NULL, entry,
                             contacts_finish_trusted);
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
                                "No relay that might know the key %s can be reached", q->kid);
    else
        contacts_request_finish(q, HMSG_ERROR_NOT_FOUND, "Nobody is known by the key %s", q->kid);
    return 0;
}

/* One of ours, of now or former; NOT_FOUND. */
static int find_own(ContactsRequest *q, Contact **ret)
{
    const Identity *identity = q->c->m->identity;
    uint8_t kids[IDENTITY_KIDS_MAX][KID_SIZE];
    size_t n = identity && identity_public(identity) ? identity_kids(identity, kids) : 0;

    for (size_t i = 0; i < n; i++)
        if (is_asked(q, kids[i]))
            return contacts_self(q->c, NULL, ret);
    return HMSG_ERROR_NOT_FOUND;
}

static int find_known(ContactsRequest *q, Contact **ret)
{
    int r = find_own(q, ret);

    if (r == HMSG_ERROR_NOT_FOUND)
        r = contact_store_find(q->c->store, CONTACT_BY_KID, q->kid, ret);
    return r == HMSG_ERROR_NOT_FOUND ? contact_store_find(q->c->store, CONTACT_BY_FORMER_KID, q->kid, ret)
                                     : r;
}

static int resolve_contact(ContactsRequest *q, Contact *p);

/* Of a device the statement counts that the directory has now. */
static int resolve_device(ContactsRequest *q, Contact *p)
{
    int r = p->address ? address_parse(p->address, &q->address) : 0;

    if (r != 0)
        (void)contact_free(p);
    return r == 0 ? resolve_contact(q, p) : r;
}

static int resolve_kid(ContactsRequest *q, const char *kid)
{
    uint8_t bytes[KID_SIZE];
    Contact *p = NULL;
    int r;

    if (base64url_decode_exact(kid, strlen(kid), bytes, sizeof(bytes)) != 0) {
        contacts_request_finish(q, HMSG_ERROR_INVALID_ARGS, "After \"key:\" come the 43 characters of a kid");
        return 0;
    }
    memcpy(q->kid, kid, CONTACT_KID_TEXT);
    r = find_known(q, &p);
    if (r == 0 && q->options.relay)
        return resolve_device(q, p);
    if (r == 0) {
        contacts_finish_trusted(q, p);
        return 0;
    }
    if (r == HMSG_ERROR_NOT_FOUND)
        r = contacts_request_set_relays(q, q->options.relay);
    return r == 0 ? ask_next_directory(q) : r;
}

bool contacts_device_agrees(Contacts *c, const char *owner_kid, const Recipient *device)
{
    bool agrees = false;

    for (size_t i = 0; !agrees && i < device->devices.n; i++) {
        _cleanup_(contact_freep) Contact *p = NULL;
        char kid[CONTACT_KID_TEXT];

        base64url_encode(device->devices.list[i].kid, KID_SIZE, kid);
        agrees = strcmp(kid, owner_kid) == 0 ||
                 (contact_store_find(c->store, CONTACT_BY_FORMER_KID, kid, &p) == 0 &&
                  strcmp(p->keys.kid, owner_kid) == 0);
    }
    return agrees;
}

/* Must the directory be asked before this contact serves? */
static bool is_stale(const ContactsRequest *q, const Contact *p)
{
    int64_t age = clock_realtime() - p->confirmed;

    return !p->relay || q->options.fresh || age < 0 || age > CONTACT_CONFIRMED_FOR;
}

/* The pin that we know stands for the relay, unless the user gave one: then it must be the same. */
static void use_pinned_relay(ContactsRequest *q, const Contact *p)
{
    Relay relay;

    if (p->relay && !q->address.relay.has_pin && relay_parse(p->relay, &relay) == 0)
        q->address.relay = relay;
}

static int resolve_contact(ContactsRequest *q, Contact *p)
{
    ContactTrust trust = contact_trust(p);

    if (!p->address || trust == CONTACT_BLOCKED || !is_stale(q, p)) {
        contacts_finish_trusted(q, p);
        return 0;
    }
    q->pinned = p;
    use_pinned_relay(q, p);
    return contacts_ask_name(q);
}

static int resolve_address(ContactsRequest *q, const char *text)
{
    _cleanup_(buf_done) Buf canonical = BUF_MAX(ADDRESS_SIZE_MAX);
    Contact *p = NULL;
    int r;

    r = address_parse(text, &q->address);
    if (r == HMSG_ERROR_INVALID_ARGS) {
        contacts_request_finish(q, r, "\"%.128s\" is not an address; one is name@host[:port][#PIN]", text);
        return 0;
    }
    if (r == 0)
        r = address_format(&q->address, false, &canonical);
    if (r == 0)
        r = contact_store_find(q->c->store, CONTACT_BY_ADDRESS, buf_text(&canonical), &p);
    if (r == 0)
        return resolve_contact(q, p);
    return r == HMSG_ERROR_NOT_FOUND ? contacts_ask_name(q) : r;
}

static int resolve_name(ContactsRequest *q, const char *name)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    r = contact_store_find(q->c->store, CONTACT_BY_NAME, name, &p);
    if (r == HMSG_ERROR_NOT_FOUND) {
        contacts_request_finish(q, r, "No contact has the name \"%.128s\"", name);
        return 0;
    }
    if (r == 0 && p->address)
        r = address_parse(p->address, &q->address);
    return r == 0 ? resolve_contact(q, TAKE_PTR(p)) : r;
}

int contacts_resolve(Contacts *c, const char *recipient, const ResolveOptions *options,
                     contacts_resolve_t done, void *userdata, ContactsRequest **ret)
{
    _cleanup_(contacts_request_freep) ContactsRequest *q = NULL;
    int r;

    r = contacts_request_new(c, deliver, userdata, &q);
    if (r < 0)
        return r;
    q->done.resolve = done;
    if (options)
        q->options = *options;
    if (strncmp(recipient, KID_PREFIX, strlen(KID_PREFIX)) == 0)
        r = resolve_kid(q, recipient + strlen(KID_PREFIX));
    else if (strchr(recipient, '@'))
        r = resolve_address(q, recipient);
    else
        r = resolve_name(q, recipient);
    if (r != 0)
        contacts_request_finish(q, r, NULL);
    *ret = TAKE_PTR(q);
    return 0;
}

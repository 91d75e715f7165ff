/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "agent/contacts-internal.h"
#include "agent/identity.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/export.h"

static void deliver(ContactsRequest *q)
{
    q->done.contact(q->r, q->detail ? q->detail : error_message(q->r), q->r == 0 ? q->found : NULL,
                    q->userdata);
}

static int find(Contacts *c, const char *who, Contact **ret)
{
    _cleanup_(buf_done) Buf canonical = BUF_MAX(ADDRESS_SIZE_MAX);
    Address address;
    int r;

    if (address_parse(who, &address) == 0) {
        r = address_format(&address, false, &canonical);
        return r == 0 ? contact_store_find(c->store, CONTACT_BY_ADDRESS, buf_text(&canonical), ret) : r;
    }
    r = contact_store_find(c->store, CONTACT_BY_NAME, who, ret);
    if (r == HMSG_ERROR_NOT_FOUND)
        r = contact_store_find(c->store, CONTACT_BY_KID, who, ret);
    if (r == HMSG_ERROR_NOT_FOUND) /* which the inbox shows of those who have no address */
        r = contact_store_find(c->store, CONTACT_BY_SKID, who, ret);
    return r;
}

static int parse_address(ContactsRequest *q, const char *text)
{
    int r = address_parse(text, &q->address);

    if (r != 0)
        contacts_request_finish(q, r, "\"%.128s\" is not an address; one is name@host[:port][#PIN]", text);
    return r;
}

static int begin(Contacts *c, contacts_contact_t done, void *userdata, ContactsRequest **ret)
{
    int r = contacts_request_new(c, deliver, userdata, ret);

    if (r == 0)
        (*ret)->done.contact = done;
    return r;
}

int contacts_lookup(Contacts *c, const char *address, bool trust_relay, contacts_contact_t done,
                    void *userdata, ContactsRequest **ret)
{
    ContactsRequest *q = NULL;
    int r;

    r = begin(c, done, userdata, &q);
    if (r < 0)
        return r;
    *ret = q;
    q->options = (ResolveOptions){.trust_relay = trust_relay, .fresh = true};
    if (parse_address(q, address) != 0)
        return 0;
    r = contacts_ask_name(q);
    if (r != 0)
        contacts_request_finish(q, r, NULL);
    return 0;
}

/* What a user may call somebody: no address, no option, nothing that a terminal would act on. */
static bool name_is_fit(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n > CONTACT_NAME_SIZE_MAX || name[0] == '-' || strchr(name, '@') ||
        strncmp(name, "key:", 4) == 0)
        return false;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return true;
}

/* Gives the contact found its name. */
static int name_found(ContactsRequest *q)
{
    int r;

    if (!q->name)
        return 0;
    free(q->found->name);
    q->found->name = TAKE_PTR(q->name);
    r = contacts_save(q->c, q->found);
    if (r == HMSG_ERROR_ALREADY_EXISTS &&
        asprintf(&q->detail, "Another contact has the name \"%s\"", q->found->name) < 0)
        q->detail = NULL;
    return r;
}

static void deliver_named(ContactsRequest *q)
{
    if (q->r == 0 && q->found->row)
        q->r = name_found(q);
    if (q->r == 0 && q->found->row && q->capability[0])
        q->r = contact_store_set_capability(q->c->store, q->found, q->capability);
    bytes_wipe(q->capability, sizeof(q->capability));
    deliver(q);
}

/* Whether the contact with this address or key, if there is one, has this very key. */
static int find_same(Contacts *c, const char *address, const ContactKeys *keys, Contact **ret)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    r = address ? contact_store_find(c->store, CONTACT_BY_ADDRESS, address, &p)
                : contact_store_find(c->store, CONTACT_BY_KID, keys->kid, &p);
    if (r == HMSG_ERROR_NOT_FOUND)
        return contact_new(ret);
    if (r == 0 && !contact_keys_equal(&p->keys, keys))
        r = HMSG_ERROR_ALREADY_EXISTS;
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

static int keys_from_file(const ContactAddition *a, ContactKeys *ret_keys, char **ret_address)
{
    _cleanup_(key_file_freep) KeyFile *file = NULL;
    int r;

    r = key_file_read(a->key, a->key_size, clock_realtime(), &file);
    if (r != 0)
        return r;
    if (file->kind == KEY_FILE_IDENTITY)
        r = contact_keys_from_statement(&file->identity, buf_text(&file->statement), ret_keys);
    else
        r = contact_keys_from_rsa(file->decrypt, NULL, ret_keys);
    if (r == 0 && file->identity.address[0]) {
        *ret_address = strdup(file->identity.address);
        if (!*ret_address)
            r = -ENOMEM;
    }
    return r;
}

static int canonical_address(const char *text, char **ret)
{
    _cleanup_(buf_done) Buf canonical = BUF_MAX(ADDRESS_SIZE_MAX);
    Address address;
    int r;

    r = address_parse(text, &address);
    if (r == 0)
        r = address_format(&address, false, &canonical);
    if (r != 0)
        return r;
    *ret = strdup(buf_text(&canonical));
    return *ret ? 0 : -ENOMEM;
}

/* The user vouches for the key and, by naming it or by the exported identity that it came in, the address. */
static int add_key(ContactsRequest *q, const ContactAddition *a)
{
    _cleanup_(contact_keys_done) ContactKeys keys = {0};
    _cleanup_(freep) char *address = NULL, *claimed = NULL;
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    r = keys_from_file(a, &keys, &claimed);
    if (r == 0 && a->address[0])
        r = canonical_address(a->address, &address);
    else if (r == 0)
        address = TAKE_PTR(claimed);
    if (r == 0 && !address && !a->name) {
        contacts_request_finish(q, HMSG_ERROR_INVALID_ARGS, "A bare key needs a name or an address");
        return 0;
    }
    if (r == 0)
        r = find_same(q->c, address, &keys, &p);
    if (r == HMSG_ERROR_ALREADY_EXISTS) {
        contacts_request_finish(q, r, "%s is a contact already, with another key; forget it first",
                                address ? address : "The owner of this key");
        return 0;
    }
    if (r != 0)
        return r;
    if (!p->row) {
        p->keys = keys;
        keys = (ContactKeys){0};
        p->address = TAKE_PTR(address);
        p->added = clock_realtime();
    }
    r = contacts_save(q->c, p);
    if (r != 0)
        return r;
    q->found = TAKE_PTR(p);
    contacts_request_finish(q, 0, NULL);
    return 0;
}

static int check_addition(ContactsRequest *q, const ContactAddition *a)
{
    uint8_t code[CAPABILITY_SIZE];
    bool fit = !a->capability ||
               base64url_decode_exact(a->capability, strlen(a->capability), code, sizeof(code)) == 0;

    bytes_wipe(code, sizeof(code));
    if (!fit) {
        contacts_request_finish(q, HMSG_ERROR_INVALID_ARGS, "A capability has 43 characters of base64url");
        return HMSG_ERROR_INVALID_ARGS;
    }
    if (a->name && !name_is_fit(a->name)) {
        contacts_request_finish(q, HMSG_ERROR_INVALID_ARGS,
                                "A name has 1 to %u bytes, no \"@\" and no control characters, and begins "
                                "neither with \"-\" nor with \"key:\"",
                                CONTACT_NAME_SIZE_MAX);
        return HMSG_ERROR_INVALID_ARGS;
    }
    if (a->capability)
        memcpy(q->capability, a->capability, strlen(a->capability) + 1);
    if (!a->name)
        return 0;
    q->name = strdup(a->name);
    return q->name ? 0 : -ENOMEM;
}

int contacts_add(Contacts *c, const ContactAddition *a, contacts_contact_t done, void *userdata,
                 ContactsRequest **ret)
{
    ContactsRequest *q = NULL;
    int r;

    r = begin(c, done, userdata, &q);
    if (r < 0)
        return r;
    *ret = q;
    q->deliver = deliver_named;
    q->options = (ResolveOptions){.trust_relay = a->trust_relay, .fresh = true};
    r = check_addition(q, a);
    if (r > 0)
        return 0;
    if (r == 0 && !a->key && parse_address(q, a->address) != 0)
        return 0;
    if (r == 0)
        r = a->key ? add_key(q, a) : contacts_ask_name(q);
    if (r != 0)
        contacts_request_finish(q, r, NULL);
    return 0;
}

int contacts_each(Contacts *c, int (*f)(const Contact *p, void *userdata), void *userdata)
{
    return contact_store_each(c->store, f, userdata);
}

static bool same_fingerprint(const char *a, const char *b)
{
    for (;;) {
        a += strspn(a, " \t\r\n");
        b += strspn(b, " \t\r\n");
        if (*a != *b)
            return false;
        if (!*a)
            return true;
        a++;
        b++;
    }
}

int contacts_verify(Contacts *c, const char *who, const char *fingerprint, Contact **ret)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    char actual[FINGERPRINT_TEXT_SIZE];
    bool changed, former = false;
    int r;

    r = find(c, who, &p);
    if (r != 0)
        return r;
    changed = p->presented.kid[0] != 0;
    r = contact_fingerprint(changed ? &p->presented : &p->keys, actual);
    if (r == 0 && (!actual[0] || !same_fingerprint(actual, fingerprint)))
        r = HMSG_ERROR_UNTRUSTED;
    /* nobody comes back to a key that was given up, whoever says so */
    if (r == 0 && changed)
        r = contact_store_is_former(c->store, p, &p->presented, &former);
    if (r == 0 && former)
        r = HMSG_ERROR_UNTRUSTED;
    if (r != 0)
        return r;
    if (changed) {
        contact_keys_done(&p->keys);
        p->keys = p->presented;
        p->presented = (ContactKeys){0};
        p->confirmed = clock_realtime();
    }
    p->verified = true;
    r = contacts_save(c, p);
    if (r == 0)
        *ret = TAKE_PTR(p);
    return r;
}

int contacts_names_us(Contacts *c, const char *address, bool *ret)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    uint8_t kids[IDENTITY_KIDS_MAX][KID_SIZE];
    const Identity *identity = c->m->identity;
    Devices devices = {0};
    int64_t iat = 0;
    int r;

    *ret = false;
    r = find(c, address, &p);
    if (r == 0)
        r = contact_keys_devices(&p->keys, &devices, &iat);
    if (r != 0 || !identity || !identity_public(identity))
        return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
    for (size_t i = 0, n = identity_kids(identity, kids); i < n; i++)
        *ret = *ret || devices_have(&devices, kids[i]);
    return 0;
}

int contacts_block(Contacts *c, const char *who, bool blocked)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    r = find(c, who, &p);
    if (r != 0)
        return r;
    p->blocked = blocked;
    p->allowed = !blocked;
    return contacts_save(c, p);
}

int contacts_capability(Contacts *c, const char *recipient, const char *kid, char ret[static HASH_TEXT_SIZE])
{
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    ret[0] = 0;
    r = find(c, recipient, &p);
    if (r == HMSG_ERROR_NOT_FOUND)
        r = find(c, kid, &p);
    if (r == HMSG_ERROR_NOT_FOUND)
        return 0;
    return r == 0 ? contact_store_capability(c->store, p, ret) : r;
}

int contacts_forget(Contacts *c, const char *who)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    r = find(c, who, &p);
    if (r == 0)
        r = contact_store_remove(c->store, p);
    if (r == 0)
        contacts_changed_one(c, p);
    return r;
}

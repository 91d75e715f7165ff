/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "agent/bus-util.h"
#include "agent/contacts-bus-internal.h"
#include "agent/contacts-manage.h"
#include "agent/identity-bus-internal.h"
#include "agent/pin.h"
#include "agent/request.h"
#include "agent/vtables.h"
#include "libhmsg/base/error.h"

/* A call that waits for a directory. */
typedef struct Call {
    Request *request;
    ContactsRequest *work;
} Call;

static Call *call_free(Call *c)
{
    if (!c)
        return NULL;
    (void)contacts_request_free(c->work);
    (void)request_free(c->request);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(Call *, call_free)

static void on_client_left(void *userdata)
{
    (void)call_free(userdata);
}

static int call_new(Manager *m, sd_bus_message *message, Call **ret)
{
    _cleanup_(call_freep) Call *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    r = request_new(m->access, message, on_client_left, c, &c->request);
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

static int append_recovery(sd_bus_message *m, const ContactKeys *keys)
{
    _cleanup_(recovery_keys_done) RecoveryKeys recovery = {0};
    int r = contact_keys_recovery(keys, &recovery);

    return r == 0 ? identity_recovery_append(m, &recovery) : r;
}

static int append_keys(sd_bus_message *m, const Contact *p)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    int r;

    r = contact_fingerprint(&p->keys, fingerprint);
    if (r == 0)
        r = bus_append_string(m, "kid", p->keys.kid);
    if (r >= 0)
        r = bus_append_string(m, "skid", p->keys.skid);
    if (r >= 0)
        r = bus_append_string(m, "fingerprint", fingerprint);
    if (r >= 0)
        r = bus_append_string(m, "protection", contact_keys_protection(&p->keys));
    if (r >= 0)
        r = append_recovery(m, &p->keys);
    if (r < 0 || !p->presented.kid[0])
        return r;
    r = contact_fingerprint(&p->presented, fingerprint);
    return r == 0 ? bus_append_string(m, "new_fingerprint", fingerprint) : r;
}

/* The record of the interface as an a{sv}. */
static int append_contact(sd_bus_message *m, const Contact *p)
{
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(m, "address", p->address ? p->address : "");
    if (r >= 0)
        r = bus_append_string(m, "name", p->name ? p->name : "");
    if (r >= 0)
        r = append_keys(m, p);
    if (r >= 0)
        r = bus_append_string(m, "trust", contact_trust_name(contact_trust(p)));
    if (r >= 0)
        r = bus_append_u64(m, "generation", p->keys.generation);
    if (r >= 0)
        r = bus_append_u64(m, "added", (uint64_t)p->added);
    if (r >= 0)
        r = bus_append_bool(m, "capability", p->capable);
    if (r >= 0)
        r = bus_append_bool(m, "allowed", p->allowed);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int append_each(const Contact *p, void *userdata)
{
    int r = append_contact(userdata, p);

    return r < 0 ? r : 0;
}

static void on_contact(int r, const char *detail, const Contact *contact, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;
    sd_bus_message *reply = NULL;

    if (r == 0)
        r = request_reply_new(c->request, &reply);
    if (r >= 0 && contact)
        r = append_contact(reply, contact);
    if (r >= 0 && contact)
        (void)request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, contact ? NULL : detail);
    sd_bus_message_unref(reply);
}

static int method_lookup(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"trust_relay", 'b', 0}};
    Manager *m = userdata;
    _cleanup_(call_freep) Call *c = NULL;
    const char *address;
    bool trust_relay = false;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &trust_relay, error);
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0)
        r = contacts_lookup(m->contacts, address, trust_relay, on_contact, c, &c->work);
    if (r != 0)
        return bus_fail(error, r, NULL);
    (void)TAKE_PTR(c);
    return 1;
}

typedef struct AddOptions {
    const char *name;
    BusBytes key;
    bool trust_relay;
    int capability;
} AddOptions;

static int method_add(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {
        {"name", 's', offsetof(AddOptions, name)},
        {"key", 'y', offsetof(AddOptions, key)},
        {"trust_relay", 'b', offsetof(AddOptions, trust_relay)},
        {"capability", 'h', offsetof(AddOptions, capability)},
    };
    Manager *m = userdata;
    _cleanup_(call_freep) Call *c = NULL;
    _cleanup_(secret_freep) Secret *capability = NULL;
    AddOptions o = {.capability = -1};
    ContactAddition a = {0};
    int r;

    r = sd_bus_message_read_basic(message, 's', &a.address);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0 && o.capability >= 0)
        r = memfd_read_text(o.capability, HASH_TEXT_SIZE - 1, HASH_TEXT_SIZE - 1, &capability);
    if (r == 0)
        r = call_new(m, message, &c);
    a.capability = capability ? (const char *)secret_bytes(capability) : NULL;
    a.name = o.name;
    a.key = o.key.data;
    a.key_size = o.key.size;
    a.trust_relay = o.trust_relay;
    if (r == 0)
        r = contacts_add(m->contacts, &a, on_contact, c, &c->work);
    if (r != 0)
        return bus_fail(error, r, NULL);
    (void)TAKE_PTR(c);
    return 1;
}

static int method_list(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Manager *m = userdata;
    sd_bus_message *reply = NULL;
    int r;

    r = bus_read_no_options(message, error);
    if (r == 0)
        r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
    if (r >= 0)
        r = contacts_each(m->contacts, append_each, reply);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r < 0 ? bus_fail(error, r, NULL) : 1;
}

static int method_verify(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"fingerprint", 's', 0}};
    Manager *m = userdata;
    _cleanup_(contact_freep) Contact *p = NULL;
    const char *who, *fingerprint = NULL;
    sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_message_read_basic(message, 's', &who);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &fingerprint, error);
    if (r == 0 && !fingerprint)
        return bus_fail(error, HMSG_ERROR_INVALID_ARGS, "The option \"fingerprint\" is missing");
    if (r == 0)
        r = contacts_verify(m->contacts, who, fingerprint, &p);
    if (r == HMSG_ERROR_UNTRUSTED)
        return bus_fail(error, r, "This is not the fingerprint of the contact's key");
    if (r == 0)
        r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0 && p)
        r = append_contact(reply, p);
    if (r >= 0 && p)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return p && r >= 0 ? 1 : bus_fail(error, r, NULL);
}

/* Block, Allow, Forget: a contact and no options. */
static int change(sd_bus_message *message, int (*f)(Contacts *c, const char *who), Manager *m,
                  sd_bus_error *error)
{
    const char *who;
    int r;

    r = sd_bus_message_read_basic(message, 's', &who);
    if (r >= 0)
        r = bus_read_no_options(message, error);
    if (r == 0)
        r = f(m->contacts, who);
    if (r != 0)
        return bus_fail(error, r, NULL);
    return sd_bus_reply_method_return(message, NULL);
}

static int block(Contacts *c, const char *who)
{
    return contacts_block(c, who, true);
}

static int allow(Contacts *c, const char *who)
{
    return contacts_block(c, who, false);
}

static int method_block(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    return change(message, block, userdata, error);
}

static int method_allow(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    return change(message, allow, userdata, error);
}

static int method_forget(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    return change(message, contacts_forget, userdata, error);
}

const sd_bus_vtable contacts_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Lookup", SD_BUS_ARGS("s", address, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", contact), method_lookup, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Add", SD_BUS_ARGS("s", address, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", contact), method_add, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("List", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("aa{sv}", contacts),
                            method_list, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Verify", SD_BUS_ARGS("s", contact, "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", record), method_verify, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Block", SD_BUS_ARGS("s", contact, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_block, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Allow", SD_BUS_ARGS("s", contact, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_allow, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Forget", SD_BUS_ARGS("s", contact, "a{sv}", options), SD_BUS_NO_RESULT,
                            method_forget, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("CreateCapability", SD_BUS_ARGS("s", address, "a{sv}", options),
                            SD_BUS_RESULT("h", card, "a{sv}", result), contacts_method_create_capability,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListCapabilities", SD_BUS_ARGS("s", address, "a{sv}", options),
                            SD_BUS_RESULT("aa{sv}", capabilities), contacts_method_list_capabilities,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("RevokeCapability", SD_BUS_ARGS("s", address, "a{sv}", options), SD_BUS_NO_RESULT,
                            contacts_method_revoke_capability, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("KeyChanged", SD_BUS_ARGS("s", kid, "a{sv}", details), 0),
    SD_BUS_VTABLE_END,
};

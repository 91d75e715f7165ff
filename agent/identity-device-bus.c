/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices on the bus. Adding and removing one changes what our statements name: each of our addresses is
 * registered again, with the same keys and a new statement. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/contacts-manage.h"
#include "agent/identity-bus-internal.h"
#include "agent/own-devices.h"
#include "agent/relays.h"
#include "agent/store.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define ADDRESSES_MAX 256u
#define DETAIL_SIZE 768u

/* A change that the relays are being told of. */
typedef struct Call {
    Manager *m;
    Request *request;
    RelaysRequest *work;
    char *addresses[ADDRESSES_MAX]; /* of ours, with pin */
    size_t n, at;
    int failed; /* the first */
    char why[DETAIL_SIZE];
} Call;

static Call *call_free(Call *c)
{
    if (!c)
        return NULL;
    (void)relays_request_free(c->work);
    (void)request_free(c->request);
    for (size_t i = 0; i < c->n; i++)
        free(c->addresses[i]);
    free(c);
    return NULL;
}
DEFINE_CLEANUP(Call *, call_free)

static void on_client_left(void *userdata)
{
    (void)call_free(userdata);
}

/* name@host:port#PIN */
static int add_address(const char *address, const char *relay, const char *state, const char *error,
                       void *userdata)
{
    Call *c = userdata;
    int r;

    if (c->n == ADDRESSES_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    r = string_printf(&c->addresses[c->n], "%.*s@%s", (int)strcspn(address, "@"), address, relay);
    c->n += r == 0;
    return r;
}

static int call_new(Manager *m, sd_bus_message *message, Call **ret)
{
    _cleanup_(call_freep) Call *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    r = request_new(m->access, message, on_client_left, c, &c->request);
    if (r == 0)
        r = relays_each_registration(m->relays, add_address, c);
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

static void tell_next(Call *c);

static void told(Call *c, int r, const char *detail)
{
    if (r != 0 && c->failed == 0) {
        c->failed = r;
        (void)snprintf(c->why, sizeof(c->why),
                       "It is noted here, and the relay of %.250s is told when it can be: %.300s",
                       c->addresses[c->at], detail);
    }
    c->at++;
}

static void on_told(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Call *c = userdata;

    told(c, r, detail);
    c->work = relays_request_free(c->work);
    tell_next(c);
}

/* One that cannot be told keeps it from no other. */
static void tell_next(Call *c)
{
    while (c->at < c->n) {
        int r = relays_register(c->m->relays, c->addresses[c->at], NULL, false, on_told, c, &c->work);

        if (r == 0)
            return;
        told(c, r, error_message(r));
    }
    if (c->failed != 0)
        (void)request_fail(c->request, c->failed, c->why);
    else
        (void)request_reply(c->request, "");
    (void)call_free(c);
}

/* The change is stored; the call goes on until all relays that can be reached know. */
static int tell_all(Manager *m, sd_bus_message *message, sd_bus_error *error)
{
    Call *c = NULL;
    int r = call_new(m, message, &c);

    if (r != 0)
        return bus_fail(error, r, NULL);
    tell_next(c); /* it frees itself */
    return 1;
}

static int has_relay(const char *address, const char *relay, const char *state, const char *error,
                     void *userdata)
{
    return strcmp(relay, userdata) == 0 ? 1 : 0;
}

static int canonical(const char *address, Buf *ret)
{
    Address parsed;
    int r = address_parse(address, &parsed);

    return r == 0 ? address_format(&parsed, false, ret) : r;
}

static int has_address(const char *address, const char *relay, const char *state, const char *error,
                       void *userdata)
{
    return strcmp(address, userdata) == 0 ? 1 : 0;
}

static bool is_own(Manager *m, const char *address)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);

    return canonical(address, &text) == 0 &&
           relays_each_registration(m->relays, has_address, (void *)text.data) == 1;
}

/* What is told of a device is what a contact has: compared, at a relay where we are too, and no key of ours.
 */
static int make_device(Manager *m, const char *address, const char *fingerprint, OwnDevice *ret,
                       const char **ret_detail)
{
    _cleanup_(contact_freep) Contact *p = NULL;
    int r;

    *ret_detail = "A device has keys of its own, and a mailbox at a relay where we have one";
    if (is_own(m, address))
        return HMSG_ERROR_INVALID_ARGS;
    r = contacts_verify(m->contacts, address, fingerprint, &p);
    if (r != 0) {
        *ret_detail = r == HMSG_ERROR_UNTRUSTED   ? "This is not the fingerprint of the device's key"
                      : r == HMSG_ERROR_NOT_FOUND ? "The device is no contact yet: look its address up first"
                                                  : NULL;
        return r;
    }
    if (!p->address || !p->relay || !p->keys.skid[0] || identity_is_ours(m->identity, p->keys.skid) ||
        relays_each_registration(m->relays, has_relay, p->relay) != 1)
        return HMSG_ERROR_INVALID_ARGS;
    *ret = (OwnDevice){.added = clock_realtime()};
    (void)snprintf(ret->address, sizeof(ret->address), "%s", p->address);
    memcpy(ret->kid, p->keys.kid, sizeof(ret->kid));
    memcpy(ret->skid, p->keys.skid, sizeof(ret->skid));
    return 0;
}

int identity_method_add_device(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"fingerprint", 's', 0}};
    const char *address, *fingerprint = "", *detail = NULL;
    Manager *m = userdata;
    OwnDevice d;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &fingerprint, error);
    if (r == 0)
        r = identity_check(m->identity);
    if (r == HMSG_ERROR_LOCKED && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = make_device(m, address, fingerprint, &d, &detail);
    if (r == 0) {
        r = own_devices_add(store_db(m->store), &d);
        detail = r == HMSG_ERROR_QUOTA_EXCEEDED ? "There are 8 devices already" : NULL;
    }
    if (r != 0)
        return bus_fail(error, r, detail);
    return tell_all(m, message, error);
}

int identity_method_remove_device(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    Manager *m = userdata;
    const char *address;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_no_options(message, error);
    if (r == 0)
        r = identity_check(m->identity);
    if (r == HMSG_ERROR_LOCKED && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = canonical(address, &text);
    if (r == 0)
        r = own_devices_remove(store_db(m->store), buf_text(&text));
    if (r != 0)
        return bus_fail(error, r,
                        r == HMSG_ERROR_NOT_FOUND      ? "There is no device of this address"
                        : r == HMSG_ERROR_INVALID_ARGS ? "This is not an address; one is name@host[:port]"
                                                       : NULL);
    return tell_all(m, message, error);
}

static int append_device(Manager *m, sd_bus_message *reply, const OwnDevice *d)
{
    bool agrees = false;
    int r;

    r = contacts_names_us(m->contacts, d->address, &agrees);
    if (r == 0)
        r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(reply, "address", d->address);
    if (r >= 0)
        r = bus_append_string(reply, "kid", d->kid);
    if (r >= 0)
        r = bus_append_u64(reply, "added", (uint64_t)d->added);
    if (r >= 0)
        r = bus_append_bool(reply, "agrees", agrees);
    return r >= 0 ? sd_bus_message_close_container(reply) : r;
}

int identity_method_list_devices(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    OwnDevice all[DEVICES_MAX];
    sd_bus_message *reply = NULL;
    Manager *m = userdata;
    size_t n = 0;
    int r;

    r = bus_read_no_options(message, error);
    if (r == 0)
        r = own_devices_list(store_db(m->store), all, &n);
    if (r == 0)
        r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = append_device(m, reply, &all[i]);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r < 0 ? bus_fail(error, r, NULL) : 1;
}

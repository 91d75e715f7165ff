/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/bus-util.h"
#include "agent/contacts-bus-internal.h"
#include "agent/relays.h"
#include "agent/request.h"
#include "agent/unlocker.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

#define USES_DEFAULT 100u
#define LIFETIME_DEFAULT (30u * 86400u) /* seconds */

typedef struct Call {
    Request *request;
    RelaysRequest *work;
    Secret *code; /* CAPABILITY_SIZE */
    CapabilityGrant grant;
} Call;

static Call *call_free(Call *c)
{
    if (!c)
        return NULL;
    (void)relays_request_free(c->work);
    (void)request_free(c->request);
    (void)secret_free(c->code);
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

/* The end of a method: the call goes on, or failed. */
static int call_begun(Call **c, int r, sd_bus_error *error)
{
    const char *detail = NULL;

    if (r == HMSG_ERROR_NOT_FOUND)
        detail = "This is no address of ours that is registered";
    else if (r == HMSG_ERROR_INVALID_ARGS)
        detail = "Uses are 1 to 1000000, the time is at most 366 days, a name has at most 64 bytes, and of "
                 "several addresses one must be named";
    if (r != 0 && !*c)
        return bus_fail(error, r, detail);
    if (r != 0)
        (void)request_fail((*c)->request, r, detail);
    else
        (void)TAKE_PTR(*c);
    return 1;
}

/* The card: the address with its pin, a space and the code, in a memfd. */
static int make_card(const Call *c, const char *address, int *ret)
{
    _cleanup_(buf_done) Buf card = BUF_MAX(ADDRESS_SIZE_MAX + HASH_TEXT_SIZE + 2u);
    _cleanup_(fd_closep) int fd = memfd_create("hmsg-card", MFD_CLOEXEC);
    char code[HASH_TEXT_SIZE];
    int r;

    if (fd < 0)
        return -errno;
    base64url_encode(secret_bytes(c->code), CAPABILITY_SIZE, code);
    r = buf_printf(&card, "%s %s\n", address, code);
    bytes_wipe(code, sizeof(code));
    if (r == 0)
        r = file_write_fd(fd, card.data, card.size);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r == 0)
        *ret = TAKE_FD(fd);
    return r;
}

static int append_granted(sd_bus_message *m, const Call *c, const RelaysResult *result, int card)
{
    int r;

    r = sd_bus_message_append_basic(m, 'h', &card);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_string(m, "address", result->address);
    if (r >= 0)
        r = bus_append_u64(m, "number", result->number);
    if (r >= 0)
        r = bus_append_u64(m, "uses", c->grant.uses);
    if (r >= 0)
        r = bus_append_u64(m, "expires", (uint64_t)c->grant.expires);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static void on_granted(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;
    _cleanup_(fd_closep) int card = -1;
    sd_bus_message *reply = NULL;
    bool told = r != 0;

    if (r == 0)
        r = make_card(c, result->address, &card);
    if (r == 0)
        r = request_reply_new(c->request, &reply);
    if (r >= 0)
        r = append_granted(reply, c, result, card);
    if (r >= 0)
        (void)request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, told ? detail : NULL);
    sd_bus_message_unref(reply);
}

typedef struct CreateOptions {
    uint64_t uses, expires_in;
    const char *name;
} CreateOptions;

static int make_grant(Call *c, const CreateOptions *o)
{
    int r;

    if (o->uses == 0 || o->uses > CAPABILITY_USES_MAX || o->expires_in == 0 ||
        o->expires_in > CAPABILITY_LIFETIME_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    c->grant.uses = o->uses;
    c->grant.expires = clock_realtime() + (int64_t)o->expires_in;
    r = secret_new_random(CAPABILITY_SIZE, &c->code);
    return r == 0 ? capability_hash(secret_bytes(c->code), c->grant.hash) : r;
}

int contacts_method_create_capability(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    static const BusOption options[] = {{"uses", 't', offsetof(CreateOptions, uses)},
                                        {"expires_in", 't', offsetof(CreateOptions, expires_in)},
                                        {"name", 's', offsetof(CreateOptions, name)}};
    CreateOptions o = {.uses = USES_DEFAULT, .expires_in = LIFETIME_DEFAULT, .name = ""};
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    const char *address;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &o, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0)
        r = make_grant(c, &o);
    if (r == 0)
        r = relays_grant(m->relays, address, &c->grant, o.name, on_granted, c, &c->work);
    return call_begun(&c, r, error);
}

static int append_capability(sd_bus_message *m, const RelaysCapability *one)
{
    int r;

    r = sd_bus_message_open_container(m, 'a', "{sv}");
    if (r >= 0)
        r = bus_append_u64(m, "number", one->number);
    if (r >= 0)
        r = bus_append_string(m, "name", one->name);
    if (r >= 0)
        r = bus_append_u64(m, "uses", one->uses);
    if (r >= 0)
        r = bus_append_u64(m, "created", one->created);
    if (r >= 0)
        r = bus_append_u64(m, "expires", one->expires);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static void on_listed(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;
    sd_bus_message *reply = NULL;
    bool told = r != 0;

    if (r == 0)
        r = request_reply_new(c->request, &reply);
    if (r >= 0 && !told)
        r = sd_bus_message_open_container(reply, 'a', "a{sv}");
    for (size_t i = 0; r >= 0 && !told && i < result->n; i++)
        r = append_capability(reply, &result->capabilities[i]);
    if (r >= 0 && !told)
        r = sd_bus_message_close_container(reply);
    if (r >= 0 && !told)
        (void)request_send(c->request, reply);
    else
        (void)request_fail(c->request, r, told ? detail : NULL);
    sd_bus_message_unref(reply);
}

int contacts_method_list_capabilities(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    const char *address;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_no_options(message, error);
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0)
        r = relays_capabilities(m->relays, address, on_listed, c, &c->work);
    return call_begun(&c, r, error);
}

static void on_revoked(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    _cleanup_(call_freep) Call *c = userdata;

    if (r != 0)
        (void)request_fail(c->request, r,
                           r == HMSG_ERROR_NOT_FOUND ? "The mailbox has no such capability" : detail);
    else
        (void)request_reply(c->request, "");
}

int contacts_method_revoke_capability(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    _cleanup_(call_freep) Call *c = NULL;
    Manager *m = userdata;
    static const BusOption options[] = {{"number", 't', 0}};
    const char *address;
    uint64_t number = 0;
    int r;

    r = sd_bus_message_read_basic(message, 's', &address);
    if (r >= 0)
        r = bus_read_options(message, options, ELEMENTSOF(options), &number, error);
    if (r == 0 && (number == 0 || number > GENERATION_MAX))
        r = HMSG_ERROR_INVALID_ARGS;
    if (r == 0 && unlock_first(m, message))
        return 1;
    if (r == 0)
        r = call_new(m, message, &c);
    if (r == 0)
        r = relays_revoke(m->relays, address, number, on_revoked, c, &c->work);
    return call_begun(&c, r, error);
}

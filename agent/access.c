/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "agent/access.h"
#include "agent/bus-util.h"
#include "agent/channel.h"
#include "agent/confinement.h"
#include "agent/request.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define CLIENTS_MAX 1024u            /* names of the bus and channels together */
#define REQUESTS_PER_CLIENT_MAX 256u /* calls not yet answered */

struct Client {
    UT_hash_handle hh;
    char *name;      /* unique name; NULL for a channel */
    sd_bus *channel; /* not owned; NULL for a name */
    uid_t uid;
    char *context; /* of SELinux; NULL: none */
    Request *requests;
    unsigned n_requests;
};

struct Access {
    Manager *m;
    uid_t uid; /* ours */
    Confinement *confinement;
    uint64_t last_call; /* CLOCK_BOOTTIME */
    Client *names;      /* by name */
    Client *channels;   /* by channel */
    sd_bus_slot *filter_slot;
    sd_bus_slot *gone_slot;
};

struct Request {
    Request *prev, *next;
    Client *client; /* NULL: has left */
    sd_bus_message *call;
    request_cancel_t cancel;
    void *userdata;
    bool answered;
};

static void client_leave(Client *c)
{
    while (c->requests) {
        Request *q = c->requests;

        DL_DELETE(c->requests, q);
        q->client = NULL;
        if (q->cancel)
            q->cancel(q->userdata);
    }
    free(c->name);
    free(c->context);
    free(c);
}

static int client_check_permission(const Access *a, const Client *c, const char *permission,
                                   sd_bus_error *error)
{
    char text[128];

    if (confinement_check(a->confinement, c->context, permission) == 0)
        return 0;
    if (!confinement_complete())
        return bus_fail(error, HMSG_ERROR_DENIED,
                        "SELinux enforces a policy that does not know hmsg; see docs/selinux.md");
    (void)snprintf(text, sizeof(text), "The SELinux policy does not let this program do that (hmsg: %s)",
                   permission);
    return bus_fail(error, HMSG_ERROR_DENIED, text);
}

static int client_check(const Access *a, const Client *c, sd_bus_message *call, sd_bus_error *error)
{
    const char *interface = sd_bus_message_get_interface(call);

    if (c->uid != a->uid)
        return bus_fail(error, HMSG_ERROR_DENIED, "Only the user whose agent this is may call it");
    return client_check_permission(a, c, confinement_permission(interface, sd_bus_message_get_member(call)),
                                   error);
}

static int copy_context(const Access *a, const char *context, char **ret)
{
    if (!a->confinement || !context)
        return 0;
    *ret = strdup(context);
    return *ret ? 0 : -ENOMEM;
}

/* User and context of a name of the bus. */
static int ask_bus(const Access *a, sd_bus *bus, const char *name, uid_t *ret_uid, char **ret_context)
{
    uint64_t mask = SD_BUS_CREDS_EUID | (a->confinement ? SD_BUS_CREDS_SELINUX_CONTEXT : 0);
    sd_bus_creds *creds = NULL;
    const char *context = NULL;
    int r;

    r = sd_bus_get_name_creds(bus, name, mask, &creds);
    if (r < 0)
        return -ENXIO;
    r = sd_bus_creds_get_euid(creds, ret_uid);
    if (r >= 0 && a->confinement)
        (void)sd_bus_creds_get_selinux_context(creds, &context); /* none is refused by the check */
    r = r < 0 ? -ENXIO : copy_context(a, context, ret_context);
    sd_bus_creds_unref(creds);
    return r;
}

static int client_add_name(Access *a, sd_bus *bus, const char *name, Client **ret)
{
    char *context = NULL;
    Client *c;
    uid_t uid;
    int r;

    if (HASH_COUNT(a->names) >= CLIENTS_MAX)
        return -EUSERS;
    r = ask_bus(a, bus, name, &uid, &context);
    if (r < 0)
        return r;

    c = calloc(1, sizeof(*c));
    if (!c) {
        free(context);
        return -ENOMEM;
    }
    c->uid = uid;
    c->context = context;
    c->name = strdup(name);
    if (!c->name) {
        free(c->context);
        free(c);
        return -ENOMEM;
    }
    HASH_ADD_KEYPTR(hh, a->names, c->name, strlen(c->name), c);
    *ret = c;
    return 0;
}

int access_client(Access *a, sd_bus_message *call, Client **ret)
{
    const char *name = sd_bus_message_get_sender(call);
    sd_bus *bus = sd_bus_message_get_bus(call);
    Client *c = NULL;

    if (bus != a->m->bus)
        HASH_FIND_PTR(a->channels, &bus, c);
    else if (name)
        HASH_FIND_STR(a->names, name, c);
    if (c) {
        *ret = c;
        return 0;
    }
    if (bus != a->m->bus || !name)
        return -ENXIO;
    return client_add_name(a, bus, name, ret);
}

int access_may_sign(Access *a, sd_bus_message *call, sd_bus_error *error)
{
    Client *c;

    if (access_client(a, call, &c) < 0)
        return bus_fail(error, HMSG_ERROR_DENIED, "The caller cannot be identified");
    return client_check_permission(a, c, "sign", error);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Access *a = userdata;
    Client *c;
    int r;

    if (sd_bus_message_is_method_call(m, NULL, NULL) <= 0)
        return 0;
    if (a->m->channels)
        channels_check(a->m->channels, sd_bus_message_get_bus(m));
    r = access_client(a, m, &c);
    if (r < 0)
        return bus_fail(error, HMSG_ERROR_DENIED, "The caller cannot be identified");
    r = client_check(a, c, m, error);
    if (r >= 0)
        a->last_call = clock_boottime();
    return r;
}

static int on_name_gone(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    Access *a = userdata;
    const char *name;
    Client *c;

    if (!bus_is_broadcast(m) || sd_bus_message_read_basic(m, 's', &name) < 0)
        return 0;
    HASH_FIND_STR(a->names, name, c);
    if (c) {
        HASH_DEL(a->names, c);
        client_leave(c);
    }
    return 0;
}

int access_new(Manager *m, Access **ret)
{
    Access *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return -ENOMEM;
    a->m = m;
    a->uid = getuid();
    r = confinement_new(&a->confinement);
    if (r < 0) {
        free(a);
        return r;
    }
    if (a->confinement && !confinement_complete())
        log_error(
            "SELinux is on, and its policy lacks the class hmsg: while it enforces, every call is refused. "
            "docs/selinux.md says how to install it");
    *ret = a;
    return 0;
}

Access *access_free(Access *a)
{
    Client *c, *next;

    if (!a)
        return NULL;
    sd_bus_slot_unref(a->filter_slot);
    sd_bus_slot_unref(a->gone_slot);
    HASH_ITER (hh, a->names, c, next) {
        HASH_DEL(a->names, c);
        client_leave(c);
    }
    HASH_ITER (hh, a->channels, c, next) {
        HASH_DEL(a->channels, c);
        client_leave(c);
    }
    confinement_free(a->confinement);
    free(a);
    return NULL;
}

uint64_t access_last_call(const Access *a)
{
    return a->last_call;
}

int access_watch_bus(Access *a, sd_bus *bus)
{
    int r;

    r = sd_bus_add_filter(bus, &a->filter_slot, on_message, a);
    if (r < 0)
        return r;
    /* only names that vanish: one wake-up for each client of the bus that ends */
    return sd_bus_add_match_async(bus, &a->gone_slot,
                                  "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                  "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''",
                                  on_name_gone, NULL, a);
}

int access_watch_channel(Access *a, sd_bus *channel, const Client *rights)
{
    Client *c;

    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->channel = channel;
    c->uid = rights->uid;
    if (copy_context(a, rights->context, &c->context) < 0) {
        free(c);
        return -ENOMEM;
    }
    HASH_ADD_PTR(a->channels, channel, c);
    return sd_bus_add_filter(channel, NULL, on_message, a);
}

void access_channel_closed(Access *a, sd_bus *channel)
{
    Client *c;

    HASH_FIND_PTR(a->channels, &channel, c);
    if (c) {
        HASH_DEL(a->channels, c);
        client_leave(c);
    }
}

int request_new(Access *a, sd_bus_message *call, request_cancel_t cancel, void *userdata, Request **ret)
{
    Request *q;
    Client *c;
    int r;

    r = access_client(a, call, &c);
    if (r < 0)
        return r;
    if (c->n_requests >= REQUESTS_PER_CLIENT_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    q->client = c;
    q->call = sd_bus_message_ref(call);
    q->cancel = cancel;
    q->userdata = userdata;
    DL_APPEND(c->requests, q);
    c->n_requests++;
    *ret = q;
    return 0;
}

Request *request_free(Request *q)
{
    if (!q)
        return NULL;
    if (!q->answered)
        (void)request_fail(q, HMSG_ERROR_CANCELLED, NULL);
    if (q->client) {
        DL_DELETE(q->client->requests, q);
        q->client->n_requests--;
    }
    sd_bus_message_unref(q->call);
    free(q);
    return NULL;
}

sd_bus_message *request_message(Request *q)
{
    return q->call;
}

int request_reply_new(Request *q, sd_bus_message **ret)
{
    return sd_bus_message_new_method_return(q->call, ret);
}

int request_send(Request *q, sd_bus_message *reply)
{
    q->answered = true;
    if (!q->client)
        return 0;
    return sd_bus_send(sd_bus_message_get_bus(q->call), reply, NULL);
}

int request_reply(Request *q, const char *types, ...)
{
    sd_bus_message *reply = NULL;
    va_list ap;
    int r;

    r = request_reply_new(q, &reply);
    if (r >= 0 && types && *types) {
        va_start(ap, types);
        r = sd_bus_message_appendv(reply, types, ap);
        va_end(ap);
    }
    if (r >= 0)
        r = request_send(q, reply);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 0;
}

int request_fail(Request *q, int error, const char *detail)
{
    sd_bus_error e = SD_BUS_ERROR_NULL;
    int r;

    q->answered = true;
    if (!q->client)
        return 0;
    (void)bus_fail(&e, error, detail);
    r = sd_bus_reply_method_error(q->call, &e);
    sd_bus_error_free(&e);
    return r;
}

int request_again(Request *q)
{
    int r = 0;

    if (q->client) {
        r = sd_bus_message_rewind(q->call, true);
        if (r >= 0)
            r = sd_bus_enqueue_for_read(sd_bus_message_get_bus(q->call), q->call);
    }
    q->answered = r >= 0;
    return r < 0 ? r : 0;
}

int request_progress(Request *q, const char *job, uint64_t done, uint64_t total)
{
    sd_bus *bus = sd_bus_message_get_bus(q->call);
    sd_bus_message *signal = NULL;
    int r;

    if (!q->client || !job || !*job)
        return 0;
    r = sd_bus_message_new_signal(bus, &signal, AGENT_OBJECT_PATH, AGENT_INTERFACE, "Progress");
    if (r >= 0 && q->client->name)
        r = sd_bus_message_set_destination(signal, q->client->name);
    if (r >= 0)
        r = sd_bus_message_append(signal, "stt", job, done, total);
    if (r >= 0)
        r = sd_bus_send(bus, signal, NULL);
    sd_bus_message_unref(signal);
    return r < 0 ? r : 0;
}

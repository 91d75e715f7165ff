/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "agent/access-internal.h"
#include "agent/bus-util.h"
#include "agent/channel.h"
#include "agent/confinement.h"
#include "agent/gate.h"
#include "agent/vault.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define CLIENTS_MAX 1024u /* names of the bus and channels together */

struct Access {
    Manager *m;
    uid_t uid; /* ours */
    Confinement *confinement;
    uint64_t last_call;            /* CLOCK_BOOTTIME */
    const sd_bus_message *counted; /* what comes anew, while it is looked at; only compared */
    Client *names;                 /* by name */
    Client *channels;              /* by channel */
    sd_bus_slot *filter_slot;
    sd_bus_slot *gone_slot;
};

static void client_leave(Client *c)
{
    requests_cancel(c);
    gate_client_leaves(c);
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

/* The user's rules and all that the call may be about are in the store. */
static bool needs_store(const char *interface, const char *member, const char *permission)
{
    static const char *const interfaces[] = {AGENT_ACCESS_INTERFACE, AGENT_CIPHER_INTERFACE,
                                             AGENT_CONTACTS_INTERFACE, AGENT_MAIL_INTERFACE};

    if (strcmp(permission, "decrypt") == 0 || strcmp(permission, "sign") == 0 ||
        (member && strcmp(member, "Recover") == 0))
        return true;
    for (size_t i = 0; interface && i < ELEMENTSOF(interfaces); i++)
        if (strcmp(interface, interfaces[i]) == 0)
            return true;
    return false;
}

static int check_store(const Access *a, sd_bus_error *error)
{
    const char *help = NULL;
    const char *problem = vault_problem(a->m->vault, &help);
    char text[512];

    (void)snprintf(text, sizeof(text), "The store of contacts and mail is not open: %s%s%s", problem,
                   help ? "; " : "", help ? help : "");
    return bus_fail(error, HMSG_ERROR_TPM_UNAVAILABLE, text);
}

/* 0: it may; 1: that is being found out, and the call comes again; else a negative errno, with *error set. */
static int client_check(Access *a, Client *c, sd_bus_message *call, sd_bus_error *error)
{
    const char *interface = sd_bus_message_get_interface(call);
    const char *member = sd_bus_message_get_member(call);
    const char *permission = confinement_permission(interface, member);
    int r;

    if (c->uid != a->uid)
        return bus_fail(error, HMSG_ERROR_DENIED, "Only the user whose agent this is may call it");
    r = gate_keep_order(c, call);
    if (r == 0)
        a->counted = gate_take_passed(c, call) ? call : NULL;
    if (r == 0)
        r = client_check_permission(a, c, permission, error);
    if (r == 0 && !vault_is_open(a->m->vault) && needs_store(interface, member, permission))
        r = check_store(a, error);
    if (r != 0 || !a->m->gate)
        return r;
    /* a channel has its caller's rights for as long as it is open: they must be known first */
    if (interface && member && strcmp(interface, AGENT_INTERFACE) == 0 && strcmp(member, "OpenChannel") == 0)
        return gate_know(a->m->gate, c, call, error);
    return gate_check(a->m->gate, c, call, permission, a->counted == call, error);
}

static int copy_context(const Access *a, const char *context, char **ret)
{
    if (!a->confinement || !context)
        return 0;
    *ret = strdup(context);
    return *ret ? 0 : -ENOMEM;
}

/* User, process and context of a name of the bus. */
static int ask_bus(const Access *a, sd_bus *bus, const char *name, Client *c)
{
    uint64_t mask = SD_BUS_CREDS_EUID | (a->m->gate ? SD_BUS_CREDS_PID : 0) |
                    (a->confinement ? SD_BUS_CREDS_SELINUX_CONTEXT : 0);
    sd_bus_creds *creds = NULL;
    const char *context = NULL;
    int r;

    r = sd_bus_get_name_creds(bus, name, mask, &creds);
    if (r < 0)
        return -ENXIO;
    r = sd_bus_creds_get_euid(creds, &c->uid);
    if (r >= 0)
        (void)sd_bus_creds_get_pid(creds, &c->pid); /* without, it is an unknown program */
    if (r >= 0 && a->confinement)
        (void)sd_bus_creds_get_selinux_context(creds, &context); /* none is refused by the check */
    r = r < 0 ? -ENXIO : copy_context(a, context, &c->context);
    sd_bus_creds_unref(creds);
    return r;
}

static int client_add_name(Access *a, sd_bus *bus, const char *name, Client **ret)
{
    Client *c;
    int r;

    if (HASH_COUNT(a->names) >= CLIENTS_MAX)
        return -EUSERS;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    r = ask_bus(a, bus, name, c);
    if (r >= 0) {
        c->name = strdup(name);
        r = c->name ? 0 : -ENOMEM;
    }
    if (r < 0) {
        client_leave(c);
        return r;
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

bool access_is_confined(const Access *a)
{
    return a->confinement != NULL;
}

int access_may_sign(Access *a, sd_bus_message *call, sd_bus_error *error)
{
    Client *c;
    int r;

    if (access_client(a, call, &c) < 0)
        return bus_fail(error, HMSG_ERROR_DENIED, "The caller cannot be identified");
    r = client_check_permission(a, c, "sign", error);
    return r == 0 && a->m->gate ? gate_check(a->m->gate, c, call, "sign", a->counted == call, error) : r;
}

void access_passed(Access *a, sd_bus_message *call)
{
    Client *c;

    if (a->m->gate && access_client(a, call, &c) == 0)
        (void)gate_pass(c, call); /* it would count as two */
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
    if (r == 0)
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
    c->app = rights->app;
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

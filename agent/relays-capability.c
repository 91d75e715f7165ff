/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sending capabilities of our mailboxes. The relay knows their hash and the name by which the user remembers
 * one is ours alone. */

#include <errno.h>
#include <string.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/error.h"

static int begin(Relays *r, const char *address, request_step_t start, relays_done_t done, void *userdata,
                 RelaysRequest **ret)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Address parsed;
    OwnMailbox own;
    int e;

    e = identity_check(r->m->identity);
    if (e == 0)
        e = relays_own_mailbox(r, address, &own);
    if (e == 0)
        e = request_alloc(r, &q);
    if (e == 0)
        e = relay_parse(own.relay, &q->asked);
    if (e == 0)
        e = address_parse(own.address, &parsed);
    if (e != 0)
        return e;
    memcpy(q->name, parsed.name, sizeof(q->name));
    q->needs_login = true;
    q->start = start;
    q->done = done;
    q->userdata = userdata;
    *ret = TAKE_PTR(q);
    return 0;
}

/* In any case q is the caller's no more unless it goes on. */
static int go(RelaysRequest *q, RelaysRequest **ret)
{
    int r = request_begin(q, ret);

    if (r != 0)
        (void)relays_request_free(q);
    return r;
}

/* What the user calls it; name "" forgets that. */
static int keep_name(Relays *r, const char *relay, uint64_t number, const char *name)
{
    _cleanup_(db_statement_freep) DbStatement *s = NULL;
    int e;

    e = db_prepare(store_db(r->m->store),
                   *name ? "INSERT OR REPLACE INTO capability_names(relay, number, name) VALUES(?1, ?2, ?3)"
                         : "DELETE FROM capability_names WHERE relay = ?1 AND number = ?2",
                   &s);
    if (e != 0)
        return e;
    db_bind_text(s, 1, relay);
    db_bind_number(s, 2, (int64_t)number);
    if (*name)
        db_bind_text(s, 3, name);
    return db_run(s);
}

static int own_address(const RelaysRequest *q, Buf *ret)
{
    Address a = {.relay = q->connection->address};

    memcpy(a.name, q->name, sizeof(a.name));
    return address_format(&a, true, ret);
}

static int on_granted(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(buf_done) Buf address = BUF_MAX(ADDRESS_SIZE_MAX);
    RelaysResult result = {0};
    int r;

    r = sd_bus_message_read_basic(reply, 't', &result.number);
    if (r < 0)
        return -EBADMSG;
    r = own_address(q, &address);
    if (r == 0)
        r = keep_name(q->owner, q->connection->text, result.number, q->capability.name);
    result.address = buf_text(&address);
    if (r == 0)
        request_finish(q, 0, &result, NULL);
    return r;
}

/* The MAC is of this login, so it is made when that is there. */
static int grant(RelaysRequest *q)
{
    const CapabilityGrant *g = &q->capability.grant;
    Connection *c = q->connection;
    sd_bus_message *call = NULL;
    uint8_t mac[SHA256_SIZE];
    int r;

    if (!c->ack_key)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    r = capability_grant_mac(c->ack_key, c->address.pin, g, mac);
    if (r == 0)
        r = request_call_new(q, "Grant", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_append_array(call, 'y', g->hash, sizeof(g->hash));
    if (r >= 0)
        r = sd_bus_message_append(call, "tt", g->uses, (uint64_t)g->expires);
    if (r >= 0)
        r = sd_bus_message_append_array(call, 'y', mac, sizeof(mac));
    return request_call(q, call, r, false, on_granted);
}

int relays_grant(Relays *r, const char *address, const CapabilityGrant *g, const char *name,
                 relays_done_t done, void *userdata, RelaysRequest **ret)
{
    RelaysRequest *q = NULL;
    int e;

    if (strlen(name) > CAPABILITY_NAME_SIZE_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    e = begin(r, address, grant, done, userdata, &q);
    if (e != 0)
        return e;
    q->capability.grant = *g;
    memcpy(q->capability.name, name, strlen(name) + 1);
    return go(q, ret);
}

static int read_name(DbStatement *find, const char *relay, uint64_t number,
                     char ret[static CAPABILITY_NAME_SIZE_MAX + 1])
{
    bool row = false;
    size_t n = 0;
    int r;

    db_bind_text(find, 1, relay);
    db_bind_number(find, 2, (int64_t)number);
    r = db_step(find, &row);
    if (r == 0 && row) {
        const char *text = db_column_text(find, 0, &n);

        if (n <= CAPABILITY_NAME_SIZE_MAX)
            memcpy(ret, text, n + 1);
    }
    db_reset(find);
    return r;
}

static int read_all(RelaysRequest *q, sd_bus_message *reply, RelaysCapability *list, size_t *ret_n)
{
    _cleanup_(db_statement_freep) DbStatement *find = NULL;
    size_t n = 0;
    int r;

    r = db_prepare(store_db(q->owner->m->store),
                   "SELECT name FROM capability_names WHERE relay = ?1 AND number = ?2", &find);
    if (r != 0)
        return r;
    r = sd_bus_message_enter_container(reply, 'a', "(tttt)");
    while (r > 0 && n < CAPABILITIES_MAX) {
        RelaysCapability *c = &list[n];

        r = sd_bus_message_read(reply, "(tttt)", &c->number, &c->uses, &c->created, &c->expires);
        if (r > 0 && read_name(find, q->connection->text, c->number, c->name) != 0)
            return -EIO;
        if (r > 0)
            n++;
    }
    if (r < 0)
        return -EBADMSG;
    *ret_n = n;
    return 0;
}

static int on_capabilities(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(freep) RelaysCapability *list = calloc(CAPABILITIES_MAX, sizeof(*list));
    RelaysResult result = {.capabilities = list};
    int r;

    if (!list)
        return -ENOMEM;
    r = read_all(q, reply, list, &result.n);
    if (r == 0)
        request_finish(q, 0, &result, NULL);
    return r;
}

static int ask_capabilities(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    r = request_call_new(q, "Capabilities", &call);
    return r == 0 ? request_call(q, call, 0, false, on_capabilities) : r;
}

int relays_capabilities(Relays *r, const char *address, relays_done_t done, void *userdata,
                        RelaysRequest **ret)
{
    RelaysRequest *q = NULL;
    int e;

    e = begin(r, address, ask_capabilities, done, userdata, &q);
    return e == 0 ? go(q, ret) : e;
}

static int on_revoked(RelaysRequest *q, sd_bus_message *reply)
{
    int r = keep_name(q->owner, q->connection->text, q->capability.number, "");

    if (r == 0)
        request_finish(q, 0, &(RelaysResult){0}, NULL);
    return r;
}

static int take_back(RelaysRequest *q)
{
    Connection *c = q->connection;
    sd_bus_message *call = NULL;
    uint8_t mac[SHA256_SIZE];
    int r;

    if (!c->ack_key)
        return HMSG_ERROR_RELAY_UNAVAILABLE;
    r = capability_revoke_mac(c->ack_key, c->address.pin, q->capability.number, mac);
    if (r == 0)
        r = request_call_new(q, "Revoke", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_append_basic(call, 't', &q->capability.number);
    if (r >= 0)
        r = sd_bus_message_append_array(call, 'y', mac, sizeof(mac));
    return request_call(q, call, r, false, on_revoked);
}

int relays_revoke(Relays *r, const char *address, uint64_t number, relays_done_t done, void *userdata,
                  RelaysRequest **ret)
{
    RelaysRequest *q = NULL;
    int e;

    e = begin(r, address, take_back, done, userdata, &q);
    if (e != 0)
        return e;
    q->capability.number = number;
    return go(q, ret);
}

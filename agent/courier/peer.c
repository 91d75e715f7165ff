/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/courier/peer.h"

#include <errno.h>
#include <string.h>
#include <uthash.h>

#define PEER_NAME_SIZE (ADDRESS_SIZE_MAX + 1)

struct Peer {
    UT_hash_handle hh;
    char name[PEER_NAME_SIZE]; /* canonical */
    Courier *courier;
    Connection *connection;
    Listener *listener;
    bool logged_in;
    bool gave_nonce;
};

static Peer *peer_free(Peer *p)
{
    if (p) {
        HASH_DEL(p->courier->peers, p);
        connection_free(p->connection);
        free(p);
    }
    return NULL;
}

static void on_ended(void *userdata, const Problem *why)
{
    Peer *p = userdata;

    if (p->logged_in || p->gave_nonce)
        courier_signal(p->courier, "Disconnected", "ss", p->name, why->text);
    peer_free(p);
}

/* The text is the one that we would write: one relay has one name, hence one connection. */
static int parse_name(const char *name, Relay *ret, sd_bus_error *error)
{
    _cleanup_(buf_done) Buf canonical = BUF_MAX(PEER_NAME_SIZE);
    int r;

    r = relay_parse(name, ret);
    if (r == 0)
        r = ret->has_pin ? relay_format_full(ret, &canonical)
                         : buf_printf(&canonical, "%s:%u", ret->host, (unsigned)ret->port);
    if (r < 0)
        return failed(error, r);
    if (r > 0 || strcmp(buf_text(&canonical), name) != 0)
        return refused(error, SD_BUS_ERROR_INVALID_ARGS, "relay is \"host:port#PIN\"");
    return 0;
}

static Peer *peer_find(Courier *c, const char *name)
{
    Peer *p = NULL;

    HASH_FIND_STR(c->peers, name, p);
    if (p && connection_has_ended(p->connection)) {
        connection_settle(p->connection); /* frees it */
        p = NULL;
    }
    return p;
}

static int peer_new(Courier *c, const char *name, const Relay *relay, Peer **ret)
{
    Peer *p;
    int r;

    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    memcpy(p->name, name, strlen(name) + 1);
    p->courier = c;
    r = connection_new(c->event, c->tls_index, relay, false, on_ended, p, &p->connection);
    if (r < 0) {
        free(p);
        return r;
    }
    HASH_ADD_STR(c->peers, name, p);
    *ret = p;
    return 0;
}

int peer_get(Courier *c, const char *name, bool login, Peer **ret, sd_bus_error *error)
{
    Relay relay;
    Peer *p;
    int r;

    r = parse_name(name, &relay, error);
    if (r < 0)
        return r;
    p = peer_find(c, name);
    if (login && (!p || !p->logged_in))
        return refused(error, PROBLEM_LOGIN_REQUIRED, "Log in first");
    if (!p && HASH_COUNT(c->peers) >= COURIER_PEERS_MAX)
        return refused(error, PROBLEM_BUSY, "There are too many connections to relays");
    if (!p) {
        r = peer_new(c, name, &relay, &p);
        if (r < 0)
            return failed(error, r);
    }
    *ret = p;
    return 0;
}

int peer_forget(Courier *c, const char *name, sd_bus_error *error)
{
    Relay relay;
    Peer *p;
    int r;

    r = parse_name(name, &relay, error);
    if (r < 0)
        return r;
    HASH_FIND_STR(c->peers, name, p);
    peer_free(p);
    return 0;
}

void peers_free(Courier *c)
{
    Peer *p, *next;

    HASH_ITER (hh, c->peers, p, next)
        peer_free(p);
}

Connection *peer_connection(Peer *p)
{
    return p->connection;
}

Courier *peer_courier(Peer *p)
{
    return p->courier;
}

const char *peer_name(const Peer *p)
{
    return p->name;
}

void peer_set_logged_in(Peer *p, bool yes)
{
    p->logged_in = yes;
}

void peer_set_gave_nonce(Peer *p)
{
    p->gave_nonce = true;
}

Listener **peer_listener(Peer *p)
{
    return &p->listener;
}

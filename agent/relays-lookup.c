/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/json.h"

/* The binding and the statement speak of the same keys. */
static bool same_keys(const Binding *b, const IdentityStatement *s)
{
    return bytes_equal(b->skid, rsa_key_thumbprint(s->sign), KID_SIZE) &&
           bytes_equal(b->kid, rsa_key_thumbprint(s->decrypt), KID_SIZE) &&
           bytes_equal(b->statement_sha256, s->sha256, SHA256_SIZE);
}

/* A name in the directory vouches for name@relay and for nothing else. */
static bool same_address(const Connection *c, const Binding *b, const IdentityStatement *s)
{
    Address address;

    if (!*b->name)
        return true;
    return address_parse(s->address, &address) == 0 && strcmp(address.name, b->name) == 0 &&
           relay_equal(&address.relay, &c->address);
}

int directory_read(RelaysRequest *q, const char *statement, const char *binding, const char *relay_statement,
                   IdentityStatement *ret_identity, Binding *ret_binding)
{
    _cleanup_(identity_statement_done) IdentityStatement identity = {0};
    _cleanup_(ec_key_freep) EcKey *online = NULL;
    Connection *c = q->connection;
    int64_t now = clock_realtime();
    Binding b = {0};
    int r;

    r = connection_online(c, q, relay_statement, &online);
    if (r != 0)
        return r;
    r = binding_parse(binding, strlen(binding), online, c->address.pin, now, &b);
    if (r == 0)
        r = identity_statement_parse(statement, strlen(statement), now, &identity);
    if (r == 0 && (!same_keys(&b, &identity) || !same_address(c, &b, &identity)))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    if (r > 0)
        return request_error(q, HMSG_ERROR_AUTHENTICATION_FAILED,
                             "Relay %s:%u: what its directory says is not signed as it must be",
                             c->address.host, c->address.port);
    if (r < 0)
        return r;
    *ret_identity = identity;
    identity = (IdentityStatement){0};
    *ret_binding = b;
    return 0;
}

/* The way from the key that was named, if what the relay says is one. */
static int read_chain(const RelaysRequest *q, const char *text, const IdentityStatement *identity,
                      Rotation **ret)
{
    _cleanup_(json_decrefp) json_t *chain = NULL;
    _cleanup_(freep) Rotation *rotation = NULL;
    uint8_t from[KID_SIZE];
    int r;

    if (!*q->from || base64url_decode_exact(q->from, strlen(q->from), from, sizeof(from)) != 0)
        return 0;
    rotation = calloc(1, sizeof(*rotation));
    if (!rotation)
        return -ENOMEM;
    r = json_parse_array(text, strlen(text), &chain);
    if (r == 0)
        r = rotation_chain_follow(chain, from, identity, clock_realtime(), rotation);
    if (r == 0)
        *ret = TAKE_PTR(rotation);
    return r < 0 ? r : 0;
}

/* Is it whom we asked for, or who had that key? */
static int check_asked(RelaysRequest *q, const Binding *b, const Rotation *rotation)
{
    char kid[HASH_TEXT_SIZE], skid[HASH_TEXT_SIZE];

    base64url_encode(b->kid, KID_SIZE, kid);
    base64url_encode(b->skid, KID_SIZE, skid);
    if (*q->name ? strcmp(q->name, b->name) == 0
                 : rotation || strcmp(q->kid, kid) == 0 || strcmp(q->kid, skid) == 0)
        return 0;
    return request_error(q, HMSG_ERROR_AUTHENTICATION_FAILED,
                         "Relay %s:%u: its directory answers for another", q->asked.host, q->asked.port);
}

static int on_found(RelaysRequest *q, sd_bus_message *reply)
{
    const char *statement, *binding, *relay_statement, *chain;
    _cleanup_(identity_statement_done) IdentityStatement identity = {0};
    _cleanup_(freep) Rotation *rotation = NULL;
    char relay[RELAY_TEXT_SIZE];
    Binding b = {0};
    DirectoryEntry entry = {.relay = relay, .identity = &identity, .binding = &b};
    int r;

    r = sd_bus_message_read(reply, "ssss", &statement, &binding, &relay_statement, &chain);
    if (r < 0)
        return -EBADMSG;
    r = directory_read(q, statement, binding, relay_statement, &identity, &b);
    if (r == 0)
        r = read_chain(q, chain, &identity, &rotation);
    if (r == 0)
        r = check_asked(q, &b, rotation);
    if (r == 0)
        r = known_confirm(q);
    if (r != 0)
        return r;
    entry.statement = statement;
    entry.rotation = rotation;
    memcpy(relay, q->connection->text, sizeof(relay));
    request_finish(q, 0, NULL, &entry);
    return 0;
}

static int look_up(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    r = request_call_new(q, *q->name ? "LookupName" : "LookupKid", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_append(call, "ss", *q->name ? q->name : q->kid, q->from);
    return request_call(q, call, r, false, on_found);
}

static int on_not_found(RelaysRequest *q, const CourierError *e)
{
    if (e->error == HMSG_ERROR_NOT_FOUND)
        return request_error(q, e->error, "Nobody of that %s is registered at %s:%u",
                             *q->name ? "name" : "key", q->asked.host, q->asked.port);
    return request_error(q, e->error, "Relay %s:%u: %s", q->asked.host, q->asked.port, e->detail);
}

static int lookup_begin(RelaysRequest *q, relays_lookup_t done, void *userdata, RelaysRequest **ret)
{
    int r;

    q->start = look_up;
    q->refused = on_not_found;
    q->lookup_done = done;
    q->userdata = userdata;
    r = request_begin(q, ret);
    if (r != 0)
        (void)relays_request_free(q);
    return r;
}

int relays_lookup_name(Relays *r, const Relay *relay, const char *name, const char *from, bool trust_relay,
                       relays_lookup_t done, void *userdata, RelaysRequest **ret)
{
    RelaysRequest *q;
    int e;

    if (!name_valid(name))
        return HMSG_ERROR_INVALID_ARGS;
    e = request_alloc(r, &q);
    if (e < 0)
        return e;
    q->asked = *relay;
    q->trust_relay = trust_relay;
    (void)snprintf(q->name, sizeof(q->name), "%s", name);
    (void)snprintf(q->from, sizeof(q->from), "%s", from ? from : "");
    return lookup_begin(q, done, userdata, ret);
}

int relays_lookup_kid(Relays *r, const char *relay, const char *kid, relays_lookup_t done, void *userdata,
                      RelaysRequest **ret)
{
    RelaysRequest *q;
    Relay asked;
    int e;

    e = relay_parse(relay, &asked);
    if (e != 0)
        return e;
    if (!asked.has_pin || strlen(kid) != HASH_TEXT_SIZE - 1)
        return HMSG_ERROR_INVALID_ARGS;
    e = request_alloc(r, &q);
    if (e < 0)
        return e;
    q->asked = asked;
    memcpy(q->kid, kid, HASH_TEXT_SIZE);
    memcpy(q->from, kid, HASH_TEXT_SIZE);
    return lookup_begin(q, done, userdata, ret);
}

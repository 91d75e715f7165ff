/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/relays-internal.h"
#include "hmsg-build.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"

typedef struct Search {
    const Relay *relay;
    bool found;
    uint8_t pin[PIN_SIZE];
} Search;

/* One relay of the configuration or the build; a later one wins. */
static void consider(Search *s, const char *text)
{
    Relay relay;

    if (relay_parse(text, &relay) != 0 || !relay.has_pin)
        return;
    relay.has_pin = false;
    if (!relay_equal(&relay, s->relay))
        return;
    s->found = true;
    memcpy(s->pin, relay.pin, PIN_SIZE);
}

static int on_entry(const char *section, const char *key, const char *value, void *userdata)
{
    if (strcmp(section, "relays") == 0)
        consider(userdata, value);
    return 0;
}

static void search_built_in(Search *s)
{
    char text[sizeof(HMSG_RELAY_PINS)];
    char *next = text, *one;

    memcpy(text, HMSG_RELAY_PINS, sizeof(text));
    while ((one = strsep(&next, " ")))
        consider(s, one);
}

/* What the user has trusted; written only when nobody else says something. */
static int search_store(Relays *r, Search *s)
{
    _cleanup_(db_resetp) DbStatement *q = r->sql.pin_get;
    char key[RELAYS_HOST_PORT_SIZE];
    bool row = false;
    int e;

    relays_host_port(s->relay, key);
    db_bind_text(q, 1, key);
    e = db_step(q, &row);
    if (e != 0 || !row)
        return e;
    s->found = base64url_decode_exact(db_column_text(q, 0, NULL), HASH_TEXT_SIZE - 1, s->pin, PIN_SIZE) == 0;
    return 0;
}

/* The pin of now of the relay that has, or had, this one. */
static int pin_of_now(Relays *r, const Relay *relay, uint8_t pin[static PIN_SIZE])
{
    Relay asked = *relay;
    RelayPins pins;
    int e;

    memcpy(asked.pin, pin, PIN_SIZE);
    e = pins_find(r, &asked, &pins);
    if (e == 0)
        memcpy(pin, pins.now, PIN_SIZE);
    return e;
}

/* fixed: by somebody who is not asked again, the configuration or the build. */
static int known_pin(Relays *r, const Relay *relay, Search *ret, bool *ret_fixed)
{
    int e = 0;

    *ret = (Search){.relay = relay};
    search_built_in(ret);
    (void)config_each(r->m->config, on_entry, ret);
    *ret_fixed = ret->found;
    if (!ret->found)
        e = search_store(r, ret);
    return e == 0 && ret->found ? pin_of_now(r, relay, ret->pin) : e;
}

int known_by(Relays *r, const Relay *relay, uint8_t ret[static PIN_SIZE], bool *ret_known)
{
    Relay asked = *relay;
    bool fixed = false;
    Search s;
    int e;

    asked.has_pin = false;
    e = known_pin(r, &asked, &s, &fixed);
    *ret_known = e == 0 && s.found;
    if (*ret_known)
        memcpy(ret, s.pin, PIN_SIZE);
    return e;
}

bool relays_knows(Relays *r, const Relay *relay)
{
    uint8_t pin[PIN_SIZE];
    bool known = false;

    return known_by(r, relay, pin, &known) == 0 && known;
}

static int store_pin(Relays *r, const Relay *relay)
{
    _cleanup_(buf_done) Buf name = BUF_MAX(RELAY_TEXT_SIZE - 1);
    char key[RELAYS_HOST_PORT_SIZE], pin[HASH_TEXT_SIZE];
    int e;

    relays_host_port(relay, key);
    base64url_encode(relay->pin, PIN_SIZE, pin);
    db_bind_text(r->sql.pin_put, 1, key);
    db_bind_text(r->sql.pin_put, 2, pin);
    db_bind_number(r->sql.pin_put, 3, clock_realtime());
    e = db_run(r->sql.pin_put);
    if (e == 0)
        e = relay_format_full(relay, &name);
    for (size_t i = 0; e == 0 && i < r->n_watchers; i++)
        if (r->watchers[i].f.trusted)
            r->watchers[i].f.trusted(buf_text(&name), r->watchers[i].userdata);
    return e;
}

int known_confirm(RelaysRequest *q)
{
    bool fixed = false;
    Search s;
    int r;

    r = known_pin(q->owner, &q->connection->address, &s, &fixed);
    if (r != 0 || (s.found && (fixed || bytes_equal(s.pin, q->connection->address.pin, PIN_SIZE))))
        return r;
    return store_pin(q->owner, &q->connection->address);
}

static int refuse_unknown(RelaysRequest *q, const uint8_t *pin)
{
    char text[HASH_TEXT_SIZE];

    base64url_encode(pin, PIN_SIZE, text);
    return request_error(
        q, HMSG_ERROR_UNTRUSTED,
        "The relay is not known. The key that it has makes it %s:%u#%s: compare that with what its "
        "operator says, and use it in the address or trust the relay",
        q->asked.host, q->asked.port, text);
}

static int on_probed(RelaysRequest *q, sd_bus_message *reply)
{
    RelayStatement statement = {0};
    const void *pin = NULL;
    const char *text, *successions;
    size_t n = 0;
    int r;

    r = sd_bus_message_read_array(reply, 'y', &pin, &n);
    if (r >= 0)
        r = sd_bus_message_read(reply, "ss", &text, &successions);
    if (r < 0 || n != PIN_SIZE)
        return -EBADMSG;
    r = relay_statement_parse(text, strlen(text), pin, clock_realtime(), &statement);
    relay_statement_done(&statement);
    if (r > 0)
        return request_error(q, HMSG_ERROR_AUTHENTICATION_FAILED,
                             "Relay %s:%u: its statement is not signed by its own key", q->asked.host,
                             q->asked.port);
    if (r < 0)
        return r;
    if (!q->trust_relay)
        return refuse_unknown(q, pin);
    q->asked.has_pin = true;
    memcpy(q->asked.pin, pin, PIN_SIZE);
    log_info("The relay %s:%u is trusted from now on, by the user's word", q->asked.host, q->asked.port);
    r = store_pin(q->owner, &q->asked);
    if (r == 0)
        r = connection_get(q->owner, &q->asked, true, &q->connection);
    return r == 0 ? request_proceed(q) : r;
}

int known_probe(RelaysRequest *q, request_reply_t reply)
{
    sd_bus_message *call = NULL;
    char key[RELAYS_HOST_PORT_SIZE];
    int r;

    relays_host_port(&q->asked, key);
    r = courier_link_call_new(q->owner->link, "Probe", &call);
    if (r > 0)
        return request_error(q, r, "The courier, which speaks to relays, cannot be started");
    if (r == 0)
        r = sd_bus_message_append_basic(call, 's', key);
    return request_call(q, call, r, false, reply);
}

int known_resolve(RelaysRequest *q)
{
    bool fixed = false;
    Search s;
    int r;

    r = known_pin(q->owner, &q->asked, &s, &fixed);
    if (r != 0)
        return r;
    if (!q->asked.has_pin && !s.found)
        return known_probe(q, on_probed);
    if (q->asked.has_pin)
        r = pin_of_now(q->owner, &q->asked, q->asked.pin);
    if (r != 0)
        return r;
    if (s.found && q->asked.has_pin && !bytes_equal(s.pin, q->asked.pin, PIN_SIZE) &&
        (fixed || !q->trust_relay)) {
        if (!q->followed) /* it may be one of before */
            return pins_follow(q);
        return request_error(q, HMSG_ERROR_UNTRUSTED,
                             "The relay %s:%u is known by another pin than the given one", q->asked.host,
                             q->asked.port);
    }
    if (!q->asked.has_pin)
        memcpy(q->asked.pin, s.pin, PIN_SIZE);
    q->asked.has_pin = true;
    r = connection_get(q->owner, &q->asked, true, &q->connection);
    return r == 0 ? request_proceed(q) : r;
}

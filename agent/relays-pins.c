/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Relays that change their identity key. A relay keeps in our tables the name that it had when we met it,
 * host:port with the pin of then: its root. Which pin it has by now stands in the table relay_pins, as does
 * the one that it has announced to be the next. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/json.h"

void relays_host_port(const Relay *relay, char ret[static RELAYS_HOST_PORT_SIZE])
{
    (void)snprintf(ret, RELAYS_HOST_PORT_SIZE, "%s:%u", relay->host, relay->port);
}

static bool read_pin(DbStatement *row, int column, uint8_t ret[static PIN_SIZE])
{
    return !db_column_null(row, column) &&
           base64url_decode_exact(db_column_text(row, column, NULL), HASH_TEXT_SIZE - 1, ret, PIN_SIZE) == 0;
}

int pins_find(Relays *r, const Relay *relay, RelayPins *ret)
{
    _cleanup_(db_resetp) DbStatement *q = r->sql.pins_find;
    char key[RELAYS_HOST_PORT_SIZE], pin[HASH_TEXT_SIZE];
    bool row = false;
    int e;

    *ret = (RelayPins){0};
    memcpy(ret->root, relay->pin, PIN_SIZE);
    memcpy(ret->now, relay->pin, PIN_SIZE);
    relays_host_port(relay, key);
    base64url_encode(relay->pin, PIN_SIZE, pin);
    db_bind_text(q, 1, key);
    db_bind_text(q, 2, pin);
    e = db_step(q, &row);
    if (e != 0 || !row)
        return e;
    if (!read_pin(q, 0, ret->now) || !read_pin(q, 1, ret->root))
        return -EBADMSG;
    ret->has_next = read_pin(q, 2, ret->next);
    return 0;
}

int pins_announced(Connection *c, const RelayStatement *s)
{
    DbStatement *put = c->owner->sql.pins_announce;
    char key[RELAYS_HOST_PORT_SIZE], pin[HASH_TEXT_SIZE], next[HASH_TEXT_SIZE];
    RelayPins known;
    int e = pins_find(c->owner, &c->address, &known);

    if (e != 0 || (known.has_next == s->has_next_pin &&
                   (!known.has_next || bytes_equal(known.next, s->next_pin, PIN_SIZE))))
        return e;
    relays_host_port(&c->address, key);
    base64url_encode(c->address.pin, PIN_SIZE, pin);
    base64url_encode(s->next_pin, PIN_SIZE, next);
    db_bind_text(put, 1, key);
    db_bind_text(put, 2, pin);
    db_bind_text(put, 3, s->has_next_pin ? next : NULL);
    return db_run(put);
}

/* What we called by its new pin before we knew that it is the same relay. */
static int rename_rows(Relays *r, const char *from, const char *to)
{
    static const char *const tables[] = {"registrations", "contacts", "inbox",      "done",
                                         "outbox",        "guests",   "relay_ticks"};
    int e = 0;

    for (size_t i = 0; e == 0 && i < ELEMENTSOF(tables); i++) {
        _cleanup_(db_statement_freep) DbStatement *update = NULL;
        char sql[100];

        (void)snprintf(sql, sizeof(sql), "UPDATE OR REPLACE %s SET relay = ?2 WHERE relay = ?1", tables[i]);
        e = db_prepare(store_db(r->m->store), sql, &update);
        if (e != 0)
            return e;
        db_bind_text(update, 1, from);
        db_bind_text(update, 2, to);
        e = db_run(update);
    }
    return e;
}

static int format_with(const Relay *relay, const uint8_t *pin, Buf *ret)
{
    Relay other = *relay;

    other.has_pin = true;
    memcpy(other.pin, pin, PIN_SIZE);
    return relay_format_full(&other, ret);
}

static int put_pin(Relays *r, DbStatement *put, const Relay *relay, const uint8_t *pin, const uint8_t *root)
{
    char key[RELAYS_HOST_PORT_SIZE], text[HASH_TEXT_SIZE], root_text[HASH_TEXT_SIZE];

    relays_host_port(relay, key);
    base64url_encode(pin, PIN_SIZE, text);
    base64url_encode(root, PIN_SIZE, root_text);
    db_bind_text(put, 1, key);
    db_bind_text(put, 2, text);
    db_bind_text(put, 3, root_text);
    return db_run(put);
}

/* The relay that had one pin has another; both are of this root. */
static int store_follow(Relays *r, const Relay *relay, const uint8_t *former, const uint8_t *pin,
                        const uint8_t *root)
{
    const uint8_t *other = bytes_equal(root, pin, PIN_SIZE) ? former : pin;
    _cleanup_(buf_done) Buf from = BUF_MAX(RELAY_TEXT_SIZE - 1), to = BUF_MAX(RELAY_TEXT_SIZE - 1);
    _cleanup_(db_rollbackp) Db *transaction = store_db(r->m->store);
    int e = db_begin(transaction);

    if (e == 0)
        e = put_pin(r, r->sql.pins_keep, relay, former, root);
    if (e == 0)
        e = put_pin(r, r->sql.pins_follow, relay, pin, root);
    if (e == 0)
        e = format_with(relay, other, &from);
    if (e == 0)
        e = format_with(relay, root, &to);
    if (e == 0)
        e = rename_rows(r, buf_text(&from), buf_text(&to));
    return e == 0 ? db_commit(transaction) : e;
}

/* The relay has this pin from now on. */
static int follow(Relays *r, const Relay *relay, const uint8_t *former, const uint8_t *pin,
                  const uint8_t *root)
{
    _cleanup_(buf_done) Buf name = BUF_MAX(RELAY_TEXT_SIZE - 1);
    char text[HASH_TEXT_SIZE];
    Connection *c;
    int e = store_follow(r, relay, former, pin, root);

    if (e == 0)
        e = format_with(relay, root, &name);
    if (e != 0)
        return e;
    base64url_encode(pin, PIN_SIZE, text);
    log_info("The relay %s:%u has another key, as its former one says: its pin is %s", relay->host,
             relay->port, text);
    c = connection_find(r, buf_text(&name));
    if (c && !bytes_equal(c->address.pin, pin, PIN_SIZE)) {
        login_forget(c);
        buf_clear(&c->statement);
        c->online = ec_key_free(c->online);
        connection_set_pin(c, pin);
        login_lost(c, "The relay has another key");
    }
    return relays_load_ours(r);
}

/* Is there a way from the key that we know to this one? */
static int check_way(const RelayPins *known, const uint8_t *pin, const char *text)
{
    _cleanup_(json_decrefp) json_t *all = NULL;
    const uint8_t *next = known->has_next ? known->next : NULL;
    int r;

    if (next && bytes_equal(next, pin, PIN_SIZE))
        return 0;
    r = *text ? json_parse_array(text, strlen(text), &all) : HMSG_ERROR_AUTHENTICATION_FAILED;
    return r == 0 ? succession_follow(all, known->now, next, pin, clock_realtime()) : r;
}

int pins_refuse(RelaysRequest *q)
{
    return request_error(q, HMSG_ERROR_UNTRUSTED,
                         "Relay %s:%u: The relay does not have the pinned key, nor one that the pinned key "
                         "has named. If its operator tells you of a new pin, register with that in the "
                         "address and trust the relay",
                         q->asked.host, q->asked.port);
}

/* We go on calling it what we called it first: with this pin when that is new to us, else as it is called by
 * the pin that it has. */
static bool keeps_root(const RelaysRequest *q, const uint8_t *pin)
{
    return q->connection || bytes_equal(q->asked.pin, pin, PIN_SIZE);
}

/* What we know of the relay that has answered with pin: of the key that it was asked for, or, when that is
 * the one that it has, of the one that we know at this place. */
static int find_known(RelaysRequest *q, const uint8_t *pin, RelayPins *ret)
{
    Relay here = q->asked;
    bool is_known = false;
    int r = pins_find(q->owner, &q->asked, ret);

    if (r == 0 && bytes_equal(ret->now, pin, PIN_SIZE))
        r = known_by(q->owner, &q->asked, here.pin, &is_known);
    return r == 0 && is_known ? pins_find(q->owner, &here, ret) : r;
}

static int on_probed(RelaysRequest *q, sd_bus_message *reply)
{
    _cleanup_(relay_statement_done) RelayStatement statement = {0};
    const void *pin = NULL;
    const char *text = "", *successions = "";
    RelayPins known, found;
    Relay answered = q->asked;
    size_t n = 0;
    int r;

    q->following = false;
    r = sd_bus_message_read_array(reply, 'y', &pin, &n);
    if (r >= 0)
        r = sd_bus_message_read(reply, "ss", &text, &successions);
    if (r < 0 || n != PIN_SIZE || strlen(successions) > SUCCESSIONS_SIZE_MAX)
        return -EBADMSG;
    memcpy(answered.pin, pin, PIN_SIZE);
    r = find_known(q, pin, &known);
    if (r == 0)
        r = pins_find(q->owner, &answered, &found);
    if (r == 0)
        r = relay_statement_parse(text, strlen(text), pin, clock_realtime(), &statement);
    if (r == 0 && !bytes_equal(known.now, pin, PIN_SIZE)) {
        r = check_way(&known, pin, successions);
        if (r == 0)
            r = follow(q->owner, &q->asked, known.now, pin, keeps_root(q, pin) ? known.root : found.root);
    }
    if (r > 0)
        return pins_refuse(q);
    return r == 0 ? known_resolve(q) : r;
}

int pins_follow(RelaysRequest *q)
{
    q->followed = q->following = true;
    return known_probe(q, on_probed);
}

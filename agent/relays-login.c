/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define USEC 1000000u
#define TIMER_ACCURACY (USEC / 10)

/* One login serves everything that waits for it. */
static void login_done(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Connection *c = userdata;
    RelaysRequest *q;

    c->login = relays_request_free(c->login);
    c->state = r == 0 ? CONNECTION_LOGGED_IN : CONNECTION_OFF;
    (void)snprintf(c->error, sizeof(c->error), "%s", detail);
    if (r == 0)
        c->unregistered = false;
    if (r == 0 && guests_note(c) != 0)
        log_warning("It cannot be remembered where we are guests: the store cannot be written");
    while ((q = c->waiting)) {
        int e = r;

        LL_DELETE2(c->waiting, q, waiting_next);
        q->is_waiting = false;
        if (r == 0 || !q->needs_login)
            e = q->start(q);
        else
            (void)request_error(q, r, "%s", detail);
        if (e != 0)
            request_finish(q, e, NULL, NULL);
    }
}

static int read_response(RelaysRequest *q, const char *response, const char *relay_statement)
{
    const IdentityPublic *p = identity_public(q->owner->m->identity);
    _cleanup_(ec_key_freep) EcKey *online = NULL;
    Connection *c = q->connection;
    LoginResponse answer;
    Secret *key = NULL;
    int r;

    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    r = connection_online(c, q, relay_statement, &online);
    if (r != 0)
        return r;
    r = login_response_parse(response, strlen(response), online, c->address.pin, p->skid_bytes,
                             q->binding.nonce, clock_realtime(), &answer);
    if (r == 0)
        r = ack_key_derive(q->secret, answer.epk, q->binding.nonce, c->address.pin, p->skid_bytes, &key);
    if (r > 0)
        return request_error(q, HMSG_ERROR_AUTHENTICATION_FAILED,
                             "Relay %s:%u: its answer to the login is not signed as it must be",
                             c->address.host, c->address.port);
    if (r < 0)
        return r;
    (void)secret_free(c->ack_key);
    c->ack_key = key;
    return known_confirm(q);
}

static int on_logged_in(RelaysRequest *q, sd_bus_message *reply)
{
    const char *response, *relay_statement;
    int r;

    r = sd_bus_message_read(reply, "ss", &response, &relay_statement);
    if (r < 0)
        return -EBADMSG;
    r = read_response(q, response, relay_statement);
    if (r == 0)
        request_finish(q, 0, &(RelaysResult){0}, NULL);
    return r;
}

static int ask_nonce(RelaysRequest *q);

/* Somebody waits for what a guest may do as well. */
static bool guest_will_do(const Connection *c)
{
    const RelaysRequest *w;

    DL_FOREACH2(c->waiting, w, waiting_next)
    if (w->purpose == PURPOSE_ANY)
        return true;
    return false;
}

/* Neither the key of now nor one of before is known there. */
static int on_unknown(RelaysRequest *q)
{
    Connection *c = q->connection;

    if (relays_is_ours(q->owner, c->text)) {
        c->unregistered = true;
        return request_error(q, HMSG_ERROR_NOT_FOUND,
                             "Relay %s:%u does not know our keys any more: register again", q->asked.host,
                             q->asked.port);
    }
    (void)guests_forget(c);
    if (!guest_will_do(c) || q->probed)
        return request_error(q, HMSG_ERROR_NOT_FOUND, "Relay %s:%u: our keys are not registered there",
                             q->asked.host, q->asked.port);
    q->probed = true; /* once */
    q->refused = NULL;
    return register_guest_start(q, ask_nonce);
}

static int on_login_refused(RelaysRequest *q, const CourierError *e)
{
    if (e->error != HMSG_ERROR_NOT_FOUND)
        return request_error(q, e->error, "Relay %s:%u: %s", q->asked.host, q->asked.port, e->detail);
    /* it may know a key of before */
    return q->rotated ? on_unknown(q) : rotate_start(q, ask_nonce, on_unknown);
}

/* Where we are by a former key the one of now is told before it logs in. */
static int begin_login(RelaysRequest *q)
{
    return rotate_is_due(q->owner, q->connection->text) ? rotate_start(q, ask_nonce, ask_nonce)
                                                        : ask_nonce(q);
}

static void on_signed(int r, const char *detail, const char *jws, void *userdata)
{
    RelaysRequest *q = userdata;
    sd_bus_message *call = NULL;

    q->work = identity_work_free(q->work);
    if (r != 0)
        (void)request_error(q, r, "%s", detail);
    if (r == 0)
        r = request_call_new(q, "Login", &call);
    if (r == 0) {
        r = sd_bus_message_append_basic(call, 's', jws);
        q->refused = on_login_refused;
        r = request_call(q, call, r, false, on_logged_in);
    }
    if (r != 0)
        request_finish(q, r, NULL, NULL);
}

static int sign_login(RelaysRequest *q)
{
    Identity *identity = q->owner->m->identity;
    const IdentityPublic *p = identity_public(identity);
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    LoginRequest login = {.binding = q->binding};
    int r;

    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    q->secret = secret_free(q->secret);
    r = x25519_generate(&q->secret, login.epk);
    login.iat = clock_realtime();
    login.exp = login.iat + (int64_t)RELAYS_REQUEST_LIFETIME;
    if (r == 0)
        r = login_request_prepare(&login, p->skid_bytes, &draft);
    if (r == 0)
        r = identity_sign_jws(identity, buf_text(&draft.input), on_signed, q, &q->work);
    return r;
}

/* The pin is ours, not the courier's: a request is of use for no other relay. */
static int on_nonce(RelaysRequest *q, sd_bus_message *reply)
{
    int r = request_read_nonce(q, reply, NULL);

    return r == 0 ? sign_login(q) : r;
}

static int ask_nonce(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    r = identity_check(q->owner->m->identity);
    if (r == 0)
        r = request_call_new(q, "Nonce", &call);
    q->refused = NULL;
    return r == 0 ? request_call(q, call, 0, false, on_nonce) : r;
}

int login_start(Connection *c)
{
    RelaysRequest *q;
    int r;

    r = request_alloc(c->owner, &q);
    if (r < 0)
        return r;
    q->asked = c->address;
    q->start = begin_login;
    q->done = login_done;
    q->userdata = c;
    r = request_begin(q, &c->login);
    if (r < 0) {
        (void)relays_request_free(q);
        return r;
    }
    c->state = CONNECTION_LOGGING_IN;
    return 0;
}

void login_lost(Connection *c, const char *reason)
{
    bool was = c->listening;

    c->listening = false;
    c->ack_key = secret_free(c->ack_key);
    /* one that is under way ends by itself: its calls fail */
    if (c->state == CONNECTION_LOGGED_IN)
        c->state = CONNECTION_OFF;
    if (was)
        (void)snprintf(c->error, sizeof(c->error), "%.200s", reason);
    login_keep(c, false);
}

void login_stop(Connection *c)
{
    c->login = relays_request_free(c->login);
    c->listen = relays_request_free(c->listen);
    c->timer = sd_event_source_disable_unref(c->timer);
    devices_stop(c);
    settings_stop(c);
    c->ack_key = secret_free(c->ack_key);
    c->state = CONNECTION_OFF;
    c->listening = false;
}

static void tell_listening(Connection *c)
{
    Relays *r = c->owner;

    for (size_t i = 0; i < r->n_watchers; i++)
        if (r->watchers[i].f.listening)
            r->watchers[i].f.listening(c->text, r->watchers[i].userdata);
}

static void listen_done(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Connection *c = userdata;

    c->listen = relays_request_free(c->listen);
    if (r == 0) {
        c->failures = 0;
        c->listening = true;
        c->error[0] = 0;
        log_debug("Connected to relay %s:%u", c->address.host, c->address.port);
        if (c->telling)
            guests_told(c);
        if (!c->listening)
            return;
        devices_tell(c);
        settings_tell(c, true);
        tell_listening(c);
        return;
    }
    if (c->failures == 0)
        log_info("Relay %s:%u: %s", c->address.host, c->address.port, detail);
    (void)snprintf(c->error, sizeof(c->error), "%s", detail);
    c->telling = c->telling && rotate_is_due(c->owner, c->text);
    if (c->failures < 16)
        c->failures++;
    login_keep(c, false);
}

static int on_listening(RelaysRequest *q, sd_bus_message *reply)
{
    request_finish(q, 0, &(RelaysResult){0}, NULL);
    return 0;
}

static int ask_listen(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    r = request_call_new(q, "Listen", &call);
    return r == 0 ? request_call(q, call, 0, false, on_listening) : r;
}

static int start_listening(Connection *c)
{
    RelaysRequest *q;
    int r;

    r = request_alloc(c->owner, &q);
    if (r < 0)
        return r;
    q->asked = c->address;
    q->needs_login = true;
    /* what is only to be told of new keys need not know us anew */
    q->purpose = c->kept && !relays_is_ours(c->owner, c->text) ? PURPOSE_ANY : PURPOSE_MEMBER;
    q->start = ask_listen;
    q->done = listen_done;
    q->userdata = c;
    r = request_begin(q, &c->listen);
    if (r < 0)
        (void)relays_request_free(q);
    return r;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    Connection *c = userdata;

    c->timer = sd_event_source_disable_unref(c->timer);
    if (c->listening || c->listen)
        return 0;
    if (start_listening(c) < 0) {
        c->failures++;
        login_keep(c, false);
    }
    return 0;
}

/* Doubled with each failure, and anywhere in the upper half of that, so that the users of a relay that comes
 * back do not all come at once. */
static uint64_t pause_usec(unsigned failures)
{
    uint64_t pause = (uint64_t)RELAYS_RECONNECT_MIN << (failures < 16 ? failures : 16);
    uint32_t random = 0;

    if (pause > RELAYS_RECONNECT_MAX)
        pause = RELAYS_RECONNECT_MAX;
    pause *= USEC;
    (void)crypto_random(&random, sizeof(random));
    return pause / 2 + random % (pause / 2);
}

void login_keep(Connection *c, bool at_once)
{
    bool wanted = c->kept || c->telling || relays_is_ours(c->owner, c->text);

    if (!wanted || at_once)
        c->timer = sd_event_source_disable_unref(c->timer);
    if (!wanted || c->listening || c->listen || c->timer)
        return;
    if (at_once)
        c->failures = 0;
    if (sd_event_add_time_relative(c->owner->m->event, &c->timer, CLOCK_BOOTTIME,
                                   at_once ? 0 : pause_usec(c->failures), at_once ? 1 : TIMER_ACCURACY,
                                   on_timer, c) < 0)
        log_error("No timer for relay %s:%u", c->address.host, c->address.port);
}

void login_keep_all(Relays *r, bool at_once)
{
    Connection *c;
    Relay relay;

    for (size_t i = 0; i < r->n_ours; i++)
        if (relay_parse(r->ours[i], &relay) == 0)
            (void)connection_get(r, &relay, false, &c);
    DL_FOREACH (r->connections, c)
        login_keep(c, at_once);
}

int relays_keep(Relays *r, const char *relay, bool keep)
{
    Connection *c = connection_find(r, relay);
    Relay parsed;
    int e;

    if (!c && !keep)
        return 0;
    e = c ? 0 : relay_parse(relay, &parsed);
    if (e == 0 && !c)
        e = connection_get(r, &parsed, false, &c);
    if (e != 0)
        return e;
    c->kept = keep;
    login_keep(c, false);
    return 0;
}

void relays_hurry(Relays *r)
{
    login_keep_all(r, true);
}

void login_forget(Connection *c)
{
    sd_bus_message *call = NULL;

    if (!courier_link_runs(c->owner->link) || courier_link_call_new(c->owner->link, "Forget", &call) != 0)
        return;
    if (sd_bus_message_append_basic(call, 's', c->there) >= 0)
        (void)courier_link_call(c->owner->link, call, false, NULL, NULL, NULL);
    sd_bus_message_unref(call);
}

/* Whoever waits for the login goes on waiting. */
static void login_again(Connection *c)
{
    int r;

    c->login = relays_request_free(c->login);
    r = login_start(c);
    if (r != 0)
        login_done(r, error_message(r), NULL, c);
}

void relays_identity_changed(Relays *r)
{
    const IdentityPublic *p = identity_public(r->m->identity);
    const char *skid = p ? p->skid : "";
    RelaysRequest *q;
    Connection *c;

    if (strcmp(skid, r->skid) != 0) {
        DL_FOREACH (r->connections, c) {
            if (c->state == CONNECTION_OFF)
                continue;
            /* what is under way belongs to the former key as well, and begins anew */
            c->listen = relays_request_free(c->listen);
            login_forget(c);
            if (c->state == CONNECTION_LOGGED_IN)
                login_lost(c, "The identity has changed");
            else
                login_again(c);
        }
        DL_FOREACH (r->requests, q)
            if (q->by_keys)
                request_anew(q);
        (void)snprintf(r->skid, sizeof(r->skid), "%s", skid);
    }
    if (rotate_note_keys(r) != 0)
        log_error("Our keys cannot be remembered: the store cannot be written");
    if (relays_load_ours(r) < 0)
        log_error("The registrations cannot be read");
    if (identity_check(r->m->identity) != 0)
        return;
    login_keep_all(r, true);
    devices_tell_all(r);
    if (guests_tell(r) != 0)
        log_error("It cannot be read where we are guests");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/own-devices.h"
#include "agent/pin.h"
#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/file.h"

/* The steps of a registration: challenge, statement signed, secret opened, request signed, sent. A step that
 * is called by the TPM ends the request by itself. */
static void next(RelaysRequest *q, int r, const char *detail)
{
    if (r == 0)
        return;
    if (detail && *detail)
        (void)request_error(q, r, "%s", detail);
    request_finish(q, r, NULL, NULL);
}

int register_store(RelaysRequest *q)
{
    DbStatement *s = q->owner->sql.registration_put;
    int r;

    /* ours may be another by now: it is told of that one next */
    db_bind_text(s, 1, q->stored_address);
    db_bind_text(s, 2, q->connection->text);
    db_bind_text(s, 3, q->entry_kid);
    db_bind_number(s, 4, clock_realtime());
    db_bind_bytes(s, 5, q->devices, SHA256_SIZE);
    r = db_run(s);
    if (r == 0)
        r = relays_load_ours(q->owner);
    return r;
}

/* The relay says what we are registered as: exactly what we sent. */
static int check_binding(RelaysRequest *q, const char *binding, const char *relay_statement)
{
    _cleanup_(identity_statement_done) IdentityStatement identity = {0};
    Binding b;
    int r;

    r = directory_read(q, buf_text(&q->identity_statement), binding, relay_statement, &identity, &b);
    if (r == 0 && strcmp(b.name, q->method == REGISTER_ROTATE ? q->entry_name : q->name) != 0)
        r = request_error(q, HMSG_ERROR_AUTHENTICATION_FAILED, "Relay %s:%u registered another name",
                          q->asked.host, q->asked.port);
    if (r == 0)
        base64url_encode(rsa_key_thumbprint(identity.decrypt), KID_SIZE, q->entry_kid);
    return r;
}

/* For when we come back there with other keys. */
static int note_statement(RelaysRequest *q)
{
    const IdentityPublic *p = identity_public(q->owner->m->identity);

    if (q->method == REGISTER_ROTATE && !q->entry_name[0]) /* a guest */
        return 0;
    return chain_note(q->owner, q->stored_address, p->skid_bytes, buf_text(&q->identity_statement),
                      q->has_previous);
}

static int on_registered(RelaysRequest *q, sd_bus_message *reply)
{
    const char *binding, *relay_statement;
    char relay[RELAY_TEXT_SIZE], address[ADDRESS_SIZE_MAX + 1];
    RelaysResult result = {.address = address, .relay = relay};
    Connection *c = q->connection;
    Relays *owner = q->owner;
    int r;

    r = sd_bus_message_read(reply, "ss", &binding, &relay_statement);
    if (r < 0)
        return -EBADMSG;
    if (!identity_public(owner->m->identity))
        return HMSG_ERROR_NO_IDENTITY;
    r = check_binding(q, binding, relay_statement);
    if (r == 0)
        r = known_confirm(q);
    if (r != 0)
        return r;
    if (q->method == REGISTER_GUEST) {
        q->name[0] = 0;
        return q->after_guest(q);
    }
    r = note_statement(q);
    if (r != 0)
        return r;
    if (q->method == REGISTER_ROTATE)
        return q->rotated(q);
    r = register_store(q);
    if (r != 0)
        return r;
    c->unregistered = false;
    login_keep(c, true);
    memcpy(relay, c->text, sizeof(relay));
    (void)snprintf(address, sizeof(address), "%s", q->stored_address);
    request_finish(q, 0, &result, NULL);
    return 0;
}

static int append_option(sd_bus_message *call, const char *name, const char *text)
{
    return sd_bus_message_append(call, "{sv}", name, "s", text);
}

static int append_options(const RelaysRequest *q, sd_bus_message *call)
{
    int r = sd_bus_message_open_container(call, 'a', "{sv}");

    if (r >= 0 && q->invite)
        r = append_option(call, "invite", (const char *)secret_bytes(q->invite));
    if (r >= 0 && q->method == REGISTER_MEMBER && q->chain.size > 0)
        r = append_option(call, "chain", buf_text(&q->chain));
    return r < 0 ? r : sd_bus_message_close_container(call);
}

static int send_registration(RelaysRequest *q, const uint8_t *answer)
{
    sd_bus_message *call = NULL;
    int r;

    r = request_call_new(q, q->method == REGISTER_ROTATE ? "Rotate" : "Register", &call);
    if (r != 0)
        return r;
    r = sd_bus_message_append(call, "ss", buf_text(&q->identity_statement), buf_text(&q->request));
    if (r >= 0)
        r = sd_bus_message_append_array(call, 'y', answer, SHA256_SIZE);
    if (r >= 0 && q->method == REGISTER_ROTATE)
        r = sd_bus_message_append_basic(call, 's', buf_text(&q->steps));
    else if (r >= 0)
        r = append_options(q, call);
    return request_call(q, call, r, false, on_registered);
}

static void on_request_signed(int r, const char *detail, const char *jws, void *userdata)
{
    RelaysRequest *q = userdata;
    uint8_t answer[SHA256_SIZE];

    q->work = identity_work_free(q->work);
    if (r == 0)
        r = buf_append_string(&q->request, jws);
    if (r == 0)
        r = pop_answer(q->secret, buf_text(&q->request), q->request.size, answer);
    if (r == 0)
        r = send_registration(q, answer);
    next(q, r, detail);
}

static int sign_request(RelaysRequest *q)
{
    Identity *identity = q->owner->m->identity;
    const IdentityPublic *p = identity_public(identity);
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    RegisterRequest request = {.binding = q->binding, .method = q->method};
    int r;

    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    if (q->method != REGISTER_ROTATE)
        memcpy(request.name, q->name, sizeof(request.name));
    request.iat = clock_realtime();
    request.exp = request.iat + (int64_t)RELAYS_REQUEST_LIFETIME;
    r = crypto_sha256(q->identity_statement.data, q->identity_statement.size, request.statement_sha256);
    if (r == 0)
        r = register_request_prepare(&request, p->skid_bytes, &draft);
    if (r == 0)
        r = identity_sign_jws(identity, buf_text(&draft.input), on_request_signed, q, &q->work);
    return r;
}

/* Only what has the form of this relay's proof is answered: a relay gets nothing else decrypted. */
static void on_opened(int r, const char *detail, const Secret *plaintext, void *userdata)
{
    RelaysRequest *q = userdata;

    q->work = identity_work_free(q->work);
    if (r == 0)
        r = pop_open(plaintext, q->connection->address.pin, &q->secret);
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED)
        detail = "The relay's proof of possession is not of the form for this relay";
    if (r == 0)
        r = sign_request(q);
    next(q, r, detail);
}

static void on_statement_signed(int r, const char *detail, const char *jws, void *userdata)
{
    RelaysRequest *q = userdata;

    q->work = identity_work_free(q->work);
    if (r == 0)
        r = buf_append_string(&q->identity_statement, jws);
    if (r == 0)
        r = identity_open_pop(q->owner->m->identity, q->challenge.data, q->challenge.size, on_opened, q,
                              &q->work);
    next(q, r, detail);
}

static int sign_statement(RelaysRequest *q)
{
    Identity *identity = q->owner->m->identity;
    const IdentityPublic *p = identity_public(identity);
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    IdentityStatement statement = {.has_previous = q->has_previous};
    int r;

    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    (void)snprintf(statement.address, sizeof(statement.address), "%s", q->stored_address);
    memcpy(statement.previous, q->previous, SHA256_SIZE);
    statement.sign = p->sign;
    statement.decrypt = p->decrypt;
    statement.generation = p->generation;
    statement.protection = p->protection;
    statement.recovery = p->recovery;
    statement.iat = clock_realtime();
    r = own_devices_name(store_db(q->owner->m->store), &statement.devices);
    if (r == 0)
        r = own_devices_digest(&statement.devices, q->devices);
    if (r == 0)
        r = identity_statement_prepare(&statement, &draft);
    if (r == 0)
        r = identity_sign_jws(identity, buf_text(&draft.input), on_statement_signed, q, &q->work);
    return r;
}

static int on_challenge(RelaysRequest *q, sd_bus_message *reply)
{
    int r = request_read_nonce(q, reply, &q->challenge);

    return r == 0 ? sign_statement(q) : r;
}

static int ask_challenge(RelaysRequest *q)
{
    const IdentityPublic *p = identity_public(q->owner->m->identity);
    sd_bus_message *call = NULL;
    const uint8_t *spki;
    size_t n = 0;
    int r;

    r = identity_check(q->owner->m->identity);
    if (r == 0 && !p)
        r = HMSG_ERROR_NO_IDENTITY;
    if (r == 0)
        r = request_call_new(q, "Challenge", &call);
    if (r != 0)
        return r;
    buf_clear(&q->identity_statement);
    buf_clear(&q->request);
    q->secret = secret_free(q->secret);
    spki = rsa_key_spki(p->decrypt, &n);
    r = sd_bus_message_append_array(call, 'y', spki, n);
    return request_call(q, call, r, false, on_challenge);
}

/* A guest gives the address of its home, if it has one. */
static int guest_address(RelaysRequest *q)
{
    const IdentityPublic *p = identity_public(q->owner->m->identity);
    _cleanup_(db_resetp) DbStatement *s = q->owner->sql.registrations;
    bool row = false;
    int r;

    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    while ((r = db_step(s, &row)) == 0 && row)
        if (strcmp(db_column_text(s, 2, NULL), p->kid) == 0 ||
            rotate_is_former(q->owner, db_column_text(s, 2, NULL)))
            return string_printf(&q->stored_address, "%s", db_column_text(s, 0, NULL));
    return r == 0 ? string_printf(&q->stored_address, "%s", "") : r;
}

int register_guest_start(RelaysRequest *q, request_step_t then)
{
    int r;

    q->method = REGISTER_GUEST;
    q->has_previous = false;
    q->name[0] = 0;
    q->after_guest = then;
    free(q->stored_address);
    q->stored_address = NULL;
    r = guest_address(q);
    return r == 0 ? ask_challenge(q) : r;
}

int register_rotated_start(RelaysRequest *q)
{
    q->method = REGISTER_ROTATE;
    return ask_challenge(q);
}

static int enter(RelaysRequest *q);

static int on_taken(RelaysRequest *q)
{
    return request_error(q, HMSG_ERROR_ALREADY_EXISTS, "The name %s at %s:%u is somebody else's", q->name,
                         q->asked.host, q->asked.port);
}

/* A relay that knows nothing of chains refuses what has one. */
static bool is_of_chain(const RelaysRequest *q, const CourierError *e)
{
    return q->chain.size > 0 && e->retry_after == 0 &&
           (e->error == HMSG_ERROR_DENIED || e->error == HMSG_ERROR_TOO_LARGE);
}

/* A name that is taken may be ours, by a former key: the answer was lost, and then the keys changed. */
static int on_registration_refused(RelaysRequest *q, const CourierError *e)
{
    if (is_of_chain(q, e)) {
        q->chainless = true;
        return enter(q);
    }
    if (e->error == HMSG_ERROR_ALREADY_EXISTS)
        return q->rotated ? on_taken(q) : rotate_start(q, enter, on_taken);
    return request_error(q, e->error, "Relay %s:%u: %s", q->asked.host, q->asked.port, e->detail);
}

/* Of what is asked for: a rotation on the way has another there. */
static int store_address(RelaysRequest *q)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    Address a = {.relay = q->asked};
    int r;

    memcpy(a.name, q->name, sizeof(a.name));
    r = address_format(&a, false, &text);
    free(q->stored_address);
    q->stored_address = NULL;
    return r == 0 ? string_printf(&q->stored_address, "%s", buf_text(&text)) : r;
}

static int begin(RelaysRequest *q, const char *address, relays_done_t done, void *userdata)
{
    Address parsed;
    int r;

    r = address_parse(address, &parsed);
    if (r != 0)
        return r;
    q->asked = parsed.relay;
    memcpy(q->name, parsed.name, sizeof(q->name));
    r = store_address(q);
    if (r != 0)
        return r;
    q->done = done;
    q->userdata = userdata;
    return 0;
}

/* By the keys of now, whatever was told before. */
static int enter(RelaysRequest *q)
{
    int r = store_address(q);

    q->method = REGISTER_MEMBER;
    q->refused = on_registration_refused;
    if (r == 0)
        r = chain_prepare(q);
    return r == 0 ? ask_challenge(q) : r;
}

/* Where we are by a former key, a login tells of the one of now. When that fails there is nothing to lose. */
static int rotate_first(RelaysRequest *q, request_step_t then)
{
    Connection *c = q->connection;

    if (q->waited || !rotate_is_due(q->owner, c->text))
        return then(q);
    q->waited = true;
    request_wait(q);
    return c->state == CONNECTION_LOGGING_IN ? 0 : login_start(c);
}

static int begin_registration(RelaysRequest *q)
{
    return rotate_first(q, enter);
}

static int take_invite(RelaysRequest *q, const RelaysInvite *invite)
{
    if (!invite)
        return 0;
    if (invite->text && invite->fd >= 0)
        return HMSG_ERROR_INVALID_ARGS;
    if (invite->fd >= 0)
        return memfd_read_text(invite->fd, 1, INVITE_SIZE_MAX, &q->invite);
    if (!invite->text)
        return 0;
    size_t n = strlen(invite->text);
    if (n == 0 || n > INVITE_SIZE_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    return secret_new_copy(invite->text, n + 1, &q->invite);
}

int relays_register(Relays *r, const char *address, const RelaysInvite *invite, bool trust_relay,
                    relays_done_t done, void *userdata, RelaysRequest **ret)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    int e;

    e = identity_check(r->m->identity);
    if (e == 0)
        e = request_alloc(r, &q);
    if (e == 0)
        e = begin(q, address, done, userdata);
    if (e == 0)
        e = take_invite(q, invite);
    if (e != 0)
        return e;
    q->trust_relay = trust_relay;
    q->by_keys = true;
    q->start = begin_registration;
    e = request_begin(q, ret);
    if (e == 0)
        (void)TAKE_PTR(q);
    return e;
}

static int finish_unregister(RelaysRequest *q)
{
    DbStatement *s = q->owner->sql.registration_delete;
    Connection *c = q->connection;
    int r;

    db_bind_text(s, 1, q->stored_address);
    r = db_run(s);
    if (r == 0)
        r = relays_load_ours(q->owner);
    if (r != 0)
        return r;
    login_keep(c, false);
    request_finish(q, 0, &(RelaysResult){0}, NULL);
    return 0;
}

static int on_unregistered(RelaysRequest *q, sd_bus_message *reply)
{
    return finish_unregister(q);
}

static int on_unregister_refused(RelaysRequest *q, const CourierError *e)
{
    if (e->error == HMSG_ERROR_NOT_FOUND)
        return finish_unregister(q);
    return request_error(q, e->error, "Relay %s:%u: %s", q->asked.host, q->asked.port, e->detail);
}

static void on_unregister_signed(int r, const char *detail, const char *jws, void *userdata)
{
    RelaysRequest *q = userdata;
    sd_bus_message *call = NULL;

    q->work = identity_work_free(q->work);
    if (r == 0)
        r = request_call_new(q, "Unregister", &call);
    if (r == 0) {
        r = sd_bus_message_append_basic(call, 's', jws);
        r = request_call(q, call, r, false, on_unregistered);
    }
    next(q, r, detail);
}

static int on_unregister_nonce(RelaysRequest *q, sd_bus_message *reply)
{
    Identity *identity = q->owner->m->identity;
    const IdentityPublic *p = identity_public(identity);
    _cleanup_(jws_draft_done) JwsDraft draft = {0};
    RegisterRequest request = {.method = REGISTER_UNREGISTER};
    int r;

    r = request_read_nonce(q, reply, NULL);
    if (r != 0)
        return r;
    if (!p)
        return HMSG_ERROR_NO_IDENTITY;
    request.binding = q->binding;
    memcpy(request.name, q->name, sizeof(request.name));
    request.iat = clock_realtime();
    request.exp = request.iat + (int64_t)RELAYS_REQUEST_LIFETIME;
    r = register_request_prepare(&request, p->skid_bytes, &draft);
    if (r == 0)
        r = identity_sign_jws(identity, buf_text(&draft.input), on_unregister_signed, q, &q->work);
    return r;
}

static int ask_unregister_nonce(RelaysRequest *q)
{
    sd_bus_message *call = NULL;
    int r;

    q->refused = on_unregister_refused;

    r = request_call_new(q, "Nonce", &call);
    return r == 0 ? request_call(q, call, 0, false, on_unregister_nonce) : r;
}

/* The former key signs nothing any more: the one of now must be known there before it can end anything. */
static int begin_unregistration(RelaysRequest *q)
{
    return rotate_first(q, ask_unregister_nonce);
}

/* The relay of the registration; its pin is the one that was there then. */
static int registered_at(RelaysRequest *q)
{
    _cleanup_(db_resetp) DbStatement *s = q->owner->sql.registration_get;
    bool row = false;
    int r;

    db_bind_text(s, 1, q->stored_address);
    r = db_step(s, &row);
    if (r != 0)
        return r;
    return row ? relay_parse(db_column_text(s, 0, NULL), &q->asked) : HMSG_ERROR_NOT_FOUND;
}

int relays_unregister(Relays *r, const char *address, relays_done_t done, void *userdata, RelaysRequest **ret)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    int e;

    e = identity_check(r->m->identity);
    if (e == 0)
        e = request_alloc(r, &q);
    if (e == 0)
        e = begin(q, address, done, userdata);
    if (e == 0)
        e = registered_at(q);
    if (e != 0)
        return e;
    q->by_keys = true;
    q->start = begin_unregistration;
    e = request_begin(q, ret);
    if (e == 0)
        (void)TAKE_PTR(q);
    return e;
}

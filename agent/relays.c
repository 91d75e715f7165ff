/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/launcher.h"
#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

int request_alloc(Relays *r, RelaysRequest **ret)
{
    RelaysRequest *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    q->owner = r;
    q->fd = -1;
    q->challenge = BUF_MAX(RSA_SIZE_MAX);
    q->identity_statement = BUF_MAX(JWS_SIZE_MAX);
    q->request = BUF_MAX(JWS_SIZE_MAX);
    q->steps = BUF_MAX(ROTATION_BODY_SIZE_MAX);
    DL_APPEND(r->requests, q);
    *ret = q;
    return 0;
}

static void stop_waiting(RelaysRequest *q)
{
    if (q->is_waiting)
        LL_DELETE2(q->connection->waiting, q, waiting_next);
    q->is_waiting = false;
}

/* Out of everything that would still call it. */
static void detach(RelaysRequest *q)
{
    if (!q->owner)
        return;
    stop_waiting(q);
    DL_DELETE(q->owner->requests, q);
    q->owner = NULL;
    q->connection = NULL;
    q->slot = sd_bus_slot_unref(q->slot);
    q->work = identity_work_free(q->work);
    q->later = sd_event_source_disable_unref(q->later);
}

RelaysRequest *relays_request_free(RelaysRequest *q)
{
    if (!q)
        return NULL;
    detach(q);
    (void)fd_close(q->fd);
    free(q->ids);
    (void)secret_free(q->invite);
    free(q->stored_address);
    buf_done(&q->challenge);
    buf_done(&q->identity_statement);
    buf_done(&q->request);
    buf_done(&q->steps);
    buf_done(&q->chain);
    (void)secret_free(q->secret);
    bytes_wipe(&q->capability, sizeof(q->capability));
    free(q);
    return NULL;
}

unsigned relays_request_retry_after(const RelaysRequest *q)
{
    return q ? q->retry_after : 0;
}

int request_error(RelaysRequest *q, int error, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(q->detail, sizeof(q->detail), format, ap);
    va_end(ap);
    return error;
}

void request_finish(RelaysRequest *q, int r, const RelaysResult *result, const DirectoryEntry *entry)
{
    char detail[RELAYS_DETAIL_SIZE];

    detach(q);
    (void)snprintf(detail, sizeof(detail), "%s", r == 0 ? "" : *q->detail ? q->detail : error_message(r));
    /* whoever is called may free the request */
    if (q->lookup_done)
        q->lookup_done(r, detail, r == 0 ? entry : NULL, q->userdata);
    else
        q->done(r, detail, r == 0 ? result : NULL, q->userdata);
}

/* Begins, or begins anew where it was. */
static int on_later(sd_event_source *source, void *userdata)
{
    RelaysRequest *q = userdata;
    int r;

    q->later = sd_event_source_disable_unref(q->later);
    r = q->connection ? request_proceed(q) : known_resolve(q);
    if (r != 0)
        request_finish(q, r, NULL, NULL);
    return 0;
}

int request_begin(RelaysRequest *q, RelaysRequest **ret)
{
    int r;

    r = sd_event_add_defer(q->owner->m->event, &q->later, on_later, q);
    if (r < 0)
        return r;
    *ret = q;
    return 0;
}

void request_anew(RelaysRequest *q)
{
    /* it has not begun, or looks which key the relay has */
    if (!q->connection || q->following || q->later)
        return;
    if (sd_event_add_defer(q->owner->m->event, &q->later, on_later, q) < 0) {
        log_error("No memory to begin anew with our new keys");
        return;
    }
    stop_waiting(q);
    q->slot = sd_bus_slot_unref(q->slot);
    q->work = identity_work_free(q->work);
    q->waited = false;
    q->refused = NULL;
    q->rotated = NULL;
}

void request_wait(RelaysRequest *q)
{
    LL_APPEND2(q->connection->waiting, q, waiting_next);
    q->is_waiting = true;
}

int request_proceed(RelaysRequest *q)
{
    Connection *c = q->connection;

    if (!q->needs_login || c->state == CONNECTION_LOGGED_IN)
        return q->start(q);
    request_wait(q);
    if (c->state == CONNECTION_LOGGING_IN)
        return 0;
    return login_start(c);
}

int request_call_new(RelaysRequest *q, const char *member, sd_bus_message **ret)
{
    sd_bus_message *call = NULL;
    int r;

    r = courier_link_call_new(q->owner->link, member, &call);
    if (r > 0)
        return request_error(q, r, "The courier, which speaks to relays, cannot be started");
    if (r == 0)
        r = sd_bus_message_append_basic(call, 's', q->connection->there);
    if (r < 0) {
        sd_bus_message_unref(call);
        return r;
    }
    *ret = call;
    return 0;
}

static int on_refused(RelaysRequest *q, const sd_bus_error *error)
{
    CourierError e;

    courier_error_read(error, &e);
    if (e.login_required && q->needs_login && !q->again) {
        q->again = true;
        if (q->connection->state == CONNECTION_LOGGED_IN)
            q->connection->state = CONNECTION_OFF;
        return request_proceed(q);
    }
    if (e.unreachable && q->connection && !q->retried && clock_boottime() - q->called < RELAYS_LOST_SOON) {
        q->retried = true;
        return request_proceed(q);
    }
    q->retry_after = e.retry_after;
    if (q->following && !e.unreachable)
        return pins_refuse(q);
    if (e.error == HMSG_ERROR_UNTRUSTED && q->connection && !q->followed)
        return pins_follow(q);
    if (q->refused)
        return q->refused(q, &e);
    return request_error(q, e.error, "Relay %s:%u: %s", q->asked.host, q->asked.port, e.detail);
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    RelaysRequest *q = userdata;
    const sd_bus_error *e = sd_bus_message_get_error(reply);
    int r;

    q->slot = sd_bus_slot_unref(q->slot);
    r = e ? on_refused(q, e) : q->reply(q, reply);
    if (r == -EBADMSG || r == -ENXIO)
        r = request_error(q, HMSG_ERROR_RELAY_UNAVAILABLE, "The courier's answer is not of its form");
    if (r != 0)
        request_finish(q, r, NULL, NULL);
    return 0;
}

int request_call(RelaysRequest *q, sd_bus_message *call, int appended, bool endless, request_reply_t reply)
{
    int r = appended;

    q->reply = reply;
    q->called = clock_boottime();
    if (r >= 0)
        r = courier_link_call(q->owner->link, call, endless, on_reply, q, &q->slot);
    sd_bus_message_unref(call);
    return r;
}

static void connection_free(Connection *c)
{
    DL_DELETE(c->owner->connections, c);
    c->owner->n_connections--;
    login_stop(c);
    buf_done(&c->statement);
    (void)ec_key_free(c->online);
    free(c);
}

bool connection_is_idle(const Connection *c)
{
    const RelaysRequest *q;

    if (c->kept || c->telling || c->listening || c->login || c->listen || c->waiting ||
        relays_is_ours(c->owner, c->text))
        return false;
    DL_FOREACH (c->owner->requests, q)
        if (q->connection == c)
            return false;
    return true;
}

/* The oldest one: whoever writes to many relays needs few of them at a time. */
static void end_idle(Relays *r)
{
    Connection *c = r->connections;

    if (r->n_connections < RELAYS_CONNECTIONS_MAX)
        return;
    while (c && !connection_is_idle(c))
        c = c->next;
    if (!c)
        return;
    login_forget(c);
    connection_free(c);
}

Connection *connection_find(const Relays *r, const char *text)
{
    Connection *c;

    DL_FOREACH (r->connections, c)
        if (strcmp(c->text, text) == 0)
            return c;
    return NULL;
}

Connection *connection_find_there(const Relays *r, const char *there)
{
    Connection *c;

    DL_FOREACH (r->connections, c)
        if (strcmp(c->there, there) == 0)
            return c;
    return NULL;
}

void connection_set_pin(Connection *c, const uint8_t pin[static PIN_SIZE])
{
    char text[HASH_TEXT_SIZE];

    memcpy(c->address.pin, pin, PIN_SIZE);
    base64url_encode(pin, PIN_SIZE, text);
    (void)snprintf(c->there, sizeof(c->there), "%.*s#%s", (int)strcspn(c->text, "#"), c->text, text);
}

int connection_get(Relays *r, const Relay *relay, bool end_another, Connection **ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(RELAY_TEXT_SIZE - 1);
    Relay root = *relay;
    RelayPins pins;
    Connection *c;
    int error;

    error = pins_find(r, relay, &pins);
    if (error != 0)
        return error;
    memcpy(root.pin, pins.root, PIN_SIZE);
    error = relay_format_full(&root, &text);
    if (error != 0)
        return error;
    c = connection_find(r, buf_text(&text));
    if (!c) {
        if (end_another)
            end_idle(r);
        if (r->n_connections >= RELAYS_CONNECTIONS_MAX)
            return HMSG_ERROR_QUOTA_EXCEEDED;
        c = calloc(1, sizeof(*c));
        if (!c)
            return -ENOMEM;
        c->owner = r;
        c->address = *relay;
        c->statement = BUF_MAX(JWS_SIZE_MAX);
        (void)snprintf(c->text, sizeof(c->text), "%s", buf_text(&text));
        connection_set_pin(c, pins.now);
        DL_APPEND(r->connections, c);
        r->n_connections++;
    }
    *ret = c;
    return 0;
}

static int remember_statement(Connection *c, const char *statement, size_t n, const RelayStatement *s)
{
    int r;

    buf_clear(&c->statement);
    c->online = ec_key_free(c->online);
    r = buf_append(&c->statement, statement, n);
    if (r < 0)
        return r;
    c->online = ec_key_ref(s->online);
    c->online_until = s->exp;
    r = pins_announced(c, s);
    return r == 0 ? ticks_check(c, s) : r;
}

int connection_online(Connection *c, RelaysRequest *q, const char *statement, EcKey **ret)
{
    RelayStatement s = {0};
    size_t n = strlen(statement);
    int64_t now = clock_realtime();
    int r;

    if (c->online && now < c->online_until && n == c->statement.size &&
        strcmp(buf_text(&c->statement), statement) == 0) {
        *ret = ec_key_ref(c->online);
        return 0;
    }
    r = relay_statement_parse(statement, n, c->address.pin, now, &s);
    if (r > 0)
        return request_error(
            q, HMSG_ERROR_AUTHENTICATION_FAILED,
            "Relay %s:%u: its statement is not signed by the pinned key, or its clock is wrong",
            c->address.host, c->address.port);
    if (r == 0)
        r = remember_statement(c, statement, n, &s);
    relay_statement_done(&s);
    if (r == 0)
        *ret = ec_key_ref(c->online);
    return r;
}

/* Only where we are: the courier does not choose to whom we speak. NULL: we are not there. */
static const Connection *find_logged_in(const Relays *r, const char *there)
{
    const Connection *c = connection_find_there(r, there);

    return c && (c->listening || c->state == CONNECTION_LOGGED_IN) ? c : NULL;
}

static void on_mail(Relays *r, sd_bus_message *m)
{
    RelaysMessage message = {0};
    const Connection *c;
    const char *relay;

    if (sd_bus_message_read(m, "ststs", &relay, &message.seq, &message.id, &message.size,
                            &message.submitter) < 0)
        return;
    c = find_logged_in(r, relay);
    if (!c || !relays_is_ours(r, c->text))
        return;
    for (size_t i = 0; i < r->n_watchers; i++)
        if (r->watchers[i].f.mail)
            r->watchers[i].f.mail(c->text, &message, r->watchers[i].userdata);
}

static void on_status(Relays *r, sd_bus_message *m)
{
    const char *relay, *id, *state;
    const Connection *c;

    if (sd_bus_message_read(m, "sss", &relay, &id, &state) < 0)
        return;
    c = find_logged_in(r, relay);
    if (!c)
        return;
    for (size_t i = 0; i < r->n_watchers; i++)
        if (r->watchers[i].f.status)
            r->watchers[i].f.status(c->text, id, state, r->watchers[i].userdata);
}

static void on_lost(Relays *r, sd_bus_message *m)
{
    const char *relay, *reason;
    Connection *c;

    if (sd_bus_message_read(m, "ss", &relay, &reason) < 0)
        return;
    c = connection_find_there(r, relay);
    if (c)
        login_lost(c, reason);
}

static void on_signal(const char *member, sd_bus_message *m, void *userdata)
{
    Relays *r = userdata;

    if (strcmp(member, "Mail") == 0)
        on_mail(r, m);
    else if (strcmp(member, "Status") == 0)
        on_status(r, m);
    else if (strcmp(member, "Disconnected") == 0)
        on_lost(r, m);
    /* Listening comes with the reply of Listen */
}

static void on_gone(void *userdata)
{
    Relays *r = userdata;
    Connection *c;

    DL_FOREACH (r->connections, c)
        login_lost(c, "The courier has ended");
}

static int on_start(void *userdata, int *ret_fd)
{
    Relays *r = userdata;

    return launcher_start_courier(r->m->launcher, ret_fd);
}

int relays_new(Manager *m, Relays **ret)
{
    static const CourierHandlers handlers = {.start = on_start, .signal = on_signal, .gone = on_gone};
    const IdentityPublic *p = identity_public(m->identity);
    _cleanup_(relays_freep) Relays *r = NULL;
    int e;

    r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->m = m;
    e = courier_link_new(m->event, &handlers, r, &r->link);
    if (e == 0)
        e = relays_sql_prepare(r);
    if (e == 0)
        e = relays_load_ours(r);
    if (e != 0)
        return e;
    (void)snprintf(r->skid, sizeof(r->skid), "%s", p ? p->skid : "");
    /* an agent that ended right after a rotation has not noted them */
    if (rotate_note_keys(r) != 0)
        log_error("Our keys cannot be remembered: the store cannot be written");
    login_keep_all(r, true);
    *ret = TAKE_PTR(r);
    return 0;
}

Relays *relays_free(Relays *r)
{
    Connection *c, *next;

    if (!r)
        return NULL;
    DL_FOREACH_SAFE (r->connections, c, next)
        login_stop(c);
    while (r->requests)
        detach(r->requests);
    DL_FOREACH_SAFE (r->connections, c, next)
        connection_free(c);
    (void)courier_link_free(r->link);
    relays_free_ours(r);
    relays_sql_done(r);
    free(r);
    return NULL;
}

int relays_watch(Relays *r, const RelaysWatcher *watcher, void *userdata)
{
    if (r->n_watchers == RELAYS_WATCHERS_MAX)
        return -ENOSPC;
    r->watchers[r->n_watchers++] = (Watcher){*watcher, userdata};
    return 0;
}

void relays_unwatch(Relays *r, const void *userdata)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_watchers; i++)
        if (r->watchers[i].userdata != userdata)
            r->watchers[n++] = r->watchers[i];
    r->n_watchers = n;
}

bool relays_is_listening(const Relays *r, const char *relay)
{
    const Connection *c = connection_find(r, relay);

    return c && c->listening;
}

bool relays_courier_runs(const Relays *r)
{
    return courier_link_runs(r->link);
}

int request_read_nonce(RelaysRequest *q, sd_bus_message *reply, Buf *ret_middle)
{
    const void *nonce = NULL, *middle = NULL, *exporter = NULL;
    size_t n_nonce = 0, n_middle = 0, n_exporter = 0;
    int r;

    r = sd_bus_message_read_array(reply, 'y', &nonce, &n_nonce);
    if (r >= 0 && ret_middle)
        r = sd_bus_message_read_array(reply, 'y', &middle, &n_middle);
    if (r >= 0)
        r = sd_bus_message_read_array(reply, 'y', &exporter, &n_exporter);
    if (r < 0 || n_nonce != NONCE_SIZE || n_exporter != EXPORTER_SIZE)
        return -EBADMSG;
    if (ret_middle) {
        buf_clear(ret_middle);
        r = buf_append(ret_middle, middle, n_middle);
        if (r < 0)
            return r == -EMSGSIZE ? -EBADMSG : r;
    }
    memcpy(q->binding.pin, q->connection->address.pin, PIN_SIZE);
    memcpy(q->binding.nonce, nonce, NONCE_SIZE);
    memcpy(q->binding.exporter, exporter, EXPORTER_SIZE);
    return 0;
}

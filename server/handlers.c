/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/handler.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "server/store-open.h"

#define SENDER_SHARE 50u  /* percent of a mailbox */
#define NONCE_BURST 1000u /* of one address, and per minute */
#define NONCE_RATE 1200u
#define REGISTER_BURST 200u
#define REGISTER_RATE 60u
#define GUESTS_BURST 60u
#define GUESTS_RATE 60u
#define INVITE_BURST 20u
#define INVITE_RATE 6u
#define LOOKUP_BURST 1000u
#define LOOKUP_RATE 3000u
#define SETTINGS_BURST 30u
#define SETTINGS_RATE 30u

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/v1/relay", .end = handle_relay},
    {.method = "POST", .pattern = "/v1/nonces", .json = true, .body_max = 16, .end = handle_nonce},
    {.method = "POST", .pattern = "/v1/challenges", .json = true, .body_max = 2048, .end = handle_challenge},
    {.method = "POST",
     .pattern = "/v1/registrations",
     .json = true,
     .body_max = ROTATION_BODY_SIZE_MAX,
     .end = handle_register},
    {.method = "POST",
     .pattern = "/v1/unregistrations",
     .json = true,
     .body_max = RELAY_BODY_SIZE_MAX,
     .end = handle_unregister},
    {.method = "POST",
     .pattern = "/v1/rotations",
     .json = true,
     .body_max = ROTATION_BODY_SIZE_MAX,
     .end = handle_rotate},
    {.method = "GET", .pattern = "/v1/names/{name}", .end = handle_name},
    {.method = "GET", .pattern = "/v1/keys/{kid}", .end = handle_key},
    {.method = "POST",
     .pattern = "/v1/logins",
     .json = true,
     .body_max = RELAY_BODY_SIZE_MAX,
     .end = handle_login},
    {.method = "PUT",
     .pattern = "/v1/mailboxes/{kid}/messages/{id}",
     .login = true,
     .body_max = ATTACHMENT_SIZE_MAX,
     .begin = handle_submit_begin,
     .data = handle_submit_data,
     .end = handle_submit_end},
    {.method = "GET", .pattern = "/v1/submissions/{id}", .login = true, .end = handle_status},
    {.method = "GET", .pattern = "/v1/mailbox/messages", .login = true, .end = handle_list},
    {.method = "GET", .pattern = "/v1/mailbox/messages/{id}", .login = true, .end = handle_fetch},
    {.method = "POST",
     .pattern = "/v1/mailbox/acknowledgements",
     .login = true,
     .json = true,
     .body_max = RELAY_BODY_SIZE_MAX,
     .end = handle_acknowledge},
    {.method = "GET", .pattern = "/v1/mailbox/capabilities", .login = true, .end = handle_capabilities},
    {.method = "POST",
     .pattern = "/v1/mailbox/capabilities",
     .login = true,
     .json = true,
     .body_max = 1024,
     .end = handle_grant},
    {.method = "POST",
     .pattern = "/v1/mailbox/capabilities/revocations",
     .login = true,
     .json = true,
     .body_max = 1024,
     .end = handle_revoke},
    {.method = "GET", .pattern = "/v1/mailbox/settings", .login = true, .end = handle_settings},
    {.method = "PUT",
     .pattern = "/v1/mailbox/settings",
     .login = true,
     .json = true,
     .body_max = RELAY_BODY_SIZE_MAX,
     .end = handle_set_settings},
    {.method = "GET", .pattern = "/v1/events", .login = true, .end = handle_events},
};

const HttpRoute *handlers_routes(size_t *ret_n)
{
    *ret_n = ELEMENTSOF(routes);
    return routes;
}

Handlers *handlers_ref(Handlers *h)
{
    (void)atomic_fetch_add(&h->refs, 1);
    return h;
}

void handlers_unref(Handlers *h)
{
    if (atomic_fetch_sub(&h->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < h->n_readers; i++)
        h->readers[i] = store_reader_free(h->readers[i]);
    free(h->readers);
    h->watch = store_reader_free(h->watch);
    h->hub = hub_free(h->hub);
    h->limiter = limiter_free(h->limiter);
    h->steady = steady_free(h->steady);
    h->transfers = transfers_unref(h->transfers);
    free(h);
}

void handlers_stop(Handlers *h)
{
    if (h)
        store_stop(h->store);
}

Handlers *handlers_free(Handlers *h)
{
    if (!h)
        return NULL;
    handlers_stop(h);
    h->sweeper = sweeper_stop(h->sweeper);
    h->watcher = watcher_stop(h->watcher);
    h->store = store_free(h->store);
    handlers_unref(h);
    return NULL;
}

static int wrap_key(void *key, const Secret *secret, Buf *ret)
{
    return relay_key_wrap(key, secret, ret);
}

static int unwrap_key(void *key, const void *wrapped, size_t n, Secret **ret)
{
    return relay_key_unwrap(key, wrapped, n, ret);
}

StoreKeeper handlers_keeper(RelayKey *key)
{
    return (StoreKeeper){wrap_key, unwrap_key, key};
}

/* Of what both are far below 2^57; at least 1 of 1. */
static uint64_t part(uint64_t n, uint64_t percent)
{
    return (n * percent + 99) / 100;
}

static int open_store(Handlers *h, unsigned n_loops)
{
    const StoreKeeper keeper = handlers_keeper(h->key);
    StoreLimits limits;
    store_limits_init(&limits);
    limits.body_bytes = h->options->attachment_size;
    limits.mailbox_bytes = h->options->mailbox_size;
    limits.mailbox_messages = h->options->mailbox_messages;
    limits.total_bytes = h->options->store_size;
    limits.former_seconds = h->options->rotation_grace;
    /* One sender may fill half of a mailbox at most. */
    limits.sender_bytes = part(limits.mailbox_bytes, SENDER_SHARE);
    limits.sender_messages = part(limits.mailbox_messages, SENDER_SHARE);
    limits.strangers_bytes = part(limits.mailbox_bytes, h->options->stranger_share);
    limits.strangers_messages = part(limits.mailbox_messages, h->options->stranger_share);
    int r = store_open(h->options, &limits, &keeper, &h->store);
    if (r != 0)
        return r;
    h->readers = calloc(n_loops, sizeof(StoreReader *));
    if (!h->readers)
        return -ENOMEM;
    h->n_readers = n_loops;
    for (unsigned i = 0; r == 0 && i < n_loops; i++)
        r = store_reader_new(h->store, &h->readers[i]);
    return r == 0 ? store_reader_new(h->store, &h->watch) : r;
}

static void read_rates(const Options *o, LimitRate ret[static LIMIT_KIND_MAX_])
{
    const LimitRate rates[LIMIT_KIND_MAX_] = {
        [LIMIT_NONCE] = {NONCE_BURST, NONCE_RATE},
        [LIMIT_REGISTER] = {REGISTER_BURST, REGISTER_RATE},
        [LIMIT_GUESTS] = {GUESTS_BURST, GUESTS_RATE},
        [LIMIT_INVITE] = {INVITE_BURST, INVITE_RATE},
        [LIMIT_LOOKUP] = {LOOKUP_BURST, LOOKUP_RATE},
        [LIMIT_SUBMIT] = {o->sender_rate, o->sender_rate},
        [LIMIT_CAPABILITY] = {o->sender_rate, o->sender_rate},
        [LIMIT_STRANGERS] = {o->stranger_rate, o->stranger_rate},
        [LIMIT_MAILBOX] = {o->stranger_rate, o->stranger_rate},
        [LIMIT_SETTINGS] = {SETTINGS_BURST, SETTINGS_RATE},
    };
    memcpy(ret, rates, sizeof(rates));
}

int handlers_new(const Options *o, RelayKey *key, unsigned n_loops, int64_t known, Handlers **ret)
{
    LimitRate rates[LIMIT_KIND_MAX_];
    Handlers *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    atomic_init(&h->refs, 1);
    _cleanup_(handlers_freep) Handlers *made = h;
    h->options = o;
    atomic_init(&h->guests, o->guests);
    atomic_init(&h->registration, o->registration);
    atomic_init(&h->message_lifetime, o->message_lifetime);
    read_rates(o, rates);
    h->key = key;
    int r = open_store(h, n_loops);
    if (r == 0)
        r = hub_new(&h->hub);
    if (r == 0)
        r = limiter_new(rates, &h->limiter);
    if (r == 0)
        r = steady_new(known, &h->steady);
    if (r == 0)
        r = transfers_new(&h->transfers);
    if (r == 0)
        r = watcher_start(h->store, h->hub, WATCH_INTERVAL_MS, &h->watcher);
    if (r == 0)
        r = sweeper_start(h->store, h->hub, h->steady, SWEEP_INTERVAL_MS, o->key_age, &h->sweeper);
    if (r == 0)
        *ret = TAKE_PTR(made);
    return r;
}

int handlers_counts(Handlers *h, StoreCounts *ret)
{
    return store_counts(h->watch, ret);
}

uint64_t handlers_space(const Handlers *h)
{
    struct statvfs v;
    if (h->options->store != STORE_SQLITE || statvfs(h->options->data, &v) < 0)
        return UINT64_MAX;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

HandlersTotals handlers_totals(Handlers *h)
{
    return (HandlersTotals){.accepted = atomic_load(&h->accepted),
                            .accepted_bytes = atomic_load(&h->accepted_bytes),
                            .delivered = atomic_load(&h->delivered),
                            .expired = sweeper_expired(h->sweeper)};
}

int64_t handlers_time(Handlers *h)
{
    return steady_now(h->steady);
}

bool handlers_clock_held(Handlers *h)
{
    return steady_held(h->steady);
}

int handlers_ready(Handlers *h)
{
    if (handlers_space(h) < STORE_SPACE_RESERVE)
        return -ENOSPC;
    static const uint8_t nobody[KID_SIZE];
    int r = store_room(h->watch, nobody, 0);
    return r == HMSG_ERROR_NOT_FOUND ? 0 : r;
}

static void end_streams(void *userdata, const uint8_t *skid)
{
    hub_end(userdata, skid);
}

void handlers_admin_init(Handlers *h, Admin *ret)
{
    *ret = (Admin){.store = h->store,
                   .relay = &h->options->relay,
                   .gone = end_streams,
                   .userdata = h->hub,
                   .patience = ADMIN_PATIENCE};
}

void handlers_reload(Handlers *h, const Options *o)
{
    LimitRate rates[LIMIT_KIND_MAX_];
    read_rates(o, rates);
    limiter_set(h->limiter, rates);
    atomic_store(&h->guests, o->guests);
    atomic_store(&h->registration, o->registration);
    atomic_store(&h->message_lifetime, o->message_lifetime);
}

StoreReader *handlers_reader(const HttpRequest *r)
{
    const Handlers *h = handlers_of(r);
    return h->readers[http_request_loop(r) % h->n_readers];
}

int handler_result(int r)
{
    if (r == 0)
        return 0;
    /* negative ones are told in the log; a queue that is full is no fault */
    Problem p = problem_from_error(r);
    return r < 0 && p != PROBLEM_TOO_LARGE && r != -EAGAIN && r != -EBUSY ? r : (int)p;
}

int handler_hash(const HttpRequest *r, unsigned index, uint8_t ret[static KID_SIZE])
{
    const char *text = http_request_value(r, index);
    if (!text || base64url_decode_exact(text, strlen(text), ret, KID_SIZE) != 0)
        return PROBLEM_BAD_REQUEST;
    return 0;
}

int handler_limit(HttpRequest *r, LimitKind kind)
{
    unsigned retry = 0;
    const Client *c = http_request_client(r);
    if (!c || limiter_take_address(handlers_of(r)->limiter, kind, &c->peer, clock_boottime(), &retry))
        return 0;
    http_answer_problem(r, PROBLEM_TOO_MANY_REQUESTS, NULL, retry);
    return PROBLEM_TOO_MANY_REQUESTS;
}

int handler_online(const HttpRequest *r, OnlineKey **ret)
{
    _cleanup_(online_key_unrefp) OnlineKey *o = relay_key_online(handlers_of(r)->key);
    if (!o || online_key_expires(o) <= clock_realtime())
        return PROBLEM_UNAVAILABLE;
    *ret = TAKE_PTR(o);
    return 0;
}

int handler_put_relay(const OnlineKey *online, json_t *j)
{
    return json_put_text(j, "relay", online_key_statement(online));
}

int handler_put_binding(const OnlineKey *online, const StoreIdentity *i, json_t *j)
{
    Binding b = {.iat = clock_realtime()};
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    b.exp = b.iat + (int64_t)BINDING_LIFETIME_MAX;
    memcpy(b.pin, online_key_pin(online), PIN_SIZE);
    memcpy(b.name, i->name, sizeof(b.name));
    memcpy(b.skid, i->skid, KID_SIZE);
    memcpy(b.kid, i->kid, KID_SIZE);
    int r = crypto_sha256(i->statement, strlen(i->statement), b.statement_sha256);
    if (r == 0)
        r = binding_prepare(&b, online_key_ec(online), &draft);
    if (r == 0)
        r = jws_sign_ec(&draft, online_key_ec(online), &text);
    if (r == 0)
        r = json_put_text(j, "binding", buf_text(&text));
    return r == 0 ? handler_put_relay(online, j) : r;
}

/* What the statement claims; it is verified with the nonce later. */
static int peek_nonce(const char *text, size_t n, JwsType type, uint8_t ret[static NONCE_SIZE])
{
    _cleanup_(jws_done) Jws jws = {};
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = jws_parse(text, n, JWS_PS256, type, &jws);
    if (r == 0)
        r = json_parse_object(buf_text(&jws.payload), jws.payload.size, &j);
    return r == 0 ? json_get_bytes(j, "nonce", ret, NONCE_SIZE) : r;
}

int handler_binding(HttpRequest *r, const char *text, size_t n, JwsType type, RequestBinding *ret,
                    ClientNonce *ret_nonce)
{
    Client *c = http_request_client(r);
    RequestBinding b;
    int e = peek_nonce(text, n, type, b.nonce);
    if (e != 0)
        return handler_result(e);
    if (!c || !client_nonce_take(c, b.nonce, ret_nonce))
        return PROBLEM_REFUSED;
    memcpy(b.pin, relay_key_pin(handlers_of(r)->key), PIN_SIZE);
    memcpy(b.exporter, c->exporter, EXPORTER_SIZE);
    *ret = b;
    return 0;
}

static HandlerWrite *write_free(HandlerWrite *w)
{
    HttpRequest *r = w->request;
    Handlers *h = w->handlers;
    store_write_done(&w->write);
    w->free(w);
    (void)http_request_unref(r);
    handlers_unref(h);
    return NULL;
}
DEFINE_CLEANUP(HandlerWrite *, write_free)

static void finish_write(HttpRequest *r, void *userdata)
{
    _cleanup_(write_freep) HandlerWrite *w = userdata;
    int e = w->finish(w);
    if (e < 0)
        http_answer_error(r, e);
    else if (e > 0)
        http_answer_problem(r, (Problem)e, NULL, 0);
}

static void write_done(StoreWrite *write)
{
    HandlerWrite *w = write->userdata;
    if (write->result == 0 && w->stored)
        w->stored(w);
    if (http_request_post(w->request, finish_write, w) < 0)
        (void)write_free(w);
}

int handler_write_start(HandlerWrite *w, HttpRequest *r)
{
    w->request = http_request_ref(r);
    w->handlers = handlers_ref(handlers_of(r));
    w->write.done = write_done;
    w->write.userdata = w;
    int e = store_write(w->handlers->store, &w->write);
    if (e != 0)
        (void)write_free(w);
    return handler_result(e);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"

#define INVITE_SIZE_MAX 256u

/* What a registration holds, and what came out of it. */
typedef struct Registration {
    HandlerWrite w;
    StoreIdentity identity;
} Registration;

static void registration_free(HandlerWrite *w)
{
    free(w);
}

/* Texts of the request's body, owned by it. */
typedef struct Texts {
    const char *statement, *request, *invite; /* invite may be NULL */
    size_t statement_size, request_size;
    uint8_t answer[SHA256_SIZE];
} Texts;

static int read_body(const HttpRequest *r, json_t **ret_json, Texts *ret)
{
    static const char *const names[] = {"statement", "request", "answer", "invite", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    Texts t = {};
    int e = http_request_json(r, names, &j);
    if (e != 0)
        return e;
    if (json_get_text(j, "statement", JWS_SIZE_MAX, &t.statement, &t.statement_size) != 0 ||
        json_get_text(j, "request", JWS_SIZE_MAX, &t.request, &t.request_size) != 0 ||
        json_get_bytes(j, "answer", t.answer, sizeof(t.answer)) != 0 ||
        (json_has(j, "invite") && json_get_text(j, "invite", INVITE_SIZE_MAX, &t.invite, NULL) != 0))
        return PROBLEM_BAD_REQUEST;
    *ret = t;
    *ret_json = TAKE_PTR(j);
    return 0;
}

/* The decrypt key was challenged on this connection, and whoever answered can decrypt. */
static int check_possession(const ClientNonce *nonce, const IdentityStatement *s, const Texts *t)
{
    uint8_t expected[SHA256_SIZE];
    if (!nonce->pop || !bytes_equal(nonce->kid, rsa_key_thumbprint(s->decrypt), KID_SIZE))
        return PROBLEM_REFUSED;
    int e = pop_answer(nonce->pop, t->request, t->request_size, expected);
    if (e != 0)
        return handler_result(e);
    return bytes_equal(expected, t->answer, sizeof(expected)) ? 0 : PROBLEM_REFUSED;
}

static int check_request(HttpRequest *r, const Texts *t, const IdentityStatement *s, RegisterRequest *ret)
{
    _cleanup_(client_nonce_done) ClientNonce nonce = {};
    RequestBinding binding;
    RegisterRequest q = {};
    int e = handler_binding(r, t->request, t->request_size, JWS_REGISTER, &binding, &nonce);
    if (e != 0)
        return e;
    e = handler_result(
        register_request_parse(t->request, t->request_size, s->sign, &binding, clock_realtime(), &q));
    if (e == 0)
        e = check_possession(&nonce, s, t);
    if (e != 0)
        return e;
    if (q.method == REGISTER_UNREGISTER)
        return PROBLEM_BAD_REQUEST;
    if (!bytes_equal(q.statement_sha256, s->sha256, SHA256_SIZE))
        return PROBLEM_REFUSED;
    *ret = q;
    return 0;
}

/* A member's statement tells the address that he gets here. */
static int check_address(const HttpRequest *r, const RegisterRequest *q, const IdentityStatement *s)
{
    Address a = {.relay = handlers_of(r)->options->relay};
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    memcpy(a.name, q->name, sizeof(a.name));
    int e = address_format(&a, false, &text);
    if (e != 0)
        return handler_result(e);
    return strcmp(buf_text(&text), s->address) == 0 ? 0 : PROBLEM_REFUSED;
}

static int check_invite(HttpRequest *r, const Texts *t)
{
    const char *path = handlers_of(r)->options->invite;
    _cleanup_(buf_done) Buf word = BUF_MAX(INVITE_SIZE_MAX);
    if (!path)
        return 0;
    int e = file_read(AT_FDCWD, path, &word);
    if (e != 0)
        return e;
    while (word.size > 0 && word.data[word.size - 1] == '\n')
        buf_truncate(&word, word.size - 1);
    if (t->invite && word.size > 0 && strlen(t->invite) == word.size &&
        bytes_equal(t->invite, word.data, word.size))
        return 0;
    http_answer_problem(r, PROBLEM_REFUSED, "This relay takes new users by invitation only", 0);
    return PROBLEM_REFUSED;
}

/* Who may come: guests when the relay takes them; members who are new with an invitation. */
static int check_policy(HttpRequest *r, const RegisterRequest *q, const IdentityStatement *s, const Texts *t)
{
    _cleanup_(freep) StoreIdentity *known = calloc(1, sizeof(*known));
    if (!known)
        return -ENOMEM;
    if (q->method == REGISTER_GUEST) {
        if (atomic_load(&handlers_of(r)->guests))
            return 0;
        http_answer_problem(r, PROBLEM_REFUSED, "This relay takes no guests", 0);
        return PROBLEM_REFUSED;
    }
    int e = check_address(r, q, s);
    if (e != 0)
        return e;
    int found = store_find_key(handlers_reader(r), rsa_key_thumbprint(s->sign), known);
    if (found == 0 && known->name[0])
        return 0;
    return check_invite(r, t);
}

static int fill_identity(const IdentityStatement *s, const RegisterRequest *q, const Texts *t,
                         StoreIdentity *i)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(s->sign, &n);
    if (n > sizeof(i->sign))
        return PROBLEM_BAD_REQUEST;
    memcpy(i->sign, spki, n);
    i->sign_size = n;
    spki = rsa_key_spki(s->decrypt, &n);
    if (n > sizeof(i->decrypt))
        return PROBLEM_BAD_REQUEST;
    memcpy(i->decrypt, spki, n);
    i->decrypt_size = n;
    memcpy(i->skid, rsa_key_thumbprint(s->sign), KID_SIZE);
    memcpy(i->kid, rsa_key_thumbprint(s->decrypt), KID_SIZE);
    memcpy(i->name, q->name, sizeof(i->name));
    memcpy(i->statement, t->statement, t->statement_size);
    i->generation = s->generation;
    i->created = clock_realtime();
    return 0;
}

/* What is in the store now, which may be more than was asked for: a member who registered as guest stays one.
 */
static int finish_registration(HandlerWrite *w)
{
    HttpRequest *r = w->request;
    StoreIdentity *i = &((Registration *)w)->identity;
    _cleanup_(online_key_unrefp) OnlineKey *online = NULL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    uint8_t skid[KID_SIZE];
    memcpy(skid, i->skid, KID_SIZE);
    int e = handler_result(w->write.result);
    if (e == 0)
        e = handler_result(store_find_key(handlers_reader(r), skid, i));
    if (e == 0)
        e = handler_online(r, &online);
    if (e != 0)
        return e;
    Client *c = http_request_client(r);
    if (c && c->logged_in && bytes_equal(c->skid, i->skid, KID_SIZE))
        c->guest = !i->name[0];
    e = handler_put_binding(online, i, j);
    if (e == 0)
        http_answer_json(r, w->write.reg.created ? 201 : 200, j);
    return handler_result(e);
}

/* POST /v1/registrations */
int handle_register(HttpRequest *r)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(identity_statement_done) IdentityStatement s = {};
    _cleanup_(freep) Registration *g = calloc(1, sizeof(*g));
    RegisterRequest q = {};
    Texts t = {};
    int e = g ? handler_limit(r, LIMIT_REGISTER) : -ENOMEM;
    if (e == 0)
        e = read_body(r, &j, &t);
    if (e == 0)
        e = handler_result(identity_statement_parse(t.statement, t.statement_size, clock_realtime(), &s));
    if (e != 0)
        return e;
    if (rsa_key_equal(s.sign, s.decrypt))
        return PROBLEM_BAD_REQUEST; /* never one key for both */
    e = check_request(r, &t, &s, &q);
    if (e == 0)
        e = check_policy(r, &q, &s, &t);
    if (e == 0)
        e = fill_identity(&s, &q, &t, &g->identity);
    if (e != 0)
        return e;
    g->w.write.kind = STORE_REGISTER;
    g->w.write.reg.identity = &g->identity;
    g->w.finish = finish_registration;
    g->w.free = registration_free;
    return handler_write_start(&TAKE_PTR(g)->w, r);
}

static void end_streams(HandlerWrite *w)
{
    hub_end(w->handlers->hub, w->write.unregister.skid);
}

static int finish_unregistration(HandlerWrite *w)
{
    Client *c = http_request_client(w->request);
    int e = handler_result(w->write.result);
    if (e != 0)
        return e;
    if (c && c->logged_in && bytes_equal(c->skid, w->write.unregister.skid, KID_SIZE))
        client_logout(c);
    http_answer_empty(w->request, 204);
    return 0;
}

static int check_unregister(HttpRequest *r, const char *text, size_t n, StoreWrite *ret)
{
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    _cleanup_(client_nonce_done) ClientNonce nonce = {};
    _cleanup_(rsa_key_freep) RsaKey *sign = NULL;
    RegisterRequest q = {};
    RequestBinding binding;
    uint8_t skid[KID_SIZE];
    int e = i ? handler_result(register_request_peek(text, n, skid)) : -ENOMEM;
    if (e == 0)
        e = handler_result(store_find_key(handlers_reader(r), skid, i));
    if (e == 0)
        e = handler_binding(r, text, n, JWS_REGISTER, &binding, &nonce);
    if (e != 0)
        return e;
    if (!bytes_equal(skid, i->skid, KID_SIZE))
        return PROBLEM_NOT_FOUND;
    e = rsa_key_from_spki(i->sign, i->sign_size, &sign);
    if (e == 0)
        e = register_request_parse(text, n, sign, &binding, clock_realtime(), &q);
    if (e != 0)
        return handler_result(e);
    if (q.method != REGISTER_UNREGISTER)
        return PROBLEM_BAD_REQUEST;
    ret->kind = STORE_UNREGISTER;
    memcpy(ret->unregister.skid, skid, KID_SIZE);
    memcpy(ret->unregister.name, q.name, sizeof(q.name));
    return 0;
}

/* POST /v1/unregistrations */
int handle_unregister(HttpRequest *r)
{
    static const char *const names[] = {"request", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(freep) HandlerWrite *w = calloc(1, sizeof(*w));
    const char *text = NULL;
    size_t n = 0;
    int e = w ? handler_limit(r, LIMIT_REGISTER) : -ENOMEM;
    if (e == 0)
        e = http_request_json(r, names, &j);
    if (e != 0)
        return e;
    if (json_get_text(j, "request", JWS_SIZE_MAX, &text, &n) != 0)
        return PROBLEM_BAD_REQUEST;
    e = check_unregister(r, text, n, &w->write);
    if (e != 0)
        return e;
    w->stored = end_streams;
    w->finish = finish_unregistration;
    w->free = registration_free;
    return handler_write_start(TAKE_PTR(w), r);
}

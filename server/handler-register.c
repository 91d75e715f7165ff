/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/file.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"

/* What a registration holds, and what came out of it. */
typedef struct Registration {
    HandlerWrite w;
    StoreIdentity identity;
} Registration;

static void registration_free(HandlerWrite *w)
{
    free(w);
}

/* A member's statement tells the address that he gets here. */
static int check_address(const HttpRequest *r, const RegisterRequest *q, const IdentityStatement *s)
{
    Address address = {.relay = handlers_of(r)->options->relay};
    _cleanup_(buf_done) Buf text = BUF_MAX(ADDRESS_SIZE_MAX);
    memcpy(address.name, q->name, sizeof(address.name));
    int e = address_format(&address, false, &text);
    if (e != 0)
        return handler_result(e);
    return strcmp(buf_text(&text), s->address) == 0 ? 0 : PROBLEM_REFUSED;
}

static int check_invite(HttpRequest *r, const Application *a)
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
    if (a->invite && word.size > 0 && strlen(a->invite) == word.size &&
        bytes_equal(a->invite, word.data, word.size))
        return 0;
    http_answer_problem(r, PROBLEM_REFUSED, "This relay takes new users by invitation only", 0);
    return PROBLEM_REFUSED;
}

/* Who may come: guests when the relay takes them; members who are new with an invitation. */
static int check_policy(HttpRequest *r, const RegisterRequest *q, const IdentityStatement *s,
                        const Application *a)
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
    return check_invite(r, a);
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
    static const char *const names[] = {"statement", "request", "answer", "invite", NULL};
    _cleanup_(application_done) Application a = {};
    _cleanup_(freep) Registration *g = calloc(1, sizeof(*g));
    RegisterRequest q = {};
    int e = g ? handler_limit(r, LIMIT_REGISTER) : -ENOMEM;
    if (e == 0)
        e = application_read(r, names, &a);
    if (e == 0)
        e = application_check(r, &a, &q);
    if (e != 0)
        return e;
    if (q.method != REGISTER_MEMBER && q.method != REGISTER_GUEST)
        return PROBLEM_BAD_REQUEST;
    e = check_policy(r, &q, &a.identity, &a);
    if (e == 0)
        e = application_identity(&a, q.name, &g->identity);
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "libhmsg/wire/rotation.h"
#include "server/handler.h"

/* What a registration holds, and what came out of it. */
typedef struct Registration {
    HandlerWrite w;
    StoreIdentity identity;
    Application application; /* has the invitation, and the texts of former */
    StoreFormer former[ROTATION_CHAIN_MAX];
    char *steps[ROTATION_CHAIN_MAX]; /* of those */
    size_t n_former;
} Registration;

static Registration *registration_end(Registration *g)
{
    for (size_t i = 0; i < g->n_former; i++)
        free(g->steps[i]);
    application_done(&g->application);
    free(g);
    return NULL;
}
DEFINE_CLEANUP(Registration *, registration_end)

static void registration_free(HandlerWrite *w)
{
    (void)registration_end((Registration *)w);
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

/* Whether the code is good is for the store to say, which uses it up together with the registration. */
static int check_new(HttpRequest *r, const Application *a, StoreWrite *write)
{
    const unsigned mode = atomic_load(&handlers_of(r)->registration);
    if (mode == REGISTRATION_OPEN)
        return 0;
    if (mode == REGISTRATION_CLOSED) {
        http_answer_problem(r, PROBLEM_REFUSED, "This relay takes no new users", 0);
        return PROBLEM_REFUSED;
    }
    if (!a->invite)
        return PROBLEM_INVITE_REQUIRED;
    write->reg.by_invite = true;
    write->reg.invite = a->invite;
    write->reg.now = clock_realtime();
    return handler_limit(r, LIMIT_INVITE);
}

/* Who may come: guests when the relay takes them; members who are new as the configuration says. */
static int check_policy(HttpRequest *r, const RegisterRequest *q, const IdentityStatement *s,
                        const Application *a, StoreWrite *write)
{
    _cleanup_(freep) StoreIdentity *known = calloc(1, sizeof(*known));
    if (!known)
        return -ENOMEM;
    if (q->method == REGISTER_GUEST) {
        if (atomic_load(&handlers_of(r)->guests))
            return handler_limit(r, LIMIT_GUESTS);
        http_answer_problem(r, PROBLEM_REFUSED, "This relay takes no guests", 0);
        return PROBLEM_REFUSED;
    }
    int e = check_address(r, q, s);
    if (e != 0)
        return e;
    int found = store_find_key(handlers_reader(r), rsa_key_thumbprint(s->sign), known);
    if (found == 0 && known->name[0])
        return 0;
    return check_new(r, a, write);
}

/* A link of a chain that was verified; next: where it leads to. */
static int take_link(Registration *g, const json_t *link, const char *next)
{
    _cleanup_(identity_statement_done) IdentityStatement from = {};
    StoreFormer *f = &g->former[g->n_former];
    const char *text = NULL;
    size_t n = 0;
    int e = json_get_text(link, "from", JWS_SIZE_MAX, &text, &n);
    if (e == 0)
        e = identity_statement_parse(text, n, clock_realtime(), &from);
    if (e != 0)
        return handler_result(e);
    if (strcmp(from.address, g->application.identity.address) != 0)
        return PROBLEM_REFUSED;
    char *steps = json_dumps(json_object_get(link, "steps"), JSON_COMPACT);
    if (!steps)
        return -ENOMEM;
    g->steps[g->n_former++] = steps;
    memcpy(f->skid, rsa_key_thumbprint(from.sign), KID_SIZE);
    memcpy(f->kid, rsa_key_thumbprint(from.decrypt), KID_SIZE);
    f->link = (StoreLink){text, steps, next};
    return 0;
}

/* From whichever key it begins at; that the chain is one, and ends at these keys, is all signed. */
static int check_chain(const Registration *g, const json_t *chain)
{
    _cleanup_(identity_statement_done) IdentityStatement from = {};
    _cleanup_(freep) Rotation *rotation = calloc(1, sizeof(*rotation));
    const char *text = NULL;
    size_t n = 0;
    int e = rotation ? json_get_text(json_array_get(chain, 0), "from", JWS_SIZE_MAX, &text, &n) : -ENOMEM;
    if (e == 0)
        e = identity_statement_parse(text, n, clock_realtime(), &from);
    if (e == 0)
        e = rotation_chain_follow(chain, rsa_key_thumbprint(from.sign), &g->application.identity,
                                  clock_realtime(), rotation);
    return handler_result(e);
}

/* Keys that a new member has had before, so that who knows those follows. */
static int read_former(Registration *g, RegisterMethod method)
{
    json_t *chain = NULL;
    if (!json_has(g->application.body, "chain"))
        return 0;
    if (method != REGISTER_MEMBER || json_get_array(g->application.body, "chain", &chain) != 0 ||
        json_array_size(chain) == 0 || json_array_size(chain) > ROTATION_CHAIN_MAX ||
        !json_is_object(json_array_get(chain, 0)))
        return PROBLEM_BAD_REQUEST;
    int e = check_chain(g, chain);
    for (size_t i = 0, n = json_array_size(chain); e == 0 && i < n; i++) {
        const json_t *link = json_array_get(chain, i);
        const char *to = json_string_value(json_object_get(link, "to"));
        if (!to)
            to = i + 1 < n ? json_string_value(json_object_get(json_array_get(chain, i + 1), "from"))
                           : g->application.statement;
        e = take_link(g, link, to);
    }
    g->w.write.reg.former = g->former;
    g->w.write.reg.n_former = g->n_former;
    return e;
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
    if (w->write.result == HMSG_ERROR_DENIED)
        e = PROBLEM_INVITE_REQUIRED;
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
    static const char *const names[] = {"statement", "request", "answer", "invite", "chain", NULL};
    _cleanup_(registration_endp) Registration *g = calloc(1, sizeof(*g));
    RegisterRequest q = {};
    int e = g ? handler_limit(r, LIMIT_REGISTER) : -ENOMEM;
    if (e == 0)
        e = application_read(r, names, &g->application);
    if (e == 0)
        e = application_check(r, &g->application, &q);
    if (e != 0)
        return e;
    if (q.method != REGISTER_MEMBER && q.method != REGISTER_GUEST)
        return PROBLEM_BAD_REQUEST;
    e = check_policy(r, &q, &g->application.identity, &g->application, &g->w.write);
    if (e == 0)
        e = read_former(g, q.method);
    if (e == 0)
        e = application_identity(&g->application, q.name, &g->identity);
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

static void unregistration_free(HandlerWrite *w)
{
    free(w);
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
    w->free = unregistration_free;
    return handler_write_start(TAKE_PTR(w), r);
}

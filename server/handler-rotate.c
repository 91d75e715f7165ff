/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/rotation.h"
#include "server/handler.h"

typedef struct RotationWrite {
    HandlerWrite w;
    StoreIdentity known;    /* what is registered */
    StoreIdentity identity; /* what takes its place */
    RotateStatement steps[ROTATION_STEPS_MAX];
    size_t n_steps;
    Buf text; /* of the steps */
} RotationWrite;

static RotationWrite *rotation_write_free(RotationWrite *t)
{
    buf_done(&t->text);
    free(t);
    return NULL;
}
DEFINE_CLEANUP(RotationWrite *, rotation_write_free)

static void free_write(HandlerWrite *w)
{
    (void)rotation_write_free((RotationWrite *)w);
}

static int read_steps(const Application *a, RotationWrite *t)
{
    json_t *steps = NULL;
    if (json_get_array(a->body, "steps", &steps) != 0)
        return PROBLEM_BAD_REQUEST;
    int e = rotation_steps_parse(steps, clock_realtime(), t->steps, &t->n_steps);
    if (e == 0)
        e = json_write(steps, &t->text);
    return handler_result(e);
}

/* The steps lead from the statement that is registered to the one that was sent. */
static int check_steps(const Application *a, const RotationWrite *t)
{
    _cleanup_(identity_statement_done) IdentityStatement from = {};
    const char *text = t->known.statement;
    int e = identity_statement_parse(text, strlen(text), clock_realtime(), &from);
    if (e == 0)
        e = rotate_statement_check(t->steps, t->n_steps, &from, &a->identity);
    return e;
}

static int answer_binding(HttpRequest *r, unsigned status, const StoreIdentity *i)
{
    _cleanup_(online_key_unrefp) OnlineKey *online = NULL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int e = handler_online(r, &online);
    if (e != 0)
        return e;
    e = handler_put_binding(online, i, j);
    if (e == 0)
        http_answer_json(r, status, j);
    return handler_result(e);
}

/* The keys that were sent are those that are registered. */
static bool is_known(const Application *a, const RotationWrite *t)
{
    return bytes_equal(t->known.skid, rsa_key_thumbprint(a->identity.sign), KID_SIZE) &&
           bytes_equal(t->known.kid, rsa_key_thumbprint(a->identity.decrypt), KID_SIZE);
}

/* The answer to the first time was lost. */
static int answer_again(HttpRequest *r, const Application *a, RotationWrite *t)
{
    int e = handler_result(store_find_former(handlers_reader(r), t->steps[0].skid, &t->known));
    if (e != 0)
        return e;
    if (!is_known(a, t))
        return PROBLEM_CONFLICT;
    return answer_binding(r, 200, &t->known);
}

/* Whoever is logged in by the former key gets no event any more. */
static void end_streams(HandlerWrite *w)
{
    hub_end(w->handlers->hub, w->write.rotate.from);
}

static int finish_rotation(HandlerWrite *w)
{
    RotationWrite *t = (RotationWrite *)w;
    Client *c = http_request_client(w->request);
    uint8_t skid[KID_SIZE];
    memcpy(skid, t->identity.skid, KID_SIZE);
    int e = handler_result(w->write.result);
    if (e == 0)
        e = handler_result(store_find_key(handlers_reader(w->request), skid, &t->identity));
    if (e != 0)
        return e;
    if (c && c->logged_in && bytes_equal(c->skid, w->write.rotate.from, KID_SIZE))
        client_logout(c);
    return answer_binding(w->request, w->write.rotate.created ? 201 : 200, &t->identity);
}

/* Whose keys these steps follow. 0: t->known, and it is checked. A recovery key is not the one that is
 * registered for the address, and may be another's: then it is found by the address. */
static int find_known(HttpRequest *r, const Application *a, RotationWrite *t)
{
    Address address;
    int by_key = store_find_key(handlers_reader(r), t->steps[0].skid, &t->known);
    int checked = by_key == 0 ? check_steps(a, t) : by_key;
    if (checked == 0 || (by_key != 0 && by_key != HMSG_ERROR_NOT_FOUND) ||
        address_parse(a->identity.address, &address) != 0)
        return checked;
    int by_name = store_find_name(handlers_reader(r), address.name, &t->known);
    if (by_name == 0 && (is_known(a, t) || check_steps(a, t) == 0))
        return 0;
    return by_name == 0 || by_name == HMSG_ERROR_NOT_FOUND ? checked : by_name;
}

/* POST /v1/rotations */
int handle_rotate(HttpRequest *r)
{
    static const char *const names[] = {"statement", "request", "answer", "steps", NULL};
    _cleanup_(application_done) Application a = {};
    _cleanup_(rotation_write_freep) RotationWrite *t = calloc(1, sizeof(*t));
    RegisterRequest q = {};
    int e = t ? handler_limit(r, LIMIT_REGISTER) : -ENOMEM;
    if (e != 0)
        return e;
    t->text = BUF_MAX(ROTATION_BODY_SIZE_MAX);
    e = application_read(r, names, &a);
    if (e == 0)
        e = application_check(r, &a, &q);
    if (e == 0 && q.method != REGISTER_ROTATE)
        e = PROBLEM_BAD_REQUEST;
    if (e == 0)
        e = read_steps(&a, t);
    if (e != 0)
        return e;
    e = find_known(r, &a, t);
    if (e == 0 && is_known(&a, t)) /* the answer to a recovery was lost */
        return answer_binding(r, 200, &t->known);
    if (e == HMSG_ERROR_NOT_FOUND)
        return answer_again(r, &a, t);
    e = handler_result(e);
    if (e == 0)
        e = application_identity(&a, t->known.name, &t->identity);
    if (e != 0)
        return e;
    StoreWrite *w = &t->w.write;
    w->kind = STORE_ROTATE;
    w->rotate.identity = &t->identity;
    w->rotate.from = t->known.skid;
    w->rotate.from_statement = t->known.statement;
    w->rotate.steps = buf_text(&t->text);
    t->w.stored = end_streams;
    t->w.finish = finish_rotation;
    t->w.free = free_write;
    return handler_write_start(&TAKE_PTR(t)->w, r);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"
#include "server/handler.h"

int handler_own_mailbox(HttpRequest *r, const Client **ret)
{
    *ret = http_request_client(r);
    return (*ret)->guest ? PROBLEM_NOT_FOUND : 0;
}

int handler_check_mac(const json_t *j, const uint8_t expected[static SHA256_SIZE])
{
    uint8_t mac[SHA256_SIZE];
    if (json_get_bytes(j, "mac", mac, sizeof(mac)) != 0)
        return PROBLEM_BAD_REQUEST;
    return bytes_equal(mac, expected, sizeof(mac)) ? 0 : PROBLEM_REFUSED;
}

static void free_write(HandlerWrite *w)
{
    free(w);
}

static int write_capability(const StoreCapability *c, json_t *j)
{
    int e = json_put_number(j, "number", c->number);
    if (e == 0)
        e = json_put_number(j, "uses", (int64_t)c->uses);
    if (e == 0)
        e = json_put_number(j, "created", c->created);
    return e == 0 ? json_put_number(j, "expires", c->expires) : e;
}

static int finish_grant(HandlerWrite *w)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int e = handler_result(w->write.result);
    if (e == 0)
        e = json_put_number(j, "number", w->write.grant.number);
    if (e == 0)
        http_answer_json(w->request, w->write.grant.created ? 201 : 200, j);
    return e;
}

static int read_grant(HttpRequest *r, const Client *c, const json_t *j, StoreWrite *ret)
{
    CapabilityGrant g = {};
    uint8_t mac[SHA256_SIZE];
    int64_t now = clock_realtime(), uses = 0;
    if (json_get_bytes(j, "hash", g.hash, sizeof(g.hash)) != 0 ||
        json_get_number(j, "uses", 1, CAPABILITY_USES_MAX, &uses) != 0 ||
        json_get_number(j, "expires", now + 1, now + (int64_t)(CAPABILITY_LIFETIME_MAX + CLOCK_SKEW_MAX),
                        &g.expires) != 0)
        return PROBLEM_BAD_REQUEST;
    g.uses = (uint64_t)uses;
    int e = capability_grant_mac(c->ack_key, relay_key_pin(handlers_of(r)->key), &g, mac);
    e = e == 0 ? handler_check_mac(j, mac) : handler_result(e);
    if (e != 0)
        return e;
    ret->kind = STORE_GRANT;
    memcpy(ret->grant.mailbox, c->kid, KID_SIZE);
    memcpy(ret->grant.hash, g.hash, SHA256_SIZE);
    ret->grant.uses = g.uses;
    ret->grant.now = now;
    ret->grant.expires = g.expires;
    return 0;
}

static int finish_revocation(HandlerWrite *w)
{
    int e = handler_result(w->write.result);
    if (e == 0)
        http_answer_empty(w->request, 204);
    return e;
}

static int read_revocation(HttpRequest *r, const Client *c, const json_t *j, StoreWrite *ret)
{
    uint8_t mac[SHA256_SIZE];
    int64_t number = 0;
    if (json_get_number(j, "number", 1, (int64_t)GENERATION_MAX, &number) != 0)
        return PROBLEM_BAD_REQUEST;
    int e = capability_revoke_mac(c->ack_key, relay_key_pin(handlers_of(r)->key), (uint64_t)number, mac);
    e = e == 0 ? handler_check_mac(j, mac) : handler_result(e);
    if (e != 0)
        return e;
    ret->kind = STORE_WITHDRAW;
    memcpy(ret->withdraw.mailbox, c->kid, KID_SIZE);
    ret->withdraw.number = number;
    return 0;
}

/* What both that change something share. */
static int change(HttpRequest *r, const char *const *names,
                  int (*f)(HttpRequest *r, const Client *c, const json_t *j, StoreWrite *ret),
                  int (*finish)(HandlerWrite *w))
{
    _cleanup_(freep) HandlerWrite *w = calloc(1, sizeof(*w));
    _cleanup_(json_decrefp) json_t *j = NULL;
    const Client *c = NULL;
    int e = w ? handler_own_mailbox(r, &c) : -ENOMEM;
    if (e == 0)
        e = http_request_json(r, names, &j);
    if (e == 0)
        e = f(r, c, j, &w->write);
    if (e != 0)
        return e;
    w->finish = finish;
    w->free = free_write;
    return handler_write_start(TAKE_PTR(w), r);
}

/* POST /v1/mailbox/capabilities */
int handle_grant(HttpRequest *r)
{
    static const char *const names[] = {"hash", "uses", "expires", "mac", NULL};
    return change(r, names, read_grant, finish_grant);
}

/* POST /v1/mailbox/capabilities/revocations */
int handle_revoke(HttpRequest *r)
{
    static const char *const names[] = {"number", "mac", NULL};
    return change(r, names, read_revocation, finish_revocation);
}

/* GET /v1/mailbox/capabilities */
int handle_capabilities(HttpRequest *r)
{
    _cleanup_(json_decrefp) json_t *j = json_object(), *list = json_array();
    const Client *c = NULL;
    StoreCapability one = {};
    int e = j && list ? handler_own_mailbox(r, &c) : -ENOMEM, found = 0;
    while (e == 0 && json_array_size(list) < CAPABILITIES_MAX &&
           (found = store_next_capability(handlers_reader(r), c->kid, &one)) == 0) {
        json_t *item = json_object();
        e = write_capability(&one, item);
        if (e == 0)
            e = json_array_append(list, item) == 0 ? 0 : -ENOMEM;
        json_decref(item);
    }
    if (e == 0 && found != 0 && found != HMSG_ERROR_NOT_FOUND)
        e = handler_result(found);
    if (e == 0)
        e = json_put(j, "capabilities", TAKE_PTR(list));
    if (e == 0)
        http_answer_json(r, 200, j);
    return e;
}

int handler_capability(HttpRequest *r, StoreWrite *put, bool *ret_good)
{
    const char *text = http_request_header(r, "hmsg-capability");
    uint8_t code[CAPABILITY_SIZE];
    *ret_good = false;
    if (!text)
        return 0;
    if (base64url_decode_exact(text, strlen(text), code, sizeof(code)) != 0)
        return PROBLEM_BAD_REQUEST;
    int e = capability_hash(code, put->put.capability);
    bytes_wipe(code, sizeof(code));
    if (e != 0)
        return handler_result(e);
    put->put.has_capability = true;
    if (!http_request_client(r)->guest)
        return 0;
    e = store_capability(handlers_reader(r), put->put.mailbox, put->put.capability);
    *ret_good = e == 0;
    return e == HMSG_ERROR_NOT_FOUND ? 0 : handler_result(e);
}

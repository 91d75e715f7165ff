/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"

/* Who asks: the request names his sign key, which must be a known one and verify it. */
static int check_request(HttpRequest *r, const char *text, size_t n, StoreIdentity *i, LoginRequest *ret)
{
    const Client *c = http_request_client(r);
    _cleanup_(client_nonce_done) ClientNonce nonce = {};
    _cleanup_(rsa_key_freep) RsaKey *sign = NULL;
    RequestBinding binding;
    uint8_t skid[KID_SIZE];
    int e = handler_result(login_request_peek(text, n, skid));
    if (e == 0)
        e = handler_result(store_find_key(handlers_reader(r), skid, i));
    if (e != 0)
        return e;
    if (!bytes_equal(i->skid, skid, KID_SIZE))
        return PROBLEM_NOT_FOUND; /* a decrypt key */
    if (c->logged_in && !bytes_equal(c->skid, skid, KID_SIZE))
        return PROBLEM_REFUSED;
    e = handler_binding(r, text, n, JWS_LOGIN, &binding, &nonce);
    if (e != 0)
        return e;
    e = rsa_key_from_spki(i->sign, i->sign_size, &sign);
    if (e == 0)
        e = login_request_parse(text, n, sign, &binding, clock_realtime(), ret);
    return handler_result(e);
}

static int log_in(HttpRequest *r, const StoreIdentity *i, const LoginRequest *q,
                  uint8_t ret[static X25519_SIZE])
{
    _cleanup_(secret_freep) Secret *own = NULL, *ack = NULL;
    int e = x25519_generate(&own, ret);
    if (e == 0)
        e = ack_key_derive(own, q->epk, q->binding.nonce, q->binding.pin, i->skid, &ack);
    if (e == 0)
        client_login(http_request_client(r), i->skid, i->kid, !i->name[0], TAKE_PTR(ack));
    return e;
}

static int put_response(const OnlineKey *online, LoginResponse *p, json_t *j)
{
    _cleanup_(jws_draft_done) JwsDraft draft = {};
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_SIZE_MAX);
    int r = login_response_prepare(p, online_key_ec(online), &draft);
    if (r == 0)
        r = jws_sign_ec(&draft, online_key_ec(online), &text);
    if (r == 0)
        r = json_put_text(j, "response", buf_text(&text));
    return r == 0 ? handler_put_relay(online, j) : r;
}

/* POST /v1/logins */
int handle_login(HttpRequest *r)
{
    static const char *const names[] = {"request", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL, *answer = json_object();
    _cleanup_(freep) StoreIdentity *i = calloc(1, sizeof(*i));
    _cleanup_(online_key_unrefp) OnlineKey *online = NULL;
    LoginRequest q = {};
    LoginResponse p = {.iat = clock_realtime()};
    const char *text = NULL;
    size_t n = 0;
    int e = i ? http_request_json(r, names, &j) : -ENOMEM;
    if (e == 0)
        e = handler_online(r, &online);
    if (e != 0)
        return e;
    if (json_get_text(j, "request", JWS_SIZE_MAX, &text, &n) != 0)
        return PROBLEM_BAD_REQUEST;
    e = check_request(r, text, n, i, &q);
    if (e != 0)
        return e;
    e = log_in(r, i, &q, p.epk);
    p.exp = p.iat + (int64_t)REQUEST_LIFETIME_MAX;
    memcpy(p.pin, q.binding.pin, PIN_SIZE);
    memcpy(p.skid, i->skid, KID_SIZE);
    memcpy(p.nonce, q.binding.nonce, NONCE_SIZE);
    if (e == 0)
        e = put_response(online, &p, answer);
    if (e == 0)
        http_answer_json(r, 200, answer);
    return handler_result(e);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/wire/json.h"
#include "libhmsg/wire/proof.h"
#include "server/handler.h"

void application_done(Application *a)
{
    identity_statement_done(&a->identity);
    json_decref(a->body);
    *a = (Application){};
}

int application_read(HttpRequest *r, const char *const *names, Application *ret)
{
    _cleanup_(application_done) Application a = {};
    int e = http_request_json(r, names, &a.body);
    if (e != 0)
        return e;
    if (json_get_text(a.body, "statement", JWS_SIZE_MAX, &a.statement, &a.statement_size) != 0 ||
        json_get_text(a.body, "request", JWS_SIZE_MAX, &a.request, &a.request_size) != 0 ||
        json_get_bytes(a.body, "answer", a.answer, sizeof(a.answer)) != 0 ||
        (json_has(a.body, "invite") &&
         json_get_text(a.body, "invite", INVITE_SIZE_MAX, &a.invite, NULL) != 0))
        return PROBLEM_BAD_REQUEST;
    e = handler_result(
        identity_statement_parse(a.statement, a.statement_size, clock_realtime(), &a.identity));
    if (e != 0)
        return e;
    *ret = a;
    a = (Application){};
    return 0;
}

/* The decrypt key was challenged on this connection, and whoever answered can decrypt. */
static int check_possession(const ClientNonce *nonce, const Application *a)
{
    uint8_t expected[SHA256_SIZE];
    if (!nonce->pop || !bytes_equal(nonce->kid, rsa_key_thumbprint(a->identity.decrypt), KID_SIZE))
        return PROBLEM_REFUSED;
    int e = pop_answer(nonce->pop, a->request, a->request_size, expected);
    if (e != 0)
        return handler_result(e);
    return bytes_equal(expected, a->answer, sizeof(expected)) ? 0 : PROBLEM_REFUSED;
}

int application_check(HttpRequest *r, const Application *a, RegisterRequest *ret)
{
    _cleanup_(client_nonce_done) ClientNonce nonce = {};
    RequestBinding binding;
    RegisterRequest q = {};
    int e = handler_binding(r, a->request, a->request_size, JWS_REGISTER, &binding, &nonce);
    if (e != 0)
        return e;
    e = handler_result(register_request_parse(a->request, a->request_size, a->identity.sign, &binding,
                                              clock_realtime(), &q));
    if (e == 0)
        e = check_possession(&nonce, a);
    if (e != 0)
        return e;
    if (q.method == REGISTER_UNREGISTER)
        return PROBLEM_BAD_REQUEST;
    if (!bytes_equal(q.statement_sha256, a->identity.sha256, SHA256_SIZE))
        return PROBLEM_REFUSED;
    *ret = q;
    return 0;
}

int application_identity(const Application *a, const char *name, StoreIdentity *ret)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(a->identity.sign, &n);
    if (n > sizeof(ret->sign))
        return PROBLEM_BAD_REQUEST;
    memcpy(ret->sign, spki, n);
    ret->sign_size = n;
    spki = rsa_key_spki(a->identity.decrypt, &n);
    if (n > sizeof(ret->decrypt))
        return PROBLEM_BAD_REQUEST;
    memcpy(ret->decrypt, spki, n);
    ret->decrypt_size = n;
    memcpy(ret->skid, rsa_key_thumbprint(a->identity.sign), KID_SIZE);
    memcpy(ret->kid, rsa_key_thumbprint(a->identity.decrypt), KID_SIZE);
    memcpy(ret->name, name, strlen(name) + 1);
    memcpy(ret->statement, a->statement, a->statement_size);
    ret->generation = a->identity.generation;
    ret->created = clock_realtime();
    return 0;
}

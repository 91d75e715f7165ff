/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

static const char *const methods[REGISTER_METHOD_MAX_] = {[REGISTER_MEMBER] = "register",
                                                          [REGISTER_GUEST] = "guest",
                                                          [REGISTER_UNREGISTER] = "unregister",
                                                          [REGISTER_ROTATE] = "rotate"};

static bool has_name(RegisterMethod m)
{
    return m == REGISTER_MEMBER || m == REGISTER_UNREGISTER;
}

int register_request_prepare(const RegisterRequest *q, const uint8_t skid[static KID_SIZE], JwsDraft *ret)
{
    if (q->method >= REGISTER_METHOD_MAX_ || has_name(q->method) != (q->name[0] != 0))
        return -EINVAL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "pin", q->binding.pin, PIN_SIZE);
    if (r == 0)
        r = json_put_text(j, "method", methods[q->method]);
    if (r == 0 && has_name(q->method))
        r = json_put_text(j, "name", q->name);
    if (r == 0)
        r = json_put_bytes(j, "nonce", q->binding.nonce, NONCE_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "exporter", q->binding.exporter, EXPORTER_SIZE);
    if (r == 0 && q->method != REGISTER_UNREGISTER)
        r = json_put_bytes(j, "statement_sha256", q->statement_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_put_number(j, "iat", q->iat);
    if (r == 0)
        r = json_put_number(j, "exp", q->exp);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_REGISTER, skid, ret) : r;
}

static int read_payload(const json_t *j, const RequestBinding *expected, int64_t now, RegisterRequest *q)
{
    size_t method = 0;
    int r = statement_get_choice(j, "method", methods, REGISTER_METHOD_MAX_, &method);
    if (r != 0)
        return r;
    q->method = (RegisterMethod)method;
    q->binding = *expected;
    /* Exactly the members of this method. */
    if (json_has(j, "name") != has_name(q->method) ||
        json_has(j, "statement_sha256") != (q->method != REGISTER_UNREGISTER))
        return HMSG_ERROR_BAD_PACKAGE;
    r = statement_get_name(j, has_name(q->method), q->name);
    if (r == 0)
        r = statement_expect_bytes(j, "pin", expected->pin, PIN_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "nonce", expected->nonce, NONCE_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "exporter", expected->exporter, EXPORTER_SIZE);
    if (r == 0 && q->method != REGISTER_UNREGISTER)
        r = json_get_bytes(j, "statement_sha256", q->statement_sha256, SHA256_SIZE);
    if (r == 0)
        r = statement_get_period(j, "iat", "exp", REQUEST_LIFETIME_MAX, now, &q->iat, &q->exp);
    return r;
}

int register_request_parse(const char *text, size_t n, const RsaKey *sign, const RequestBinding *expected,
                           int64_t now, RegisterRequest *ret)
{
    static const char *const names[] = {"pin", "method", "name", "nonce", "exporter", "statement_sha256",
                                        "iat", "exp",    NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    RegisterRequest q = {};
    int r = statement_open_rsa(text, n, JWS_REGISTER, sign, names, &j);
    if (r == 0)
        r = read_payload(j, expected, now, &q);
    if (r == 0)
        *ret = q;
    return r;
}

static int peek(const char *text, size_t n, JwsType type, uint8_t ret_skid[static KID_SIZE])
{
    _cleanup_(jws_done) Jws jws = {};
    int r = jws_parse(text, n, JWS_PS256, type, &jws);
    if (r == 0)
        memcpy(ret_skid, jws.kid, KID_SIZE);
    return r;
}

int register_request_peek(const char *text, size_t n, uint8_t ret_skid[static KID_SIZE])
{
    return peek(text, n, JWS_REGISTER, ret_skid);
}

int login_request_peek(const char *text, size_t n, uint8_t ret_skid[static KID_SIZE])
{
    return peek(text, n, JWS_LOGIN, ret_skid);
}

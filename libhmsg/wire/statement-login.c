/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

int login_request_prepare(const LoginRequest *q, const uint8_t skid[static KID_SIZE], JwsDraft *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "pin", q->binding.pin, PIN_SIZE);
    if (r == 0)
        r = json_put_text(j, "method", "login");
    if (r == 0)
        r = json_put_bytes(j, "nonce", q->binding.nonce, NONCE_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "exporter", q->binding.exporter, EXPORTER_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "epk", q->epk, X25519_SIZE);
    if (r == 0)
        r = json_put_number(j, "iat", q->iat);
    if (r == 0)
        r = json_put_number(j, "exp", q->exp);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_LOGIN, skid, ret) : r;
}

int login_request_parse(const char *text, size_t n, const RsaKey *sign, const RequestBinding *expected,
                        int64_t now, LoginRequest *ret)
{
    static const char *const names[] = {"pin", "method", "nonce", "exporter", "epk", "iat", "exp", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    LoginRequest q = {.binding = *expected};
    int r = statement_open_rsa(text, n, JWS_LOGIN, sign, names, &j);
    if (r == 0)
        r = json_expect_text(j, "method", "login");
    if (r == 0)
        r = statement_expect_bytes(j, "pin", expected->pin, PIN_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "nonce", expected->nonce, NONCE_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "exporter", expected->exporter, EXPORTER_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "epk", q.epk, X25519_SIZE);
    if (r == 0)
        r = statement_get_period(j, "iat", "exp", REQUEST_LIFETIME_MAX, now, &q.iat, &q.exp);
    if (r == 0)
        *ret = q;
    return r;
}

int login_response_prepare(const LoginResponse *a, const EcKey *online, JwsDraft *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "pin", a->pin, PIN_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "kid", a->skid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "nonce", a->nonce, NONCE_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "epk", a->epk, X25519_SIZE);
    if (r == 0)
        r = json_put_number(j, "iat", a->iat);
    if (r == 0)
        r = json_put_number(j, "exp", a->exp);
    return r == 0 ? statement_draft(j, JWS_ES256, JWS_LOGIN, ec_key_thumbprint(online), ret) : r;
}

int login_response_parse(const char *text, size_t n, const EcKey *online, const uint8_t pin[static PIN_SIZE],
                         const uint8_t skid[static KID_SIZE], const uint8_t nonce[static NONCE_SIZE],
                         int64_t now, LoginResponse *ret)
{
    static const char *const names[] = {"pin", "kid", "nonce", "epk", "iat", "exp", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    LoginResponse a = {};
    int r = statement_open_ec(text, n, JWS_LOGIN, online, names, &j);
    if (r == 0)
        r = statement_expect_bytes(j, "pin", pin, PIN_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "kid", skid, KID_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "nonce", nonce, NONCE_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "epk", a.epk, X25519_SIZE);
    if (r == 0)
        r = statement_get_period(j, "iat", "exp", REQUEST_LIFETIME_MAX, now, &a.iat, &a.exp);
    if (r != 0)
        return r;
    memcpy(a.pin, pin, PIN_SIZE);
    memcpy(a.skid, skid, KID_SIZE);
    memcpy(a.nonce, nonce, NONCE_SIZE);
    *ret = a;
    return 0;
}

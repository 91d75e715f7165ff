/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

int binding_prepare(const Binding *b, const EcKey *online, JwsDraft *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "pin", b->pin, PIN_SIZE);
    if (r == 0 && b->name[0])
        r = json_put_text(j, "name", b->name);
    if (r == 0)
        r = json_put_bytes(j, "skid", b->skid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "kid", b->kid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "statement_sha256", b->statement_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_put_number(j, "iat", b->iat);
    if (r == 0)
        r = json_put_number(j, "exp", b->exp);
    return r == 0 ? statement_draft(j, JWS_ES256, JWS_BINDING, ec_key_thumbprint(online), ret) : r;
}

int binding_parse(const char *text, size_t n, const EcKey *online, const uint8_t pin[static PIN_SIZE],
                  int64_t now, Binding *ret)
{
    static const char *const names[] = {"pin", "name", "skid", "kid", "statement_sha256", "iat", "exp", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    Binding b = {};
    int r = statement_open_ec(text, n, JWS_BINDING, online, names, &j);
    if (r == 0)
        r = statement_expect_bytes(j, "pin", pin, PIN_SIZE);
    if (r == 0)
        r = statement_get_name(j, false, b.name);
    if (r == 0)
        r = json_get_bytes(j, "skid", b.skid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "kid", b.kid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "statement_sha256", b.statement_sha256, SHA256_SIZE);
    if (r == 0)
        r = statement_get_period(j, "iat", "exp", BINDING_LIFETIME_MAX, now, &b.iat, &b.exp);
    if (r != 0)
        return r;
    memcpy(b.pin, pin, PIN_SIZE);
    *ret = b;
    return 0;
}

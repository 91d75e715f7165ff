/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

#define SESSION_ALG "RSA-OAEP-256"
#define SESSION_ENC "A256CBC-HS512"

int session_statement_prepare(const SessionStatement *s, JwsDraft *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "sid", s->sid, SESSION_ID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "skid", s->skid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "kid", s->kid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "ek_sha256", s->ek_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_put_text(j, "alg", SESSION_ALG);
    if (r == 0)
        r = json_put_text(j, "enc", SESSION_ENC);
    if (r == 0)
        r = json_put_bytes(j, "kc", s->kc, KEY_COMMITMENT_SIZE);
    if (r == 0)
        r = json_put_number(j, "created", s->created);
    if (r == 0)
        r = json_put_number(j, "expires", s->expires);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_SESSION, s->skid, ret) : r;
}

static int read_payload(const json_t *j, const RsaKey *sender, SessionStatement *s)
{
    int r = json_get_bytes(j, "sid", s->sid, SESSION_ID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "skid", s->skid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "kid", s->kid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "ek_sha256", s->ek_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_expect_text(j, "alg", SESSION_ALG);
    if (r == 0)
        r = json_expect_text(j, "enc", SESSION_ENC);
    if (r == 0)
        r = json_get_bytes(j, "kc", s->kc, KEY_COMMITMENT_SIZE);
    if (r == 0)
        r = json_get_number(j, "created", 0, TIME_MAX, &s->created);
    if (r == 0)
        r = json_get_number(j, "expires", 0, TIME_MAX, &s->expires);
    if (r != 0)
        return r;
    if (!bytes_equal(s->skid, rsa_key_thumbprint(sender), KID_SIZE) || s->expires < s->created ||
        s->expires - s->created > (int64_t)SESSION_LIFETIME_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return 0;
}

int session_statement_parse(const char *text, size_t n, const RsaKey *sender, SessionStatement *ret)
{
    static const char *const names[] = {"sid", "skid", "kid",     "ek_sha256", "alg",
                                        "enc", "kc",   "created", "expires",   NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    SessionStatement s = {};
    int r = statement_open_rsa(text, n, JWS_SESSION, sender, names, &j);
    if (r == 0)
        r = read_payload(j, sender, &s);
    if (r == 0)
        r = crypto_sha256(text, n, s.sha256);
    if (r == 0)
        r = rsa_key_pin(sender, s.spki_sha256);
    if (r == 0)
        *ret = s;
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

int rotate_statement_prepare(const RotateStatement *s, JwsDraft *ret)
{
    if (s->generation > GENERATION_MAX)
        return -EINVAL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "skid", s->skid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "next_skid", s->next_skid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "next_kid", s->next_kid, KID_SIZE);
    if (r == 0)
        r = json_put_number(j, "generation", (int64_t)s->generation);
    if (r == 0)
        r = json_put_number(j, "iat", s->iat);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_ROTATE, s->skid, ret) : r;
}

int rotate_statement_parse(const char *text, size_t n, const RsaKey *sign, int64_t now, RotateStatement *ret)
{
    static const char *const names[] = {"skid", "next_skid", "next_kid", "generation", "iat", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    RotateStatement s = {};
    int64_t generation = 0;
    int r = statement_open_rsa(text, n, JWS_ROTATE, sign, names, &j);
    if (r == 0)
        r = statement_expect_bytes(j, "skid", rsa_key_thumbprint(sign), KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "next_skid", s.next_skid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "next_kid", s.next_kid, KID_SIZE);
    if (r == 0)
        r = json_get_number(j, "generation", 0, (int64_t)GENERATION_MAX, &generation);
    if (r == 0)
        r = statement_get_past(j, "iat", now, &s.iat);
    if (r != 0)
        return r;
    memcpy(s.skid, rsa_key_thumbprint(sign), KID_SIZE);
    s.generation = (uint64_t)generation;
    *ret = s;
    return 0;
}

static bool is_key(const uint8_t kid[static KID_SIZE], const RsaKey *key)
{
    return bytes_equal(kid, rsa_key_thumbprint(key), KID_SIZE);
}

/* No key lives on in the next generation, not even in the other role. */
static bool all_new(const IdentityStatement *from, const IdentityStatement *to)
{
    return !rsa_key_equal(from->sign, to->sign) && !rsa_key_equal(from->sign, to->decrypt) &&
           !rsa_key_equal(from->decrypt, to->sign) && !rsa_key_equal(from->decrypt, to->decrypt);
}

int rotate_statement_check(const RotateStatement *s, const IdentityStatement *from,
                           const IdentityStatement *to)
{
    bool old_agrees = is_key(s->skid, from->sign) && is_key(s->next_skid, to->sign) &&
                      is_key(s->next_kid, to->decrypt) && s->generation == to->generation;
    bool new_agrees = to->has_previous && bytes_equal(to->previous, from->sha256, SHA256_SIZE);
    if (!old_agrees || !new_agrees || to->generation <= from->generation ||
        strcmp(from->address, to->address) != 0 || !all_new(from, to))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return 0;
}

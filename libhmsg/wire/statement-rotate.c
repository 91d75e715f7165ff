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

static int read_payload(const json_t *j, RotateStatement *ret)
{
    RotateStatement s = {};
    int64_t generation = 0;
    int r = json_get_bytes(j, "skid", s.skid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "next_skid", s.next_skid, KID_SIZE);
    if (r == 0)
        r = json_get_bytes(j, "next_kid", s.next_kid, KID_SIZE);
    if (r == 0)
        r = json_get_number(j, "generation", 0, (int64_t)GENERATION_MAX, &generation);
    if (r == 0)
        r = json_get_number(j, "iat", 0, TIME_MAX, &s.iat);
    if (r != 0)
        return r;
    s.generation = (uint64_t)generation;
    *ret = s;
    return 0;
}

int rotate_statement_parse(const char *text, size_t n, const RsaKey *sign, int64_t now, RotateStatement *ret)
{
    static const char *const names[] = {"skid", "next_skid", "next_kid", "generation", "iat", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    RotateStatement s = {};
    int64_t past = 0;
    int r = statement_open_rsa(text, n, JWS_ROTATE, sign, names, &j);
    if (r == 0)
        r = read_payload(j, &s);
    if (r == 0)
        r = statement_expect_bytes(j, "skid", rsa_key_thumbprint(sign), KID_SIZE);
    if (r == 0)
        r = statement_get_past(j, "iat", now, &past);
    if (r == 0)
        *ret = s;
    return r;
}

int rotate_statement_peek(const char *text, size_t n, RotateStatement *ret)
{
    _cleanup_(jws_done) Jws jws = {};
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = jws_parse(text, n, JWS_PS256, JWS_ROTATE, &jws);
    if (r == 0)
        r = json_parse_object(buf_text(&jws.payload), jws.payload.size, &j);
    return r == 0 ? read_payload(j, ret) : r;
}

static bool is_key(const uint8_t kid[static KID_SIZE], const RsaKey *key)
{
    return bytes_equal(kid, rsa_key_thumbprint(key), KID_SIZE);
}

/* The i-th of all keys on the way, those of from being the first two. */
static const uint8_t *key_on_way(const RotateStatement *s, const IdentityStatement *from, size_t i)
{
    if (i < 2)
        return rsa_key_thumbprint(i == 0 ? from->sign : from->decrypt);
    return i % 2 == 0 ? s[i / 2 - 1].next_skid : s[i / 2 - 1].next_kid;
}

/* No key lives on in a later generation, not even in the other role. */
static bool all_new(const RotateStatement *s, size_t n, const IdentityStatement *from)
{
    for (size_t i = 2; i < 2 * n + 2; i++)
        for (size_t k = 0; k < i; k++)
            if (bytes_equal(key_on_way(s, from, i), key_on_way(s, from, k), KID_SIZE))
                return false;
    return true;
}

bool rotate_statement_is_recovery(const RotateStatement *first, const IdentityStatement *from)
{
    for (size_t i = 0; i < from->recovery.n; i++)
        if (from->recovery.keys[i].sign && is_key(first->skid, from->recovery.keys[i].sign))
            return true;
    return false;
}

/* Each is signed by the keys that the one before it named. */
static bool in_a_row(const RotateStatement *s, size_t n, const IdentityStatement *from)
{
    uint64_t generation = from->generation;
    for (size_t i = 0; i < n; i++) {
        bool signs = i == 0 ? is_key(s[i].skid, from->sign) || rotate_statement_is_recovery(&s[i], from)
                            : bytes_equal(s[i].skid, s[i - 1].next_skid, KID_SIZE);
        if (!signs || s[i].generation <= generation)
            return false;
        generation = s[i].generation;
    }
    return true;
}

int rotate_statement_check(const RotateStatement *s, size_t n, const IdentityStatement *from,
                           const IdentityStatement *to)
{
    if (n == 0 || n > ROTATION_STEPS_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    const RotateStatement *last = &s[n - 1];
    bool old_agrees = in_a_row(s, n, from) && is_key(last->next_skid, to->sign) &&
                      is_key(last->next_kid, to->decrypt) && last->generation == to->generation;
    bool new_agrees = to->has_previous && bytes_equal(to->previous, from->sha256, SHA256_SIZE);
    if (!old_agrees || !new_agrees || strcmp(from->address, to->address) != 0 || !all_new(s, n, from))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return 0;
}

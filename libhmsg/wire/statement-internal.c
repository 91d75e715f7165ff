/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/statement-internal.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"

int statement_draft(const json_t *payload, JwsAlg alg, JwsType type, const uint8_t kid[static KID_SIZE],
                    JwsDraft *ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(JWS_PAYLOAD_SIZE_MAX);
    int r = payload ? json_write(payload, &text) : -ENOMEM;
    return r == 0 ? jws_prepare(alg, type, kid, buf_text(&text), text.size, ret) : r;
}

static int open_payload(const Buf *text, const char *const *names, json_t **ret)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = json_parse_object(buf_text(text), text->size, &j);
    if (r == 0)
        r = json_check_names(j, names);
    if (r == 0)
        *ret = TAKE_PTR(j);
    return r;
}

int statement_open_rsa(const char *text, size_t n, JwsType type, const RsaKey *key, const char *const *names,
                       json_t **ret)
{
    _cleanup_(buf_done) Buf payload = BUF_MAX(JWS_PAYLOAD_SIZE_MAX);
    int r = jws_verify_rsa(text, n, type, key, &payload);
    return r == 0 ? open_payload(&payload, names, ret) : r;
}

int statement_open_ec(const char *text, size_t n, JwsType type, const EcKey *key, const char *const *names,
                      json_t **ret)
{
    _cleanup_(buf_done) Buf payload = BUF_MAX(JWS_PAYLOAD_SIZE_MAX);
    int r = jws_verify_ec(text, n, type, key, &payload);
    return r == 0 ? open_payload(&payload, names, ret) : r;
}

int statement_get_period(const json_t *payload, const char *from, const char *until, int64_t lifetime,
                         int64_t now, int64_t *ret_from, int64_t *ret_until)
{
    int64_t a = 0, b = 0;
    int r = json_get_number(payload, from, 0, TIME_MAX, &a);
    if (r == 0)
        r = json_get_number(payload, until, 0, TIME_MAX, &b);
    if (r != 0)
        return r;
    if (b < a || b - a > lifetime || now < a - (int64_t)CLOCK_SKEW_MAX || now > b + (int64_t)CLOCK_SKEW_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    *ret_from = a;
    *ret_until = b;
    return 0;
}

int statement_get_past(const json_t *payload, const char *name, int64_t now, int64_t *ret)
{
    int64_t t = 0;
    int r = json_get_number(payload, name, 0, TIME_MAX, &t);
    if (r != 0)
        return r;
    if (t > now + (int64_t)CLOCK_SKEW_MAX)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    *ret = t;
    return 0;
}

int statement_expect_bytes(const json_t *payload, const char *name, const void *expected, size_t size)
{
    uint8_t value[SHA512_SIZE];
    if (size > sizeof(value))
        return -EINVAL;
    int r = json_get_bytes(payload, name, value, size);
    if (r != 0)
        return r;
    return bytes_equal(value, expected, size) ? 0 : HMSG_ERROR_AUTHENTICATION_FAILED;
}

int statement_get_choice(const json_t *payload, const char *name, const char *const *texts, size_t n,
                         size_t *ret)
{
    for (size_t i = 0; i < n; i++)
        if (json_expect_text(payload, name, texts[i]) == 0) {
            *ret = i;
            return 0;
        }
    return HMSG_ERROR_BAD_PACKAGE;
}

int statement_get_name(const json_t *payload, bool required, char ret[static NAME_SIZE_MAX + 1])
{
    const char *name = NULL;
    size_t n = 0;
    if (!required && !json_has(payload, "name")) {
        ret[0] = 0;
        return 0;
    }
    int r = json_get_text(payload, "name", NAME_SIZE_MAX, &name, &n);
    if (r != 0 || !name_valid(name))
        return HMSG_ERROR_BAD_PACKAGE;
    memcpy(ret, name, n + 1);
    return 0;
}

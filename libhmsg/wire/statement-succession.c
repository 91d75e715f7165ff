/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

int succession_prepare(const Succession *s, JwsDraft *ret)
{
    uint8_t pin[PIN_SIZE];
    size_t size = 0;
    const uint8_t *spki = rsa_key_spki(s->identity, &size);
    int r = rsa_key_pin(s->identity, pin);
    if (r != 0)
        return r;
    _cleanup_(json_decrefp) json_t *j = json_object();
    r = json_put_bytes(j, "pin", pin, PIN_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "spki", spki, size);
    if (r == 0)
        r = json_put_bytes(j, "next_pin", s->next_pin, PIN_SIZE);
    if (r == 0)
        r = json_put_number(j, "iat", s->iat);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_SUCCESSION, rsa_key_thumbprint(s->identity), ret) : r;
}

int succession_parse(const char *text, size_t n, const uint8_t pin[static PIN_SIZE], int64_t now,
                     Succession *ret)
{
    static const char *const names[] = {"pin", "spki", "next_pin", "iat", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(succession_done) Succession s = {};
    int r = statement_open_relay(text, n, JWS_SUCCESSION, pin, names, &j, &s.identity);
    if (r == 0)
        r = json_get_bytes(j, "next_pin", s.next_pin, PIN_SIZE);
    if (r == 0)
        r = statement_get_past(j, "iat", now, &s.iat);
    if (r != 0)
        return r;
    memcpy(s.pin, pin, PIN_SIZE);
    *ret = s;
    s = (Succession){};
    return 0;
}

void succession_done(Succession *s)
{
    s->identity = rsa_key_free(s->identity);
}

/* The step from there; AUTHENTICATION_FAILED: none is a statement of that key. */
static int find_step(const json_t *array, const uint8_t from[static PIN_SIZE], int64_t now,
                     uint8_t ret[static PIN_SIZE])
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        _cleanup_(succession_done) Succession s = {};
        const json_t *one = json_array_get(array, i);
        const char *text = json_string_value(one);
        int r =
            text ? succession_parse(text, json_string_length(one), from, now, &s) : HMSG_ERROR_BAD_PACKAGE;
        if (r < 0)
            return r;
        if (r == 0) {
            memcpy(ret, s.next_pin, PIN_SIZE);
            return 0;
        }
    }
    return HMSG_ERROR_AUTHENTICATION_FAILED;
}

int succession_follow(const json_t *array, const uint8_t from[static PIN_SIZE], const uint8_t *first,
                      const uint8_t to[static PIN_SIZE], int64_t now)
{
    uint8_t at[PIN_SIZE], next[PIN_SIZE];
    if (json_array_size(array) > SUCCESSIONS_MAX)
        return HMSG_ERROR_BAD_PACKAGE;
    memcpy(at, from, PIN_SIZE);
    for (unsigned i = 0; i < SUCCESSIONS_MAX; i++) {
        int r = find_step(array, at, now, next);
        if (r != 0)
            return r;
        if (i == 0 && first && !bytes_equal(next, first, PIN_SIZE))
            return HMSG_ERROR_AUTHENTICATION_FAILED;
        if (bytes_equal(next, to, PIN_SIZE))
            return 0;
        memcpy(at, next, PIN_SIZE);
    }
    return HMSG_ERROR_AUTHENTICATION_FAILED;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

int ticks_next(Ticks *t)
{
    if (t->n == TICKS_MAX)
        t->n--;
    memmove(t->ids[1], t->ids[0], t->n * TICK_SIZE);
    t->n++;
    t->number++;
    return crypto_random(t->ids[0], TICK_SIZE);
}

int ticks_put(json_t *j, const Ticks *t)
{
    if (t->number == 0)
        return 0;
    if (t->number > GENERATION_MAX || t->n < 1 || t->n > TICKS_MAX)
        return -EINVAL;
    int r = json_put_number(j, "tick", (int64_t)t->number);
    return r == 0 ? json_put_bytes(j, "ticks", t->ids, t->n * TICK_SIZE) : r;
}

int ticks_get(const json_t *j, Ticks *ret)
{
    _cleanup_(buf_done) Buf ids = BUF_MAX(TICKS_MAX * TICK_SIZE);
    Ticks t = {};
    int64_t number = 0;
    if (!json_has(j, "tick") && !json_has(j, "ticks")) {
        *ret = t;
        return 0;
    }
    int r = json_get_number(j, "tick", 1, (int64_t)GENERATION_MAX, &number);
    if (r == 0)
        r = json_get_buf(j, "ticks", &ids);
    if (r == HMSG_ERROR_TOO_LARGE || (r == 0 && (ids.size == 0 || ids.size % TICK_SIZE != 0)))
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r != 0)
        return r;
    t.number = (uint64_t)number;
    t.n = ids.size / TICK_SIZE;
    memcpy(t.ids, ids.data, ids.size);
    *ret = t;
    return 0;
}

int relay_statement_prepare(const RelayStatement *s, JwsDraft *ret)
{
    uint8_t pin[PIN_SIZE];
    size_t identity_size = 0, online_size = 0;
    const uint8_t *identity = rsa_key_spki(s->identity, &identity_size);
    const uint8_t *online = ec_key_spki(s->online, &online_size);
    int r = rsa_key_pin(s->identity, pin);
    if (r != 0)
        return r;
    _cleanup_(json_decrefp) json_t *j = json_object();
    r = json_put_bytes(j, "pin", pin, PIN_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "spki", identity, identity_size);
    if (r == 0)
        r = json_put_bytes(j, "online", online, online_size);
    if (r == 0)
        r = json_put_number(j, "nbf", s->nbf);
    if (r == 0)
        r = json_put_number(j, "exp", s->exp);
    if (r == 0 && s->has_next_pin)
        r = json_put_bytes(j, "next_pin", s->next_pin, PIN_SIZE);
    if (r == 0)
        r = ticks_put(j, &s->ticks);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_RELAY, rsa_key_thumbprint(s->identity), ret) : r;
}

static int get_identity(const json_t *j, const uint8_t *pin, RsaKey **ret)
{
    uint8_t actual[SHA256_SIZE];
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX);
    int r = statement_expect_bytes(j, "pin", pin, PIN_SIZE);
    if (r == 0)
        r = json_get_buf(j, "spki", &spki);
    if (r == HMSG_ERROR_TOO_LARGE)
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = crypto_sha256(spki.data, spki.size, actual);
    if (r != 0)
        return r;
    if (!bytes_equal(actual, pin, PIN_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return rsa_key_from_spki(spki.data, spki.size, ret);
}

int statement_open_relay(const char *text, size_t n, JwsType type, const uint8_t pin[static PIN_SIZE],
                         const char *const *names, json_t **ret, RsaKey **ret_identity)
{
    _cleanup_(jws_done) Jws jws = {};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(rsa_key_freep) RsaKey *identity = NULL;
    int r = jws_parse(text, n, JWS_PS256, type, &jws);
    if (r == 0)
        r = json_parse_object(buf_text(&jws.payload), jws.payload.size, &j);
    if (r == 0)
        r = json_check_names(j, names);
    if (r == 0)
        r = get_identity(j, pin, &identity);
    if (r == 0)
        r = jws_check_rsa(&jws, identity);
    if (r == 0) {
        *ret = TAKE_PTR(j);
        *ret_identity = TAKE_PTR(identity);
    }
    return r;
}

static int get_online(const json_t *j, EcKey **ret)
{
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX);
    int r = json_get_buf(j, "online", &spki);
    if (r == HMSG_ERROR_TOO_LARGE)
        return HMSG_ERROR_BAD_PACKAGE;
    return r == 0 ? ec_key_from_spki(spki.data, spki.size, ret) : r;
}

int relay_statement_parse(const char *text, size_t n, const uint8_t pin[static PIN_SIZE], int64_t now,
                          RelayStatement *ret)
{
    static const char *const names[] = {"pin",      "spki", "online", "nbf", "exp",
                                        "next_pin", "tick", "ticks",  NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(relay_statement_done) RelayStatement s = {};
    int r = statement_open_relay(text, n, JWS_RELAY, pin, names, &j, &s.identity);
    if (r == 0)
        r = get_online(j, &s.online);
    if (r == 0)
        r = statement_get_period(j, "nbf", "exp", RELAY_STATEMENT_LIFETIME_MAX, now, &s.nbf, &s.exp);
    if (r == 0 && json_has(j, "next_pin")) {
        s.has_next_pin = true;
        r = json_get_bytes(j, "next_pin", s.next_pin, PIN_SIZE);
    }
    if (r == 0)
        r = ticks_get(j, &s.ticks);
    if (r != 0)
        return r;
    memcpy(s.pin, pin, PIN_SIZE);
    *ret = s;
    s = (RelayStatement){};
    return 0;
}

void relay_statement_done(RelayStatement *s)
{
    s->identity = rsa_key_free(s->identity);
    s->online = ec_key_free(s->online);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/statement-internal.h"

static const char *const protections[PROTECTION_MAX_] = {
    [PROTECTION_TPM] = "tpm", [PROTECTION_SOFTWARE] = "software", [PROTECTION_IMPORTED] = "imported"};

const char *protection_text(Protection p)
{
    return p < PROTECTION_MAX_ ? protections[p] : "";
}

static int put_key(json_t *j, const char *name, const RsaKey *key)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(key, &n);
    return json_put_bytes(j, name, spki, n);
}

static int get_key(const json_t *j, const char *name, RsaKey **ret)
{
    _cleanup_(buf_done) Buf spki = BUF_MAX(SPKI_SIZE_MAX);
    int r = json_get_buf(j, name, &spki);
    if (r == HMSG_ERROR_TOO_LARGE)
        return HMSG_ERROR_BAD_PACKAGE;
    return r == 0 ? rsa_key_from_spki(spki.data, spki.size, ret) : r;
}

int identity_statement_prepare(const IdentityStatement *s, JwsDraft *ret)
{
    if (s->protection >= PROTECTION_MAX_ || s->generation > GENERATION_MAX)
        return -EINVAL;
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_text(j, "address", s->address);
    if (r == 0)
        r = put_key(j, "sign", s->sign);
    if (r == 0)
        r = put_key(j, "decrypt", s->decrypt);
    if (r == 0)
        r = json_put_number(j, "generation", (int64_t)s->generation);
    if (r == 0 && s->has_previous)
        r = json_put_bytes(j, "previous", s->previous, SHA256_SIZE);
    if (r == 0)
        r = devices_put(&s->devices, j);
    if (r == 0)
        r = recovery_keys_put(&s->recovery, j);
    if (r == 0)
        r = json_put_text(j, "protection", protections[s->protection]);
    if (r == 0)
        r = json_put_number(j, "iat", s->iat);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_IDENTITY, rsa_key_thumbprint(s->sign), ret) : r;
}

/* Canonical and without a pin, so that equal addresses are equal texts. Empty: keys that were exported before
 * they had a mailbox, and guests of a relay. */
static int get_address(const json_t *j, char ret[static ADDRESS_SIZE_MAX + 1])
{
    const char *text = NULL;
    size_t n = 0;
    Address a;
    if (json_get_text(j, "address", ADDRESS_SIZE_MAX, &text, &n) != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    if (n == 0) {
        ret[0] = 0;
        return 0;
    }
    if (address_parse(text, &a) != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    _cleanup_(buf_done) Buf canonical = BUF_MAX(ADDRESS_SIZE_MAX);
    int r = address_format(&a, false, &canonical);
    if (r != 0)
        return r;
    if (strcmp(buf_text(&canonical), text) != 0)
        return HMSG_ERROR_BAD_PACKAGE;
    memcpy(ret, text, n + 1);
    return 0;
}

static int read_payload(const json_t *j, int64_t now, IdentityStatement *s)
{
    int64_t generation = 0;
    size_t protection = 0;
    int r = get_address(j, s->address);
    if (r == 0)
        r = get_key(j, "decrypt", &s->decrypt);
    if (r == 0)
        r = json_get_number(j, "generation", 0, (int64_t)GENERATION_MAX, &generation);
    if (r == 0 && json_has(j, "previous")) {
        s->has_previous = true;
        r = json_get_bytes(j, "previous", s->previous, SHA256_SIZE);
    }
    if (r == 0)
        r = devices_get(j, &s->devices);
    if (r == 0 && (devices_have(&s->devices, rsa_key_thumbprint(s->sign)) ||
                   devices_have(&s->devices, rsa_key_thumbprint(s->decrypt))))
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = statement_get_choice(j, "protection", protections, PROTECTION_MAX_, &protection);
    if (r == 0)
        r = statement_get_past(j, "iat", now, &s->iat);
    if (r == 0 && rsa_key_equal(s->sign, s->decrypt)) /* never one key for both */
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = recovery_keys_get(j, &s->recovery);
    if (r == 0 && (recovery_keys_have(&s->recovery, s->sign) || recovery_keys_have(&s->recovery, s->decrypt)))
        r = HMSG_ERROR_BAD_PACKAGE;
    s->generation = (uint64_t)generation;
    s->protection = (Protection)protection;
    return r;
}

int identity_statement_parse(const char *text, size_t n, int64_t now, IdentityStatement *ret)
{
    static const char *const names[] = {"address", "sign",     "decrypt",    "generation", "previous",
                                        "devices", "recovery", "protection", "iat",        NULL};
    _cleanup_(jws_done) Jws jws = {};
    _cleanup_(json_decrefp) json_t *j = NULL;
    _cleanup_(identity_statement_done) IdentityStatement s = {};
    int r = jws_parse(text, n, JWS_PS256, JWS_IDENTITY, &jws);
    if (r == 0)
        r = json_parse_object(buf_text(&jws.payload), jws.payload.size, &j);
    if (r == 0)
        r = json_check_names(j, names);
    if (r == 0)
        r = get_key(j, "sign", &s.sign);
    if (r == 0)
        r = jws_check_rsa(&jws, s.sign);
    if (r == 0)
        r = read_payload(j, now, &s);
    if (r != 0)
        return r;
    memcpy(s.sha256, jws.sha256, SHA256_SIZE);
    *ret = s;
    s = (IdentityStatement){};
    return 0;
}

/* The payload of one that was verified before. */
static int peek(const char *text, size_t n, json_t **ret)
{
    _cleanup_(jws_done) Jws jws = {};
    int r = jws_parse(text, n, JWS_PS256, JWS_IDENTITY, &jws);
    return r == 0 ? json_parse_object(buf_text(&jws.payload), jws.payload.size, ret) : r;
}

int identity_statement_recovery(const char *text, size_t n, RecoveryKeys *ret)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = peek(text, n, &j);
    return r == 0 ? recovery_keys_get(j, ret) : r;
}

int identity_statement_devices(const char *text, size_t n, Devices *ret, int64_t *ret_iat)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = peek(text, n, &j);
    if (r == 0)
        r = json_get_number(j, "iat", 0, TIME_MAX, ret_iat);
    return r == 0 ? devices_get(j, ret) : r;
}

const char *identity_statement_protection(const char *text, size_t n)
{
    _cleanup_(json_decrefp) json_t *j = NULL;
    size_t protection = 0;
    int r = peek(text, n, &j);
    if (r == 0)
        r = statement_get_choice(j, "protection", protections, PROTECTION_MAX_, &protection);
    return r == 0 ? protections[protection] : "";
}

void identity_statement_done(IdentityStatement *s)
{
    s->sign = rsa_key_free(s->sign);
    s->decrypt = rsa_key_free(s->decrypt);
    recovery_keys_done(&s->recovery);
}

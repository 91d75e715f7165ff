/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/jws.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/json.h"

static const char *alg_text(JwsAlg alg)
{
    return alg == JWS_ES256 ? "ES256" : "PS256";
}

static const char *type_text(JwsType type)
{
    static const char *const names[JWS_TYPE_MAX_] = {
        [JWS_SESSION] = "hmsg-session+jwt",
        [JWS_IDENTITY] = "hmsg-identity+jwt",
        [JWS_REGISTER] = "hmsg-register+jwt",
        [JWS_LOGIN] = "hmsg-login+jwt",
        [JWS_RELAY] = "hmsg-relay+jwt",
        [JWS_BINDING] = "hmsg-binding+jwt",
        [JWS_RECEIPT] = "hmsg-receipt+jwt",
        [JWS_STREAM] = "hmsg-stream+jwt",
        [JWS_ROTATE] = "hmsg-rotate+jwt",
        [JWS_SHARED] = "hmsg-shared+jwt",
        [JWS_SUCCESSION] = "hmsg-relay-rotate+jwt",
    };
    return names[type];
}

int jws_prepare(JwsAlg alg, JwsType type, const uint8_t kid[static KID_SIZE], const char *payload, size_t n,
                JwsDraft *ret)
{
    char kid_text[HASH_TEXT_SIZE];
    base64url_encode(kid, KID_SIZE, kid_text);
    _cleanup_(buf_done) Buf header = BUF_MAX(JWS_HEADER_SIZE_MAX);
    _cleanup_(jws_draft_done) JwsDraft d = {.input = BUF_MAX(JWS_SIZE_MAX), .alg = alg};
    int r = buf_printf(&header, "{\"alg\":\"%s\",\"typ\":\"%s\",\"kid\":\"%s\"}", alg_text(alg),
                       type_text(type), kid_text);
    if (r == 0)
        r = base64url_append(&d.input, header.data, header.size);
    if (r == 0)
        r = buf_append_string(&d.input, ".");
    if (r == 0 && BASE64URL_SIZE(n) > JWS_PAYLOAD_SIZE_MAX)
        r = HMSG_ERROR_TOO_LARGE;
    if (r == 0)
        r = base64url_append(&d.input, payload, n);
    if (r == 0)
        r = crypto_sha256(d.input.data, d.input.size, d.digest);
    if (r != 0)
        return r;
    *ret = d;
    d = (JwsDraft){.alg = alg};
    return 0;
}

void jws_draft_done(JwsDraft *d)
{
    buf_done(&d->input);
}

int jws_finish(const JwsDraft *d, const void *signature, size_t n, Buf *ret)
{
    int r = buf_reserve(ret, d->input.size + 1 + BASE64URL_SIZE(n));
    if (r == 0)
        r = buf_append(ret, d->input.data, d->input.size);
    if (r == 0)
        r = buf_append_string(ret, ".");
    return r == 0 ? base64url_append(ret, signature, n) : r;
}

int jws_sign_ec(const JwsDraft *d, const EcKey *key, Buf *ret)
{
    uint8_t signature[ES256_SIGNATURE_SIZE];
    int r = d->alg == JWS_ES256 ? ec_key_sign_es256(key, d->digest, signature) : -EINVAL;
    return r == 0 ? jws_finish(d, signature, sizeof(signature), ret) : r;
}

int jws_sign_rsa(const JwsDraft *d, struct evp_pkey_st *key, Buf *ret)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    int r = d->alg == JWS_PS256 ? rsa_private_sign_ps256(key, d->digest, &signature) : -EINVAL;
    return r == 0 ? jws_finish(d, signature.data, signature.size, ret) : r;
}

static int parse_header(const char *text, size_t n, JwsAlg alg, JwsType type,
                        uint8_t ret_kid[static KID_SIZE])
{
    static const char *const names[] = {"alg", "typ", "kid", NULL};
    if (n > JWS_HEADER_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(buf_done) Buf header = BUF_MAX(JWS_HEADER_SIZE_MAX);
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = base64url_decode(text, n, &header);
    if (r != 0)
        return r == -EBADMSG ? HMSG_ERROR_BAD_PACKAGE : r;
    r = json_parse_object(buf_text(&header), header.size, &j);
    if (r == 0)
        r = json_check_names(j, names);
    if (r == 0)
        r = json_expect_text(j, "alg", alg_text(alg));
    if (r == 0)
        r = json_expect_text(j, "typ", type_text(type));
    return r == 0 ? json_get_bytes(j, "kid", ret_kid, KID_SIZE) : r;
}

int jws_parse(const char *text, size_t n, JwsAlg alg, JwsType type, Jws *ret)
{
    if (n > JWS_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    const char *end = text + n;
    const char *first = n > 0 ? memchr(text, '.', n) : NULL;
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second) /* a third dot is no character of base64url */
        return HMSG_ERROR_BAD_PACKAGE;
    size_t header_size = (size_t)(first - text), payload_size = (size_t)(second - first - 1);
    if (payload_size > JWS_PAYLOAD_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(jws_done) Jws j = {.payload = BUF_MAX(JWS_PAYLOAD_SIZE_MAX),
                                 .signature = BUF_MAX(RSA_SIZE_MAX)};
    j.alg = alg;
    int r = parse_header(text, header_size, alg, type, j.kid);
    if (r != 0)
        return r;
    r = base64url_decode(first + 1, payload_size, &j.payload);
    if (r == 0)
        r = base64url_decode(second + 1, (size_t)(end - second - 1), &j.signature);
    if (r == -EBADMSG || r == -EMSGSIZE)
        return HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = crypto_sha256(text, (size_t)(second - text), j.digest);
    if (r == 0)
        r = crypto_sha256(text, n, j.sha256);
    if (r != 0)
        return r;
    *ret = j;
    j = (Jws){.alg = alg};
    return 0;
}

void jws_done(Jws *j)
{
    buf_done(&j->payload);
    buf_done(&j->signature);
}

int jws_check_rsa(const Jws *j, const RsaKey *key)
{
    if (j->alg != JWS_PS256 || !bytes_equal(j->kid, rsa_key_thumbprint(key), KID_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return rsa_key_verify_ps256(key, j->digest, j->signature.data, j->signature.size);
}

int jws_check_ec(const Jws *j, const EcKey *key)
{
    if (j->alg != JWS_ES256 || !bytes_equal(j->kid, ec_key_thumbprint(key), KID_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    return ec_key_verify_es256(key, j->digest, j->signature.data, j->signature.size);
}

int jws_verify_rsa(const char *text, size_t n, JwsType type, const RsaKey *key, Buf *ret)
{
    _cleanup_(jws_done) Jws j = {};
    int r = jws_parse(text, n, JWS_PS256, type, &j);
    if (r == 0)
        r = jws_check_rsa(&j, key);
    return r == 0 ? buf_append(ret, j.payload.data, j.payload.size) : r;
}

int jws_verify_ec(const char *text, size_t n, JwsType type, const EcKey *key, Buf *ret)
{
    _cleanup_(jws_done) Jws j = {};
    int r = jws_parse(text, n, JWS_ES256, type, &j);
    if (r == 0)
        r = jws_check_ec(&j, key);
    return r == 0 ? buf_append(ret, j.payload.data, j.payload.size) : r;
}

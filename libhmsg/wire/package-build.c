/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The sender's side: sessions and the packages made in them. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/package-internal.h"

WireSession *wire_session_free(WireSession *s)
{
    if (!s)
        return NULL;
    (void)secret_free(s->keys);
    (void)rsa_key_free(s->recipient);
    (void)rsa_key_free(s->sender);
    buf_done(&s->encrypted_key);
    buf_done(&s->jws);
    free(s);
    return NULL;
}

int wire_session_new(RsaKey *recipient, RsaKey *sender, int64_t now, unsigned lifetime, WireSession **ret)
{
    if (lifetime == 0 || lifetime > SESSION_LIFETIME_MAX || now < 0 || now > TIME_MAX - (int64_t)lifetime)
        return -EINVAL;
    _cleanup_(wire_session_freep) WireSession *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->encrypted_key = BUF_MAX(RSA_SIZE_MAX);
    s->jws = BUF_MAX(JWS_SIZE_MAX);
    s->recipient = rsa_key_ref(recipient);
    s->sender = rsa_key_ref(sender);
    SessionStatement *t = &s->statement;
    memcpy(t->kid, rsa_key_thumbprint(recipient), KID_SIZE);
    if (sender)
        memcpy(t->skid, rsa_key_thumbprint(sender), KID_SIZE);
    t->created = now;
    t->expires = now + (int64_t)lifetime;
    int r = secret_new_random(SESSION_KEYS_SIZE, &s->keys);
    if (r == 0)
        r = crypto_random(t->sid, SESSION_ID_SIZE);
    if (r == 0)
        r = package_commitment(s->keys, t->kc);
    if (r == 0)
        r = rsa_key_oaep_encrypt(recipient, secret_bytes(s->keys), SESSION_KEYS_SIZE, &s->encrypted_key);
    if (r == 0)
        r = crypto_sha256(s->encrypted_key.data, s->encrypted_key.size, t->ek_sha256);
    if (r == 0)
        *ret = TAKE_PTR(s);
    return r;
}

int wire_session_prepare(const WireSession *s, JwsDraft *ret)
{
    return s->sender ? session_statement_prepare(&s->statement, ret) : -EINVAL;
}

int wire_session_finish(WireSession *s, const JwsDraft *d, const void *signature, size_t n)
{
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    SessionStatement t = {};
    if (!s->sender || s->jws.size > 0)
        return -EINVAL;
    int r = jws_finish(d, signature, n, &jws);
    if (r == 0)
        r = session_statement_parse(buf_text(&jws), jws.size, s->sender, &t);
    if (r != 0)
        return r;
    s->statement = t;
    s->jws = jws;
    jws = BUF_MAX(0);
    return 0;
}

static int put_text(Buf *b, const char *before, const void *data, size_t n)
{
    int r = buf_append_string(b, before);
    return r == 0 ? base64url_append(b, data, n) : r;
}

/* The protected header as JSON; every value is a number or base64url, so nothing needs escaping. */
static int write_protected(const WireSession *s, PackageKind kind, size_t recipients, uint64_t seq,
                           int64_t ts, int64_t exp, Buf *b)
{
    const SessionStatement *t = &s->statement;
    const char *typ = kind == PACKAGE_STREAM ? "hmsg-stream+json" : "hmsg+json";
    int r = buf_printf(b, "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"typ\":\"%s\"", typ);
    if (r == 0)
        r = put_text(b, ",\"kid\":\"", t->kid, KID_SIZE);
    if (r == 0)
        r = buf_append_string(b, "\",\"hm\":{\"v\":1");
    if (r == 0 && s->sender)
        r = put_text(b, ",\"skid\":\"", t->skid, KID_SIZE);
    if (r == 0 && s->sender)
        r = buf_append_string(b, "\"");
    if (r == 0)
        r = put_text(b, ",\"sid\":\"", t->sid, SESSION_ID_SIZE);
    if (r == 0)
        r = buf_printf(b, "\",\"seq\":%" PRIu64 ",\"ts\":%" PRId64, seq, ts);
    if (r == 0 && exp != 0)
        r = buf_printf(b, ",\"exp\":%" PRId64, exp);
    if (r == 0 && kind == PACKAGE_STREAM)
        r = buf_printf(b, ",\"rcpts\":%zu", recipients);
    if (r == 0)
        r = put_text(b, ",\"kc\":\"", t->kc, KEY_COMMITMENT_SIZE);
    return r == 0 ? buf_append_string(b, "\"}}") : r;
}

/* The JSON around it. aad is the text of the protected header. */
static int write_package(const WireSession *s, const Buf *aad, const uint8_t *iv, const Buf *ciphertext,
                         const uint8_t *tag, Buf *b)
{
    int r = buf_append_string(b, "{\"hmsg\":1,\"protected\":\"");
    if (r == 0)
        r = buf_append(b, aad->data, aad->size);
    if (r == 0 && s->sender) {
        size_t n = 0;
        const uint8_t *spki = rsa_key_spki(s->sender, &n);
        r = put_text(b, "\",\"sender_public_key\":\"", spki, n);
    }
    if (r == 0)
        r = put_text(b, "\",\"encrypted_aes_key\":\"", s->encrypted_key.data, s->encrypted_key.size);
    if (r == 0)
        r = put_text(b, "\",\"iv\":\"", iv, AES_BLOCK);
    if (r == 0)
        r = put_text(b, "\",\"ciphertext\":\"", ciphertext->data, ciphertext->size);
    if (r == 0)
        r = put_text(b, "\",\"mac\":\"", tag, 32);
    if (r == 0 && s->sender) {
        r = buf_append_string(b, "\",\"signature\":\"");
        if (r == 0)
            r = buf_append(b, s->jws.data, s->jws.size);
    }
    return r == 0 ? buf_append_string(b, "\"}") : r;
}

int package_write(const WireSession *s, PackageKind kind, size_t recipients, uint64_t seq, int64_t ts,
                  int64_t exp, const void *plaintext, size_t n, Buf *ret)
{
    if (n > PLAINTEXT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    if ((s->sender && s->jws.size == 0) || ts < s->statement.created || ts > s->statement.expires ||
        seq > SEQUENCE_MAX || (exp != 0 && (exp < ts || exp > ts + (int64_t)PACKAGE_EXPIRY_MAX)))
        return -EINVAL;
    _cleanup_(buf_done) Buf header = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);
    _cleanup_(buf_done) Buf aad = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(CIPHERTEXT_SIZE_MAX);
    uint8_t iv[AES_BLOCK], tag[32];
    int r = write_protected(s, kind, recipients, seq, ts, exp, &header);
    if (r == 0)
        r = base64url_append(&aad, header.data, header.size);
    if (r == 0)
        r = crypto_random(iv, sizeof(iv));
    if (r == 0)
        r = crypto_cbc_hs512_seal(secret_bytes(s->keys), iv, aad.data, aad.size, plaintext, n, &ciphertext,
                                  tag);
    if (r == 0) /* at once: growing by steps would copy and wipe */
        r = buf_reserve(ret, BASE64URL_SIZE(ciphertext.size) + aad.size + s->jws.size + 2048);
    if (r == -EMSGSIZE)
        r = 0; /* the estimate is too large for ret, the package need not be */
    size_t before = ret->size;
    if (r == 0)
        r = write_package(s, &aad, iv, &ciphertext, tag, ret);
    if (r != 0)
        buf_truncate(ret, before);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

int package_build(const WireSession *s, uint64_t seq, int64_t ts, int64_t exp, const void *plaintext,
                  size_t n, Buf *ret)
{
    return package_write(s, PACKAGE_MESSAGE, 1, seq, ts, exp, plaintext, n, ret);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writing: general JSON for several recipients, compact for one. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe-message-internal.h"
#include "libhmsg/wire/package-internal.h"

typedef struct Target {
    uint8_t kid[KID_SIZE];
    Buf encrypted_key;
} Target;

struct JweWriter {
    RsaKey *sender;
    Target targets[RECIPIENTS_MAX];
    size_t n;
    Buf aad; /* the protected header's text */
    uint8_t iv[AES_BLOCK];
    Buf ciphertext;
    uint8_t tag[32];
    JweStatement statement;
};

JweWriter *jwe_writer_free(JweWriter *w)
{
    if (!w)
        return NULL;
    (void)rsa_key_free(w->sender);
    for (size_t i = 0; i < w->n; i++)
        buf_done(&w->targets[i].encrypted_key);
    buf_done(&w->aad);
    buf_done(&w->ciphertext);
    free(w);
    return NULL;
}

static int put(Buf *b, const char *before, const void *data, size_t n)
{
    int r = buf_append_string(b, before);
    return r == 0 ? base64url_append(b, data, n) : r;
}

static bool has_target(const JweWriter *w, const uint8_t *kid)
{
    for (size_t i = 0; i < w->n; i++)
        if (bytes_equal(w->targets[i].kid, kid, KID_SIZE))
            return true;
    return false;
}

static int add_target(JweWriter *w, const RsaKey *key, const Secret *keys, Sha256 *hash)
{
    const uint8_t *kid = rsa_key_thumbprint(key);
    if (has_target(w, kid))
        return 0;
    Target *t = &w->targets[w->n++];
    memcpy(t->kid, kid, KID_SIZE);
    t->encrypted_key = BUF_MAX(RSA_SIZE_MAX);
    int r = rsa_key_oaep_encrypt(key, secret_bytes(keys), SESSION_KEYS_SIZE, &t->encrypted_key);
    return r == 0 ? jwe_shared_add_recipient(hash, kid, t->encrypted_key.data, t->encrypted_key.size) : r;
}

static int write_protected(JweWriter *w, const Secret *keys, int64_t ts)
{
    _cleanup_(buf_done) Buf header = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);
    uint8_t kc[KEY_COMMITMENT_SIZE];
    int r = package_commitment(keys, kc);
    if (r == 0)
        r = buf_append_string(&header, "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"typ\":"
                                       "\"" JWE_SHARED_TYPE "\",\"hm\":{\"v\":1");
    if (r == 0 && w->sender)
        r = put(&header, ",\"skid\":\"", w->statement.skid, KID_SIZE);
    if (r == 0 && w->sender)
        r = buf_append_string(&header, "\"");
    if (r == 0)
        r = buf_printf(&header, ",\"ts\":%" PRId64, ts);
    if (r == 0)
        r = put(&header, ",\"kc\":\"", kc, sizeof(kc));
    if (r == 0)
        r = buf_append_string(&header, "\"}}");
    return r == 0 ? base64url_append(&w->aad, header.data, header.size) : r;
}

static int seal(JweWriter *w, const Secret *keys, const void *plaintext, size_t size)
{
    int r = crypto_random(w->iv, sizeof(w->iv));
    if (r == 0)
        r = crypto_cbc_hs512_seal(secret_bytes(keys), w->iv, w->aad.data, w->aad.size, plaintext, size,
                                  &w->ciphertext, w->tag);
    const Chunk content[] = {
        {w->iv, sizeof(w->iv)}, {w->ciphertext.data, w->ciphertext.size}, {w->tag, sizeof(w->tag)}};
    if (r == 0)
        r = crypto_sha256(w->aad.data, w->aad.size, w->statement.protected_sha256);
    return r == 0 ? crypto_sha256_chunks(content, ELEMENTSOF(content), w->statement.content_sha256) : r;
}

int jwe_writer_new(RsaKey *const *recipients, size_t n, RsaKey *sender, int64_t ts, const void *plaintext,
                   size_t size, JweWriter **ret)
{
    if (n == 0 || ts < 0 || ts > TIME_MAX)
        return -EINVAL;
    if (n > RECIPIENTS_MAX || size > PLAINTEXT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(secret_freep) Secret *keys = NULL;
    _cleanup_(sha256_freep) Sha256 *hash = NULL;
    _cleanup_(jwe_writer_freep) JweWriter *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->aad = BUF_MAX(PROTECTED_TEXT_SIZE_MAX);
    w->ciphertext = BUF_MAX(CIPHERTEXT_SIZE_MAX);
    w->sender = rsa_key_ref(sender);
    if (sender)
        memcpy(w->statement.skid, rsa_key_thumbprint(sender), KID_SIZE);
    int r = secret_new_random(SESSION_KEYS_SIZE, &keys);
    if (r == 0)
        r = sha256_new(&hash);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_target(w, recipients[i], keys, hash);
    if (r == 0)
        r = sha256_final(hash, w->statement.recipients_sha256);
    if (r == 0)
        r = write_protected(w, keys, ts);
    if (r == 0)
        r = seal(w, keys, plaintext, size);
    if (r == 0)
        *ret = TAKE_PTR(w);
    return r;
}

int jwe_writer_prepare(const JweWriter *w, JwsDraft *ret)
{
    return w->sender ? jwe_statement_prepare(&w->statement, ret) : -EINVAL;
}

static int write_sender(const JweWriter *w, const char *jws, Buf *b)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(w->sender, &n);
    int r = put(b, ",\"unprotected\":{\"hmsg-sender\":\"", spki, n);
    if (r == 0)
        r = buf_append_string(b, "\",\"hmsg-signature\":\"");
    if (r == 0)
        r = buf_append_string(b, jws);
    return r == 0 ? buf_append_string(b, "\"}") : r;
}

static int write_recipients(const JweWriter *w, Buf *b)
{
    int r = buf_append_string(b, ",\"recipients\":[");
    for (size_t i = 0; r == 0 && i < w->n; i++) {
        const Target *t = &w->targets[i];
        r = put(b, i > 0 ? ",{\"header\":{\"kid\":\"" : "{\"header\":{\"kid\":\"", t->kid, KID_SIZE);
        if (r == 0)
            r = put(b, "\"},\"encrypted_key\":\"", t->encrypted_key.data, t->encrypted_key.size);
        if (r == 0)
            r = buf_append_string(b, "\"}");
    }
    return r == 0 ? buf_append_string(b, "]") : r;
}

static int write_all(const JweWriter *w, const char *jws, Buf *b)
{
    int r = buf_append_string(b, "{\"protected\":\"");
    if (r == 0)
        r = buf_append(b, w->aad.data, w->aad.size);
    if (r == 0)
        r = buf_append_string(b, "\"");
    if (r == 0 && w->sender)
        r = write_sender(w, jws, b);
    if (r == 0)
        r = write_recipients(w, b);
    if (r == 0)
        r = put(b, ",\"iv\":\"", w->iv, sizeof(w->iv));
    if (r == 0)
        r = put(b, "\",\"ciphertext\":\"", w->ciphertext.data, w->ciphertext.size);
    if (r == 0)
        r = put(b, "\",\"tag\":\"", w->tag, sizeof(w->tag));
    return r == 0 ? buf_append_string(b, "\"}") : r;
}

int jwe_writer_finish(const JweWriter *w, const char *jws, Buf *ret)
{
    size_t before = ret->size;
    if (!jws != !w->sender)
        return -EINVAL;
    int r = jws ? jwe_statement_check(jws, strlen(jws), w->sender, &w->statement) : 0;
    if (r == 0)
        r = write_all(w, jws, ret);
    if (r != 0)
        buf_truncate(ret, before);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int write_compact(const Buf *aad, const Buf *key, const uint8_t *iv, const Buf *ciphertext,
                         const uint8_t *tag, Buf *b)
{
    int r = buf_append(b, aad->data, aad->size);
    if (r == 0)
        r = put(b, ".", key->data, key->size);
    if (r == 0)
        r = put(b, ".", iv, AES_BLOCK);
    if (r == 0)
        r = put(b, ".", ciphertext->data, ciphertext->size);
    return r == 0 ? put(b, ".", tag, 32) : r;
}

int jwe_build_compact(const RsaKey *recipient, const void *plaintext, size_t size, Buf *ret)
{
    if (size > PLAINTEXT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(secret_freep) Secret *keys = NULL;
    _cleanup_(buf_done) Buf header = BUF_MAX(PROTECTED_TEXT_SIZE_MAX), aad = BUF_MAX(PROTECTED_TEXT_SIZE_MAX),
                            key = BUF_MAX(RSA_SIZE_MAX), ciphertext = BUF_MAX(CIPHERTEXT_SIZE_MAX);
    uint8_t iv[AES_BLOCK], tag[32];
    size_t before = ret->size;
    int r = put(&header, "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"kid\":\"",
                rsa_key_thumbprint(recipient), KID_SIZE);
    if (r == 0)
        r = buf_append_string(&header, "\"}");
    if (r == 0)
        r = base64url_append(&aad, header.data, header.size);
    if (r == 0)
        r = secret_new_random(SESSION_KEYS_SIZE, &keys);
    if (r == 0)
        r = rsa_key_oaep_encrypt(recipient, secret_bytes(keys), SESSION_KEYS_SIZE, &key);
    if (r == 0)
        r = crypto_random(iv, sizeof(iv));
    if (r == 0)
        r = crypto_cbc_hs512_seal(secret_bytes(keys), iv, aad.data, aad.size, plaintext, size, &ciphertext,
                                  tag);
    if (r == 0)
        r = write_compact(&aad, &key, iv, &ciphertext, tag, ret);
    if (r != 0)
        buf_truncate(ret, before);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

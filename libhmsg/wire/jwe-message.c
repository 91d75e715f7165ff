/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/jwe-message.h"

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe-message-internal.h"
#include "libhmsg/wire/package-internal.h"

#define GCM_IV_SIZE 12u
#define GCM_TAG_SIZE 16u
#define GCM_KEY_SIZE 32u

Jwe *jwe_free(Jwe *j)
{
    if (!j)
        return NULL;
    buf_done(&j->encrypted_key);
    buf_done(&j->aad);
    buf_done(&j->ciphertext);
    buf_done(&j->sender_spki);
    buf_done(&j->statement);
    free(j);
    return NULL;
}

static Jwe *jwe_new(void)
{
    Jwe *j = calloc(1, sizeof(*j));
    if (!j)
        return NULL;
    j->encrypted_key = BUF_MAX(RSA_SIZE_MAX);
    j->aad = BUF_MAX(JWE_HEADER_SIZE_MAX + 1 + JWE_AAD_SIZE_MAX);
    j->ciphertext = BUF_MAX(PLAINTEXT_SIZE_MAX + GCM_TAG_SIZE); /* a block of padding is as long */
    j->sender_spki = BUF_MAX(SPKI_SIZE_MAX);
    j->statement = BUF_MAX(JWS_SIZE_MAX);
    return j;
}

static size_t iv_size(const Jwe *j)
{
    return j->enc == JWE_A256GCM ? GCM_IV_SIZE : AES_BLOCK;
}

static int read_exact(JweText *t, const JwePart *part, const char *why, uint8_t *ret, size_t size)
{
    int r = base64url_decode_exact(part->text, part->n, ret, size);
    return r == -EBADMSG ? jwe_refuse(t, why) : r;
}

static int read_buf(JweText *t, const JwePart *part, const char *why, Buf *ret)
{
    int r = base64url_decode(part->text, part->n, ret);
    if (r == -EBADMSG)
        return jwe_refuse(t, why);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int read_content(JweText *t, Jwe *j)
{
    static const char wrong_tag[] = "tag of the JWE is not what its enc makes";
    size_t tag_size = j->enc == JWE_A256GCM ? GCM_TAG_SIZE : sizeof(j->tag);
    uint8_t tag[sizeof(j->tag)] = {0};
    int r = read_exact(t, &t->iv, "iv of the JWE is not what its enc takes", j->iv, iv_size(j));
    if (r == 0)
        r = read_exact(t, &t->tag, wrong_tag, tag, tag_size);
    if (r == 0)
        r = read_buf(t, &t->ciphertext, "ciphertext of the JWE is not base64url", &j->ciphertext);
    if (r == 0 && j->enc == JWE_A256CBC_HS512 &&
        (j->ciphertext.size == 0 || j->ciphertext.size % AES_BLOCK != 0))
        r = jwe_refuse(t, "ciphertext of the JWE is not made of blocks");
    if (r != 0)
        return r;
    if (j->enc == JWE_A256GCM)
        r = buf_append(&j->ciphertext, tag, tag_size);
    else
        memcpy(j->tag, tag, tag_size);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int read_aad(const JweText *t, Jwe *j)
{
    int r = buf_append(&j->aad, t->protected_text.text, t->protected_text.n);
    if (r == 0 && t->aad.text)
        r = buf_append_string(&j->aad, ".");
    return r == 0 && t->aad.text ? buf_append(&j->aad, t->aad.text, t->aad.n) : r;
}

/* aad must be base64url as well, though nobody reads it. */
static int check_aad(JweText *t)
{
    _cleanup_(buf_done) Buf plain = BUF_MAX(JWE_AAD_SIZE_MAX);
    return t->aad.text ? read_buf(t, &t->aad, "aad of the JWE is not base64url", &plain) : 0;
}

static int read_type(JweText *t, Jwe *j)
{
    const char *typ = json_string_value(json_object_get(t->protected_header, "typ"));
    if (!typ || strncmp(typ, JWE_RESERVED_TYPE, strlen(JWE_RESERVED_TYPE)) != 0)
        return 0;
    if (strcmp(typ, JWE_SHARED_TYPE) != 0 || t->oaep_sha1)
        return jwe_refuse(t, "The JWE is not of the form that its typ says");
    return jwe_shared_read(t, j);
}

static int read_all(JweText *t, const uint8_t (*kids)[KID_SIZE], size_t n_kids, Jwe *j)
{
    size_t index = 0;
    int r = jwe_header_check(t, &j->enc);
    j->oaep_sha1 = t->oaep_sha1;
    if (r == 0)
        r = check_aad(t);
    if (r == 0)
        r = read_aad(t, j);
    if (r == 0)
        r = read_content(t, j);
    if (r == 0)
        r = read_type(t, j);
    if (r == 0)
        r = jwe_header_find(t, kids, n_kids, j->kid, &index);
    if (r == 0)
        r = read_buf(t, &t->recipients[index].encrypted_key, "encrypted_key of the JWE is not base64url",
                     &j->encrypted_key);
    if (r == 0 && j->encrypted_key.size < RSA_BITS_MIN / 8)
        r = jwe_refuse(t, "encrypted_key of the JWE is too short");
    return r;
}

static int parse(const char *text, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids,
                 bool allow_oaep_sha1, Jwe **ret, const char **ret_why)
{
    _cleanup_(jwe_text_done) JweText t = {.allow_oaep_sha1 = allow_oaep_sha1};
    _cleanup_(jwe_freep) Jwe *j = jwe_new();
    *ret_why = NULL;
    if (!j)
        return -ENOMEM;
    int r = jwe_text_read(text, n, &t);
    if (r == 0)
        r = read_all(&t, kids, n_kids, j);
    *ret_why = t.why;
    if (r == 0)
        *ret = TAKE_PTR(j);
    return r;
}

int jwe_parse(const char *text, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids, Jwe **ret,
              const char **ret_why)
{
    return parse(text, n, kids, n_kids, false, ret, ret_why);
}

int jwe_parse_legacy(const char *text, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids, Jwe **ret,
                     const char **ret_why)
{
    return parse(text, n, kids, n_kids, true, ret, ret_why);
}

static int sender_key(const Jwe *j, RsaKey **ret)
{
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    int r = rsa_key_from_spki(j->sender_spki.data, j->sender_spki.size, &key);
    if (r != 0)
        return r;
    if (!bytes_equal(rsa_key_thumbprint(key), j->skid, KID_SIZE))
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    *ret = TAKE_PTR(key);
    return 0;
}

int jwe_check_sender(Jwe *j)
{
    _cleanup_(rsa_key_freep) RsaKey *sender = NULL;
    JweStatement expected = {};
    int r = j->has_sender ? sender_key(j, &sender) : 0;
    if (r != 0)
        return r;
    if (j->has_sender) {
        memcpy(expected.skid, j->skid, KID_SIZE);
        memcpy(expected.protected_sha256, j->protected_sha256, SHA256_SIZE);
        memcpy(expected.recipients_sha256, j->recipients_sha256, SHA256_SIZE);
        memcpy(expected.content_sha256, j->content_sha256, SHA256_SIZE);
        r = jwe_statement_check(buf_text(&j->statement), j->statement.size, sender, &expected);
    }
    if (r == 0)
        j->sender_checked = true;
    return r;
}

size_t jwe_key_size(const Jwe *j)
{
    return j->enc == JWE_A256GCM ? GCM_KEY_SIZE : SESSION_KEYS_SIZE;
}

static int open_gcm(const Jwe *j, const Secret *key, Buf *ret)
{
    size_t n = j->ciphertext.size - GCM_TAG_SIZE;
    _cleanup_(buf_done) Buf plaintext = BUF_MAX(n + 1);
    int r = buf_reserve(&plaintext, n + 1);
    if (r == 0)
        r = crypto_gcm_open(secret_bytes(key), j->iv, j->aad.data, j->aad.size, j->ciphertext.data,
                            j->ciphertext.size, plaintext.data);
    if (r == 0)
        plaintext.size = n;
    return r == 0 ? buf_append(ret, plaintext.data, n) : r;
}

/* The tag is computed even when the commitment is wrong: one error, one time. */
static int open_cbc(const Jwe *j, const Secret *key, Buf *ret)
{
    uint8_t kc[KEY_COMMITMENT_SIZE];
    int r = package_commitment(key, kc);
    bool committed = !j->is_shared || bytes_equal(kc, j->kc, sizeof(kc));
    bytes_wipe(kc, sizeof(kc));
    if (r == 0)
        r = crypto_cbc_hs512_verify(secret_bytes(key), j->iv, j->aad.data, j->aad.size, j->ciphertext.data,
                                    j->ciphertext.size, j->tag);
    if (r == 0 && !committed)
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    return r == 0 ? crypto_cbc_decrypt(secret_bytes(key) + 32, j->iv, j->ciphertext.data, j->ciphertext.size,
                                       ret)
                  : r;
}

int jwe_open(const Jwe *j, const Secret *key, Buf *ret)
{
    _cleanup_(secret_freep) Secret *random = NULL;
    int r = 0;
    if (!j->sender_checked)
        return -EPERM;
    if (!key || secret_size(key) != jwe_key_size(j)) {
        r = secret_new_random(jwe_key_size(j), &random);
        if (r != 0)
            return r;
        key = random;
    }
    r = j->enc == JWE_A256GCM ? open_gcm(j, key, ret) : open_cbc(j, key, ret);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

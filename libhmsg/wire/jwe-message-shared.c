/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Our own JWE for several recipients: the members that are its own, and the sender's statement. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/wire/jwe-message-internal.h"
#include "libhmsg/wire/package-internal.h"
#include "libhmsg/wire/statement-internal.h"

static int read_hm(const json_t *hm, Jwe *j)
{
    static const char *const names[] = {"v", "skid", "ts", "kc", NULL};
    int64_t version = 0;
    int r = json_check_names(hm, names);
    if (r == 0)
        r = json_get_number(hm, "v", PACKAGE_VERSION, PACKAGE_VERSION, &version);
    if (r == 0)
        r = json_get_number(hm, "ts", 0, TIME_MAX, &j->ts);
    if (r == 0)
        r = json_get_bytes(hm, "kc", j->kc, KEY_COMMITMENT_SIZE);
    j->has_sender = json_has(hm, "skid");
    return r == 0 && j->has_sender ? json_get_bytes(hm, "skid", j->skid, KID_SIZE) : r;
}

/* skid, hmsg-sender and hmsg-signature: all or none. */
static int read_sender(const json_t *unprotected, Jwe *j)
{
    static const char *const names[] = {"hmsg-sender", "hmsg-signature", NULL};
    const char *text = NULL;
    size_t n = 0;
    if (!j->has_sender)
        return unprotected ? HMSG_ERROR_BAD_PACKAGE : 0;
    int r = unprotected ? json_check_names(unprotected, names) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = json_get_buf(unprotected, "hmsg-sender", &j->sender_spki);
    if (r == 0)
        r = json_get_text(unprotected, "hmsg-signature", JWS_SIZE_MAX, &text, &n);
    return r == 0 ? buf_append(&j->statement, text, n) : r;
}

int jwe_shared_add_recipient(Sha256 *hash, const uint8_t kid[static KID_SIZE], const void *encrypted_key,
                             size_t n)
{
    uint8_t sha256[SHA256_SIZE];
    int r = crypto_sha256(encrypted_key, n, sha256);
    if (r == 0)
        r = sha256_update(hash, kid, KID_SIZE);
    return r == 0 ? sha256_update(hash, sha256, sizeof(sha256)) : r;
}

/* Each by the thumbprint of its key and by nothing else. */
static int add_recipient(const JweRecipient *recipient, Sha256 *hash)
{
    static const char *const names[] = {"kid", NULL};
    uint8_t kid[KID_SIZE];
    _cleanup_(buf_done) Buf key = BUF_MAX(RSA_SIZE_MAX);
    int r = recipient->header ? json_check_names(recipient->header, names) : HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = json_get_bytes(recipient->header, "kid", kid, sizeof(kid));
    if (r == 0)
        r = base64url_decode(recipient->encrypted_key.text, recipient->encrypted_key.n, &key);
    if (r == -EBADMSG || r == -EMSGSIZE)
        r = HMSG_ERROR_BAD_PACKAGE;
    return r == 0 ? jwe_shared_add_recipient(hash, kid, key.data, key.size) : r;
}

static int hash_recipients(const JweText *t, uint8_t ret[static SHA256_SIZE])
{
    _cleanup_(sha256_freep) Sha256 *hash = NULL;
    int r = sha256_new(&hash);
    for (size_t i = 0; r == 0 && i < t->n_recipients; i++)
        r = add_recipient(&t->recipients[i], hash);
    return r == 0 ? sha256_final(hash, ret) : r;
}

static int read_shared(const JweText *t, Jwe *j)
{
    static const char *const names[] = {"alg", "enc", "typ", "hm", NULL};
    static const char *const members[] = {"protected",  "unprotected", "recipients", "iv",
                                          "ciphertext", "tag",         NULL};
    const Chunk content[] = {
        {j->iv, sizeof(j->iv)}, {j->ciphertext.data, j->ciphertext.size}, {j->tag, sizeof(j->tag)}};
    json_t *hm = NULL;
    if (!t->root || j->enc != JWE_A256CBC_HS512)
        return HMSG_ERROR_BAD_PACKAGE;
    int r = json_check_names(t->root, members);
    if (r == 0 && !json_has(t->root, "recipients"))
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0)
        r = json_check_names(t->protected_header, names);
    if (r == 0)
        r = json_get_object(t->protected_header, "hm", &hm);
    if (r == 0)
        r = read_hm(hm, j);
    if (r == 0)
        r = read_sender(t->unprotected, j);
    if (r == 0)
        r = hash_recipients(t, j->recipients_sha256);
    if (r == 0)
        r = crypto_sha256(j->aad.data, j->aad.size, j->protected_sha256);
    return r == 0 ? crypto_sha256_chunks(content, ELEMENTSOF(content), j->content_sha256) : r;
}

int jwe_shared_read(JweText *t, Jwe *j)
{
    int r = read_shared(t, j);
    j->is_shared = true;
    return r == HMSG_ERROR_BAD_PACKAGE ? jwe_refuse(t, "The JWE is not of the form that its typ says") : r;
}

int jwe_statement_prepare(const JweStatement *s, JwsDraft *ret)
{
    _cleanup_(json_decrefp) json_t *j = json_object();
    int r = json_put_bytes(j, "skid", s->skid, KID_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "protected", s->protected_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "recipients", s->recipients_sha256, SHA256_SIZE);
    if (r == 0)
        r = json_put_bytes(j, "content", s->content_sha256, SHA256_SIZE);
    return r == 0 ? statement_draft(j, JWS_PS256, JWS_SHARED, s->skid, ret) : r;
}

int jwe_statement_check(const char *text, size_t n, const RsaKey *sender, const JweStatement *expected)
{
    static const char *const names[] = {"skid", "protected", "recipients", "content", NULL};
    _cleanup_(json_decrefp) json_t *j = NULL;
    int r = statement_open_rsa(text, n, JWS_SHARED, sender, names, &j);
    if (r == 0)
        r = statement_expect_bytes(j, "skid", expected->skid, KID_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "protected", expected->protected_sha256, SHA256_SIZE);
    if (r == 0)
        r = statement_expect_bytes(j, "recipients", expected->recipients_sha256, SHA256_SIZE);
    return r == 0 ? statement_expect_bytes(j, "content", expected->content_sha256, SHA256_SIZE) : r;
}

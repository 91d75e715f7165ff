/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/cms.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms-internal.h"
#include "libhmsg/wire/pem.h"

int cms_refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return HMSG_ERROR_BAD_PACKAGE;
}

Cms *cms_free(Cms *c)
{
    if (!c)
        return NULL;
    (void)cms_signed_free(c->outer);
    buf_done(&c->encrypted_key);
    buf_done(&c->aad);
    buf_done(&c->der);
    free(c);
    return NULL;
}

static const char *const pem_labels[] = {CMS_PEM_LABEL, "PKCS7"};

static const char *pem_label(const void *data, size_t n)
{
    for (size_t i = 0; i < ELEMENTSOF(pem_labels); i++)
        if (pem_is(data, n, pem_labels[i]))
            return pem_labels[i];
    return NULL;
}

bool cms_is(const void *data, size_t n)
{
    const uint8_t *bytes = data;
    return (n > 0 && bytes[0] == DER_SEQUENCE) || pem_label(data, n);
}

/* The key alone, without its AlgorithmIdentifier (RFC 5280 section 4.1). */
static Der key_bits(const RsaKey *k)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(k, &n);
    Der d = der_of(spki, n), info = der_take(&d, DER_SEQUENCE);
    (void)der_take(&info, DER_SEQUENCE);
    Der bits = der_take(&info, DER_BIT_STRING);
    return bits.size > 0 ? der_of(bits.data + 1, bits.size - 1) : bits; /* unused bits: 0 */
}

int cms_key_ids(const RsaKey *k, uint8_t ret[static 2 * CMS_KEY_ID_SIZE])
{
    uint8_t sha256[SHA256_SIZE], sha1[EVP_MAX_MD_SIZE];
    Der bits = key_bits(k);
    if (bits.bad)
        return -EINVAL;
    if (EVP_Digest(bits.data, bits.size, sha1, NULL, EVP_sha1(), NULL) != 1)
        return -EIO;
    int r = crypto_sha256(bits.data, bits.size, sha256);
    if (r != 0)
        return r;
    memcpy(ret, sha1, CMS_KEY_ID_SIZE);
    memcpy(ret + CMS_KEY_ID_SIZE, sha256, CMS_KEY_ID_SIZE);
    return 0;
}

static const CmsKeyTrans *find_key_id(const Cms *c, const uint8_t *id)
{
    for (unsigned i = 0; i < c->n_recipients; i++)
        if (c->recipients[i].has_key_id && der_equal(&c->recipients[i].id, id, CMS_KEY_ID_SIZE))
            return &c->recipients[i];
    return NULL;
}

int cms_choose(Cms *c, const RsaKey *key, bool by_trial)
{
    uint8_t ids[2 * CMS_KEY_ID_SIZE];
    int r = cms_key_ids(key, ids);
    if (r != 0)
        return r;
    const CmsKeyTrans *found = find_key_id(c, ids);
    if (!found)
        found = find_key_id(c, ids + CMS_KEY_ID_SIZE);
    if (!found && by_trial && c->n_recipients == 1 &&
        c->recipients[0].encrypted_key.size == rsa_key_size(key))
        found = &c->recipients[0];
    if (!found)
        return HMSG_ERROR_NOT_FOR_US;
    buf_clear(&c->encrypted_key);
    return buf_append(&c->encrypted_key, found->encrypted_key.data, found->encrypted_key.size);
}

static int open_gcm(const Cms *c, const Secret *key, Buf *ret)
{
    size_t n = c->ciphertext.size;
    _cleanup_(buf_done) Buf room = BUF_MAX(n + CMS_GCM_TAG);
    int r = buf_append(&room, c->ciphertext.data, n);
    if (r == 0)
        r = buf_append(&room, c->tag.data, CMS_GCM_TAG);
    if (r == 0)
        r = crypto_gcm_open(secret_bytes(key), c->iv, c->aad.data, c->aad.size, room.data, room.size,
                            room.data);
    return r == 0 ? buf_append(ret, room.data, n) : r;
}

int cms_open(const Cms *c, const Secret *key, Buf *ret)
{
    _cleanup_(secret_freep) Secret *random = NULL;
    bool usable = key && secret_size(key) == CMS_KEY_SIZE;
    size_t before = ret->size;
    int r = usable ? 0 : secret_new_random(CMS_KEY_SIZE, &random);
    if (r != 0)
        return r;
    const Secret *used = usable ? key : random;
    r = c->is_cbc ? crypto_cbc_decrypt(secret_bytes(used), c->iv, c->ciphertext.data, c->ciphertext.size, ret)
                  : open_gcm(c, used, ret);
    if (!usable && (r == 0 || r == -EMSGSIZE)) { /* random keys give CBC with a right padding now and then */
        buf_truncate(ret, before);
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    }
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int read_bytes(const void *data, size_t n, Buf *ret)
{
    const char *label = pem_label(data, n);
    int r = label ? pem_read(data, n, label, ret) : buf_append(ret, data, n);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

/* A ContentInfo (RFC 5652 section 3): its type, and what it holds. */
static CmsName read_content_info(Der d, Der *ret)
{
    Der info = der_take(&d, DER_SEQUENCE);
    CmsName type = cms_take_name(&info);
    Der content = der_take(&info, DER_CONTEXT_CONSTRUCTED(0));
    *ret = content;
    return der_done(&d) && der_done(&info) && !content.bad ? type : CMS_OTHER;
}

static int read_outer(Cms *c, const char **ret_why)
{
    static const char not_encrypted[] = "It is signed, but not encrypted";
    int r = cms_signed_parse(c->der.data, c->der.size, &c->outer, ret_why);
    if (r != 0)
        return r;
    if (!c->outer->is_data)
        return cms_read_enveloped(c, c->outer->content, c->outer->is_authenticated, ret_why);
    Der inner;
    switch (read_content_info(c->outer->content, &inner)) {
    case CMS_AUTH_ENVELOPED_DATA:
        return cms_read_enveloped(c, inner, true, ret_why);
    case CMS_ENVELOPED_DATA:
        return cms_read_enveloped(c, inner, false, ret_why);
    default:
        return cms_refuse(ret_why, not_encrypted);
    }
}

int cms_parse(const void *data, size_t n, Cms **ret, const char **ret_why)
{
    if (n > CMS_TEXT_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    _cleanup_(cms_freep) Cms *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->der = BUF_MAX(CMS_SIZE_MAX);
    c->aad = BUF_MAX(CMS_ATTRIBUTES_SIZE_MAX);
    c->encrypted_key = BUF_MAX(RSA_SIZE_MAX);
    int r = read_bytes(data, n, &c->der);
    if (r != 0)
        return r;
    if (c->der.size >= 2 && c->der.data[0] == DER_SEQUENCE && c->der.data[1] == 0x80)
        return cms_refuse(ret_why, "It is in BER with lengths left open, not in DER: have it written without "
                                   "streaming");
    Der inner;
    switch (read_content_info(der_of(c->der.data, c->der.size), &inner)) {
    case CMS_AUTH_ENVELOPED_DATA:
        r = cms_read_enveloped(c, inner, true, ret_why);
        break;
    case CMS_SIGNED_DATA:
        r = read_outer(c, ret_why);
        break;
    case CMS_ENVELOPED_DATA:
        return cms_refuse(ret_why, "It is EnvelopedData without a signature around it, which anybody can "
                                   "change: AuthEnvelopedData is read");
    default:
        return HMSG_ERROR_BAD_PACKAGE;
    }
    if (r == 0)
        *ret = TAKE_PTR(c);
    return r;
}

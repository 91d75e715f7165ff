/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <openssl/asn1.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms-internal.h"
#include "libhmsg/wire/pem.h"

#define RECIPIENT_SIZE_MAX (ISSUER_SERIAL_SIZE_MAX + RSA_SIZE_MAX + 256u)
#define ATTRIBUTES 5u

struct CmsDraft {
    unsigned references;
    RsaKey *sender;
    Buf attributes; /* as a SET */
    uint8_t digest[SHA256_SIZE];
};

static int append_number(Buf *b, uint8_t n)
{
    return der_append(b, DER_INTEGER, &n, 1);
}

/* KeyTransRecipientInfo (RFC 5652 section 6.2.1). */
static int append_recipient(Buf *b, const CmsRecipient *to, const Secret *key)
{
    _cleanup_(buf_done) Buf encrypted = BUF_MAX(RSA_SIZE_MAX);
    uint8_t ids[2 * CMS_KEY_ID_SIZE];
    size_t start = b->size;
    int r = append_number(b, to->issuer_serial ? 0 : 2);
    if (r == 0)
        r = cms_key_ids(to->key, ids);
    if (r == 0)
        r = to->issuer_serial ? buf_append(b, to->issuer_serial, to->issuer_serial_size)
                              : der_append(b, DER_CONTEXT(0), ids, CMS_KEY_ID_SIZE);
    if (r == 0)
        r = cms_append_oaep(b);
    if (r == 0)
        r = rsa_key_oaep_encrypt(to->key, secret_bytes(key), secret_size(key), &encrypted);
    if (r == 0)
        r = der_append(b, DER_OCTET_STRING, encrypted.data, encrypted.size);
    return r == 0 ? der_wrap(b, start, DER_SEQUENCE) : r;
}

static int append_recipients(Buf *b, const CmsRecipient *to, size_t n, const Secret *key)
{
    Buf infos[RECIPIENTS_MAX];
    size_t start = b->size;
    int r = 0;
    for (size_t i = 0; i < n; i++)
        infos[i] = BUF_MAX(RECIPIENT_SIZE_MAX);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = append_recipient(&infos[i], &to[i], key);
    if (r == 0)
        r = der_append_sorted(b, infos, n);
    for (size_t i = 0; i < n; i++)
        buf_done(&infos[i]);
    return r == 0 ? der_wrap(b, start, DER_SET) : r;
}

static int append_gcm(Buf *b, const uint8_t *nonce)
{
    size_t start = b->size;
    int r = cms_append_name(b, CMS_AES_256_GCM);
    size_t parameters = b->size;
    if (r == 0)
        r = der_append(b, DER_OCTET_STRING, nonce, CMS_GCM_IV);
    if (r == 0)
        r = append_number(b, CMS_GCM_TAG);
    if (r == 0)
        r = der_wrap(b, parameters, DER_SEQUENCE);
    return r == 0 ? der_wrap(b, start, DER_SEQUENCE) : r;
}

/* EncryptedContentInfo, then the tag. */
static int append_content(Buf *b, const void *content, size_t size, const Secret *key)
{
    _cleanup_(buf_done) Buf sealed = BUF_MAX(size + CMS_GCM_TAG);
    uint8_t nonce[CMS_GCM_IV];
    size_t start = b->size;
    int r = crypto_random(nonce, sizeof(nonce));
    if (r == 0)
        r = buf_reserve(&sealed, size + CMS_GCM_TAG);
    if (r == 0)
        r = crypto_gcm_seal(secret_bytes(key), nonce, NULL, 0, content, size, sealed.data);
    if (r == 0)
        r = cms_append_name(b, CMS_DATA);
    if (r == 0)
        r = append_gcm(b, nonce);
    if (r == 0)
        r = der_append(b, DER_CONTEXT(0), sealed.data, size);
    if (r == 0)
        r = der_wrap(b, start, DER_SEQUENCE);
    return r == 0 ? der_append(b, DER_OCTET_STRING, sealed.data + size, CMS_GCM_TAG) : r;
}

/* What stands in b from there becomes the content of a ContentInfo. */
static int wrap_content_info(Buf *b, size_t from, CmsName type)
{
    _cleanup_(buf_done) Buf content = BUF_MAX(b->max);
    int r = der_wrap(b, from, DER_SEQUENCE);
    if (r == 0)
        r = der_wrap(b, from, DER_CONTEXT_CONSTRUCTED(0));
    if (r == 0)
        r = buf_append(&content, b->data + from, b->size - from);
    if (r != 0)
        return r;
    buf_truncate(b, from);
    r = cms_append_name(b, type);
    if (r == 0)
        r = buf_append(b, content.data, content.size);
    return r == 0 ? der_wrap(b, from, DER_SEQUENCE) : r;
}

static int build_der(const CmsRecipient *to, size_t n, const void *content, size_t size, Buf *ret)
{
    _cleanup_(secret_freep) Secret *key = NULL;
    int r = secret_new_random(CMS_KEY_SIZE, &key);
    if (r == 0)
        r = append_number(ret, 0);
    if (r == 0)
        r = append_recipients(ret, to, n, key);
    if (r == 0)
        r = append_content(ret, content, size, key);
    return r == 0 ? wrap_content_info(ret, 0, CMS_AUTH_ENVELOPED_DATA) : r;
}

int cms_build(const CmsRecipient *to, size_t n, const void *content, size_t size, bool pem, Buf *ret)
{
    _cleanup_(buf_done) Buf der = BUF_MAX(CMS_SIZE_MAX);
    if (n == 0)
        return HMSG_ERROR_INVALID_ARGS;
    if (n > RECIPIENTS_MAX || size > CMS_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    int r = build_der(to, n, content, size, &der);
    if (r == 0)
        r = pem ? pem_append(ret, CMS_PEM_LABEL, der.data, der.size) : buf_append(ret, der.data, der.size);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

/* What stands in b from there becomes the only value of an attribute (RFC 5652 section 5.3). */
static int wrap_attribute(Buf *b, CmsName name)
{
    _cleanup_(buf_done) Buf value = BUF_MAX(CMS_ATTRIBUTES_SIZE_MAX);
    int r = der_append(&value, DER_SET, b->data, b->size);
    buf_clear(b);
    if (r == 0)
        r = cms_append_name(b, name);
    if (r == 0)
        r = buf_append(b, value.data, value.size);
    return r == 0 ? der_wrap(b, 0, DER_SEQUENCE) : r;
}

static int make_digest(Buf *b, const void *content, size_t size)
{
    uint8_t digest[SHA256_SIZE];
    int r = crypto_sha256(content, size, digest);
    return r == 0 ? der_append(b, DER_OCTET_STRING, digest, sizeof(digest)) : r;
}

/* UTCTime until 2049, then GeneralizedTime (RFC 5652 section 11.3): as OpenSSL chooses for certificates. */
static int make_time(Buf *b, int64_t now)
{
    ASN1_TIME *t = ASN1_TIME_set(NULL, (time_t)now);
    uint8_t *der = NULL;
    int n = t ? i2d_ASN1_TIME(t, &der) : 0;
    int r = n > 0 ? buf_append(b, der, (size_t)n) : -ENOMEM;
    OPENSSL_free(der);
    ASN1_TIME_free(t);
    return r;
}

static int make_kids(Buf *b, const CmsRecipient *to, size_t n)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = der_append(b, DER_OCTET_STRING, rsa_key_thumbprint(to[i].key), KID_SIZE);
    return r == 0 ? der_wrap(b, 0, DER_SEQUENCE) : r;
}

static int make_key(Buf *b, const RsaKey *k)
{
    size_t n = 0;
    const uint8_t *spki = rsa_key_spki(k, &n);
    return buf_append(b, spki, n);
}

static int make_attributes(CmsDraft *d, const CmsRecipient *to, size_t n, int64_t now, const void *content,
                           size_t size)
{
    static const CmsName names[ATTRIBUTES] = {CMS_CONTENT_TYPE, CMS_MESSAGE_DIGEST, CMS_SIGNING_TIME,
                                              CMS_HMSG_RECIPIENTS, CMS_HMSG_KEY};
    Buf all[ATTRIBUTES];
    for (size_t i = 0; i < ATTRIBUTES; i++)
        all[i] = BUF_MAX(CMS_ATTRIBUTES_SIZE_MAX);
    int r = cms_append_name(&all[0], CMS_DATA);
    if (r == 0)
        r = make_digest(&all[1], content, size);
    if (r == 0)
        r = make_time(&all[2], now);
    if (r == 0)
        r = make_kids(&all[3], to, n);
    if (r == 0)
        r = make_key(&all[4], d->sender);
    for (size_t i = 0; r == 0 && i < ATTRIBUTES; i++)
        r = wrap_attribute(&all[i], names[i]);
    if (r == 0)
        r = der_append_sorted(&d->attributes, all, ATTRIBUTES);
    for (size_t i = 0; i < ATTRIBUTES; i++)
        buf_done(&all[i]);
    return r == 0 ? der_wrap(&d->attributes, 0, DER_SET) : r;
}

int cms_draft_new(RsaKey *sender, const CmsRecipient *to, size_t n, int64_t now, const void *content,
                  size_t size, CmsDraft **ret)
{
    if (n == 0 || n > RECIPIENTS_MAX || now < 0 || now > TIME_MAX)
        return -EINVAL;
    _cleanup_(cms_draft_freep) CmsDraft *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    d->references = 1;
    d->sender = rsa_key_ref(sender);
    d->attributes = BUF_MAX(CMS_ATTRIBUTES_SIZE_MAX);
    int r = make_attributes(d, to, n, now, content, size);
    if (r == 0)
        r = crypto_sha256(d->attributes.data, d->attributes.size, d->digest);
    if (r == 0)
        *ret = TAKE_PTR(d);
    return r;
}

CmsDraft *cms_draft_ref(CmsDraft *d)
{
    d->references++;
    return d;
}

CmsDraft *cms_draft_free(CmsDraft *d)
{
    if (!d || --d->references > 0)
        return NULL;
    (void)rsa_key_free(d->sender);
    buf_done(&d->attributes);
    free(d);
    return NULL;
}

const uint8_t *cms_draft_digest(const CmsDraft *d)
{
    return d->digest;
}

/* SignerInfo (RFC 5652 section 5.3). */
static int append_signer(Buf *b, const CmsDraft *d, unsigned salt, const void *signature, size_t n)
{
    uint8_t ids[2 * CMS_KEY_ID_SIZE];
    size_t start = b->size;
    int r = append_number(b, 3);
    if (r == 0)
        r = cms_key_ids(d->sender, ids);
    if (r == 0)
        r = der_append(b, DER_CONTEXT(0), ids, CMS_KEY_ID_SIZE);
    if (r == 0)
        r = cms_append_algorithm(b, CMS_SHA256);
    size_t attributes = b->size;
    if (r == 0)
        r = buf_append(b, d->attributes.data, d->attributes.size);
    if (r != 0)
        return r;
    b->data[attributes] = DER_CONTEXT_CONSTRUCTED(0);
    r = cms_append_pss(b, salt);
    if (r == 0)
        r = der_append(b, DER_OCTET_STRING, signature, n);
    if (r == 0)
        r = der_wrap(b, start, DER_SEQUENCE);
    return r == 0 ? der_wrap(b, start, DER_SET) : r;
}

/* EncapsulatedContentInfo. */
static int append_plain(Buf *b, const void *content, size_t size)
{
    size_t start = b->size;
    int r = cms_append_name(b, CMS_DATA);
    size_t explicit = b->size;
    if (r == 0)
        r = der_append(b, DER_OCTET_STRING, content, size);
    if (r == 0)
        r = der_wrap(b, explicit, DER_CONTEXT_CONSTRUCTED(0));
    return r == 0 ? der_wrap(b, start, DER_SEQUENCE) : r;
}

int cms_draft_finish(const CmsDraft *d, const void *content, size_t size, const void *signature, size_t n,
                     Buf *ret)
{
    unsigned salt = 0;
    size_t start = ret->size;
    int r = rsa_key_verify_ps256_salt(d->sender, d->digest, signature, n, &salt);
    if (r == 0)
        r = append_number(ret, 3);
    size_t digests = ret->size;
    if (r == 0)
        r = cms_append_algorithm(ret, CMS_SHA256);
    if (r == 0)
        r = der_wrap(ret, digests, DER_SET);
    if (r == 0)
        r = append_plain(ret, content, size);
    if (r == 0)
        r = append_signer(ret, d, salt, signature, n);
    return r == 0 ? wrap_content_info(ret, start, CMS_SIGNED_DATA) : r;
}

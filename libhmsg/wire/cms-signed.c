/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* SignedData with one signer (RFC 5652 section 5). */

#include <errno.h>
#include <openssl/asn1.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms-internal.h"

#define UTC_TIME 0x17u
#define GENERALIZED_TIME 0x18u

typedef struct SignerId {
    bool has_key_id; /* else issuer and serial number */
    Der id;
} SignerId;

CmsSigned *cms_signed_free(CmsSigned *s)
{
    if (!s)
        return NULL;
    (void)rsa_key_free(s->key);
    free(s);
    return NULL;
}

/* EncapsulatedContentInfo. */
static int read_content(CmsSigned *s, Der *d, CmsName *ret_type, const char **ret_why)
{
    Der info = der_take(d, DER_SEQUENCE);
    *ret_type = cms_take_name(&info);
    if (!info.bad && info.size == 0)
        return cms_refuse(ret_why, "It is a signature alone, apart from what is signed");
    Der explicit = der_take(&info, DER_CONTEXT_CONSTRUCTED(0));
    s->content = der_take(&explicit, DER_OCTET_STRING);
    if (!der_done(&info) || !der_done(&explicit))
        return HMSG_ERROR_BAD_PACKAGE;
    s->is_data = *ret_type == CMS_DATA;
    s->is_authenticated = *ret_type == CMS_AUTH_ENVELOPED_DATA;
    if (!s->is_data && !s->is_authenticated && *ret_type != CMS_ENVELOPED_DATA)
        return cms_refuse(ret_why, "What is signed is of a type that is not known");
    return 0;
}

/* UTCTime or GeneralizedTime, with seconds and in UTC (RFC 5652 section 11.3). */
static bool read_time(Der d, int64_t *ret)
{
    bool is_long = der_is(&d, GENERALIZED_TIME);
    Der text = der_take(&d, is_long ? GENERALIZED_TIME : UTC_TIME);
    ASN1_TIME *t = ASN1_STRING_type_new(is_long ? V_ASN1_GENERALIZEDTIME : V_ASN1_UTCTIME);
    struct tm tm = {0};
    bool right = t && der_done(&d) && text.size == (is_long ? 15u : 13u) && text.data[text.size - 1] == 'Z' &&
                 ASN1_STRING_set(t, text.data, (int)text.size) == 1 && ASN1_TIME_to_tm(t, &tm) == 1;
    ASN1_STRING_free(t);
    if (right)
        *ret = timegm(&tm);
    return right && *ret > 0 && *ret <= TIME_MAX;
}

static bool read_type(Der d, CmsName type)
{
    return cms_take_name(&d) == type && der_done(&d);
}

static bool read_octets(Der d, Der *ret)
{
    *ret = der_take(&d, DER_OCTET_STRING);
    return der_done(&d);
}

/* The kids, one behind the other, each with its tag and length. */
static bool read_kids(Der d, Der *ret)
{
    *ret = der_take(&d, DER_SEQUENCE);
    Der rest = *ret;
    while (!der_done(&rest)) {
        Der kid = der_take(&rest, DER_OCTET_STRING);
        if (kid.size != KID_SIZE)
            return false;
    }
    return der_done(&d);
}

static int read_key(CmsSigned *s, Der d)
{
    return s->key ? HMSG_ERROR_BAD_PACKAGE : rsa_key_from_spki(d.data, d.size, &s->key);
}

typedef struct Seen {
    bool type, digest, time, key;
} Seen;

/* Each of ours at most once, with one value; others say nothing to us. */
static int read_attribute(CmsSigned *s, Der *set, CmsName type, Seen *seen)
{
    Der attribute = der_take(set, DER_SEQUENCE);
    CmsName name = cms_take_name(&attribute);
    Der values = der_take(&attribute, DER_SET), value = der_take_any(&values);
    if (!der_done(&attribute) || value.bad)
        return HMSG_ERROR_BAD_PACKAGE;
    bool right = true, *once = NULL;
    int r = 0;
    switch (name) {
    case CMS_CONTENT_TYPE:
        right = read_type(value, type);
        once = &seen->type;
        break;
    case CMS_MESSAGE_DIGEST:
        right = read_octets(value, &s->digest) && s->digest.size == SHA256_SIZE;
        once = &seen->digest;
        break;
    case CMS_SIGNING_TIME:
        right = read_time(value, &s->time);
        once = &seen->time;
        break;
    case CMS_HMSG_RECIPIENTS:
        right = read_kids(value, &s->recipients);
        once = &s->has_recipients;
        break;
    case CMS_HMSG_KEY:
        r = read_key(s, value);
        once = &seen->key;
        break;
    default:
        return 0;
    }
    if (!right || *once || !der_done(&values))
        return HMSG_ERROR_BAD_PACKAGE;
    *once = true;
    return r;
}

/* Without attributes a signature over them could be passed off as one over content that looks like them. */
static int read_attributes(CmsSigned *s, Der *d, CmsName type, const char **ret_why)
{
    Seen seen = {0};
    if (!der_is(d, DER_CONTEXT_CONSTRUCTED(0)))
        return cms_refuse(ret_why, "Its signature has no signed attributes");
    s->attributes = der_take_whole(d, DER_CONTEXT_CONSTRUCTED(0));
    if (s->attributes.size > CMS_ATTRIBUTES_SIZE_MAX)
        return HMSG_ERROR_TOO_LARGE;
    Der all = s->attributes, set = der_take(&all, DER_CONTEXT_CONSTRUCTED(0));
    if (set.bad)
        return HMSG_ERROR_BAD_PACKAGE;
    while (!der_done(&set)) {
        int r = read_attribute(s, &set, type, &seen);
        if (r != 0)
            return r;
    }
    return seen.type && seen.digest ? 0 : HMSG_ERROR_BAD_PACKAGE;
}

static int read_signature(CmsSigned *s, Der *d, const char **ret_why)
{
    Der algorithm = der_take(d, DER_SEQUENCE);
    if (cms_take_name(&algorithm) != CMS_PSS)
        return cms_refuse(ret_why, "It is signed with another algorithm than RSASSA-PSS");
    int r = cms_check_pss(&algorithm, &s->salt, ret_why);
    s->signature = der_take(d, DER_OCTET_STRING);
    return r != 0 || der_done(d) ? r : HMSG_ERROR_BAD_PACKAGE;
}

static int read_signer(CmsSigned *s, Der *set, CmsName type, SignerId *ret, const char **ret_why)
{
    Der info = der_take(set, DER_SEQUENCE);
    int version = der_take_small(&info);
    if (!der_done(set))
        return set->bad ? HMSG_ERROR_BAD_PACKAGE : cms_refuse(ret_why, "It has several signers");
    ret->has_key_id = der_is(&info, DER_CONTEXT(0));
    ret->id = ret->has_key_id ? der_take(&info, DER_CONTEXT(0)) : der_take_whole(&info, DER_SEQUENCE);
    if (info.bad || version != (ret->has_key_id ? 3 : 1))
        return HMSG_ERROR_BAD_PACKAGE;
    if (!cms_take_sha256(&info))
        return cms_refuse(ret_why, "It is signed with another hash than SHA-256");
    int r = read_attributes(s, &info, type, ret_why);
    return r == 0 ? read_signature(s, &info, ret_why) : r;
}

static bool is_certificate_of(const Cert *c, const SignerId *id)
{
    return id->has_key_id ? c->key_id_size > 0 && der_equal(&id->id, c->key_id, c->key_id_size)
                          : der_equal(&id->id, c->issuer_serial.data, c->issuer_serial.size);
}

/* The key of the signer's certificate; nothing else of that counts. */
static int read_certificates(CmsSigned *s, Der set, const SignerId *id)
{
    for (unsigned n = 0; !der_done(&set); n++) {
        _cleanup_(cert_freep) Cert *c = NULL;
        Der one = der_take_any(&set);
        if (one.bad)
            return HMSG_ERROR_BAD_PACKAGE;
        if (n == CMS_CERTIFICATES_MAX)
            return HMSG_ERROR_TOO_LARGE;
        if (s->key || one.data[0] != DER_SEQUENCE)
            continue;
        int r = cert_read(one.data, one.size, &c);
        if (r < 0)
            return r;
        if (r == 0 && c->key && is_certificate_of(c, id))
            s->key = rsa_key_ref(c->key);
    }
    return 0;
}

/* The key in the attributes is the one that the signer is named by. */
static int check_key_id(const CmsSigned *s, const SignerId *id)
{
    uint8_t ids[2 * CMS_KEY_ID_SIZE];
    int r = cms_key_ids(s->key, ids);
    if (r != 0)
        return r;
    return id->has_key_id && der_equal(&id->id, ids, CMS_KEY_ID_SIZE) ? 0 : HMSG_ERROR_BAD_PACKAGE;
}

static int check_signature_form(const CmsSigned *s)
{
    if (s->signature.size != rsa_key_size(s->key))
        return HMSG_ERROR_BAD_PACKAGE;
    if (s->salt != (int)SHA256_SIZE && s->salt != (int)rsa_key_largest_salt(s->key))
        return HMSG_ERROR_BAD_PACKAGE;
    return 0;
}

static int read_signed_data(CmsSigned *s, Der d, const char **ret_why)
{
    Der content = der_take(&d, DER_SEQUENCE), certificates = {0};
    int version = der_take_small(&content);
    Der digests = der_take(&content, DER_SET);
    CmsName type = CMS_OTHER;
    SignerId id = {0};
    if (!der_done(&d) || digests.bad)
        return HMSG_ERROR_BAD_PACKAGE;
    if (!cms_take_sha256(&digests) || !der_done(&digests))
        return cms_refuse(ret_why, "It is signed with another hash than SHA-256");
    int r = read_content(s, &content, &type, ret_why);
    if (r != 0)
        return r;
    if (der_is(&content, DER_CONTEXT_CONSTRUCTED(0)))
        certificates = der_take(&content, DER_CONTEXT_CONSTRUCTED(0));
    if (der_is(&content, DER_CONTEXT_CONSTRUCTED(1)))
        return cms_refuse(ret_why, "It has revocation lists, which are not read");
    Der signers = der_take(&content, DER_SET);
    if (!der_done(&content))
        return HMSG_ERROR_BAD_PACKAGE;
    if (der_done(&signers))
        return cms_refuse(ret_why, "It holds certificates, but no signature");
    r = read_signer(s, &signers, type, &id, ret_why);
    if (r == 0 && version != (id.has_key_id || !s->is_data ? 3 : 1)) /* RFC 5652 section 5.1 */
        r = HMSG_ERROR_BAD_PACKAGE;
    if (r == 0 && s->key)
        r = check_key_id(s, &id);
    if (r == 0)
        r = read_certificates(s, certificates, &id);
    if (r == 0 && !s->key)
        return cms_refuse(ret_why, "It does not hold the signer's key or certificate");
    return r == 0 ? check_signature_form(s) : r;
}

int cms_signed_parse(const void *der, size_t n, CmsSigned **ret, const char **ret_why)
{
    _cleanup_(cms_signed_freep) CmsSigned *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    Der d = der_of(der, n), info = der_take(&d, DER_SEQUENCE);
    CmsName type = cms_take_name(&info);
    Der content = der_take(&info, DER_CONTEXT_CONSTRUCTED(0));
    if (!der_done(&d) || !der_done(&info) || type != CMS_SIGNED_DATA)
        return HMSG_ERROR_BAD_PACKAGE;
    int r = read_signed_data(s, content, ret_why);
    if (r == 0)
        *ret = TAKE_PTR(s);
    return r;
}

/* RFC 5652 section 5.4: over the attributes as a SET, whatever tag they stand under. */
static int hash_attributes(const CmsSigned *s, uint8_t ret[static SHA256_SIZE])
{
    static const uint8_t tag = DER_SET;
    const Chunk chunks[] = {{&tag, 1}, {s->attributes.data + 1, s->attributes.size - 1}};
    return crypto_sha256_chunks(chunks, ELEMENTSOF(chunks), ret);
}

int cms_signed_verify(const CmsSigned *s)
{
    uint8_t digest[SHA256_SIZE], content[SHA256_SIZE];
    unsigned salt = 0;
    int r = crypto_sha256(s->content.data, s->content.size, content);
    if (r == 0)
        r = hash_attributes(s, digest);
    if (r == 0)
        r = rsa_key_verify_ps256_salt(s->key, digest, s->signature.data, s->signature.size, &salt);
    if (r != 0)
        return r;
    return salt == (unsigned)s->salt && der_equal(&s->digest, content, sizeof(content))
               ? 0
               : HMSG_ERROR_AUTHENTICATION_FAILED;
}

bool cms_signed_is_for(const CmsSigned *s, const uint8_t kid[static KID_SIZE])
{
    Der rest = s->recipients;
    while (s->has_recipients && !der_done(&rest)) {
        Der one = der_take(&rest, DER_OCTET_STRING);
        if (der_equal(&one, kid, KID_SIZE))
            return true;
        if (one.bad)
            return false;
    }
    return false;
}

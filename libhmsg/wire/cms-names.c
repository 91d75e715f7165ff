/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Object identifiers and the AlgorithmIdentifiers that have parameters. */

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms-internal.h"

typedef struct Oid {
    uint8_t size;
    uint8_t bytes[24];
} Oid;

#define PKCS 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01
#define NIST 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04
/* 2.25.274599300601827037952668195682984807465: from a UUID (ITU-T X.667), so that nobody had to give it */
#define HMSG                                                                                                 \
    0x69, 0x83, 0x9d, 0x95, 0xf3, 0xb3, 0xb1, 0x87, 0xa2, 0x94, 0xe5, 0xb5, 0x81, 0xe5, 0xd9, 0xb6, 0x86,    \
        0x89, 0x98, 0x29

static const Oid oids[] = {
    [CMS_DATA] = {9, {PKCS, 7, 1}},
    [CMS_SIGNED_DATA] = {9, {PKCS, 7, 2}},
    [CMS_ENVELOPED_DATA] = {9, {PKCS, 7, 3}},
    [CMS_AUTH_ENVELOPED_DATA] = {11, {PKCS, 9, 16, 1, 23}},
    [CMS_RSA] = {9, {PKCS, 1, 1}},
    [CMS_OAEP] = {9, {PKCS, 1, 7}},
    [CMS_MGF1] = {9, {PKCS, 1, 8}},
    [CMS_PSPECIFIED] = {9, {PKCS, 1, 9}},
    [CMS_PSS] = {9, {PKCS, 1, 10}},
    [CMS_SHA1] = {5, {0x2b, 14, 3, 2, 26}},
    [CMS_SHA256] = {9, {NIST, 2, 1}},
    [CMS_AES_256_CBC] = {9, {NIST, 1, 42}},
    [CMS_AES_256_GCM] = {9, {NIST, 1, 46}},
    [CMS_AES_128_CBC] = {9, {NIST, 1, 2}},
    [CMS_AES_192_CBC] = {9, {NIST, 1, 22}},
    [CMS_AES_128_GCM] = {9, {NIST, 1, 6}},
    [CMS_AES_192_GCM] = {9, {NIST, 1, 26}},
    [CMS_3DES_CBC] = {8, {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 3, 7}},
    [CMS_CONTENT_TYPE] = {9, {PKCS, 9, 3}},
    [CMS_MESSAGE_DIGEST] = {9, {PKCS, 9, 4}},
    [CMS_SIGNING_TIME] = {9, {PKCS, 9, 5}},
    [CMS_HMSG_RECIPIENTS] = {21, {HMSG, 1}},
    [CMS_HMSG_KEY] = {21, {HMSG, 2}},
};

CmsName cms_take_name(Der *d)
{
    Der oid = der_take(d, DER_OID);
    for (size_t i = CMS_OTHER + 1; i < ELEMENTSOF(oids); i++)
        if (der_equal(&oid, oids[i].bytes, oids[i].size))
            return (CmsName)i;
    return CMS_OTHER;
}

int cms_append_name(Buf *b, CmsName name)
{
    return der_append(b, DER_OID, oids[name].bytes, oids[name].size);
}

int cms_append_algorithm(Buf *b, CmsName name)
{
    size_t start = b->size;
    int r = cms_append_name(b, name);
    return r == 0 ? der_wrap(b, start, DER_SEQUENCE) : r;
}

/* [0] SHA-256, [1] MGF1 with SHA-256: what OAEP and PSS have in common. */
static int append_hashes(Buf *b)
{
    size_t start = b->size;
    int r = cms_append_algorithm(b, CMS_SHA256);
    if (r == 0)
        r = der_wrap(b, start, DER_CONTEXT_CONSTRUCTED(0));
    start = b->size;
    if (r == 0)
        r = cms_append_name(b, CMS_MGF1);
    if (r == 0)
        r = cms_append_algorithm(b, CMS_SHA256);
    if (r == 0)
        r = der_wrap(b, start, DER_SEQUENCE);
    return r == 0 ? der_wrap(b, start, DER_CONTEXT_CONSTRUCTED(1)) : r;
}

int cms_append_oaep(Buf *b)
{
    size_t start = b->size;
    int r = cms_append_name(b, CMS_OAEP);
    size_t parameters = b->size;
    if (r == 0)
        r = append_hashes(b);
    if (r == 0)
        r = der_wrap(b, parameters, DER_SEQUENCE);
    return r == 0 ? der_wrap(b, start, DER_SEQUENCE) : r;
}

int cms_append_pss(Buf *b, unsigned salt)
{
    const uint8_t number[] = {(uint8_t)(salt >> 8), (uint8_t)salt};
    bool is_short = salt < 0x80;
    size_t start = b->size;
    int r = cms_append_name(b, CMS_PSS);
    size_t parameters = b->size;
    if (r == 0)
        r = append_hashes(b);
    size_t length = b->size;
    if (r == 0)
        r = der_append(b, DER_INTEGER, number + is_short, sizeof(number) - is_short);
    if (r == 0)
        r = der_wrap(b, length, DER_CONTEXT_CONSTRUCTED(2));
    if (r == 0)
        r = der_wrap(b, parameters, DER_SEQUENCE);
    return r == 0 ? der_wrap(b, start, DER_SEQUENCE) : r;
}

static bool is_absent_or_null(Der *parameters)
{
    if (parameters->size > 0) {
        Der null = der_take(parameters, DER_NULL);
        return der_done(&null) && der_done(parameters);
    }
    return der_done(parameters);
}

bool cms_take_sha256(Der *d)
{
    Der algorithm = der_take(d, DER_SEQUENCE);
    return cms_take_name(&algorithm) == CMS_SHA256 && is_absent_or_null(&algorithm);
}

static bool take_mgf1(Der *d)
{
    Der algorithm = der_take(d, DER_SEQUENCE);
    return cms_take_name(&algorithm) == CMS_MGF1 && cms_take_sha256(&algorithm) && der_done(&algorithm);
}

/* [0] and [1]; both must be there, for what is left out means SHA-1. */
static bool take_hashes(Der *d)
{
    Der hash = der_take(d, DER_CONTEXT_CONSTRUCTED(0));
    Der mask = der_take(d, DER_CONTEXT_CONSTRUCTED(1));
    return cms_take_sha256(&hash) && der_done(&hash) && take_mgf1(&mask) && der_done(&mask);
}

int cms_check_oaep(Der *parameters, const char **ret_why)
{
    static const char wrong[] = "It uses RSA-OAEP with another hash than SHA-256, or does not say so";
    Der d = der_take(parameters, DER_SEQUENCE);
    if (!der_done(parameters) || !take_hashes(&d))
        return cms_refuse(ret_why, wrong);
    if (der_done(&d))
        return 0;
    Der source = der_take(&d, DER_CONTEXT_CONSTRUCTED(2));
    Der algorithm = der_take(&source, DER_SEQUENCE);
    if (cms_take_name(&algorithm) != CMS_PSPECIFIED)
        return cms_refuse(ret_why, wrong);
    Der label = der_take(&algorithm, DER_OCTET_STRING);
    if (!der_done(&label) || !der_done(&algorithm) || !der_done(&source) || !der_done(&d))
        return cms_refuse(ret_why, "It uses RSA-OAEP with a label");
    return 0;
}

int cms_check_pss(Der *parameters, int *ret_salt, const char **ret_why)
{
    Der d = der_take(parameters, DER_SEQUENCE);
    bool right = der_done(parameters) && take_hashes(&d);
    Der salt = der_take(&d, DER_CONTEXT_CONSTRUCTED(2));
    Der number = der_take(&salt, DER_INTEGER);
    right = right && der_done(&salt) && der_done(&d) && (number.size == 1 || number.size == 2) &&
            number.data[0] < 0x80;
    if (!right)
        return cms_refuse(ret_why, "It uses RSASSA-PSS with another hash than SHA-256, or does not say so");
    *ret_salt = number.size == 1 ? number.data[0] : number.data[0] << 8 | number.data[1];
    return 0;
}

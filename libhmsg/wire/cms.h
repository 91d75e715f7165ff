/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* CMS (RFC 5652), as much of it as docs/protocol.md says. Written: AuthEnvelopedData (RFC 5083) with
 * AES-256-GCM (RFC 5084) and RSAES-OAEP (RFC 4055), around the content or around SignedData with RSASSA-PSS
 * (RFC 4056). Read: that, and SignedData around AuthEnvelopedData or EnvelopedData with AES-256-CBC. All of
 * it in DER. Pure: no key is used here but public ones, the TPM's part is the caller's.
 * HMSG_ERROR_BAD_PACKAGE with a sentence for people in *ret_why (a constant; untouched when there is nothing
 * to say): it has another form, or says something that is not allowed. */

#include "libhmsg/wire/cert.h"
#include "libhmsg/wire/der.h"

/* SignedData. All fields are for reading; views are of what was parsed, which must stay. */
typedef struct CmsSigned {
    RsaKey *key;  /* the signer's as the message says: nobody's until it is looked up by its thumbprint */
    bool is_data; /* content is id-data, else EnvelopedData or AuthEnvelopedData without a ContentInfo */
    bool is_authenticated;
    Der content;
    Der attributes; /* signed, as [0] */
    Der digest;     /* of content, as the attributes say */
    Der signature;
    int salt;
    bool has_recipients; /* the attributes name them: it was made by hmsg */
    Der recipients;
    int64_t time; /* 0: it does not say */
} CmsSigned;

/* Shape and algorithms. */
int cms_signed_parse(const void *der, size_t n, CmsSigned **ret, const char **ret_why);
/* 0, or HMSG_ERROR_AUTHENTICATION_FAILED. */
int cms_signed_verify(const CmsSigned *s);
/* Do the attributes name this decrypt key as a recipient? */
bool cms_signed_is_for(const CmsSigned *s, const uint8_t kid[static KID_SIZE]);
CmsSigned *cms_signed_free(CmsSigned *s);
DEFINE_CLEANUP(CmsSigned *, cms_signed_free)

/* One KeyTransRecipientInfo whose parameters are right. */
typedef struct CmsKeyTrans {
    bool has_key_id; /* else issuer and serial number */
    Der id;
    Der encrypted_key;
} CmsKeyTrans;

/* AuthEnvelopedData or, in SignedData, EnvelopedData. All fields are for reading. */
typedef struct Cms {
    Buf der;          /* what the views are of */
    CmsSigned *outer; /* around it; NULL: nothing is. To be verified by the caller */
    bool is_cbc;      /* AES-256-CBC: only with outer */
    CmsKeyTrans recipients[RECIPIENTS_MAX];
    unsigned n_recipients;
    Buf encrypted_key; /* of cms_choose */
    uint8_t iv[16];
    Buf aad; /* authenticated attributes */
    Der ciphertext;
    Der tag;
} Cms;

/* By the first bytes alone. */
bool cms_is(const void *data, size_t n);
/* DER, or a PEM block "CMS" or "PKCS7". HMSG_ERROR_TOO_LARGE. */
int cms_parse(const void *data, size_t n, Cms **ret, const char **ret_why);
Cms *cms_free(Cms *c);
DEFINE_CLEANUP(Cms *, cms_free)

/* What is encrypted to key: by its identifier (SHA-1 of the key as in RFC 5280 section 4.2.1.2, or SHA-256
 * cut short as in RFC 7093 section 2); else, with by_trial and when there is one recipient alone, that one.
 * HMSG_ERROR_NOT_FOR_US. */
int cms_choose(Cms *c, const RsaKey *key, bool by_trial);
/* key: 32 bytes, or NULL when OAEP failed: then it goes on with random ones. Appends the content; nothing on
 * failure. */
int cms_open(const Cms *c, const Secret *key, Buf *ret);

typedef struct CmsRecipient {
    const RsaKey *key;
    const void *issuer_serial; /* DER, of its certificate; NULL: the key's identifier is written */
    size_t issuer_serial_size;
} CmsRecipient;

/* AuthEnvelopedData for n recipients, in DER or as a PEM block "CMS"; appended. */
int cms_build(const CmsRecipient *to, size_t n, const void *content, size_t size, bool pem, Buf *ret);

/* What is signed: attributes that name the content's hash, the time, the recipients and the sign key. */
typedef struct CmsDraft CmsDraft;
int cms_draft_new(RsaKey *sender, const CmsRecipient *to, size_t n, int64_t now, const void *content,
                  size_t size, CmsDraft **ret);
CmsDraft *cms_draft_ref(CmsDraft *d);
CmsDraft *cms_draft_free(CmsDraft *d); /* drops one reference */
DEFINE_CLEANUP(CmsDraft *, cms_draft_free)
const uint8_t *cms_draft_digest(const CmsDraft *d); /* SHA256_SIZE bytes, for PS256 */
/* SignedData around the same content; appended. Verifies the signature first. */
int cms_draft_finish(const CmsDraft *d, const void *content, size_t size, const void *signature, size_t n,
                     Buf *ret);

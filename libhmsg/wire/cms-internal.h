/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to libhmsg/wire/cms*.c. */

#include "libhmsg/wire/cms.h"

#define CMS_KEY_SIZE 32u /* of AES-256 */
#define CMS_GCM_IV 12u
#define CMS_GCM_TAG 16u
#define CMS_CBC_BLOCK 16u
#define CMS_KEY_ID_SIZE 20u
#define CMS_PEM_LABEL "CMS"

typedef enum CmsName {
    CMS_OTHER, /* none of these */
    CMS_DATA,
    CMS_SIGNED_DATA,
    CMS_ENVELOPED_DATA,
    CMS_AUTH_ENVELOPED_DATA,
    CMS_RSA,
    CMS_OAEP,
    CMS_MGF1,
    CMS_PSPECIFIED,
    CMS_PSS,
    CMS_SHA1,
    CMS_SHA256,
    CMS_AES_256_CBC,
    CMS_AES_256_GCM,
    CMS_AES_128_CBC,
    CMS_AES_192_CBC,
    CMS_AES_128_GCM,
    CMS_AES_192_GCM,
    CMS_3DES_CBC,
    CMS_CONTENT_TYPE,
    CMS_MESSAGE_DIGEST,
    CMS_SIGNING_TIME,
    CMS_HMSG_RECIPIENTS,
    CMS_HMSG_KEY,
} CmsName;

/* The next OBJECT IDENTIFIER. */
CmsName cms_take_name(Der *d);
int cms_append_name(Buf *b, CmsName name);

/* An AlgorithmIdentifier without parameters, and the two of RSA (RFC 4055). */
int cms_append_algorithm(Buf *b, CmsName name);
int cms_append_oaep(Buf *b);
int cms_append_pss(Buf *b, unsigned salt);
/* The next AlgorithmIdentifier is SHA-256, whose parameters are absent or NULL. */
bool cms_take_sha256(Der *d);
/* What the parameters in the contents of an AlgorithmIdentifier say, behind its name. */
int cms_check_oaep(Der *parameters, const char **ret_why);
int cms_check_pss(Der *parameters, int *ret_salt, const char **ret_why);

/* The first is SHA-1, for identifying alone, as everybody does; the second SHA-256. CMS_KEY_ID_SIZE bytes. */
int cms_key_ids(const RsaKey *k, uint8_t ret[static 2 * CMS_KEY_ID_SIZE]);

/* Notes why, and gives the error. */
int cms_refuse(const char **ret_why, const char *why);
/* AuthEnvelopedData or EnvelopedData, of which d is the whole. */
int cms_read_enveloped(Cms *c, Der d, bool is_authenticated, const char **ret_why);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* AuthEnvelopedData (RFC 5083 section 2.1) and EnvelopedData (RFC 5652 section 6.1). Every parameter is read
 * here: none is left to a library that would take PKCS#1 v1.5 where OAEP is said wrongly. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/wire/cms-internal.h"

static int read_key_algorithm(Der *d, const char **ret_why)
{
    Der algorithm = der_take(d, DER_SEQUENCE);
    switch (cms_take_name(&algorithm)) {
    case CMS_OAEP:
        return cms_check_oaep(&algorithm, ret_why);
    case CMS_RSA:
        return cms_refuse(ret_why, "Its key is encrypted with PKCS#1 v1.5: RSA-OAEP with SHA-256 is read");
    default:
        return cms_refuse(ret_why, "Its key is encrypted with another algorithm than RSA-OAEP");
    }
}

/* RFC 5652 section 6.2.1. d: contents of the SEQUENCE. */
static int read_key_trans(Cms *c, Der d, const char **ret_why)
{
    CmsKeyTrans t = {0};
    int version = der_take_small(&d);
    t.has_key_id = der_is(&d, DER_CONTEXT(0));
    t.id = t.has_key_id ? der_take(&d, DER_CONTEXT(0)) : der_take_whole(&d, DER_SEQUENCE);
    if (d.bad || version != (t.has_key_id ? 2 : 0))
        return HMSG_ERROR_BAD_PACKAGE;
    int r = read_key_algorithm(&d, ret_why);
    if (r != 0)
        return r;
    t.encrypted_key = der_take(&d, DER_OCTET_STRING);
    if (!der_done(&d) || t.encrypted_key.size < RSA_BITS_MIN / 8 || t.encrypted_key.size > RSA_SIZE_MAX)
        return HMSG_ERROR_BAD_PACKAGE;
    c->recipients[c->n_recipients++] = t;
    return 0;
}

static int read_recipient(Cms *c, Der *set, const char **ret_why)
{
    if (der_is(set, DER_SEQUENCE))
        return read_key_trans(c, der_take(set, DER_SEQUENCE), ret_why);
    if (der_is(set, DER_CONTEXT_CONSTRUCTED(1)))
        return cms_refuse(ret_why,
                          "A recipient's key is agreed upon (KeyAgreeRecipientInfo): only RSA-OAEP is "
                          "read");
    if (der_is(set, DER_CONTEXT_CONSTRUCTED(2)))
        return cms_refuse(ret_why, "A recipient has a shared key (KEKRecipientInfo): only RSA-OAEP is read");
    if (der_is(set, DER_CONTEXT_CONSTRUCTED(3)))
        return cms_refuse(ret_why,
                          "A recipient has a password (PasswordRecipientInfo): only RSA-OAEP is read");
    return cms_refuse(ret_why, "A recipient is of a kind that is not known");
}

static int read_recipients(Cms *c, Der *d, const char **ret_why)
{
    Der set = der_take(d, DER_SET);
    if (set.bad || set.size == 0)
        return HMSG_ERROR_BAD_PACKAGE;
    while (!der_done(&set)) {
        if (c->n_recipients == RECIPIENTS_MAX)
            return HMSG_ERROR_TOO_LARGE;
        int r = read_recipient(c, &set, ret_why);
        if (r != 0)
            return r;
    }
    return 0;
}

static int refuse_cipher(CmsName name, const char **ret_why)
{
    switch (name) {
    case CMS_AES_128_CBC:
    case CMS_AES_128_GCM:
        return cms_refuse(ret_why, "It is encrypted with AES-128: AES-256 is read");
    case CMS_AES_192_CBC:
    case CMS_AES_192_GCM:
        return cms_refuse(ret_why, "It is encrypted with AES-192: AES-256 is read");
    case CMS_3DES_CBC:
        return cms_refuse(ret_why, "It is encrypted with Triple DES: AES-256 is read");
    default:
        return cms_refuse(ret_why, "It is encrypted with a cipher that does not belong here: AES-256-GCM is "
                                   "read");
    }
}

/* RFC 5084 section 3.2. */
static int read_gcm(Cms *c, Der *parameters, const char **ret_why)
{
    Der d = der_take(parameters, DER_SEQUENCE), nonce = der_take(&d, DER_OCTET_STRING);
    if (!der_done(parameters) || nonce.bad)
        return HMSG_ERROR_BAD_PACKAGE;
    if (nonce.size != CMS_GCM_IV)
        return cms_refuse(ret_why, "Its nonce has not 12 bytes");
    /* a length that is left out means 12 */
    if (der_take_small(&d) != CMS_GCM_TAG || !der_done(&d))
        return cms_refuse(ret_why, "Its authentication tag has not 16 bytes");
    memcpy(c->iv, nonce.data, CMS_GCM_IV);
    return 0;
}

/* RFC 3565 section 4.1. */
static int read_cbc(Cms *c, Der *parameters)
{
    Der iv = der_take(parameters, DER_OCTET_STRING);
    if (!der_done(parameters) || iv.size != CMS_CBC_BLOCK)
        return HMSG_ERROR_BAD_PACKAGE;
    memcpy(c->iv, iv.data, CMS_CBC_BLOCK);
    return 0;
}

/* EncryptedContentInfo (RFC 5652 section 6.1). */
static int read_content(Cms *c, Der *d, const char **ret_why)
{
    Der info = der_take(d, DER_SEQUENCE);
    if (cms_take_name(&info) != CMS_DATA)
        return cms_refuse(ret_why, "What is encrypted in it is not plain data");
    Der algorithm = der_take(&info, DER_SEQUENCE);
    CmsName cipher = cms_take_name(&algorithm);
    if (cipher != (c->is_cbc ? CMS_AES_256_CBC : CMS_AES_256_GCM))
        return refuse_cipher(cipher, ret_why);
    int r = c->is_cbc ? read_cbc(c, &algorithm) : read_gcm(c, &algorithm, ret_why);
    if (r != 0)
        return r;
    c->ciphertext = der_take(&info, DER_CONTEXT(0));
    if (!der_done(&info))
        return cms_refuse(ret_why, "Its content is not in it, or in pieces");
    if (c->is_cbc && (c->ciphertext.size == 0 || c->ciphertext.size % CMS_CBC_BLOCK != 0))
        return HMSG_ERROR_BAD_PACKAGE;
    return 0;
}

/* What is authenticated with the content is its attributes as a SET (RFC 5083 section 2.2). */
static int read_attributes(Cms *c, Der *d)
{
    static const uint8_t tag = DER_SET;
    if (!der_is(d, DER_CONTEXT_CONSTRUCTED(1)))
        return 0;
    Der whole = der_take_whole(d, DER_CONTEXT_CONSTRUCTED(1));
    if (whole.bad)
        return HMSG_ERROR_BAD_PACKAGE;
    int r = buf_append(&c->aad, &tag, 1);
    if (r == 0)
        r = buf_append(&c->aad, whole.data + 1, whole.size - 1);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

static int read_tag(Cms *c, Der *d)
{
    int r = read_attributes(c, d);
    if (r != 0)
        return r;
    c->tag = der_take(d, DER_OCTET_STRING);
    return c->tag.size == CMS_GCM_TAG ? 0 : HMSG_ERROR_BAD_PACKAGE;
}

int cms_read_enveloped(Cms *c, Der d, bool is_authenticated, const char **ret_why)
{
    Der content = der_take(&d, DER_SEQUENCE);
    int version = der_take_small(&content);
    c->is_cbc = !is_authenticated;
    if (!der_done(&d) || content.bad)
        return HMSG_ERROR_BAD_PACKAGE;
    if (der_is(&content, DER_CONTEXT_CONSTRUCTED(0)))
        return cms_refuse(ret_why, "It has information on its originator, which is not read");
    int r = read_recipients(c, &content, ret_why);
    if (r == 0 && version != 0 && (is_authenticated || version != 2))
        r = HMSG_ERROR_BAD_PACKAGE; /* after them, for other kinds have other versions */
    if (r == 0)
        r = read_content(c, &content, ret_why);
    if (r == 0 && is_authenticated)
        r = read_tag(c, &content);
    if (r != 0)
        return r;
    return der_done(&content) ? 0 : cms_refuse(ret_why, "It has attributes that nothing protects");
}

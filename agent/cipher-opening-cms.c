/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stages of opening that CMS has of its own. A signature around the encrypted content is checked before
 * the TPM is asked, one inside it afterwards: then the caller has allowed an unknown sender already. */

#include <errno.h>
#include <string.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/error.h"

#define FAILED_LABEL "hmsg CMS"

static int choose(Opening *o, const uint8_t *kid, bool by_trial)
{
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    int r;

    r = identity_decrypt_key(o->c->m->identity, kid, &key);
    if (r == 0)
        r = cms_choose(o->cms, key, by_trial);
    if (r == 0)
        memcpy(o->cms_kid, kid, KID_SIZE);
    return r;
}

/* What names none of our keys may be for that of now, which is the first. */
int opening_parse_cms(Opening *o, const void *data, size_t n, const uint8_t (*kids)[KID_SIZE], size_t n_kids)
{
    int r;

    r = cms_parse(data, n, &o->cms, &o->detail);
    if (r != 0)
        return r;
    r = HMSG_ERROR_NOT_FOR_US;
    for (size_t i = 0; r == HMSG_ERROR_NOT_FOR_US && i < n_kids; i++)
        r = choose(o, kids[i], false);
    return r == HMSG_ERROR_NOT_FOR_US && n_kids > 0 ? choose(o, kids[0], true) : r;
}

static void take_signer(Opening *o, const CmsSigned *s)
{
    memcpy(o->signer, rsa_key_thumbprint(s->key), KID_SIZE);
    o->has_signer = true;
    o->signed_at = s->time;
}

int opening_check_cms(Opening *o)
{
    static const uint8_t id[SHA256_SIZE] = FAILED_LABEL;
    const CmsSigned *outer = o->cms->outer;
    const Buf *key = &o->cms->encrypted_key;
    int r;

    if (outer) {
        r = cms_signed_verify(outer);
        if (r != 0)
            return r;
        take_signer(o, outer);
    } else if (!o->allow_unknown) {
        o->detail = "Who made it stands inside the encryption, if anywhere";
        return HMSG_ERROR_UNTRUSTED;
    }
    return opening_failed_id(id, key->data, key->size, o->failed_id);
}

/* Signed for others it proves nothing here: one of them has handed it on. */
static int check_inner(Opening *o, const CmsSigned *s)
{
    int r;

    r = cms_signed_verify(s);
    if (r == 0 && !cms_signed_is_for(s, o->cms_kid))
        r = HMSG_ERROR_AUTHENTICATION_FAILED;
    if (r != 0)
        return r;
    take_signer(o, s);
    return opening_ask_sender(o);
}

/* The signature of hmsg, which names the recipients, is taken off. What others have signed is content like
 * any other: nothing says that it was meant for us. */
static int take_content(Opening *o, const Buf *content, Buf *ret)
{
    _cleanup_(cms_signed_freep) CmsSigned *s = NULL;
    const char *why = NULL;
    int r;

    r = o->cms->outer ? HMSG_ERROR_BAD_PACKAGE : cms_signed_parse(content->data, content->size, &s, &why);
    if (r < 0)
        return r;
    if (r > 0 || !s->has_recipients || !s->is_data)
        return buf_append(ret, content->data, content->size);
    r = check_inner(o, s);
    return r == 0 ? buf_append(ret, s->content.data, s->content.size) : r;
}

int opening_finish_cms(Opening *o, Buf *ret)
{
    _cleanup_(buf_done) Buf content = BUF_MAX(CMS_SIZE_MAX);
    int r = 0;

    if (!o->had_keys)
        r = session_in_put_failed(o->c->m->session_in, o->failed_id);
    if (r == 0)
        r = cms_open(o->cms, o->had_keys ? o->keys : NULL, &content);
    if (r == 0)
        r = take_content(o, &content, ret);
    return r == -EMSGSIZE ? HMSG_ERROR_TOO_LARGE : r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* CMS knows no sessions: one message for all recipients, with a content key of its own, signed or not. */

#include <errno.h>
#include <string.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

typedef struct CmsJob {
    CipherJob job;
    cipher_sealed_t done;
    bool pem;
    CmsRecipient to[RECIPIENTS_MAX]; /* its keys and texts belong to the job */
    Buf issuers[RECIPIENTS_MAX];
    size_t n;
    Buf content;
    Buf message;
    CmsDraft *draft;
    IdentityWork *work;
} CmsJob;

static void cms_fail(CipherJob *j, int r, const char *detail)
{
    CmsJob *s = (CmsJob *)j;

    s->done(r, detail, NULL, 0, j->userdata);
}

static void cms_succeed(CipherJob *j)
{
    CmsJob *s = (CmsJob *)j;

    s->done(0, "", &s->message, 1, j->userdata);
}

static void cms_job_free(CipherJob *j)
{
    CmsJob *s = (CmsJob *)j;

    identity_work_free(s->work);
    cms_draft_free(s->draft);
    for (size_t i = 0; i < s->n; i++) {
        rsa_key_free((RsaKey *)(uintptr_t)s->to[i].key);
        buf_done(&s->issuers[i]);
    }
    buf_done(&s->content);
    buf_done(&s->message);
    cipher_job_done(j);
    free(s);
}

static const CipherJobType cms_type = {.fail = cms_fail, .succeed = cms_succeed, .free = cms_job_free};

static int take_recipient(CmsJob *s, const SealKey *key)
{
    Buf *issuer = &s->issuers[s->n];
    RsaKey *k = NULL;
    int r;

    *issuer = BUF_MAX(ISSUER_SERIAL_SIZE_MAX);
    if (key->issuer_serial_size > 0) {
        r = buf_append(issuer, key->issuer_serial, key->issuer_serial_size);
        if (r != 0)
            return r;
    }
    r = rsa_key_from_spki(key->spki, key->spki_size, &k);
    if (r != 0) {
        buf_done(issuer);
        return r;
    }
    s->to[s->n++] =
        (CmsRecipient){.key = k, .issuer_serial = issuer->data, .issuer_serial_size = issuer->size};
    return 0;
}

static int write_message(CmsJob *s, const Buf *content)
{
    return cms_build(s->to, s->n, content->data, content->size, s->pem, &s->message);
}

static int write_signed(CmsJob *s, const char *text)
{
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX), inner = BUF_MAX(CMS_SIZE_MAX);
    int r;

    r = base64url_decode(text, strlen(text), &signature);
    if (r == 0)
        r = cms_draft_finish(s->draft, s->content.data, s->content.size, signature.data, signature.size,
                             &inner);
    return r == 0 ? write_message(s, &inner) : r;
}

static void on_signed(int r, const char *detail, const char *text, void *userdata)
{
    CmsJob *s = userdata;
    _cleanup_(identity_work_freep) IdentityWork *work = TAKE_PTR(s->work); /* owns the arguments */

    if (r == 0) {
        r = write_signed(s, text);
        detail = NULL;
    }
    if (r == 0)
        cipher_job_succeed(&s->job);
    else
        cipher_job_fail(&s->job, r, detail);
}

static int begin_signature(CmsJob *s)
{
    Identity *identity = s->job.cipher->m->identity;
    const IdentityPublic *own = identity_public(identity);
    int r;

    r = identity_check(identity);
    if (r == 0)
        r = cms_draft_new(own->sign, s->to, s->n, clock_realtime(), s->content.data, s->content.size,
                          &s->draft);
    if (r == 0)
        r = identity_sign_cms(identity, s->draft, on_signed, s, &s->work);
    return r == 0 ? -EAGAIN : r;
}

int cipher_seal_cms(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                    const SealOptions *options, cipher_sealed_t done, void *userdata, CipherJob **ret)
{
    CmsJob *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    cipher_job_init(&s->job, &cms_type, c, userdata);
    s->done = done;
    s->pem = options->pem;
    s->content = BUF_MAX(PLAINTEXT_SIZE_MAX);
    s->message = BUF_MAX(CMS_TEXT_SIZE_MAX);
    r = n == 0 ? HMSG_ERROR_INVALID_ARGS : buf_append(&s->content, plaintext, size);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = take_recipient(s, &keys[i]);
    if (r == 0)
        r = options->anonymous ? write_message(s, &s->content) : begin_signature(s);
    return cipher_job_begun(&s->job, r, NULL, ret);
}

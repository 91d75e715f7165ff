/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JWE with one content key for all recipients, signed once over all of it; and the compact form. */

#include <errno.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

typedef struct SealJweJob {
    CipherJob job;
    cipher_sealed_t done;
    JweWriter *writer;
    JwsDraft draft;
    IdentityWork *work;
    Buf out;
} SealJweJob;

static void seal_jwe_fail(CipherJob *j, int r, const char *detail)
{
    SealJweJob *s = (SealJweJob *)j;

    s->done(r, detail, NULL, 0, j->userdata);
}

static void seal_jwe_succeed(CipherJob *j)
{
    SealJweJob *s = (SealJweJob *)j;

    s->done(0, "", &s->out, 1, j->userdata);
}

static void seal_jwe_free(CipherJob *j)
{
    SealJweJob *s = (SealJweJob *)j;

    identity_work_free(s->work);
    jws_draft_done(&s->draft);
    jwe_writer_free(s->writer);
    buf_done(&s->out);
    cipher_job_done(j);
    free(s);
}

static const CipherJobType seal_jwe_type = {
    .fail = seal_jwe_fail, .succeed = seal_jwe_succeed, .free = seal_jwe_free};

static void on_signed(int r, const char *detail, const char *jws, void *userdata)
{
    SealJweJob *s = userdata;
    _cleanup_(identity_work_freep) IdentityWork *work = TAKE_PTR(s->work); /* owns the arguments */

    if (r == 0 && !cipher_job_is_current(&s->job))
        r = HMSG_ERROR_LOCKED;
    if (r == 0) {
        r = jwe_writer_finish(s->writer, jws, &s->out);
        detail = NULL;
    }
    if (r == 0)
        cipher_job_succeed(&s->job);
    else
        cipher_job_fail(&s->job, r, detail);
}

/* -EAGAIN: the TPM signs. */
static int seal_shared(SealJweJob *s, RsaKey *const *recipients, size_t n, const void *plaintext, size_t size,
                       bool anonymous)
{
    Identity *identity = s->job.cipher->m->identity;
    RsaKey *sender = NULL;
    int r = 0;

    if (!anonymous) {
        r = identity_check(identity);
        if (r != 0)
            return r;
        sender = identity_public(identity)->sign;
    }
    r = jwe_writer_new(recipients, n, sender, clock_realtime(), plaintext, size, &s->writer);
    if (r == 0 && anonymous)
        return jwe_writer_finish(s->writer, NULL, &s->out);
    if (r == 0)
        r = jwe_writer_prepare(s->writer, &s->draft);
    if (r == 0)
        r = identity_sign_jws(identity, buf_text(&s->draft.input), on_signed, s, &s->work);
    return r == 0 ? -EAGAIN : r;
}

static int seal_to(SealJweJob *s, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                   const SealOptions *options)
{
    RsaKey *recipients[RECIPIENTS_MAX] = {NULL};
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++)
        r = rsa_key_from_spki(keys[i].spki, keys[i].spki_size, &recipients[i]);
    if (r == 0)
        r = options->compact ? jwe_build_compact(recipients[0], plaintext, size, &s->out)
                             : seal_shared(s, recipients, n, plaintext, size, options->anonymous);
    for (size_t i = 0; i < n; i++)
        rsa_key_free(recipients[i]);
    return r;
}

int cipher_seal_jwe(Cipher *c, const SealKey *keys, size_t n, const void *plaintext, size_t size,
                    const SealOptions *options, cipher_sealed_t done, void *userdata, CipherJob **ret)
{
    const char *detail = NULL;
    SealJweJob *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    cipher_job_init(&s->job, &seal_jwe_type, c, userdata);
    s->done = done;
    s->out = BUF_MAX(JWE_MESSAGE_SIZE_MAX);
    if (options->compact && n > 1) {
        r = HMSG_ERROR_INVALID_ARGS;
        detail = "The compact form is for one recipient only: use jwe";
    } else
        r = n == 0 ? HMSG_ERROR_INVALID_ARGS : seal_to(s, keys, n, plaintext, size, options);
    return cipher_job_begun(&s->job, r, detail, ret);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The work of identity.h in the TPM. A callback may free its work and begin others: nothing of the work is
 * touched after it, and the watchers, who may free any, are told last. */

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"

int identity_work_new(Identity *i, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->i = i;
    w->userdata = userdata;
    w->epoch = i->epoch;
    DL_APPEND(i->works, w);
    *ret = w;
    return 0;
}

IdentityWork *identity_work_free(IdentityWork *w)
{
    if (!w)
        return NULL;
    if (w->i) {
        (void)tpm_job_cancel(w->job);
        (void)worker_cancel(w->deriving);
        DL_DELETE(w->i->works, w);
        if (w->i->creating == w) {
            w->i->creating = NULL;
            if (w->has_spare)
                identity_unsettle(w->i);
        }
        if (w->i->trying == w)
            w->i->trying = NULL;
        if (w->i->settling == w)
            w->i->settling = NULL;
    }
    jws_draft_done(&w->draft);
    csr_free(w->csr);
    cms_draft_free(w->cms);
    secret_free(w->challenge);
    sealed_key_done(&w->to_seal);
    secret_free(w->pin);
    secret_free(w->auth);
    secret_free(w->next_pin);
    identity_source_free(w->source);
    identity_measure_free(w->measure);
    free(w->pcrs);
    tpm_keyfile_free(w->changed);
    rsa_key_free(w->signer);
    bytes_wipe(&w->spare, sizeof(w->spare));
    recovery_keys_done(&w->recovery);
    identity_keys_free(w->keys);
    free(w);
    return NULL;
}

void identity_works_drop(Identity *i)
{
    IdentityWork *w, *next;

    DL_FOREACH_SAFE (i->works, w, next) {
        if (w->own) {
            identity_work_free(w);
            continue;
        }
        w->job = tpm_job_cancel(w->job);
        w->deriving = worker_cancel(w->deriving);
        DL_DELETE(i->works, w);
        w->i = NULL;
    }
}

int identity_work_begun(IdentityWork *w, int r, IdentityWork **ret)
{
    if (r != 0) {
        identity_work_free(w);
        return r;
    }
    identity_arm(w->i);
    if (ret)
        *ret = w;
    return 0;
}

int identity_work_answered(IdentityWork *w, const TpmAnswer *a)
{
    w->job = NULL;
    identity_note(w->i, a);
    if (a->r != 0)
        return a->r;
    return w->epoch == w->i->epoch ? 0 : HMSG_ERROR_LOCKED;
}

const char *identity_describe(int r, const TpmProblem *p, char ret[static IDENTITY_DETAIL_SIZE])
{
    const char *help;

    if (r == 0)
        return "";
    if (!p || p->reason == TPM_REASON_NONE)
        return error_message(r);
    help = tpm_reason_help(p->reason);
    if (!help)
        return p->text;
    (void)snprintf(ret, IDENTITY_DETAIL_SIZE, "%s; %s", p->text, help);
    return ret;
}

void identity_work_finish_with(IdentityWork *w, int r, const char *detail)
{
    Identity *i = w->i;
    bool own = w->own;

    if (i->creating == w)
        i->creating = NULL;
    if (i->trying == w)
        i->trying = NULL;
    if (i->settling == w)
        i->settling = NULL;
    if (w->done)
        w->done(r, detail, w->userdata);
    if (own)
        identity_work_free(w);
    identity_tell(i, false);
}

void identity_work_finish(IdentityWork *w, int r, const TpmProblem *p)
{
    char detail[IDENTITY_DETAIL_SIZE];

    identity_work_finish_with(w, r, identity_describe(r, p, detail));
}

static void on_probe(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    const IdentityKeys *keys = w->i->keys;
    Identity *i = w->i;
    int r;

    (void)identity_work_answered(w, a);
    r = a->r; /* what the TPM is does not depend on locks */
    if (r == 0 && !a->software && !identity_is_software(i))
        identity_note_srk(i, a->facts->srk_name);
    if (r == 0 && i->problem.reason != TPM_REASON_NONE)
        r = tpm_reason_error(i->problem.reason);
    bool other = keys != i->keys;
    identity_work_finish(w, r, &i->problem);
    if (other)
        identity_tell(i, true);
}

static int probe(Identity *i, identity_done_t done, void *userdata, bool own, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_work_new(i, userdata, &w);

    if (r < 0)
        return r;
    w->done = done;
    w->own = own;
    r = identity_is_software(i) ? tpm_runner_probe_software(i->runner, on_probe, w, &w->job)
                                : tpm_runner_probe(i->runner, on_probe, w, &w->job);
    return identity_work_begun(w, r, ret);
}

int identity_start(Identity *i, identity_done_t done, void *userdata)
{
    return probe(i, done, userdata, true, NULL);
}

int identity_probe(Identity *i, identity_done_t done, void *userdata, IdentityWork **ret)
{
    return probe(i, done, userdata, false, ret);
}

static void on_derived(int r, Secret **auth, void *userdata)
{
    IdentityWork *w = userdata;

    w->deriving = NULL;
    /* keys in the making are not locked; those of a rotation are to be signed by keys that are, and those
     * that get another PIN are locked as well */
    if (r == 0 && (w->i->creating != w || w->rotating || w->changing) && w->epoch != w->i->epoch)
        r = HMSG_ERROR_LOCKED;
    if (r == 0) {
        w->auth = TAKE_PTR(*auth);
        r = w->derived(w);
    }
    if (r == 0)
        identity_arm(w->i);
    else
        identity_work_finish(w, r, NULL);
}

int identity_work_derive(IdentityWork *w, const PinParameters *parameters, const Secret *pin,
                         int (*then)(IdentityWork *w))
{
    w->derived = then;
    return pin_derive_later(w->i->workers, parameters, pin, on_derived, w, &w->deriving);
}

int identity_work_check_signature(const IdentityWork *w, const TpmAnswer *a)
{
    unsigned salt = 0;

    if (rsa_key_verify_ps256_salt(w->signer, w->draft.digest, a->data, a->data_size, &salt) != 0)
        return HMSG_ERROR_TPM_UNAVAILABLE;
    if (!a->software)
        w->i->salt = salt;
    return 0;
}

int identity_work_sign_as(IdentityWork *w, const Secret *auth, tpm_done_t done)
{
    const IdentityKeys *k = w->i->keys;

    rsa_key_free(w->signer);
    w->signer = rsa_key_ref(k->public.sign);
    return tpm_runner_sign(w->i->runner, k->sign, auth, identity_counter(w->i), w->draft.digest, done, w,
                           &w->job);
}

unsigned identity_salt(const Identity *i)
{
    return i->salt;
}

static void on_salted(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = identity_work_check_signature(w, a);
    identity_work_finish(w, r, a->problem);
}

int identity_learn_salt(Identity *i, identity_done_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_usable(i);

    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->done = done;
    r = RAND_bytes(w->draft.digest, sizeof(w->draft.digest)) == 1
            ? identity_work_sign_as(w, identity_auth(i), on_salted)
            : -EIO;
    return identity_work_begun(w, r, ret);
}

static int write_signed(IdentityWork *w, const TpmAnswer *a, Buf *ret)
{
    if (w->cms)
        return base64url_append(ret, a->data, a->data_size);
    return w->csr ? csr_finish(w->csr, a->data, a->data_size, ret)
                  : jws_finish(&w->draft, a->data, a->data_size, ret);
}

static void on_signed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    _cleanup_(buf_done) Buf text = BUF_MAX(w->csr ? CSR_PEM_MAX : JWS_SIZE_MAX);
    char detail[IDENTITY_DETAIL_SIZE];
    Identity *i = w->i;
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = identity_work_check_signature(w, a);
    if (r == 0)
        r = write_signed(w, a, &text);
    w->jws(r, identity_describe(r, a->problem, detail), r == 0 ? buf_text(&text) : NULL, w->userdata);
    identity_tell(i, false);
}

int identity_work_sign(IdentityWork *w)
{
    return identity_work_sign_as(w, identity_auth(w->i), on_signed);
}

int identity_sign_jws(Identity *i, const char *input, identity_jws_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    size_t n = strlen(input);
    int r = identity_usable(i);

    if (r != 0)
        return r;
    if (n > JWS_SIZE_MAX || !strchr(input, '.') || strchr(input, '.') != strrchr(input, '.'))
        return -EINVAL;
    r = identity_work_new(i, userdata, &w);
    if (r < 0)
        return r;
    w->jws = done;
    w->draft.alg = JWS_PS256;
    w->draft.input = BUF_MAX(JWS_SIZE_MAX);
    r = buf_append(&w->draft.input, input, n);
    if (r == 0)
        r = crypto_sha256(input, n, w->draft.digest);
    if (r == 0)
        r = identity_work_sign(w);
    return identity_work_begun(w, r, ret);
}

static void on_decrypted(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    char detail[IDENTITY_DETAIL_SIZE];
    Identity *i = w->i;
    int r = identity_work_answered(w, a);

    w->plaintext(r, identity_describe(r, a->problem, detail), r == 0 ? a->secret : NULL, w->userdata);
    identity_tell(i, false);
}

/* The key of kid, and work that decrypts with it. */
static int open_begin(Identity *i, const uint8_t kid[static KID_SIZE], size_t size, identity_plaintext_t done,
                      void *userdata, TpmKeyFile **ret_key, IdentityWork **ret)
{
    int r = identity_usable(i);

    if (r != 0)
        return r;
    *ret_key = identity_keys_find(i->keys, kid);
    if (!*ret_key)
        return HMSG_ERROR_NOT_FOR_US;
    if (size != TPM_RSA_SIZE)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    r = identity_work_new(i, userdata, ret);
    if (r == 0)
        (*ret)->plaintext = done;
    return r;
}

int identity_open_oaep_sha1(Identity *i, const uint8_t kid[static KID_SIZE], const void *ciphertext,
                            size_t size, identity_plaintext_t done, void *userdata, IdentityWork **ret)
{
    TpmKeyFile *key = NULL;
    IdentityWork *w = NULL;
    int r = identity_is_software(i) ? open_begin(i, kid, size, done, userdata, &key, &w)
                                    : HMSG_ERROR_INVALID_ARGS;

    if (r != 0)
        return r;
    return identity_work_begun(w,
                               tpm_runner_decrypt_oaep_sha1(i->runner, key, identity_auth(i), ciphertext,
                                                            size, on_decrypted, w, &w->job),
                               ret);
}

int identity_open(Identity *i, const uint8_t kid[static KID_SIZE], const void *ciphertext, size_t size,
                  identity_plaintext_t done, void *userdata, IdentityWork **ret)
{
    TpmKeyFile *key = NULL;
    IdentityWork *w = NULL;
    int r = open_begin(i, kid, size, done, userdata, &key, &w);

    if (r != 0)
        return r;
    return identity_work_begun(
        w,
        tpm_runner_decrypt(i->runner, key, tpm_keyfile_needs_auth(key) ? identity_auth(i) : NULL,
                           identity_counter(i), ciphertext, size, 0, on_decrypted, w, &w->job),
        ret);
}

int identity_open_pop(Identity *i, const void *ciphertext, size_t size, identity_plaintext_t done,
                      void *userdata, IdentityWork **ret)
{
    int r = identity_usable(i);

    return r == 0 ? identity_open(i, i->keys->public.kid_bytes, ciphertext, size, done, userdata, ret) : r;
}

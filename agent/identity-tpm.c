/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The work of identity.h in the TPM. A callback may free its work and begin others: nothing of the work is
 * touched after it, and the watchers, who may free any, are told last. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"

#define DETAIL_SIZE 640u
#define UNLOCK_LABEL "hmsg/1 unlock"
#define CHALLENGE_SIZE 32u

struct IdentityWork {
    IdentityWork *prev, *next;
    Identity *i; /* NULL: the identity is gone */
    TpmJob *job;
    identity_done_t done;
    identity_jws_t jws;
    identity_plaintext_t plaintext;
    void *userdata;
    uint64_t epoch;
    bool own;          /* freed by ourselves: nobody else holds it */
    JwsDraft draft;    /* what is being signed */
    Secret *challenge; /* of unlock */
    /* for keys with a PIN */
    Worker *deriving;
    PinParameters parameters; /* of create */
    Secret *pin, *auth;
    bool force;
};

static int work_new(Identity *i, void *userdata, IdentityWork **ret)
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
        if (w->i->creating == w)
            w->i->creating = NULL;
    }
    jws_draft_done(&w->draft);
    secret_free(w->challenge);
    secret_free(w->pin);
    secret_free(w->auth);
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

/* The job that w begins with has been started, or not: r. */
static int work_begun(IdentityWork *w, int r, IdentityWork **ret)
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

/* 0, or why there is nothing to give out. */
static int work_answered(IdentityWork *w, const TpmAnswer *a)
{
    w->job = NULL;
    identity_note(w->i, a);
    if (a->r != 0)
        return a->r;
    return w->epoch == w->i->epoch ? 0 : HMSG_ERROR_LOCKED;
}

static const char *describe(int r, const TpmProblem *p, char ret[static DETAIL_SIZE])
{
    const char *help;

    if (r == 0)
        return "";
    if (!p || p->reason == TPM_REASON_NONE)
        return error_message(r);
    help = tpm_reason_help(p->reason);
    if (!help)
        return p->text;
    (void)snprintf(ret, DETAIL_SIZE, "%s; %s", p->text, help);
    return ret;
}

static void finish_with(IdentityWork *w, int r, const char *detail)
{
    Identity *i = w->i;
    bool own = w->own;

    if (w->done)
        w->done(r, detail, w->userdata);
    if (own)
        identity_work_free(w);
    identity_tell(i, false);
}

static void finish(IdentityWork *w, int r, const TpmProblem *p)
{
    char detail[DETAIL_SIZE];

    finish_with(w, r, describe(r, p, detail));
}

static void on_probe(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    const IdentityKeys *keys = w->i->keys;
    Identity *i = w->i;
    int r;

    (void)work_answered(w, a);
    r = a->r; /* what the TPM is does not depend on locks */
    if (r == 0)
        identity_note_srk(i, a->facts->srk_name);
    if (r == 0 && i->problem.reason != TPM_REASON_NONE)
        r = tpm_reason_error(i->problem.reason);
    bool other = keys != i->keys;
    finish(w, r, &i->problem);
    if (other)
        identity_tell(i, true);
}

static int probe(Identity *i, identity_done_t done, void *userdata, bool own, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = work_new(i, userdata, &w);

    if (r < 0)
        return r;
    w->done = done;
    w->own = own;
    return work_begun(w, tpm_runner_probe(i->runner, on_probe, w, &w->job), ret);
}

int identity_start(Identity *i, identity_done_t done, void *userdata)
{
    return probe(i, done, userdata, true, NULL);
}

int identity_probe(Identity *i, identity_done_t done, void *userdata, IdentityWork **ret)
{
    return probe(i, done, userdata, false, ret);
}

static int adopt(IdentityWork *w, const TpmAnswer *a)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    Identity *i = w->i;
    int r;

    if (i->keys || i->damaged) /* found meanwhile */
        return HMSG_ERROR_ALREADY_EXISTS;
    r = identity_keys_new(a->decrypt_key, a->sign_key, a->srk_name, i->machine, clock_realtime(), &k);
    if (r == 0) {
        k->pin = w->parameters;
        r = identity_keys_store(i->m->data_fd, k);
    }
    if (r == -EEXIST)
        return HMSG_ERROR_ALREADY_EXISTS;
    if (r == -ENOSPC || r == -EDQUOT)
        return HMSG_ERROR_STORAGE_FULL;
    if (r == 0) {
        identity_take_keys(i, TAKE_PTR(k));
        identity_unlocked(i, TAKE_PTR(w->auth));
    }
    return r;
}

static void on_created(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;
    int r;

    i->creating = NULL;
    (void)work_answered(w, a);
    r = a->r == 0 ? adopt(w, a) : a->r;
    bool made = r == 0;
    finish(w, r, a->problem);
    if (made)
        identity_tell(i, true);
}

static int create_keys(IdentityWork *w)
{
    return tpm_runner_create_keys(w->i->runner, w->auth, on_created, w, &w->job);
}

static void on_create_derived(int r, Secret **auth, void *userdata)
{
    IdentityWork *w = userdata;

    w->deriving = NULL;
    if (r == 0) {
        w->auth = TAKE_PTR(*auth);
        r = create_keys(w);
    }
    if (r == 0) {
        identity_arm(w->i);
        return;
    }
    w->i->creating = NULL;
    finish(w, r, NULL);
}

int identity_create(Identity *i, const Secret *pin, identity_done_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r;

    if (i->keys || i->damaged || i->creating)
        return HMSG_ERROR_ALREADY_EXISTS;
    r = work_new(i, userdata, &w);
    if (r < 0)
        return r;
    w->done = done;
    i->creating = w;
    if (!pin)
        return work_begun(w, create_keys(w), ret);
    r = pin_parameters_new(&w->parameters);
    if (r == 0)
        r = pin_derive_later(i->workers, &w->parameters, pin, on_create_derived, w, &w->deriving);
    return work_begun(w, r, ret);
}

/* A TPM that errs must not make us give out what others would take for a forgery; and a signature made by a
 * fault can tell the key. */
static int check_signature(const IdentityWork *w, const TpmAnswer *a)
{
    return rsa_key_verify_ps256(w->i->keys->public.sign, w->draft.digest, a->data, a->data_size) == 0
               ? 0
               : HMSG_ERROR_TPM_UNAVAILABLE;
}

static void on_unlock_signed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = work_answered(w, a);

    if (r == 0)
        r = check_signature(w, a);
    if (r == 0)
        identity_unlocked(w->i, TAKE_PTR(w->auth));
    finish(w, r, a->problem);
}

static void on_unlock_decrypted(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;
    int r = work_answered(w, a);

    /* what we encrypted to ourselves does not come back: these keys cannot be used */
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED || (r == 0 && !secret_equal(a->secret, w->challenge)))
        r = HMSG_ERROR_TPM_UNAVAILABLE;
    if (r == 0)
        r = tpm_runner_sign(i->runner, i->keys->sign, w->auth, w->draft.digest, on_unlock_signed, w, &w->job);
    if (r != 0)
        finish(w, r, a->problem);
}

static int unlock_challenge(IdentityWork *w, Buf *ret)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(sizeof(UNLOCK_LABEL) + CHALLENGE_SIZE);
    int r = secret_new_random(CHALLENGE_SIZE, &w->challenge);

    if (r == 0)
        r = rsa_key_oaep_encrypt(w->i->keys->public.decrypt, secret_bytes(w->challenge), CHALLENGE_SIZE, ret);
    /* no statement has this form: its hash is good for nothing else */
    if (r == 0)
        r = buf_append_string(&text, UNLOCK_LABEL);
    if (r == 0)
        r = buf_append(&text, secret_bytes(w->challenge), CHALLENGE_SIZE);
    return r == 0 ? crypto_sha256(text.data, text.size, w->draft.digest) : r;
}

static int prove(IdentityWork *w)
{
    _cleanup_(buf_done) Buf ciphertext = BUF_MAX(RSA_SIZE_MAX);
    Identity *i = w->i;
    int r = unlock_challenge(w, &ciphertext);

    return r == 0 ? tpm_runner_decrypt(i->runner, i->keys->decrypt, w->auth, ciphertext.data, ciphertext.size,
                                       CHALLENGE_SIZE, on_unlock_decrypted, w, &w->job)
                  : r;
}

static void on_unlock_derived(int r, Secret **auth, void *userdata)
{
    IdentityWork *w = userdata;

    w->deriving = NULL;
    if (r == 0 && w->epoch != w->i->epoch)
        r = HMSG_ERROR_LOCKED;
    if (r == 0) {
        w->auth = TAKE_PTR(*auth);
        r = prove(w);
    }
    if (r == 0)
        identity_arm(w->i);
    else
        finish(w, r, NULL);
}

/* What the TPM counts it counts for every key and every user of this machine. */
static int spare_last_try(const TpmFacts *f, bool force, char detail[static DETAIL_SIZE])
{
    const char *why = NULL;

    if (f->in_lockout)
        why = "The TPM is locked out after wrong passwords";
    else if (!force && f->lockout_counter + 1 >= f->lockout_max)
        why = "One more wrong PIN would lock the TPM out, for other programs as well";
    if (!why)
        return 0;
    (void)snprintf(detail, DETAIL_SIZE, "%s; it forgets one failure every %u s of %u that it counted", why,
                   f->lockout_interval, f->lockout_counter);
    return HMSG_ERROR_TPM_LOCKED_OUT;
}

static void on_unlock_probed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    char detail[DETAIL_SIZE] = "";
    int r = work_answered(w, a);

    if (r == 0)
        r = spare_last_try(a->facts, w->force, detail);
    if (r == 0)
        r = pin_derive_later(w->i->workers, &w->i->keys->pin, w->pin, on_unlock_derived, w, &w->deriving);
    w->pin = secret_free(w->pin);
    if (r != 0 && *detail)
        finish_with(w, r, detail);
    else if (r != 0)
        finish(w, r, a->problem);
}

static int unlock_begin(IdentityWork *w, const Secret *pin)
{
    Identity *i = w->i;
    int r;

    if (pin) {
        r = secret_new_copy(secret_bytes(pin), secret_size(pin), &w->pin);
        return r == 0 ? tpm_runner_probe(i->runner, on_unlock_probed, w, &w->job) : r;
    }
    r = i->auth ? secret_new_copy(secret_bytes(i->auth), secret_size(i->auth), &w->auth) : 0;
    return r == 0 ? prove(w) : r;
}

int identity_unlock(Identity *i, const Secret *pin, bool force, identity_done_t done, void *userdata,
                    IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_usable(i);

    if (r != 0 && r != HMSG_ERROR_LOCKED)
        return r;
    if (pin && !i->keys->public.has_pin)
        return HMSG_ERROR_INVALID_ARGS;
    if (!pin && i->keys->public.has_pin && i->locked)
        return HMSG_ERROR_LOCKED;
    r = work_new(i, userdata, &w);
    if (r < 0)
        return r;
    w->done = done;
    w->force = force;
    return work_begun(w, unlock_begin(w, pin), ret);
}

static void on_signed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    char detail[DETAIL_SIZE];
    Identity *i = w->i;
    int r = work_answered(w, a);

    if (r == 0)
        r = check_signature(w, a);
    if (r == 0)
        r = jws_finish(&w->draft, a->data, a->data_size, &jws);
    w->jws(r, describe(r, a->problem, detail), r == 0 ? buf_text(&jws) : NULL, w->userdata);
    identity_tell(i, false);
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
    r = work_new(i, userdata, &w);
    if (r < 0)
        return r;
    w->jws = done;
    w->draft.alg = JWS_PS256;
    w->draft.input = BUF_MAX(JWS_SIZE_MAX);
    r = buf_append(&w->draft.input, input, n);
    if (r == 0)
        r = crypto_sha256(input, n, w->draft.digest);
    if (r == 0)
        r = tpm_runner_sign(i->runner, i->keys->sign, i->auth, w->draft.digest, on_signed, w, &w->job);
    return work_begun(w, r, ret);
}

static void on_decrypted(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    char detail[DETAIL_SIZE];
    Identity *i = w->i;
    int r = work_answered(w, a);

    w->plaintext(r, describe(r, a->problem, detail), r == 0 ? a->secret : NULL, w->userdata);
    identity_tell(i, false);
}

int identity_open_pop(Identity *i, const void *ciphertext, size_t size, identity_plaintext_t done,
                      void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_usable(i);

    if (r != 0)
        return r;
    if (size != TPM_RSA_SIZE)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    r = work_new(i, userdata, &w);
    if (r < 0)
        return r;
    w->plaintext = done;
    return work_begun(w,
                      tpm_runner_decrypt(i->runner, i->keys->decrypt, i->auth, ciphertext, size, 0,
                                         on_decrypted, w, &w->job),
                      ret);
}

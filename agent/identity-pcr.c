/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that are bound to PCRs. What the PCRs are now is read first; then the policy key signs it, in a
 * thread, for its password may take seconds; then it goes on as identity_create does, or the approval joins
 * those that the keys have. The policy key is needed for nothing else, and nothing of it is kept but its
 * modulus. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/wire/key-import.h"
#include "libhmsg/wire/pem.h"

/* What goes to the thread and comes back. */
typedef struct Signing {
    Secret *key, *password;
    bool creates;        /* keys */
    TpmPcrPolicy policy; /* with one approval, which is signed here */
    char why[KEY_IMPORT_WHY_SIZE];
} Signing;

IdentityMeasure *identity_measure_free(IdentityMeasure *m)
{
    if (!m)
        return NULL;
    secret_free(m->key);
    secret_free(m->password);
    free(m);
    return NULL;
}

static void signing_free(void *context)
{
    Signing *s = context;

    secret_free(s->key);
    secret_free(s->password);
    free(s);
}

static int take_modulus(Signing *s, const RsaKey *public)
{
    size_t size = 0;
    const uint8_t *spki = rsa_key_spki(public, &size);
    int r = tpm_modulus_from_spki(spki, size, s->policy.modulus);

    if (r != -EBADMSG)
        return r;
    (void)snprintf(s->why, sizeof(s->why), "A policy key has 2048 bits");
    return HMSG_ERROR_INVALID_ARGS;
}

/* Keys that are being made may have a policy key that is elsewhere, and has approved nothing yet. */
static int take_public(Signing *s)
{
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    int r = rsa_key_from_pem((const char *)secret_bytes(s->key), secret_size(s->key), &public);

    if (r == HMSG_ERROR_BAD_PACKAGE) {
        (void)snprintf(s->why, sizeof(s->why), "This is no RSA key");
        return HMSG_ERROR_INVALID_ARGS;
    }
    s->policy.n = 0;
    return r == 0 ? take_modulus(s, public) : r;
}

static int signing_run(void *context, int stop_fd)
{
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    Signing *s = context;
    uint8_t digest[SHA256_SIZE];

    if (s->creates && pem_is((const char *)secret_bytes(s->key), secret_size(s->key), "PUBLIC KEY"))
        return take_public(s);
    int r = tpm_pcr_to_sign(s->policy.mask, &s->policy.approvals[0].pcrs, digest);
    if (r == 0)
        r = key_import_sign(s->key, s->password, digest, &public, &signature, s->why);
    if (r != 0)
        return r;
    if (signature.size != TPM_RSA_SIZE)
        return -EIO;
    memcpy(s->policy.approvals[0].signature, signature.data, TPM_RSA_SIZE);
    return take_modulus(s, public);
}

/* The newest last; the oldest goes when there are too many, and the same values are there once. */
static void add_approval(TpmPcrPolicy *p, const TpmApproval *a)
{
    size_t size = (size_t)tpm_pcr_count(p->mask) * TPM_PCR_SIZE;
    unsigned n = 0;

    for (unsigned i = 0; i < p->n; i++)
        if (memcmp(p->approvals[i].pcrs.values, a->pcrs.values, size) != 0) /* public */
            p->approvals[n++] = p->approvals[i];
    if (n == TPM_APPROVALS_MAX) {
        n--;
        memmove(p->approvals, p->approvals + 1, n * sizeof(*p->approvals));
    }
    p->approvals[n++] = *a;
    p->n = n;
}

static int store_approval(IdentityWork *w, const TpmPcrPolicy *signed_one,
                          char why[static KEY_IMPORT_WHY_SIZE])
{
    Identity *i = w->i;
    TpmPcrPolicy *old, *next;
    int r;

    if (!i->keys || !i->keys->pcrs)
        return HMSG_ERROR_NO_IDENTITY;
    if (i->creating) /* keys that have a copy of what is approved */
        return HMSG_ERROR_QUOTA_EXCEEDED;
    if (memcmp(i->keys->pcrs->modulus, signed_one->modulus, TPM_RSA_SIZE) != 0) { /* public */
        (void)snprintf(why, KEY_IMPORT_WHY_SIZE, "This is not the policy key of the identity");
        return HMSG_ERROR_DENIED;
    }
    if (i->keys->pcrs->mask != signed_one->mask) { /* the identity is another one by now */
        (void)snprintf(why, KEY_IMPORT_WHY_SIZE,
                       "The keys are bound to other PCRs than those that were read");
        return HMSG_ERROR_DENIED;
    }
    next = malloc(sizeof(*next));
    if (!next)
        return -ENOMEM;
    old = i->keys->pcrs;
    *next = *old;
    add_approval(next, &signed_one->approvals[0]);
    r = tpm_runner_approve(i->runner, next);
    if (r == 0) {
        i->keys->pcrs = next;
        r = identity_keys_replace(i->m->data_fd, i->keys);
        if (r != 0) { /* what is not on disk does not hold */
            i->keys->pcrs = old;
            if (tpm_runner_approve(i->runner, old) != 0)
                log_warning("An approval that could not be stored holds until the agent ends");
        }
    }
    free(r == 0 ? old : next);
    return r == -ENOSPC || r == -EDQUOT ? HMSG_ERROR_STORAGE_FULL : r;
}

static void signing_done(int r, void *context, void *userdata)
{
    Signing *s = context;
    IdentityWork *w = userdata;
    bool approve = w->measure->what == MEASURE_APPROVE, over = approve;

    w->deriving = NULL;
    if (r == 0 && approve)
        r = store_approval(w, &s->policy, s->why);
    else if (r == 0) {
        w->pcrs = malloc(sizeof(*w->pcrs));
        if (w->pcrs)
            *w->pcrs = s->policy;
        r = w->pcrs ? identity_create_begin(w) : -ENOMEM;
    }
    if (r == 0 && !over)
        identity_arm(w->i);
    else
        identity_work_finish_with(w, r, r != 0 && *s->why ? s->why : r != 0 ? error_message(r) : "");
    signing_free(s);
}

static int begin_signing(IdentityWork *w, const TpmPcrValues *now)
{
    static const WorkerTask task = {signing_run, signing_done, signing_free};
    Signing *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->key = TAKE_PTR(w->measure->key);
    s->password = TAKE_PTR(w->measure->password);
    s->creates = w->measure->what == MEASURE_CREATE;
    s->policy.mask = w->measure->mask;
    s->policy.approvals[0].pcrs = *now;
    s->policy.n = 1;
    r = worker_start(w->i->workers, &task, s, w, &w->deriving);
    if (r != 0)
        signing_free(s);
    return r;
}

/* What is predicted takes the place of what was read. */
static void predict(const IdentityMeasure *m, TpmPcrValues *now)
{
    unsigned at = 0, from = 0;

    for (unsigned pcr = 0; pcr < TPM_PCR_MAX; pcr++) {
        if ((m->mask >> pcr & 1) == 0)
            continue;
        if ((m->predicted.mask >> pcr & 1) != 0)
            memcpy(now->values[at], m->predicted.values.values[from++], TPM_PCR_SIZE);
        at++;
    }
}

static int say_what_to_sign(const IdentityMeasure *m, const TpmPcrValues *values)
{
    m->ret->pcrs = (IdentityPcrs){.mask = m->mask, .values = *values};
    return tpm_pcr_message(m->mask, values, m->ret->message);
}

/* The TPM takes a salt of the hash's size from everybody; of longer ones it depends on who made it. */
static bool is_signed(const TpmPcrPolicy *p, const TpmPcrValues *values,
                      const uint8_t signature[static TPM_RSA_SIZE])
{
    _cleanup_(rsa_key_freep) RsaKey *key = NULL;
    uint8_t spki[TPM_SPKI_SIZE], digest[SHA256_SIZE];
    unsigned salt = 0;

    tpm_spki_from_modulus(p->modulus, spki);
    return rsa_key_from_spki(spki, sizeof(spki), &key) == 0 &&
           tpm_pcr_to_sign(p->mask, values, digest) == 0 &&
           rsa_key_verify_ps256_salt(key, digest, signature, TPM_RSA_SIZE, &salt) == 0 && salt == SHA256_SIZE;
}

/* Signed elsewhere. */
static int take_signed(IdentityWork *w, const TpmPcrValues *values, char why[static KEY_IMPORT_WHY_SIZE])
{
    const IdentityKeys *k = w->i->keys;
    TpmPcrPolicy *one;
    int r;

    if (!k || !k->pcrs)
        return HMSG_ERROR_NO_IDENTITY;
    if (k->pcrs->mask != w->measure->mask || !is_signed(k->pcrs, values, w->measure->signature)) {
        (void)snprintf(why, KEY_IMPORT_WHY_SIZE, "The policy key has not signed these values of the PCRs");
        return HMSG_ERROR_DENIED;
    }
    one = calloc(1, sizeof(*one));
    if (!one)
        return -ENOMEM;
    one->mask = k->pcrs->mask;
    memcpy(one->modulus, k->pcrs->modulus, TPM_RSA_SIZE);
    one->n = 1;
    one->approvals[0].pcrs = *values;
    memcpy(one->approvals[0].signature, w->measure->signature, TPM_RSA_SIZE);
    r = store_approval(w, one, why);
    free(one);
    return r;
}

static void on_values(TpmAnswer *a, void *userdata)
{
    char why[KEY_IMPORT_WHY_SIZE] = "";
    IdentityWork *w = userdata;
    IdentityMeasure *m = w->measure;
    TpmPcrValues values;
    int r;

    (void)identity_work_answered(w, a); /* locks do not matter */
    if (a->r != 0) {
        identity_work_finish(w, a->r, a->problem);
        return;
    }
    values = *a->pcrs;
    predict(m, &values);
    if (m->what == MEASURE_TO_SIGN)
        r = say_what_to_sign(m, &values);
    else if (m->what == MEASURE_SIGNED)
        r = take_signed(w, &values, why);
    else
        r = begin_signing(w, &values);
    if (r != 0 || m->what == MEASURE_TO_SIGN || m->what == MEASURE_SIGNED)
        identity_work_finish_with(w, r, r == 0 ? "" : *why ? why : error_message(r));
}

static int copy(const Secret *from, Secret **ret)
{
    return from ? secret_new_copy(secret_bytes(from), secret_size(from), ret) : 0;
}

static int prepare(IdentityWork *w, MeasureFor what, uint32_t mask, const IdentityPolicyKey *key)
{
    IdentityMeasure *m = w->measure = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    m->what = what;
    m->mask = mask;
    int r = key ? copy(key->pem, &m->key) : 0;
    return r == 0 && key ? copy(key->password, &m->password) : r;
}

int identity_measure_prepare(IdentityWork *w, uint32_t mask, const IdentityPolicyKey *key)
{
    return tpm_pcr_mask_is_valid(mask) ? prepare(w, MEASURE_CREATE, mask, key) : HMSG_ERROR_INVALID_ARGS;
}

int identity_measure_begin(IdentityWork *w)
{
    return tpm_runner_read_pcrs(w->i->runner, w->measure->mask, on_values, w, &w->job);
}

int identity_create_measured(Identity *i, const IdentityPolicyKey *key, uint32_t mask, const Secret *pin,
                             identity_done_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = tpm_pcr_mask_is_valid(mask) ? identity_create_new(i, true, done, userdata, &w)
                                        : HMSG_ERROR_INVALID_ARGS;

    if (r != 0)
        return r;
    r = copy(pin, &w->pin);
    if (r == 0)
        r = identity_measure_prepare(w, mask, key);
    return identity_work_begun(w, r == 0 ? identity_measure_begin(w) : r, ret);
}

/* Of the keys that are there. Nothing is answered before this returns. */
static int begin_for_ours(Identity *i, MeasureFor what, const IdentityPolicyKey *key,
                          const IdentityPcrs *predicted, identity_done_t done, void *userdata,
                          IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = i->keys ? 0 : HMSG_ERROR_NO_IDENTITY;

    if (r == 0 && (!i->keys->pcrs || (predicted && (predicted->mask & ~i->keys->pcrs->mask) != 0)))
        r = HMSG_ERROR_INVALID_ARGS;
    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->done = done;
    r = prepare(w, what, i->keys->pcrs->mask, key);
    if (r == 0 && predicted)
        w->measure->predicted = *predicted;
    return identity_work_begun(w, r == 0 ? identity_measure_begin(w) : r, ret);
}

int identity_approve(Identity *i, const IdentityPolicyKey *key, const IdentityPcrs *predicted,
                     identity_done_t done, void *userdata, IdentityWork **ret)
{
    return begin_for_ours(i, MEASURE_APPROVE, key, predicted, done, userdata, ret);
}

int identity_to_approve(Identity *i, const IdentityPcrs *predicted, IdentityToSign *ret_later,
                        identity_done_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = begin_for_ours(i, MEASURE_TO_SIGN, NULL, predicted, done, userdata, &w);

    if (r != 0)
        return r;
    w->measure->ret = ret_later;
    *ret = w;
    return 0;
}

int identity_approve_signed(Identity *i, const IdentityPcrs *predicted, const void *signature, size_t n,
                            identity_done_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = n == TPM_RSA_SIZE ? begin_for_ours(i, MEASURE_SIGNED, NULL, predicted, done, userdata, &w)
                              : HMSG_ERROR_INVALID_ARGS;

    if (r != 0)
        return r;
    memcpy(w->measure->signature, signature, TPM_RSA_SIZE);
    *ret = w;
    return 0;
}

uint32_t identity_pcrs(const Identity *i)
{
    return i->keys && i->keys->pcrs ? i->keys->pcrs->mask : 0;
}

bool identity_keys_fit_pcrs(const IdentityKeys *k)
{
    const TpmKeyPolicy *p = tpm_keyfile_policy(k->decrypt);
    uint8_t signer[TPM_NAME_SIZE];

    if (!k->pcrs)
        return !p || !p->measured;
    return p && p->measured && tpm_pcr_signer(k->pcrs->modulus, signer) == 0 &&
           memcmp(p->signer, signer, TPM_NAME_SIZE) == 0; /* public */
}

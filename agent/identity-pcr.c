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

/* What goes to the thread and comes back. */
typedef struct Signing {
    Secret *key, *password;
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

static int signing_run(void *context, int stop_fd)
{
    _cleanup_(rsa_key_freep) RsaKey *public = NULL;
    _cleanup_(buf_done) Buf signature = BUF_MAX(RSA_SIZE_MAX);
    Signing *s = context;
    uint8_t digest[SHA256_SIZE];
    const uint8_t *spki;
    size_t size = 0;
    int r = tpm_pcr_to_sign(s->policy.mask, &s->policy.approvals[0].pcrs, digest);

    if (r == 0)
        r = key_import_sign(s->key, s->password, digest, &public, &signature, s->why);
    if (r != 0)
        return r;
    if (signature.size != TPM_RSA_SIZE)
        return -EIO;
    memcpy(s->policy.approvals[0].signature, signature.data, TPM_RSA_SIZE);
    spki = rsa_key_spki(public, &size);
    return tpm_modulus_from_spki(spki, size, s->policy.modulus);
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
    bool approve = w->measure->approve, over = approve;

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
    s->policy.mask = w->measure->mask;
    s->policy.approvals[0].pcrs = *now;
    s->policy.n = 1;
    r = worker_start(w->i->workers, &task, s, w, &w->deriving);
    if (r != 0)
        signing_free(s);
    return r;
}

static void on_values(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r;

    (void)identity_work_answered(w, a); /* locks do not matter */
    r = a->r == 0 ? begin_signing(w, a->pcrs) : a->r;
    if (r != 0)
        identity_work_finish(w, r, a->problem);
}

static int copy(const Secret *from, Secret **ret)
{
    return from ? secret_new_copy(secret_bytes(from), secret_size(from), ret) : 0;
}

static int begin(IdentityWork *w, const IdentityPolicyKey *key, uint32_t mask, bool approve)
{
    IdentityMeasure *m = w->measure = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return -ENOMEM;
    m->mask = mask;
    m->approve = approve;
    r = copy(key->pem, &m->key);
    if (r == 0)
        r = copy(key->password, &m->password);
    return r == 0 ? tpm_runner_read_pcrs(w->i->runner, mask, on_values, w, &w->job) : r;
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
    return identity_work_begun(w, r == 0 ? begin(w, key, mask, false) : r, ret);
}

int identity_approve(Identity *i, const IdentityPolicyKey *key, identity_done_t done, void *userdata,
                     IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = i->keys ? 0 : HMSG_ERROR_NO_IDENTITY;

    if (r == 0 && !i->keys->pcrs)
        r = HMSG_ERROR_INVALID_ARGS;
    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->done = done;
    return identity_work_begun(w, begin(w, key, i->keys->pcrs->mask, true), ret);
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* identity_create and identity_import: the value of the PIN, then the counter, then the keys that are bound
 * to it, then the files.
 */

#include <errno.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

static int store(IdentityWork *w, IdentityKeys *k)
{
    int r;

    k->pin = w->parameters;
    k->has_counter = w->bind;
    k->counter = w->spare.counter;
    k->pcrs = TAKE_PTR(w->pcrs);
    identity_take_recovery(w, k);
    r = identity_keys_fit_counter(k) && identity_keys_fit_pcrs(k) ? identity_keys_store(w->i->m->data_fd, k)
                                                                  : -EBADMSG;
    if (r == -EEXIST)
        return HMSG_ERROR_ALREADY_EXISTS;
    return r == -ENOSPC || r == -EDQUOT ? HMSG_ERROR_STORAGE_FULL : r;
}

static int adopt(IdentityWork *w, const TpmAnswer *a)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    uint8_t name[TPM_NAME_SIZE];
    Identity *i = w->i;
    int r;

    if (i->keys || i->damaged) /* found meanwhile */
        return HMSG_ERROR_ALREADY_EXISTS;
    if (w->software)
        identity_software_name(i, name);
    r = identity_keys_new(a->decrypt_key, a->sign_key, w->software ? name : a->srk_name, i->machine,
                          clock_realtime(), &k);
    if (r == 0)
        r = store(w, k);
    if (r != 0)
        return r;
    if (w->has_spare && identity_spare_remove(i->m->data_fd, k->srk_name) < 0)
        log_warning("The next start tidies up what is left of making the keys");
    identity_take_keys(i, TAKE_PTR(k));
    identity_unlocked(i, TAKE_PTR(w->auth));
    return w->then_lock ? identity_lock_keys(i) : 0;
}

static void on_created(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;
    int r;

    (void)identity_work_answered(w, a);
    r = a->r == 0 ? adopt(w, a) : a->r;
    bool made = r == 0;
    identity_counter_finish(w, r, a->problem);
    if (made)
        identity_tell(i, true);
}

static int create_keys(IdentityWork *w)
{
    TpmKeyPolicy policy = {
        .index = w->spare.counter.index, .generation = w->value, .measured = w->pcrs != NULL};
    const IdentitySource *s = w->source;

    if (w->software)
        return tpm_runner_create_software(w->i->runner, w->parameters.salt, w->auth, on_created, w, &w->job);
    if (w->pcrs && tpm_pcr_signer(w->pcrs->modulus, policy.signer) < 0)
        return -ENOMEM;
    if (s && s->key)
        return tpm_runner_adopt_key(w->i->runner, s->key, s->sign.prime ? &s->sign : NULL, on_created, w,
                                    &w->job);
    return tpm_runner_import_keys(w->i->runner, s ? &s->decrypt : NULL, s && s->sign.prime ? &s->sign : NULL,
                                  w->bind ? &policy : NULL, w->auth, on_created, w, &w->job);
}

static int begin(IdentityWork *w)
{
    return w->bind ? identity_counter_make(w, create_keys) : create_keys(w);
}

int identity_create_new(Identity *i, bool bind, identity_done_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r;

    if (i->keys || i->damaged || i->creating)
        return HMSG_ERROR_ALREADY_EXISTS;
    r = identity_work_new(i, userdata, &w);
    if (r < 0)
        return r;
    w->done = done;
    w->bind = bind;
    i->creating = w;
    *ret = w;
    return 0;
}

int identity_create_begin(IdentityWork *w)
{
    int r;

    if (!w->pin)
        return begin(w);
    r = identity_parameters_new(w, &w->parameters);
    if (r == 0)
        r = identity_work_derive(w, &w->parameters, w->pin, begin);
    w->pin = secret_free(w->pin);
    return r;
}

int identity_create(Identity *i, const Secret *pin, bool bind, identity_done_t done, void *userdata,
                    IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_create_new(i, bind, done, userdata, &w);

    if (r != 0)
        return r;
    r = pin ? secret_new_copy(secret_bytes(pin), secret_size(pin), &w->pin) : 0;
    return identity_work_begun(w, r == 0 ? identity_create_begin(w) : r, ret);
}

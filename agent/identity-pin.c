/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Another PIN for the same keys, or none: the last steps of identity_set_pin, after the keys were unlocked.
 * One key after the other gets the new authorization value, then both files are replaced at once. */

#include <errno.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/error.h"

static int store_changed(IdentityWork *w, TpmKeyFile *sign)
{
    _cleanup_(identity_keys_freep) IdentityKeys *k = NULL;
    Identity *i = w->i;
    const IdentityKeys *old = i->keys;
    int r = identity_keys_new(w->changed, sign, old->srk_name, old->machine, old->public.created, &k);

    if (r != 0)
        return r;
    k->public.generation = old->public.generation;
    k->pin = w->parameters;
    r = identity_keys_replace(i->m->data_fd, k);
    if (r == -ENOSPC || r == -EDQUOT)
        return HMSG_ERROR_STORAGE_FULL;
    if (r != 0)
        return r;
    identity_take_keys(i, TAKE_PTR(k));
    identity_unlocked(i, TAKE_PTR(w->auth));
    return 0;
}

static void on_sign_changed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = store_changed(w, a->sign_key);
    bool changed = r == 0;
    identity_work_finish(w, r, a->problem);
    if (changed)
        identity_tell(i, true);
}

static void on_decrypt_changed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;
    int r = identity_work_answered(w, a);

    if (r == 0) {
        w->changed = tpm_keyfile_ref(a->decrypt_key);
        r = tpm_runner_change_auth(i->runner, i->keys->sign, i->auth, w->auth, on_sign_changed, w, &w->job);
    }
    if (r != 0)
        identity_work_finish(w, r, a->problem);
}

static int change_keys(IdentityWork *w)
{
    Identity *i = w->i;

    return tpm_runner_change_auth(i->runner, i->keys->decrypt, i->auth, w->auth, on_decrypt_changed, w,
                                  &w->job);
}

int identity_change_pin(IdentityWork *w)
{
    int r;

    if (!w->next_pin)
        return change_keys(w);
    r = pin_parameters_new(&w->parameters);
    if (r == 0)
        r = identity_work_derive(w, &w->parameters, w->next_pin, change_keys);
    w->next_pin = secret_free(w->next_pin);
    return r;
}

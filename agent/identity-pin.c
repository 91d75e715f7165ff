/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Another PIN for the same keys, or none: the last steps of identity_set_pin, after the keys were unlocked.
 * One key after the other gets the new authorization value, then all files are replaced at once. */

#include <errno.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/error.h"

static int begin_replace(IdentityWork *w, TpmKeyFile *sign)
{
    const IdentityKeys *old = w->i->keys;
    int r = identity_keys_new(w->changed, sign, old->srk_name, old->machine, old->public.created, &w->keys);

    if (r != 0)
        return r;
    w->keys->public.generation = old->public.generation;
    w->keys->pin = w->parameters;
    r = identity_keys_copy_history(w->keys, old);
    return r == 0 ? identity_replace_keys(w) : r;
}

static void on_sign_changed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = begin_replace(w, a->sign_key);
    if (r != 0)
        identity_counter_finish(w, r, a->problem);
}

static void on_decrypt_changed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;
    int r = identity_work_answered(w, a);

    if (r == 0) {
        w->changed = tpm_keyfile_ref(a->decrypt_key);
        r = identity_change_auth(w, i->keys->sign, on_sign_changed);
    }
    if (r != 0)
        identity_counter_finish(w, r, a->problem);
}

static int change_keys(IdentityWork *w)
{
    return identity_change_auth(w, w->i->keys->decrypt, on_decrypt_changed);
}

int identity_change_pin(IdentityWork *w)
{
    int r;

    if (w->i->creating) /* it has a copy of these keys */
        return HMSG_ERROR_QUOTA_EXCEEDED;
    w->i->creating = w;
    if (!w->next_pin)
        return change_keys(w);
    r = identity_parameters_new(w, &w->parameters);
    if (r == 0)
        r = identity_work_derive(w, &w->parameters, w->next_pin, change_keys);
    w->next_pin = secret_free(w->next_pin);
    return r;
}

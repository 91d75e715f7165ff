/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/identity-seal.h"

#include <string.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/error.h"

void sealed_key_done(SealedKey *k)
{
    tpm_keyfile_free(k->sealed);
    bytes_wipe(k, sizeof(*k));
}

SealedKey sealed_key_copy(const SealedKey *k)
{
    SealedKey copy = *k;

    copy.sealed = tpm_keyfile_ref(k->sealed);
    return copy;
}

const uint8_t *identity_srk(const Identity *i)
{
    if (i->keys)
        return i->keys->srk_name;
    return i->has_facts ? i->facts.srk_name : NULL;
}

/* Locks do not matter: nothing of the keys is used. */
static void on_sealed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;

    (void)identity_work_answered(w, a);
    w->to_seal.sealed = a->r == 0 ? tpm_keyfile_ref(a->sealed) : NULL;
    w->sealed(a->r, a->problem, &w->to_seal, w->userdata);
    identity_tell(i, false);
}

static int seal(IdentityWork *w, const Secret *key)
{
    const IdentityKeys *k = w->i->keys;
    const TpmKeyPolicy *now = tpm_keyfile_policy(k->decrypt);
    TpmKeyPolicy policy = {.index = 0};

    if (now) {
        policy.index = now->index;
        policy.generation = now->generation;
        w->to_seal.counter = k->counter;
    }
    w->to_seal.has_counter = now != NULL;
    memcpy(w->to_seal.srk_name, k->srk_name, TPM_NAME_SIZE);
    memcpy(w->to_seal.kid, k->public.kid_bytes, KID_SIZE);
    return tpm_runner_seal(w->i->runner, now ? &policy : NULL, key, on_sealed, w, &w->job);
}

int identity_seal(Identity *i, const Secret *key, identity_sealed_t done, void *userdata, IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r;

    if (!i->keys)
        return HMSG_ERROR_NO_IDENTITY;
    if (identity_is_software(i))
        return HMSG_ERROR_INVALID_ARGS;
    r = identity_work_new(i, userdata, &w);
    if (r < 0)
        return r;
    w->sealed = done;
    return identity_work_begun(w, seal(w, key), ret);
}

static void on_unsealed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    Identity *i = w->i;

    (void)identity_work_answered(w, a);
    w->unsealed(a->r, a->problem, &a->secret, w->userdata);
    identity_tell(i, false);
}

int identity_unseal(Identity *i, const SealedKey *sealed, identity_unsealed_t done, void *userdata,
                    IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_work_new(i, userdata, &w);

    if (r < 0)
        return r;
    w->unsealed = done;
    r = tpm_runner_unseal(i->runner, sealed->sealed, sealed->has_counter ? &sealed->counter : NULL,
                          on_unsealed, w, &w->job);
    return identity_work_begun(w, r, ret);
}

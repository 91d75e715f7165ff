/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Unlocking: the TPM proves that it can use the keys, under their PIN when they have one. And the change of
 * the PIN, which begins with it. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/error.h"

#define UNLOCK_LABEL "hmsg/1 unlock"
#define CHALLENGE_SIZE 32u

static void on_unlock_signed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = identity_work_check_signature(w, a);
    if (r == 0) {
        identity_unlocked(w->i, TAKE_PTR(w->auth));
        if (w->changing && (r = w->rotating ? identity_rotate_keys(w) : identity_change_pin(w)) == 0)
            return;
    }
    identity_work_finish(w, r, a->problem);
}

static void on_unlock_decrypted(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = identity_work_answered(w, a);

    identity_software_tried(w->i, a);
    /* what we encrypted to ourselves does not come back: these keys cannot be used */
    if (r == HMSG_ERROR_AUTHENTICATION_FAILED || (r == 0 && !secret_equal(a->secret, w->challenge)))
        r = HMSG_ERROR_TPM_UNAVAILABLE;
    if (r == 0)
        r = identity_work_sign_as(w, w->auth, on_unlock_signed);
    if (r != 0)
        identity_work_finish(w, r, a->problem);
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

    return r == 0 ? tpm_runner_decrypt(i->runner, i->keys->decrypt, w->auth, identity_counter(i),
                                       ciphertext.data, ciphertext.size, CHALLENGE_SIZE, on_unlock_decrypted,
                                       w, &w->job)
                  : r;
}

/* What the TPM counts it counts for every key and every user of this machine. */
static int spare_last_try(const TpmFacts *f, bool force, char detail[static IDENTITY_DETAIL_SIZE])
{
    const char *why = NULL;

    if (f->in_lockout)
        why = "The TPM is locked out after wrong passwords";
    else if (!force && (uint64_t)f->lockout_counter + 1 >= f->lockout_max)
        why = "One more wrong PIN would lock the TPM out, for other programs as well";
    if (!why)
        return 0;
    (void)snprintf(detail, IDENTITY_DETAIL_SIZE,
                   "%s; it forgets one failure every %u s of %u that it counted", why, f->lockout_interval,
                   f->lockout_counter);
    return HMSG_ERROR_TPM_LOCKED_OUT;
}

static void on_unlock_probed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    char detail[IDENTITY_DETAIL_SIZE] = "";
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = a->software ? identity_software_wait(w->i, detail) : spare_last_try(a->facts, w->force, detail);
    if (r == 0)
        r = identity_work_derive(w, &w->i->keys->pin, w->pin, prove);
    w->pin = secret_free(w->pin);
    if (r != 0 && *detail)
        identity_work_finish_with(w, r, detail);
    else if (r != 0)
        identity_work_finish(w, r, a->problem);
}

static int unlock_begin(IdentityWork *w, const Secret *pin)
{
    Identity *i = w->i;
    int r;

    if (pin) {
        i->trying = w;
        r = secret_new_copy(secret_bytes(pin), secret_size(pin), &w->pin);
        if (r != 0)
            return r;
        return identity_is_software(i) ? tpm_runner_probe_software(i->runner, on_unlock_probed, w, &w->job)
                                       : tpm_runner_probe(i->runner, on_unlock_probed, w, &w->job);
    }
    r = identity_auth(i) ? secret_new_copy(secret_bytes(i->auth), secret_size(i->auth), &w->auth) : 0;
    return r == 0 ? prove(w) : r;
}

/* pin is what the keys have: it is needed, or not there. */
static int check_pin(const Identity *i, const Secret *pin, bool needed)
{
    int r = identity_usable(i);

    if (r != 0 && r != HMSG_ERROR_LOCKED)
        return r;
    if (pin && !i->keys->public.has_pin)
        return HMSG_ERROR_INVALID_ARGS;
    /* what the TPM has counted must be known before the next one is tried */
    if (pin && i->trying)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    return !pin && i->keys->public.has_pin && needed ? HMSG_ERROR_LOCKED : 0;
}

int identity_unlock(Identity *i, const Secret *pin, bool force, identity_done_t done, void *userdata,
                    IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = check_pin(i, pin, i->locked);

    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->done = done;
    w->force = force;
    return identity_work_begun(w, unlock_begin(w, pin), ret);
}

int identity_set_pin(Identity *i, const Secret *pin, const Secret *next, bool force,
                     const IdentityRotation *rotation, identity_done_t done, void *userdata,
                     IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = check_pin(i, pin, true);

    if (r == 0 && identity_is_software(i) && !next)
        r = HMSG_ERROR_DENIED;
    /* nobody would count the wrong ones */
    if (r == 0 && !rotation && next && !tpm_keyfile_is_guarded(i->keys->decrypt))
        r = HMSG_ERROR_DENIED;
    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->done = done;
    w->force = force;
    w->changing = true;
    if (rotation) {
        w->rotating = true;
        w->rotation = *rotation;
    }
    r = next ? secret_new_copy(secret_bytes(next), secret_size(next), &w->next_pin) : 0;
    return identity_work_begun(w, r == 0 ? unlock_begin(w, pin) : r, ret);
}

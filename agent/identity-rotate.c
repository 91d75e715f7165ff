/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rotation: new keys of the next generation, a statement over them by the sign key of now, and the decrypt
 * key of now as a former one. All of it takes the place of the folder at once, so that a crash leaves the old
 * keys or the new ones, whole. */

#include <errno.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "libhmsg/wire/statement.h"

static int take_next(IdentityWork *w)
{
    Identity *i = w->i;
    int r = identity_keys_fit_counter(w->keys) ? identity_keys_replace(i->m->data_fd, w->keys) : -EBADMSG;

    if (r == -ENOSPC || r == -EDQUOT)
        return HMSG_ERROR_STORAGE_FULL;
    if (r != 0)
        return r;
    if (w->has_spare && identity_spare_remove(i->m->data_fd, i->keys->srk_name) < 0)
        log_warning("The next start tidies up what is left of making the keys");
    if (!w->changing) {
        identity_follow_keys(i, TAKE_PTR(w->keys));
        return 0;
    }
    identity_take_keys(i, TAKE_PTR(w->keys));
    identity_unlocked(i, TAKE_PTR(w->auth));
    return 0;
}

static void finish(IdentityWork *w)
{
    Identity *i = w->i;
    int r = take_next(w);
    bool changed = r == 0;

    if (changed) /* those that have no time left */
        (void)identity_former_destroy(i);
    identity_counter_finish(w, r, NULL);
    if (!changed)
        return;
    identity_former_arm(i);
    identity_settle(i);
    identity_tell(i, true);
}

static void on_former_changed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = identity_work_answered(w, a);
    FormerKey *f = &w->keys->former[w->former_done];

    if (r == 0) {
        tpm_keyfile_free(f->key);
        f->key = tpm_keyfile_ref(a->decrypt_key);
        w->former_done++;
        r = identity_replace_keys(w);
    }
    if (r != 0)
        identity_counter_finish(w, r, a->problem);
}

int identity_replace_keys(IdentityWork *w)
{
    for (; w->changing && w->former_done < w->keys->n_former; w->former_done++) {
        TpmKeyFile *key = w->keys->former[w->former_done].key;

        /* of one that was made without a PIN the TPM would not count wrong ones: it stays without */
        if (tpm_keyfile_is_guarded(key))
            return identity_change_auth(w, key, on_former_changed);
    }
    finish(w);
    return 0;
}

static void on_rotation_signed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    _cleanup_(buf_done) Buf jws = BUF_MAX(JWS_SIZE_MAX);
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = identity_work_check_signature(w, a);
    if (r == 0)
        r = jws_finish(&w->draft, a->data, a->data_size, &jws);
    if (r == 0)
        r = identity_keys_add_rotation(w->keys, buf_text(&jws));
    if (r == 0)
        r = identity_replace_keys(w);
    if (r != 0)
        identity_counter_finish(w, r, a->problem);
}

static int sign_rotation(IdentityWork *w)
{
    const IdentityPublic *from = &w->i->keys->public, *to = &w->keys->public;
    RotateStatement s = {.generation = to->generation, .iat = to->created};
    int r;

    memcpy(s.skid, from->skid_bytes, KID_SIZE);
    memcpy(s.next_skid, to->skid_bytes, KID_SIZE);
    memcpy(s.next_kid, to->kid_bytes, KID_SIZE);
    r = rotate_statement_prepare(&s, &w->draft);
    return r == 0 ? identity_work_sign_as(w, identity_auth(w->i), on_rotation_signed) : r;
}

static uint64_t grace(const IdentityWork *w)
{
    return w->rotation.has_grace ? w->rotation.grace : w->i->grace;
}

static int make_next(IdentityWork *w, const TpmAnswer *a)
{
    const IdentityKeys *old = w->i->keys;
    int64_t now = clock_realtime();
    IdentityPublic *p;
    int r = identity_keys_new(a->decrypt_key, a->sign_key, old->srk_name, old->machine, now, &w->keys);

    if (r != 0)
        return r;
    p = &w->keys->public;
    if (!p->bound || p->generation <= old->public.generation)
        p->generation = old->public.generation + 1;
    if (p->generation <= w->rotation.after)
        p->generation = w->rotation.after + 1;
    r = identity_keys_copy_history(w->keys, old);
    identity_take_recovery(w, w->keys);
    if (r == 0)
        r = identity_keys_retire(w->keys, old, now + (int64_t)grace(w));
    w->keys->pin = w->parameters;
    if (w->has_spare) {
        w->keys->has_counter = true;
        w->keys->counter = w->spare.counter;
    }
    return r == -ENOSPC ? HMSG_ERROR_QUOTA_EXCEEDED : r;
}

static void on_made(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = identity_work_answered(w, a);

    if (r == 0)
        r = make_next(w, a);
    if (r == 0)
        r = sign_rotation(w);
    if (r != 0)
        identity_counter_finish(w, r, a->problem);
}

static int make_keys(IdentityWork *w)
{
    const IdentityKeys *k = w->i->keys;
    const TpmKeyPolicy *now = k ? tpm_keyfile_policy(k->decrypt) : NULL;
    TpmKeyPolicy policy = {.index = w->spare.counter.index, .generation = w->value};

    if (!k || w->epoch != w->i->epoch)
        return HMSG_ERROR_LOCKED;
    if (identity_is_software(w->i))
        return tpm_runner_create_software(w->i->runner, w->parameters.salt, w->auth, on_made, w, &w->job);
    if (now) {
        policy = *now;
        policy.generation++;
    }
    return tpm_runner_create_keys(w->i->runner, now || w->has_spare ? &policy : NULL, w->auth, on_made, w,
                                  &w->job);
}

static int begin(IdentityWork *w)
{
    return w->rotation.bind && !w->i->keys->has_counter ? identity_counter_make(w, make_keys) : make_keys(w);
}

int identity_rotate_keys(IdentityWork *w)
{
    Identity *i = w->i;
    int r;

    if (grace(w) > IDENTITY_GRACE_MAX || (w->rotation.bind && identity_is_software(i)))
        return HMSG_ERROR_INVALID_ARGS;
    if (i->creating || i->keys->n_former == KEYS_FORMER_MAX)
        return HMSG_ERROR_QUOTA_EXCEEDED;
    i->creating = w;
    if (!w->changing) {
        w->parameters = i->keys->pin;
        r = identity_auth(i) ? secret_new_copy(secret_bytes(i->auth), secret_size(i->auth), &w->auth) : 0;
        return r == 0 ? begin(w) : r;
    }
    if (!w->next_pin)
        return begin(w);
    r = identity_parameters_new(w, &w->parameters);
    if (r == 0)
        r = identity_work_derive(w, &w->parameters, w->next_pin, begin);
    w->next_pin = secret_free(w->next_pin);
    return r;
}

int identity_rotate(Identity *i, const IdentityRotation *o, identity_done_t done, void *userdata,
                    IdentityWork **ret)
{
    IdentityWork *w = NULL;
    int r = identity_usable(i);

    if (r == 0)
        r = identity_work_new(i, userdata, &w);
    if (r != 0)
        return r;
    w->done = done;
    w->rotating = true;
    w->rotation = *o;
    return identity_work_begun(w, identity_rotate_keys(w), ret);
}

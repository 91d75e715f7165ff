/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The counter in the TPM that the keys are bound to. It is named on disk before it is made, and for as long
 * as it is to be removed, so that none is left in the TPM by a crash or by an answer that was lost. */

#include <errno.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "agent/vault.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

/* Nothing is there any more that could be raised or removed. */
static bool is_over(const TpmAnswer *a)
{
    return a->r == 0 || a->problem->reason == TPM_REASON_DESTROYED;
}

static void on_removed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = 0;

    (void)identity_work_answered(w, a);
    if (!is_over(a))
        r = a->r;
    if (r == 0)
        r = identity_spare_remove(w->i->m->data_fd, w->i->facts.srk_name);
    if (r == 0 || r == -ENOENT)
        r = w->counted(w);
    if (r != 0)
        identity_work_finish(w, r, a->problem);
}

static void on_raised(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r = 0;

    (void)identity_work_answered(w, a);
    if (!is_over(a))
        r = a->r;
    if (r == 0)
        r = tpm_runner_counter_remove(w->i->runner, &w->spare.counter, on_removed, w, &w->job);
    if (r != 0)
        identity_work_finish(w, r, a->problem);
}

/* Of w->spare nothing is left, then goes on. Raised first: a counter that is made anew goes on where it was.
 */
static int remove_spare(IdentityWork *w, int (*then)(IdentityWork *w))
{
    TpmRunner *runner = w->i->runner;

    w->counted = then;
    if (w->spare.above > 0)
        return tpm_runner_counter_raise(runner, &w->spare.counter, w->spare.above, on_raised, w, &w->job);
    return tpm_runner_counter_remove(runner, &w->spare.counter, on_removed, w, &w->job);
}

/* There is one that is not that of our keys. */
static int load_spare(IdentityWork *w, bool *ret)
{
    Identity *i = w->i;
    int r = identity_spare_load(i->m->data_fd, i->facts.srk_name, &w->spare);

    *ret = r == 0;
    if (r == -EBADMSG)
        log_warning("The name of a counter in %s/keys is damaged; it may stay in the TPM",
                    i->m->places.data_dir);
    else if (r == 0 && i->keys && i->keys->has_counter && i->keys->counter.index == w->spare.counter.index)
        *ret = false;
    else if (r != 0 && r != -ENOENT)
        return r;
    return *ret || r == -ENOENT ? 0 : identity_spare_remove(i->m->data_fd, i->facts.srk_name);
}

static void on_made(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    int r;

    (void)identity_work_answered(w, a); /* keys in the making are not locked */
    r = a->r;
    w->value = a->counter_value;
    if (r == 0)
        r = w->derived(w);
    if (r != 0)
        identity_counter_finish(w, r, a->problem);
}

static int make_spare(IdentityWork *w)
{
    Identity *i = w->i;
    int r = tpm_counter_choose(&w->spare.counter);

    w->spare.above = 0;
    if (r == 0)
        r = identity_spare_store(i->m->data_fd, i->facts.srk_name, &w->spare);
    if (r == -ENOSPC || r == -EDQUOT)
        r = HMSG_ERROR_STORAGE_FULL;
    w->has_spare = r == 0;
    return r == 0 ? tpm_runner_counter_new(i->runner, &w->spare.counter, on_made, w, &w->job) : r;
}

/* Which TPM it is, is known now. */
static void on_probed(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;
    bool spare = false;
    int r;

    (void)identity_work_answered(w, a);
    r = a->r;
    if (r == 0)
        r = load_spare(w, &spare);
    if (r == 0)
        r = spare ? remove_spare(w, make_spare) : make_spare(w);
    if (r != 0)
        identity_counter_finish(w, r, a->problem);
}

int identity_counter_make(IdentityWork *w, int (*then)(IdentityWork *w))
{
    w->derived = then;
    return tpm_runner_probe(w->i->runner, on_probed, w, &w->job);
}

void identity_unsettle(Identity *i)
{
    i->settled = false;
    i->settle_again = true;
}

void identity_counter_finish(IdentityWork *w, int r, const TpmProblem *p)
{
    Identity *i = w->i;

    if (r != 0 && w->has_spare)
        identity_unsettle(i);
    identity_work_finish(w, r, p);
    if (r != 0) /* nothing was settled meanwhile */
        identity_settle(i);
}

/* What came up while it was under way follows. */
static void finish_settling(IdentityWork *w, bool settled, int r, const TpmProblem *p)
{
    Identity *i = w->i;

    i->settled = settled && !i->settle_again;
    identity_work_finish(w, r, p);
    if (i->settle_again)
        identity_settle(i);
}

static void on_settled(TpmAnswer *a, void *userdata)
{
    IdentityWork *w = userdata;

    (void)identity_work_answered(w, a);
    if (a->r != 0)
        log_warning("The counter that former keys end with could not be raised: %s", a->problem->text);
    finish_settling(w, is_over(a), a->r, a->problem);
}

/* Raises ours until it is the oldest generation that still lives. */
static int raise_ours(IdentityWork *w)
{
    Identity *i = w->i;
    uint64_t oldest = i->keys ? identity_keys_oldest(i->keys) : 0;

    if (oldest > 0)
        return tpm_runner_counter_raise(i->runner, &i->keys->counter, oldest, on_settled, w, &w->job);
    finish_settling(w, true, 0, NULL);
    return 0;
}

static int begin_settling(IdentityWork *w)
{
    bool spare = false;
    int r = load_spare(w, &spare);

    if (r != 0)
        return r;
    return spare ? remove_spare(w, raise_ours) : raise_ours(w);
}

void identity_settle(Identity *i)
{
    IdentityWork *w = NULL;
    int r;

    if (i->settled || i->settling || i->creating || !i->has_facts || vault_is_behind(i->m->vault) ||
        (i->keys && memcmp(i->keys->srk_name, i->facts.srk_name, TPM_NAME_SIZE) != 0)) /* public */
        return;
    r = identity_work_new(i, NULL, &w);
    if (r == 0) {
        w->own = true;
        i->settling = w;
        i->settle_again = false;
        r = begin_settling(w);
        if (r != 0)
            identity_work_free(w);
    }
    if (r == 0)
        identity_arm(i);
    else
        log_warning("The counter of the keys: %s", error_message(r));
}

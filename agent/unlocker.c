/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/unlocker.h"

#include <errno.h>
#include <stdio.h>
#include <utlist.h>

#include "agent/prompt.h"
#include "libhmsg/base/error.h"

#define TEXT_SIZE 160u

struct UnlockWait {
    UnlockWait *prev, *next;
    Unlocker *u; /* NULL: answered */
    bool force;
    uint64_t round;
    identity_done_t done;
    void *userdata;
};

/* While somebody waits there is either a prompt or, after it, a work. */
struct Unlocker {
    Manager *m;
    UnlockWait *waits;
    Prompt *prompt;
    IdentityWork *work;
    uint64_t round; /* goes up with each question */
    uint64_t epoch; /* of the identity, when the question was put */
};

static void stop(Unlocker *u)
{
    u->prompt = prompt_free(u->prompt);
    u->work = identity_work_free(u->work);
}

static void leave(Unlocker *u, UnlockWait *w)
{
    DL_DELETE(u->waits, w);
    w->u = NULL;
}

/* Everybody who waits now: who waits again, in a callback, has put a new question. */
static void answer(Unlocker *u, int r, const char *detail)
{
    uint64_t round = u->round++;
    UnlockWait *w;

    stop(u);
    while ((w = u->waits) && w->round <= round) {
        leave(u, w);
        w->done(r, detail, w->userdata);
    }
}

static void on_unlocked(int r, const char *detail, void *userdata)
{
    Unlocker *u = userdata;
    _cleanup_(identity_work_freep) IdentityWork *work = TAKE_PTR(u->work); /* owns the arguments */

    answer(u, r, detail);
}

static int try_pin(Unlocker *u, const Secret *pin)
{
    const UnlockWait *w;
    bool force = false;

    DL_FOREACH (u->waits, w)
        force = force || w->force;
    return identity_unlock(u->m->identity, pin, force, on_unlocked, u, &u->work);
}

static void on_prompted(int r, const Secret *pin, void *userdata)
{
    Unlocker *u = userdata;
    const char *detail = "";

    u->prompt = prompt_free(u->prompt);
    if (r == HMSG_ERROR_LOCKED)
        detail = "No pinentry could ask for the PIN";
    else if (r == HMSG_ERROR_INVALID_ARGS)
        detail = "The PIN is too short or too long";
    if (r == 0) {
        r = try_pin(u, pin);
        if (r == HMSG_ERROR_QUOTA_EXCEEDED)
            detail = "Another PIN is being tried";
    }
    if (r != 0)
        answer(u, r, detail);
}

static int ask(Unlocker *u)
{
    const IdentityPublic *p = identity_public(u->m->identity);
    const TpmFacts *f = identity_tpm_facts(u->m->identity);
    char text[TEXT_SIZE] = "The PIN of your hmsg keys, please.";

    if (p && p->protection == PROTECTION_SOFTWARE)
        (void)snprintf(text, sizeof(text), "The password of your hmsg keys, please.");
    else if (f && f->lockout_counter > 0)
        (void)snprintf(text, sizeof(text),
                       "The PIN of your hmsg keys, please. The TPM has counted %u failures of %u.",
                       f->lockout_counter, f->lockout_max);
    u->epoch = identity_epoch(u->m->identity);
    return prompt_pin(u->m->event, u->m->launcher, text, on_prompted, u, &u->prompt);
}

/* Unlocked by somebody else, deleted, or locked anew: then whoever did it wants no answer to an old question.
 */
static void on_identity_changed(Identity *i, void *userdata)
{
    Unlocker *u = userdata;
    int r = identity_check(i);

    if (!u->waits)
        return;
    if (r != HMSG_ERROR_LOCKED)
        answer(u, r, "");
    else if (identity_epoch(i) != u->epoch)
        answer(u, r, "The identity was locked again");
}

int unlocker_new(Manager *m, Unlocker **ret)
{
    _cleanup_(unlocker_freep) Unlocker *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return -ENOMEM;
    u->m = m;
    r = identity_watch(m->identity, on_identity_changed, u);
    if (r != 0)
        return r;
    *ret = TAKE_PTR(u);
    return 0;
}

Unlocker *unlocker_free(Unlocker *u)
{
    if (!u)
        return NULL;
    while (u->waits)
        leave(u, u->waits);
    stop(u);
    free(u);
    return NULL;
}

int unlocker_wait(Unlocker *u, bool force, identity_done_t done, void *userdata, UnlockWait **ret)
{
    const IdentityPublic *p = identity_public(u->m->identity);
    UnlockWait *w;
    int r;

    if (!p || !p->has_pin)
        return HMSG_ERROR_LOCKED;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    r = u->prompt || u->work ? 0 : ask(u);
    if (r != 0) {
        free(w);
        return r;
    }
    w->u = u;
    w->force = force;
    w->round = u->round;
    w->done = done;
    w->userdata = userdata;
    DL_APPEND(u->waits, w);
    *ret = w;
    return 0;
}

UnlockWait *unlock_wait_free(UnlockWait *w)
{
    Unlocker *u;

    if (!w)
        return NULL;
    u = w->u;
    if (u) {
        leave(u, w);
        if (!u->waits)
            stop(u);
    }
    free(w);
    return NULL;
}

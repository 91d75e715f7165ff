/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/identity.h"

#include <errno.h>
#include <string.h>

#include "agent/identity-internal.h"
#include "agent/keyring.h"
#include "agent/vault.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

#define RETRY_MIN_USEC (5u * 1000000u)
#define RETRY_MAX_USEC (300u * 1000000u)
#define TIMER_ACCURACY_USEC 50000u

const char *identity_state_name(IdentityState s)
{
    switch (s) {
    case IDENTITY_READY:
        return "ready";
    case IDENTITY_LOCKED:
        return "locked";
    case IDENTITY_UNAVAILABLE:
        return "unavailable";
    default:
        return "none";
    }
}

/* Nothing works until somebody does something about it; other problems are those of one job. */
static bool is_gone(TpmReason reason)
{
    return reason == TPM_REASON_NO_ACCESS || reason == TPM_REASON_ABSENT || reason == TPM_REASON_NO_ANSWER ||
           reason == TPM_REASON_WRONG_TPM || reason == TPM_REASON_FAILURE_MODE;
}

IdentityState identity_state(const Identity *i)
{
    if (i->damaged)
        return IDENTITY_UNAVAILABLE;
    if (!i->keys)
        return IDENTITY_NONE;
    if (i->locked)
        return IDENTITY_LOCKED;
    return is_gone(i->problem.reason) ? IDENTITY_UNAVAILABLE : IDENTITY_READY;
}

const IdentityPublic *identity_public(const Identity *i)
{
    return i->keys ? &i->keys->public : NULL;
}

int identity_usable(const Identity *i)
{
    if (i->damaged)
        return HMSG_ERROR_TPM_UNAVAILABLE;
    if (!i->keys)
        return HMSG_ERROR_NO_IDENTITY;
    return i->locked ? HMSG_ERROR_LOCKED : 0;
}

int identity_check(const Identity *i)
{
    int r = identity_usable(i);

    return r == 0 && is_gone(i->problem.reason) ? HMSG_ERROR_TPM_UNAVAILABLE : r;
}

const char *identity_tpm_status(const Identity *i, const char **ret_help)
{
    const char *help = NULL;
    const char *text = "ok";

    if (i->damaged) {
        text = "the key files in the data folder are damaged";
        help = "restore the folder keys from a backup, or move it away to begin anew";
    } else if (i->problem.reason != TPM_REASON_NONE) {
        text = i->problem.text;
        help = tpm_reason_help(i->problem.reason);
    } else if (identity_is_software(i))
        text = "not used: the keys are in software";
    else if (!i->asked)
        text = "the TPM has not answered yet";
    if (ret_help)
        *ret_help = help;
    return text;
}

const TpmFacts *identity_tpm_facts(const Identity *i)
{
    return i->has_facts ? &i->facts : NULL;
}

uint64_t identity_epoch(const Identity *i)
{
    return i->epoch;
}

int identity_watch(Identity *i, identity_changed_t changed, void *userdata)
{
    if (i->n_watchers == IDENTITY_WATCHERS_MAX)
        return -ENOSPC;
    i->watchers[i->n_watchers].changed = changed;
    i->watchers[i->n_watchers].userdata = userdata;
    i->n_watchers++;
    return 0;
}

void identity_tell(Identity *i, bool always)
{
    IdentityState state = identity_state(i);

    if (!always && state == i->told)
        return;
    i->told = state;
    for (unsigned w = 0; w < i->n_watchers; w++)
        i->watchers[w].changed(i, i->watchers[w].userdata);
}

static const TpmProblem no_problem = {.reason = TPM_REASON_NONE};

static void retry_later(Identity *i)
{
    if (!i->retry || sd_event_source_set_time_relative(i->retry, i->retry_pause) < 0 ||
        sd_event_source_set_enabled(i->retry, SD_EVENT_ONESHOT) < 0)
        return;
    i->retry_pause = 2 * i->retry_pause < RETRY_MAX_USEC ? 2 * i->retry_pause : RETRY_MAX_USEC;
}

static void set_problem(Identity *i, const TpmProblem *p)
{
    if (p->reason != i->problem.reason) {
        const char *help = tpm_reason_help(p->reason);

        if (p->reason != TPM_REASON_NONE)
            log_warning("%s%s%s", p->text, help ? "; " : "", help ? help : "");
        else
            log_info("The TPM can be used again");
    }
    i->problem = *p;
    if (is_gone(p->reason)) {
        retry_later(i);
        return;
    }
    i->retry_pause = RETRY_MIN_USEC;
    (void)sd_event_source_set_enabled(i->retry, SD_EVENT_OFF);
}

void identity_note(Identity *i, const TpmAnswer *a)
{
    if (a->software || identity_is_software(i))
        return;
    if (a->r == 0 && a->facts) { /* which TPM it is decides: identity_note_srk */
        i->facts = *a->facts;
        i->has_facts = true;
    } else if (a->r == 0 || a->r == HMSG_ERROR_AUTHENTICATION_FAILED)
        set_problem(i, &no_problem);
    else if (is_gone(a->problem->reason) || !i->asked)
        set_problem(i, a->problem);
    i->asked = true;
}

void identity_follow_keys(Identity *i, IdentityKeys *k)
{
    identity_keys_free(i->keys);
    i->keys = k;
    if (tpm_runner_approve(i->runner, k->pcrs) < 0)
        log_error("No memory for what is approved of PCRs");
}

void identity_take_keys(Identity *i, IdentityKeys *k)
{
    identity_follow_keys(i, k);
    i->damaged = false;
    identity_unsettle(i);
    i->locked = k->public.has_pin;
    identity_auth_drop(i);
    i->epoch++;
    if (!identity_is_software(i)) {
        tpm_runner_pin(i->runner, k->srk_name);
        return;
    }
    /* what the TPM is, and whether there is one, is of no matter now */
    tpm_runner_pin(i->runner, NULL);
    i->problem = no_problem;
    (void)sd_event_source_set_enabled(i->retry, SD_EVENT_OFF);
    i->settled = true;
}

static void note_damage(Identity *i, int error)
{
    if (!i->damaged)
        log_error("The key files in %s/keys: %s", i->m->places.data_dir, strerror(-error));
    i->damaged = true;
}

void identity_note_srk(Identity *i, const uint8_t srk_name[static TPM_NAME_SIZE])
{
    TpmProblem p = no_problem;
    IdentityKeys *k = NULL;
    int r;

    if (!i->keys || memcmp(i->keys->srk_name, srk_name, TPM_NAME_SIZE) != 0) { /* public */
        r = identity_keys_load(i->m->data_fd, srk_name, &k);
        if (r == 0)
            identity_take_keys(i, k);
        else if (r != -ENOENT)
            note_damage(i, r);
        else if (i->keys) /* never a silent new identity */
            (void)tpm_problem_set(&p, TPM_REASON_WRONG_TPM, i->m->places.tcti, 0);
    }
    set_problem(i, &p);
    if (p.reason != TPM_REASON_NONE || i->damaged)
        return;
    identity_settle(i);
    identity_former_arm(i);
}

static int on_readable(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    Identity *i = userdata;
    int r = tpm_runner_dispatch(i->runner);

    identity_arm(i);
    return r;
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata)
{
    return on_readable(s, -1, 0, userdata);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
    Identity *i = userdata;
    int r = identity_start(i, NULL, NULL);

    if (r != 0) /* its threads hang in a TPM that does not answer, or memory is short */
        retry_later(i);
    return 0;
}

void identity_arm(Identity *i)
{
    uint64_t when = tpm_runner_next_deadline(i->runner);

    if (when == UINT64_MAX) {
        (void)sd_event_source_set_enabled(i->deadline, SD_EVENT_OFF);
        return;
    }
    if (sd_event_source_set_time(i->deadline, when) >= 0)
        (void)sd_event_source_set_enabled(i->deadline, SD_EVENT_ONESHOT);
}

static int make_sources(Identity *i)
{
    sd_event *e = i->m->event;
    int r;

    r = sd_event_add_io(e, &i->io, tpm_runner_fd(i->runner), EPOLLIN, on_readable, i);
    if (r >= 0)
        r = sd_event_add_time(e, &i->deadline, CLOCK_BOOTTIME, 0, TIMER_ACCURACY_USEC, on_deadline, i);
    if (r >= 0)
        r = sd_event_source_set_enabled(i->deadline, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(e, &i->retry, CLOCK_BOOTTIME, 0, RETRY_MIN_USEC, on_retry, i);
    if (r >= 0)
        r = sd_event_source_set_enabled(i->retry, SD_EVENT_OFF);
    return r < 0 ? r : 0;
}

int identity_new(Manager *m, Identity **ret)
{
    _cleanup_(identity_freep) Identity *i = calloc(1, sizeof(*i));
    TpmRunnerOptions options = {.tcti = m->places.tcti};
    int r;

    if (!i)
        return -ENOMEM;
    i->m = m;
    i->retry_pause = RETRY_MIN_USEC;
    identity_machine(i->machine);
    r = identity_keys_tidy(m->data_fd);
    if (r < 0)
        log_warning("What is left of removed keys in %s/keys: %s", m->places.data_dir, strerror(-r));
    r = identity_keys_load_machine(m->data_fd, i->machine, &i->keys);
    if (r == -ENOMEM)
        return r;
    if (r < 0 && r != -ENOENT)
        note_damage(i, r);
    if (i->keys && !identity_is_software(i))
        options.srk_name = i->keys->srk_name;
    r = tpm_runner_new(&options, &i->runner);
    if (r == 0 && i->keys)
        r = tpm_runner_approve(i->runner, i->keys->pcrs);
    if (r == 0)
        r = make_sources(i);
    if (r == 0)
        r = workers_new(m->event, &i->workers);
    if (r == 0)
        r = identity_former_configure(i);
    if (r < 0)
        return r;
    i->locked = i->keys && i->keys->public.has_pin;
    i->settled = identity_is_software(i);
    i->told = identity_state(i);
    *ret = TAKE_PTR(i);
    return 0;
}

Identity *identity_free(Identity *i)
{
    if (!i)
        return NULL;
    identity_works_drop(i);
    workers_free(i->workers);
    identity_auth_drop(i);
    sd_event_source_disable_unref(i->idle);
    sd_event_source_disable_unref(i->io);
    sd_event_source_disable_unref(i->deadline);
    sd_event_source_disable_unref(i->retry);
    sd_event_source_disable_unref(i->former_timer);
    tpm_runner_free(i->runner);
    identity_keys_free(i->keys);
    free(i);
    return NULL;
}

/* Every session key goes, in and out; what is on its way must not give out what it finds. */
static int forget_sessions(Identity *i)
{
    int r;

    i->epoch++;
    r = keyring_lock(i->m->keyring);
    if (r < 0)
        log_error("A new key in the kernel keyring: %s", strerror(-r));
    return r;
}

static void forget_auth(Identity *i)
{
    if (!i->auth && !i->kept)
        return;
    identity_auth_drop(i);
    if (tpm_runner_forget(i->runner) == 0)
        identity_arm(i);
    else
        log_warning("What the PIN became may stay in memory until the TPM has been idle");
}

int identity_lock_keys(Identity *i)
{
    i->locked = true;
    forget_auth(i);
    return forget_sessions(i);
}

int identity_lock(Identity *i)
{
    int r;

    if (i->creating)
        i->creating->then_lock = true;
    else if (!i->keys)
        return i->damaged ? HMSG_ERROR_TPM_UNAVAILABLE : HMSG_ERROR_NO_IDENTITY;
    r = i->keys ? identity_lock_keys(i) : forget_sessions(i);
    identity_tell(i, true);
    return r;
}

int identity_forget(Identity *i)
{
    int r = forget_sessions(i);

    identity_tell(i, true);
    return r;
}

void identity_unlocked(Identity *i, Secret *auth)
{
    identity_auth_drop(i);
    i->auth = auth;
    i->locked = false;
    identity_auth_keep(i);
}

/* The counter goes as soon as the TPM is there, and with it every copy of the keys. */
static int leave_counter(const Identity *i)
{
    const IdentityKeys *k = i->keys;
    const TpmKeyPolicy *newest = tpm_keyfile_policy(k->decrypt);
    SpareCounter spare = {.counter = k->counter, .above = newest ? newest->generation + 1 : 0};
    int r = k->has_counter ? identity_spare_store(i->m->data_fd, k->srk_name, &spare) : 0;

    bytes_wipe(&spare, sizeof(spare));
    return r;
}

int identity_delete(Identity *i, const char *confirm_kid)
{
    int r;

    if (!i->keys)
        return i->damaged ? HMSG_ERROR_TPM_UNAVAILABLE : HMSG_ERROR_NO_IDENTITY;
    if (!confirm_kid || strcmp(confirm_kid, i->keys->public.kid) != 0)
        return HMSG_ERROR_INVALID_ARGS;
    r = vault_leave(i->m->vault);
    if (r == 0)
        r = leave_counter(i);
    if (r == 0)
        r = identity_keys_remove(i->m->data_fd, i->keys);
    if (r < 0)
        return r;
    identity_unsettle(i);
    i->keys = identity_keys_free(i->keys);
    i->locked = false;
    forget_auth(i);
    tpm_runner_pin(i->runner, NULL);
    r = forget_sessions(i);
    identity_tell(i, true);
    /* the pinned TPM is no more what it is compared with */
    (void)identity_start(i, NULL, NULL);
    return r;
}

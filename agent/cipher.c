/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <utlist.h>

#include "agent/cipher-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"

void cipher_job_init(CipherJob *j, const CipherJobType *type, Cipher *c, void *userdata)
{
    j->type = type;
    j->cipher = c;
    j->userdata = userdata;
    j->epoch = identity_epoch(c->m->identity);
    DL_APPEND(c->jobs, j);
}

void cipher_job_done(CipherJob *j)
{
    if (j->cipher)
        DL_DELETE(j->cipher->jobs, j);
    sd_event_source_disable_unref(j->later);
    free(j->later_detail);
}

CipherJob *cipher_job_free(CipherJob *j)
{
    if (j)
        j->type->free(j);
    return NULL;
}

void cipher_job_fail(CipherJob *j, int r, const char *detail)
{
    if (j->finished)
        return;
    j->finished = true;
    j->type->fail(j, r, detail && *detail ? detail : error_message(r));
}

void cipher_job_succeed(CipherJob *j)
{
    if (!cipher_job_is_current(j)) {
        cipher_job_fail(j, HMSG_ERROR_LOCKED, NULL);
        return;
    }
    if (j->finished)
        return;
    j->finished = true;
    j->type->succeed(j);
}

bool cipher_job_is_current(const CipherJob *j)
{
    return identity_epoch(j->cipher->m->identity) == j->epoch;
}

static int on_later(sd_event_source *source, void *userdata)
{
    CipherJob *j = userdata;

    if (j->later_result == 0)
        cipher_job_succeed(j);
    else
        cipher_job_fail(j, j->later_result, j->later_detail);
    return 0;
}

int cipher_job_later(CipherJob *j, int r, const char *detail)
{
    j->later_result = r;
    if (detail && *detail) {
        j->later_detail = strdup(detail);
        if (!j->later_detail)
            return -ENOMEM;
    }
    r = sd_event_add_defer(j->cipher->m->event, &j->later, on_later, j);
    return r < 0 ? r : 0;
}

int cipher_job_begun(CipherJob *j, int r, const char *detail, CipherJob **ret)
{
    if (r != -EAGAIN)
        r = cipher_job_later(j, r, detail);
    if (r < 0 && r != -EAGAIN) {
        j->type->free(j);
        return r;
    }
    *ret = j;
    return 0;
}

static int on_step(sd_event_source *source, uint64_t usec, void *userdata)
{
    return on_later(source, userdata);
}

int cipher_job_fail_in_step(CipherJob *j, int r, const char *detail, uint64_t asked)
{
    uint64_t passed = clock_boottime() - asked;
    uint64_t end = asked + (passed / CIPHER_FAILURE_STEP + 1) * CIPHER_FAILURE_STEP;

    j->later_result = r;
    if (detail && *detail) {
        j->later_detail = strdup(detail);
        if (!j->later_detail)
            return -ENOMEM;
    }
    r = sd_event_add_time(j->cipher->m->event, &j->later, CLOCK_BOOTTIME, end, 1, on_step, j);
    return r < 0 ? r : 0;
}

static void remember_identity(Cipher *c)
{
    const IdentityPublic *own = identity_public(c->m->identity);

    c->epoch = identity_epoch(c->m->identity);
    memcpy(c->skid, own ? own->skid : "", own ? sizeof(c->skid) : 1);
}

/* What was begun before a lock ends now, and before anything else. */
static void fail_old_jobs(Cipher *c)
{
    CipherJob *j;

    do {
        DL_FOREACH (c->jobs, j)
            if (!j->finished && !cipher_job_is_current(j))
                break;
        if (j)
            cipher_job_fail(j, HMSG_ERROR_LOCKED, NULL); /* may free it, and others */
    } while (j);
}

static void on_identity_changed(Identity *i, void *userdata)
{
    Cipher *c = userdata;
    const IdentityPublic *own = identity_public(i);
    int r;

    if (identity_epoch(i) == c->epoch && strcmp(own ? own->skid : "", c->skid) == 0)
        return;
    if (identity_epoch(i) != c->epoch) { /* locked, or all keys are others now */
        r = session_in_lock(c->m->session_in);
        if (r < 0)
            log_error("The session keys: %s", strerror(-r));
    }
    if (identity_epoch(i) != c->epoch || *c->skid) /* or rotated: what was received stays readable */
        session_out_lock(c->m->session_out);
    remember_identity(c);
    fail_old_jobs(c);
}

int cipher_new(Manager *m, Cipher **ret)
{
    _cleanup_(cipher_freep) Cipher *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->m = m;
    r = secret_new(SESSION_KEYS_SIZE, &c->keys);
    if (r == 0)
        r = workers_new(m->event, &c->workers);
    if (r == 0)
        r = budget_new(m->config, &c->budget);
    if (r == 0)
        r = unwraps_new(m->event, m->identity, &c->unwraps);
    if (r < 0)
        return r;
    remember_identity(c);
    r = identity_watch(m->identity, on_identity_changed, c);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(c);
    return 0;
}

/* Its jobs belong to those who began them, and outlive it only as shells. */
Cipher *cipher_free(Cipher *c)
{
    if (!c)
        return NULL;
    while (c->jobs) {
        CipherJob *j = c->jobs;

        cipher_job_fail(j, HMSG_ERROR_CANCELLED, NULL);
        if (c->jobs == j) { /* not freed by its callback */
            DL_DELETE(c->jobs, j);
            j->cipher = NULL;
        }
    }
    workers_free(c->workers);
    budget_free(c->budget);
    unwraps_free(c->unwraps);
    opening_done(&c->now);
    secret_free(c->keys);
    free(c);
    return NULL;
}

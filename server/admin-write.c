/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/admin-write.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libhmsg/base/secret.h"

/* A change that its store may answer when nobody waits for it any more. */
typedef struct Pending {
    StoreWrite write;
    sem_t come;
    atomic_uint refs; /* who waits, and the store */
    char code[ADMIN_CODE_SIZE];
    void (*gone)(void *userdata, const uint8_t *skid);
    void *userdata;
} Pending;

static Pending *pending_unref(Pending *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return NULL;
    store_write_done(&p->write);
    (void)sem_destroy(&p->come);
    bytes_wipe(p->code, sizeof(p->code));
    free(p);
    return NULL;
}
DEFINE_CLEANUP(Pending *, pending_unref)

/* On a thread of the store. */
static void answered(StoreWrite *w)
{
    Pending *p = w->userdata;
    if (w->kind == STORE_UNREGISTER && w->unregister.number == 0 && w->result == 0 && p->gone)
        p->gone(p->userdata, w->unregister.skid);
    (void)sem_post(&p->come);
    (void)pending_unref(p);
}

static int pending_new(const Admin *a, const StoreWrite *w, Pending **ret)
{
    Pending *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    if (sem_init(&p->come, 0, 0) < 0) {
        free(p);
        return -ENOMEM;
    }
    atomic_init(&p->refs, 1);
    p->write = *w;
    p->write.done = answered;
    p->write.userdata = p;
    p->gone = a->gone;
    p->userdata = a->userdata;
    if (w->kind == STORE_INVITE) {
        (void)snprintf(p->code, sizeof(p->code), "%s", w->invite.code);
        p->write.invite.code = p->code;
    }
    *ret = p;
    return 0;
}

static int wait_for(sem_t *come, unsigned ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    for (;;) {
        int r = ms > 0 ? sem_clockwait(come, CLOCK_MONOTONIC, &until) : sem_wait(come);
        if (r == 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

int admin_write(const Admin *a, StoreWrite *w)
{
    _cleanup_(pending_unrefp) Pending *p = NULL;
    int r = pending_new(a, w, &p);
    if (r != 0)
        return r;
    (void)atomic_fetch_add(&p->refs, 1);
    r = store_write(a->store, &p->write);
    if (r != 0) { /* and answers nothing */
        (void)atomic_fetch_sub(&p->refs, 1);
        return r;
    }
    r = wait_for(&p->come, a->patience);
    if (r != 0)
        return r;
    if (w->kind == STORE_INVITE)
        w->invite.number = p->write.invite.number;
    return p->write.result;
}

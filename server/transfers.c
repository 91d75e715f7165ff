/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/transfers.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "server/problem.h"

struct Transfer {
    Transfers *all;
    Transfer *next, **at;
    uint8_t user[KID_SIZE];
    bool guest;
};

struct Transfers {
    pthread_mutex_t lock;
    size_t refs; /* the owner's and one for each transfer */
    Transfer *first;
};

int transfers_new(Transfers **ret)
{
    Transfers *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    (void)pthread_mutex_init(&t->lock, NULL);
    t->refs = 1;
    *ret = t;
    return 0;
}

Transfers *transfers_unref(Transfers *t)
{
    if (!t)
        return NULL;
    (void)pthread_mutex_lock(&t->lock);
    size_t left = --t->refs;
    (void)pthread_mutex_unlock(&t->lock);
    if (left > 0)
        return NULL;
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
    return NULL;
}

/* With the lock. */
static int check_room(const Transfers *t, const uint8_t *user, bool guest)
{
    unsigned n = 0, guests = 0;
    for (const Transfer *x = t->first; x; x = x->next) {
        n += memcmp(x->user, user, KID_SIZE) == 0; /* public */
        guests += x->guest;
    }
    if (t->refs > TRANSFERS_ALL_MAX || (guest && guests >= TRANSFERS_GUESTS_MAX))
        return PROBLEM_UNAVAILABLE;
    return n < TRANSFERS_MAX ? 0 : PROBLEM_TOO_MANY_REQUESTS;
}

int transfer_begin(Transfers *t, const uint8_t user[static KID_SIZE], bool guest, Transfer **ret)
{
    Transfer *x = calloc(1, sizeof(*x));
    if (!x)
        return -ENOMEM;
    x->all = t;
    x->guest = guest;
    memcpy(x->user, user, KID_SIZE);
    (void)pthread_mutex_lock(&t->lock);
    int r = check_room(t, user, guest);
    if (r == 0) {
        t->refs++;
        x->next = t->first;
        x->at = &t->first;
        if (x->next)
            x->next->at = &x->next;
        t->first = x;
    }
    (void)pthread_mutex_unlock(&t->lock);
    if (r != 0) {
        free(x);
        return r;
    }
    *ret = x;
    return 0;
}

Transfer *transfer_end(Transfer *x)
{
    if (!x)
        return NULL;
    Transfers *t = x->all;
    (void)pthread_mutex_lock(&t->lock);
    *x->at = x->next;
    if (x->next)
        x->next->at = x->at;
    (void)pthread_mutex_unlock(&t->lock);
    free(x);
    (void)transfers_unref(t);
    return NULL;
}

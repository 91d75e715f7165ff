/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How often a client may do what costs the relay something: so many at once, so many per minute. Used by any
 * thread. Memory is fixed: when too many clients are remembered, those who are the least busy are forgotten.
 */

#include <sys/socket.h>

#include "libhmsg/base/rate.h"

typedef enum LimitKind {
    LIMIT_NONCE,      /* nonces and challenges of an address */
    LIMIT_REGISTER,   /* registrations of an address */
    LIMIT_INVITE,     /* codes of invitations of an address */
    LIMIT_GUESTS,     /* registrations of guests of a network */
    LIMIT_LOOKUP,     /* questions to the directory of an address */
    LIMIT_SUBMIT,     /* messages of a sender */
    LIMIT_CAPABILITY, /* messages by one capability */
    LIMIT_STRANGERS,  /* messages of all guests of a network together */
    LIMIT_MAILBOX,    /* messages of all guests together into a mailbox */
    LIMIT_SETTINGS,   /* changes of the settings of an owner's mailbox */
    LIMIT_KIND_MAX_,
} LimitKind;

typedef Rate LimitRate;

typedef struct Limiter Limiter;

int limiter_new(const LimitRate rates[static LIMIT_KIND_MAX_], Limiter **ret);
Limiter *limiter_free(Limiter *l);
DEFINE_CLEANUP(Limiter *, limiter_free)
/* Other rates from now on; what was taken counts on. */
void limiter_set(Limiter *l, const LimitRate rates[static LIMIT_KIND_MAX_]);

/* One more for the client that is named by n bytes; now in microseconds. False: too many, *ret_retry seconds
 * until the next one. */
bool limiter_take(Limiter *l, LimitKind kind, const void *client, size_t n, uint64_t now,
                  unsigned *ret_retry);
/* The same for an address: IPv6 clients are told apart by the first 64 bits only. Strangers and guests are
 * told apart by the first 24 bits, of IPv6 48: what one of them can have without effort. */
bool limiter_take_address(Limiter *l, LimitKind kind, const struct sockaddr_storage *address, uint64_t now,
                          unsigned *ret_retry);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From the recipients of a message to the mailboxes that it goes to: each recipient's own, and those of the
 * devices that a recipient names and that agree. */

#include "agent/contacts.h"
#include "agent/relays.h"

/* What is needed to encrypt to one mailbox, and to deliver. */
typedef struct OutboxTarget {
    char kid[HASH_TEXT_SIZE];
    char recipient[ADDRESS_SIZE_MAX + 1]; /* for people */
    char relay[RELAY_TEXT_SIZE];
    Buf spki;
    RecoveryKeys recovery;
    size_t n_packages; /* for the caller: one for each key */
} OutboxTarget;

typedef struct OutboxTargets OutboxTargets;

/* 1..RECIPIENTS_MAX recipients, copied; else INVALID_ARGS. */
int outbox_targets_new(Contacts *c, const char *const *recipients, size_t n, bool trust_relay,
                       OutboxTargets **ret);
OutboxTargets *outbox_targets_free(OutboxTargets *t);
DEFINE_CLEANUP(OutboxTargets *, outbox_targets_free)

/* Called once, from the event loop, unless it is stopped. detail is a sentence for people, never NULL. */
typedef void (*outbox_targets_t)(int r, const char *detail, void *userdata);
int outbox_targets_start(OutboxTargets *t, outbox_targets_t done, void *userdata);
void outbox_targets_stop(OutboxTargets *t); /* NULL: nothing */
/* When done was called with 0: each mailbox once, at least one; of t. */
OutboxTarget *outbox_targets_get(OutboxTargets *t, size_t *ret_n);

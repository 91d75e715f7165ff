/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The recipients of one call, from their names (contacts_resolve) and from keys in bytes, as cipher_seal
 * takes them. */

#include "agent/bus-util.h"
#include "agent/cipher.h"

typedef struct RecipientList RecipientList;

/* Called once, from the event loop: 0 when all are there. */
typedef void (*recipient_list_t)(int r, const char *detail, void *userdata);

/* What names and keys point at stays valid until the list is freed. INVALID_ARGS: none at all. TOO_LARGE:
 * more than RECIPIENTS_MAX, with recovery keys and devices. BAD_PACKAGE: a key that is none. */
int recipient_list_new(Manager *m, const BusStrings *names, const BusBytesList *keys, recipient_list_t done,
                       void *userdata, RecipientList **ret);
/* 0: all are there now; -EAGAIN: done will be called. */
int recipient_list_start(RecipientList *l);
RecipientList *recipient_list_free(RecipientList *l);
DEFINE_CLEANUP(RecipientList *, recipient_list_free)

/* Why not, in a sentence for people, when one of keys is a certificate to which nothing may be encrypted now;
 * else NULL. */
const char *recipient_list_refusal(const BusBytesList *keys);

/* In the order of names, then keys, then, if wanted, the recovery keys of them and the devices that they name
 * and that agree, with theirs; owned by l. */
const SealKey *recipient_list_keys(const RecipientList *l, bool recovery, size_t *ret_n);

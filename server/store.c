/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store.h"

void store_limits_init(StoreLimits *l)
{
    *l = (StoreLimits){
        .mailbox_bytes = STORE_MAILBOX_BYTES,
        .mailbox_messages = STORE_MAILBOX_MESSAGES,
        .sender_bytes = STORE_SENDER_BYTES,
        .sender_messages = STORE_SENDER_MESSAGES,
        .strangers_bytes = STORE_STRANGERS_BYTES,
        .strangers_messages = STORE_STRANGERS_MESSAGES,
        .body_bytes = ATTACHMENT_SIZE_MAX,
        .space_reserve = STORE_SPACE_RESERVE,
        .former_seconds = STORE_FORMER_SECONDS,
    };
}

const char *store_state_text(StoreState s)
{
    static const char *const texts[STORE_STATE_MAX_] = {
        [STORE_ACCEPTED] = "accepted", [STORE_DELIVERED] = "delivered", [STORE_EXPIRED] = "expired"};
    return (unsigned)s < STORE_STATE_MAX_ ? texts[s] : "expired";
}

void store_write_done(StoreWrite *w)
{
    free(w->changes);
    w->changes = NULL;
    w->n_changes = 0;
}

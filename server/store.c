/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/store.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "server/at-rest.h"

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
        .key_seals = AT_REST_SEALS_MAX,
    };
}

const char *store_state_text(StoreState s)
{
    static const char *const texts[STORE_STATE_MAX_] = {
        [STORE_ACCEPTED] = "accepted", [STORE_DELIVERED] = "delivered", [STORE_EXPIRED] = "expired"};
    return (unsigned)s < STORE_STATE_MAX_ ? texts[s] : "expired";
}

const char *store_problem(int r)
{
    switch (r) {
    case -ENOENT:
        return "there is no store yet";
    case -EBUSY:
        return "another relay uses it";
    case -EBADMSG:
        return "the store is damaged";
    case -ENOTSUP:
        return "the store was made by a newer version";
    case -ESTALE:
        return "the store was made by a version before: start the relay, which brings it up to date";
    case -ENODATA:
        return "it was moved away: the entry store of the configuration is to say where to";
    case -EINPROGRESS:
        return "a migration has not ended: give the same hmsg-relay store migrate again";
    case HMSG_ERROR_AUTHENTICATION_FAILED:
        return "the store is encrypted for another identity key";
    default:
        return r < 0 ? strerror(-r) : error_message(r);
    }
}

void store_write_done(StoreWrite *w)
{
    free(w->changes);
    w->changes = NULL;
    w->n_changes = 0;
}

static void answered(StoreWrite *w)
{
    (void)sem_post(w->userdata);
}

int store_write_wait(Store *s, StoreWrite *w)
{
    sem_t come;
    if (sem_init(&come, 0, 0) < 0)
        return -errno;
    w->done = answered;
    w->userdata = &come; /* cppcheck-suppress autoVariables ; it is waited for, and forgotten below */
    int r = store_write(s, w);
    while (r == 0 && sem_wait(&come) < 0)
        continue;
    (void)sem_destroy(&come);
    w->userdata = NULL;
    return r == 0 ? w->result : r;
}

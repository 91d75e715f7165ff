/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Our sessions with others: one for each recipient key, signed once in the TPM, never on disk. A session
 * ends after SESSION_LIFETIME_MAX, SESSION_IDLE_MAX, SESSION_MESSAGES_MAX or SESSION_BYTES_MAX, and at lock.
 * Anonymous ones are apart from signed ones. Main thread only. */

#include "agent/manager.h"
#include "libhmsg/wire/package.h"

#define SESSION_OUT_MAX 1024u /* sessions; the least recently used goes */

typedef struct OutSession OutSession; /* reference-counted */
OutSession *out_session_unref(OutSession *o);
DEFINE_CLEANUP(OutSession *, out_session_unref)

const WireSession *out_session_wire(const OutSession *o);
/* Takes a sequence number for bytes of plaintext. -EAGAIN: it has ended, get another. */
int out_session_use(OutSession *o, uint64_t bytes, uint64_t *ret_seq);

int session_out_new(Manager *m, SessionOut **ret);
SessionOut *session_out_free(SessionOut *s);
DEFINE_CLEANUP(SessionOut *, session_out_free)

typedef struct OutKey {
    const char *kid; /* of spki, 43 characters */
    const void *spki;
    size_t spki_size;
    bool anonymous;
    bool fresh; /* one that nobody else gets */
} OutKey;

/* A session that needs no TPM: one that is there, or an anonymous one. -EAGAIN: session_out_get. */
int session_out_now(SessionOut *s, const OutKey *key, OutSession **ret);

typedef struct SessionOutRequest SessionOutRequest;
/* Cancels; to be called for every request, also in or after its callback. */
SessionOutRequest *session_out_request_free(SessionOutRequest *q);
DEFINE_CLEANUP(SessionOutRequest *, session_out_request_free)

/* Called once, from the event loop, never inside the call that started it. session is NULL unless r is 0;
 * it belongs to the caller, who takes a reference of its own. */
typedef void (*session_out_done_t)(int r, const char *detail, OutSession *session, void *userdata);

/* Begins a signed session, or waits for the one that somebody else has begun. Fails at once with NO_IDENTITY,
 * LOCKED, TPM_UNAVAILABLE, BAD_PACKAGE (of the key). */
int session_out_get(SessionOut *s, const OutKey *key, session_out_done_t done, void *userdata,
                    SessionOutRequest **ret);
OutSession *out_session_ref(OutSession *o);

/* Forgets every session; whoever waits for one gets LOCKED. */
void session_out_lock(SessionOut *s);
/* name NULL: all that are complete. Returns how many. */
/* Those with a recipient key that was given up; those that wait for their signature stay. */
void session_out_drop(SessionOut *s, const char *kid);
unsigned session_out_flush(SessionOut *s, const char *name);

typedef struct SessionOutFacts {
    const char *name;
    const char *kid;
    int64_t created, last_used;
    uint64_t uses;
} SessionOutFacts;
int session_out_each(SessionOut *s, int (*f)(const SessionOutFacts *facts, void *userdata), void *userdata);
unsigned session_out_count(const SessionOut *s);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sessions of others with us: the key that the TPM unwrapped, kept in the keyring, and what was found out
 * about it, so that the next package of the session costs no TPM, no signature check and no database. An
 * entry is valid until the next return to the event loop, or until it is dropped. Main thread only. */

#include "agent/contacts.h"
#include "agent/manager.h"
#include "libhmsg/base/secret.h"
#include "libhmsg/wire/statement.h"

#define SESSION_NAME_SIZE 17u /* 16 hex digits, random, and the final 0: what List shows and Flush takes */

/* What contacts said of the sender, good while contacts_generation stays the same. */
typedef struct SenderAnswer {
    bool there;
    uint64_t generation;
    ContactTrust trust;
    char *address;          /* owned; "" when none */
    const char *protection; /* static: what the sender says that protects its keys; NULL or "": nothing */
} SenderAnswer;

/* Copies the address. A NULL address is "". */
int sender_answer_set(SenderAnswer *a, uint64_t generation, ContactTrust trust, const char *address,
                      const char *protection);
void sender_answer_done(SenderAnswer *a);

typedef struct SessionInEntry SessionInEntry;

int session_in_new(Manager *m, SessionIn **ret);
SessionIn *session_in_free(SessionIn *s);
DEFINE_CLEANUP(SessionIn *, session_in_free)

/* id: package_cache_id. NULL: not there, or timed out. Does not count as use. */
SessionInEntry *session_in_find(SessionIn *s, const uint8_t id[static SHA256_SIZE]);
/* Into ret, of SESSION_KEYS_SIZE bytes. -ENOKEY: it is gone, and so is the entry. */
int session_in_keys(SessionIn *s, SessionInEntry *e, Secret *ret);
/* The same by Package.recall_id. */
SessionInEntry *session_in_recall(SessionIn *s, const uint8_t recall_id[static SHA256_SIZE]);

/* A session whose keys, of SESSION_KEYS_SIZE bytes, are those that its package commits to. */
typedef struct SessionInNew {
    const uint8_t *id, *recall_id;     /* SHA256_SIZE bytes each */
    const SessionStatement *statement; /* verified; when anonymous: kid, sid, kc and the widest times */
    bool anonymous;
    const Secret *keys;
} SessionInNew;
/* Takes the place of an entry of the same id; at SESSION_CACHE_MAX of the least recently used. */
int session_in_put(SessionIn *s, const SessionInNew *new, SessionInEntry **ret);

const SessionStatement *session_in_statement(const SessionInEntry *e);
bool session_in_is_anonymous(const SessionInEntry *e);
SenderAnswer *session_in_answer(SessionInEntry *e);
/* A package of it was opened: renews the idle time; true when one with this seq was opened before, or when
 * seq is too old to tell (REPLAY_WINDOW). */
bool session_in_use(SessionIn *s, SessionInEntry *e, uint64_t seq);

/* Keys that do not open: remembered, so that sending them again costs no TPM. */
bool session_in_has_failed(const SessionIn *s, const uint8_t id[static SHA256_SIZE]);
int session_in_put_failed(SessionIn *s, const uint8_t id[static SHA256_SIZE]);

/* Forgets every session, and has the kernel invalidate every key. What failed stays known. */
int session_in_lock(SessionIn *s);
/* name NULL: all. Returns how many. */
unsigned session_in_flush(SessionIn *s, const char *name);

typedef struct SessionInFacts {
    const char *name;
    const char *peer; /* address, else kid of the sign key, "" when anonymous */
    int64_t created, last_used;
    uint64_t uses;
    bool hot;
} SessionInFacts;
/* Calls f for each entry until it returns non-zero; returns that. */
int session_in_each(SessionIn *s, int (*f)(const SessionInFacts *facts, void *userdata), void *userdata);

unsigned session_in_count(const SessionIn *s);
uint64_t session_in_idle_timeout(const SessionIn *s);     /* seconds */
uint64_t session_in_absolute_timeout(const SessionIn *s); /* seconds */

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tables of received mail: what is in the inbox, what was seen, what the relay may delete. Synchronous;
 * every change is durable when it returns. */

#include "agent/relays.h"
#include "agent/store.h"

#define INBOX_QUARANTINE_MAX 256u              /* messages; the oldest go first */
#define INBOX_QUARANTINE_BYTES_MAX (64u << 20) /* of their bodies together */
/* Of what nobody could look at yet, and so anybody can have sent; more waits at the relay. */
#define INBOX_UNCHECKED_MAX 8192u
#define INBOX_UNCHECKED_BYTES_MAX (1ull << 30)
#define INBOX_DONE_SECONDS (31u * 86400u) /* ids are remembered; longer than a relay keeps a message */

typedef enum InboxState {
    INBOX_UNCHECKED, /* as it came: the agent was locked, or could not ask */
    INBOX_NEW,
    INBOX_READ,
    INBOX_QUARANTINED,
} InboxState;

typedef enum InboxAcknowledge {
    INBOX_ACK_DUE,
    INBOX_ACK_DONE,
    INBOX_ACK_HELD, /* durable, but the TPM failed: the relay keeps it as well */
} InboxAcknowledge;

typedef struct InboxRow {
    int64_t serial;
    char id[HASH_TEXT_SIZE], skid[HASH_TEXT_SIZE], submitter[HASH_TEXT_SIZE]; /* skid "": not known */
    char relay[RELAY_TEXT_SIZE];
    char file[STORE_FILE_NAME_SIZE];
    InboxState state;
    InboxAcknowledge acknowledge;
    int64_t received;
    uint64_t size;
    int reason;               /* HmsgError why it is quarantined */
    char kid[HASH_TEXT_SIZE]; /* of our key that the body hangs on; "": not known, INBOX_KID_NONE: none */
    bool kept; /* the body is ours: what it was, for a later key. Then skid, created and sent count */
    int64_t created, sent; /* by the sender: its session, the message */
} InboxRow;
#define INBOX_KID_NONE "-"

/* A place in the replay window. */
typedef struct InboxSeen {
    const char *skid; /* NULL: anonymous, nothing to record */
    const uint8_t *sid;
    uint64_t seq;
    int64_t session_expires;
} InboxSeen;

typedef struct Inbox Inbox;
int inbox_new(Store *s, Inbox **ret);
Inbox *inbox_free(Inbox *i);
DEFINE_CLEANUP(Inbox *, inbox_free)

/* Is id in the inbox or done with? When the relay does not know that yet, it becomes due again. */
int inbox_knows(Inbox *i, const char *id, bool *ret);
/* Was this session's seq there before (or is it older than the window)? */
int inbox_seen(Inbox *i, const InboxSeen *seen, bool *ret);

/* In one transaction: writes row (serial 0: a new one with body, which is taken over; else state, skid,
 * reason and acknowledge of the old), and records seen (may be NULL). Then keeps the quarantine in its
 * limits. */
int inbox_put(Inbox *i, InboxRow *row, StoreBody *body, const InboxSeen *seen);
int inbox_mark_read(Inbox *i, const char *id);

int inbox_get(Inbox *i, const char *id, InboxRow *ret); /* NOT_FOUND */
/* The body: bytes, or an open file. */
int inbox_body(Inbox *i, const InboxRow *row, Buf *ret_bytes, int *ret_fd);
/* The oldest row behind serial after that can be read and hangs on another key than kid; NOT_FOUND. What is
 * not checked yet comes when it is. */
int inbox_next_hanging(Inbox *i, const char *kid, int64_t after, InboxRow *ret);
/* Does anything that can be read, now or once it is checked, hang on kid, or may it? */
int inbox_needs(Inbox *i, const char *kid, bool *ret);
int inbox_set_kid(Inbox *i, const InboxRow *row, const char *kid);
/* Puts body, which is taken over, in the place of what the row had, with its kid, skid, created and sent; the
 * row is kept then. NOT_FOUND: it was deleted. */
int inbox_keep(Inbox *i, const InboxRow *row, StoreBody *body);
/* Its id is remembered. NOT_FOUND. */
int inbox_delete(Inbox *i, const char *id);

/* Rows with a greater serial, oldest first, until f returns non-zero. */
int inbox_each(Inbox *i, uint64_t after, int (*f)(const InboxRow *row, void *userdata), void *userdata);
/* The oldest row in this state behind serial after; NOT_FOUND. */
int inbox_next(Inbox *i, InboxState state, int64_t after, InboxRow *ret);
int inbox_count_unread(Inbox *i, uint64_t *ret);
/* For one more that is not checked. */
int inbox_has_room(Inbox *i, bool *ret);

/* At most n ids that relay may delete: 43 characters and a 0 each. */
int inbox_due(Inbox *i, const char *relay, char (*ret)[HASH_TEXT_SIZE], size_t max, size_t *ret_n);
int inbox_acknowledged(Inbox *i, const char *const *ids);
/* Forgets what is too old to come again. */
int inbox_expire(Inbox *i, int64_t now);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Received mail: fetched from our relays as it comes, checked in the order that docs/protocol.md fixes, kept
 * as it came, acknowledged once that is durable. Asynchronous as relays.h is. */

#include "agent/cipher.h"
#include "agent/inbox.h"
#include "agent/mail-content.h"

#define MAILBOX_QUEUE_MAX 4096u   /* messages known and not yet fetched; more are asked for afterwards */
#define MAILBOX_ACTIVE_MAX 4u     /* fetched and checked side by side */
#define MAILBOX_RETRY_SECONDS 60u /* until what could not be fetched or checked is tried again */

int mailbox_new(Manager *m, Mailbox **ret);
Mailbox *mailbox_free(Mailbox *b); /* cancels every request */
DEFINE_CLEANUP(Mailbox *, mailbox_free)
/* To be called after every change of state or keys. */
void mailbox_identity_changed(Mailbox *b);

typedef struct MailboxRequest MailboxRequest;
MailboxRequest *mailbox_request_free(MailboxRequest *q);
DEFINE_CLEANUP(MailboxRequest *, mailbox_request_free)

/* info, head and content are NULL unless r is 0; content is NULL as well when it went to a descriptor. */
typedef void (*mailbox_read_t)(int r, const char *detail, const OpenInfo *info, const MailHead *head,
                               int64_t received, const Buf *content, void *userdata);

/* TOO_LARGE: use mailbox_read_fd. LOCKED. */
int mailbox_read(Mailbox *b, const char *id, bool allow_unknown, mailbox_read_t done, void *userdata,
                 MailboxRequest **ret);
/* destination is duplicated and written to where it stands. */
int mailbox_read_fd(Mailbox *b, const char *id, int destination, bool allow_unknown, mailbox_read_t done,
                    void *userdata, MailboxRequest **ret);

/* A message as it is stored, which is encrypted, to where destination stands; no key is used. NOT_FOUND. */
typedef void (*mailbox_copy_t)(int r, uint64_t size, void *userdata);
int mailbox_copy(Mailbox *b, const char *id, int destination, mailbox_copy_t done, void *userdata,
                 MailboxRequest **ret);
/* Reads such a copy, of this inbox or another's; the callback has no row, and thus no time of receipt. */
int mailbox_read_copy(Mailbox *b, int source, int destination, bool allow_unknown, mailbox_read_t done,
                      void *userdata, MailboxRequest **ret);

typedef struct MailboxSync {
    unsigned fetched, relays, unreachable;
} MailboxSync;
typedef void (*mailbox_sync_t)(int r, const char *detail, const MailboxSync *result, void *userdata);
/* RELAY_UNAVAILABLE: there are relays of ours, and none can be reached. */
int mailbox_sync(Mailbox *b, mailbox_sync_t done, void *userdata, MailboxRequest **ret);

/* Why a message that waits at this relay could not be fetched; "" when none could not. */
const char *mailbox_fault(const Mailbox *b, const char *relay);

int mailbox_delete(Mailbox *b, const char *id);
Inbox *mailbox_inbox(Mailbox *b);
/* "new", "read" or "quarantined" */
const char *mailbox_state_name(InboxState s);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Mail on its way out: encrypted, durable, submitted again and again until a relay gives a receipt that says
 * the right thing, watched until it was delivered. Asynchronous as relays.h is. */

#include "agent/manager.h"
#include "agent/outbox-store.h"

#define OUTBOX_ACTIVE_MAX 8u       /* submissions side by side */
#define OUTBOX_ACTIVE_RELAY_MAX 3u /* of them to one relay, so that a slow one does not stop the others */
#define OUTBOX_RETRY_MIN 2u        /* seconds; doubled with each attempt, with jitter */
#define OUTBOX_RETRY_MAX (15u * 60u)

int outbox_new(Manager *m, Outbox **ret);
Outbox *outbox_free(Outbox *o); /* cancels every request */
DEFINE_CLEANUP(Outbox *, outbox_free)
/* To be called after every change of state or keys. */
void outbox_identity_changed(Outbox *o);

typedef struct OutboxRequest OutboxRequest;
OutboxRequest *outbox_request_free(OutboxRequest *q);
DEFINE_CLEANUP(OutboxRequest *, outbox_request_free)

typedef struct OutboxSend {
    const char *const *recipients;   /* as contacts_resolve takes them */
    size_t n;                        /* 1..RECIPIENTS_MAX */
    const char *subject, *file_name; /* NULL: none */
    uint64_t expires_in;             /* seconds; 0: as long as possible */
    bool trust_relay, fresh;
} OutboxSend;

/* id: valid during the callback; the messages are durable. */
typedef void (*outbox_sent_t)(int r, const char *detail, const char *id, void *userdata);
typedef void (*outbox_progress_t)(uint64_t done, uint64_t total, void *userdata);

/* All but content and source is copied before it returns; they too: content is, source is duplicated and read
 * from where it stands. progress may be NULL. INVALID_ARGS, TOO_LARGE, QUOTA_EXCEEDED, and what resolving and
 * encrypting give. */
int outbox_send(Outbox *o, const OutboxSend *what, const void *content, size_t size, outbox_sent_t done,
                void *userdata, OutboxRequest **ret);
int outbox_send_fd(Outbox *o, const OutboxSend *what, int source, outbox_progress_t progress,
                   outbox_sent_t done, void *userdata, OutboxRequest **ret);

OutboxStore *outbox_store(Outbox *o);
/* NOT_FOUND. "" retries all. */
int outbox_retry(Outbox *o, const char *id);
/* ALREADY_EXISTS: a relay has accepted it. */
int outbox_cancel(Outbox *o, const char *id);
/* INVALID_ARGS: not finished. */
int outbox_delete(Outbox *o, const char *id);
/* Tries now what waits for its time. */
void outbox_hurry(Outbox *o);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of sent mail. Synchronous; every change is durable when it returns. */

#include "agent/relays.h"
#include "agent/store.h"

#define OUTBOX_PENDING_MAX 10000u             /* messages that no relay has accepted */
#define OUTBOX_PENDING_BYTES_MAX (4ull << 30) /* of their bodies together */
#define OUTBOX_ERROR_SIZE 256u
#define OUTBOX_LOST_SECONDS 86400              /* after its expiry an accepted message is given up */
#define OUTBOX_FINISHED_SECONDS (30u * 86400u) /* finished ones are listed so long */

typedef enum OutboxState {
    OUTBOX_QUEUED,
    OUTBOX_ACCEPTED,
    OUTBOX_DELIVERED,
    OUTBOX_FAILED,
    OUTBOX_EXPIRED,
} OutboxState;

/* "queued", "accepted", "delivered", "failed", "expired" */
const char *outbox_state_name(OutboxState s);

typedef struct OutboxRow {
    int64_t serial;
    char id[HASH_TEXT_SIZE];      /* common to all recipients of one Send */
    char message[HASH_TEXT_SIZE]; /* message id of the relay */
    char kid[HASH_TEXT_SIZE];
    char recipient[ADDRESS_SIZE_MAX + 1]; /* for people */
    char relay[RELAY_TEXT_SIZE];
    char file[STORE_FILE_NAME_SIZE];
    uint8_t body_sha256[SHA256_SIZE];
    OutboxState state;
    int64_t queued, expires, next_attempt;
    uint64_t size;
    unsigned attempts;
    char error[OUTBOX_ERROR_SIZE];
} OutboxRow;

typedef struct OutboxStore OutboxStore;
int outbox_store_new(Store *s, OutboxStore **ret);
OutboxStore *outbox_store_free(OutboxStore *o);
DEFINE_CLEANUP(OutboxStore *, outbox_store_free)

/* Either all rows, with one body each, or none. QUOTA_EXCEEDED. */
int outbox_store_add(OutboxStore *o, OutboxRow *rows, StoreBody *bodies, size_t n);
/* Writes state, attempts, next_attempt and error; a body that is not needed any more goes at once. */
int outbox_store_update(OutboxStore *o, OutboxRow *row);
int outbox_store_remove(OutboxStore *o, const OutboxRow *row);
/* The body as a descriptor. NOT_FOUND: it is gone, for it is not needed any more. */
int outbox_store_body(OutboxStore *o, const OutboxRow *row, int *ret_fd);

/* Rows behind a serial until f returns non-zero; f must change nothing. */
typedef int (*outbox_row_t)(const OutboxRow *row, void *userdata);
int outbox_store_each(OutboxStore *o, uint64_t after, outbox_row_t f, void *userdata);
/* The first row behind serial after of a Send; NOT_FOUND. */
int outbox_store_next_of(OutboxStore *o, const char *id, int64_t after, OutboxRow *ret);
int outbox_store_find(OutboxStore *o, const char *relay, const char *message, OutboxRow *ret);
/* The first one behind serial after that is queued and due; NOT_FOUND. */
int outbox_store_next_due(OutboxStore *o, int64_t now, int64_t after, OutboxRow *ret);
/* The first one at relay (NULL: any) behind serial after in this state; NOT_FOUND. */
int outbox_store_next_at(OutboxStore *o, const char *relay, OutboxState state, int64_t after, OutboxRow *ret);
/* The first one whose time is over; NOT_FOUND. */
int outbox_store_next_expired(OutboxStore *o, int64_t now, OutboxRow *ret);
/* All that are queued for relay (NULL: for all) is not tried before then; or at once. */
int outbox_store_postpone(OutboxStore *o, const char *relay, int64_t then);
int outbox_store_hurry(OutboxStore *o, const char *relay);
/* All that are queued for another relay of the same host and port are for this one, at once. */
int outbox_store_move(OutboxStore *o, const char *relay);
/* When something is to be done next; INT64_MAX: nothing. */
int outbox_store_when(OutboxStore *o, int64_t *ret);
int outbox_store_pending(OutboxStore *o, uint64_t *ret_n, uint64_t *ret_bytes);

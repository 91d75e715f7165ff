/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to the files outbox*.c. */

#include "agent/body-hash.h"
#include "agent/cipher.h"
#include "agent/contacts.h"
#include "agent/identity.h"
#include "agent/mail-pump.h"
#include "agent/outbox.h"

/* One submission that is under way. */
typedef struct Delivery {
    struct Delivery *prev, *next;
    Outbox *owner;
    OutboxRow row;
    RelaysRequest *request;
    OutboxState told; /* what the relay said meanwhile; QUEUED: nothing */
} Delivery;

/* Asks a relay what became of our messages there, one after the other. */
typedef struct Poll {
    struct Poll *prev, *next;
    Outbox *owner;
    char relay[RELAY_TEXT_SIZE];
    OutboxRow row;
    RelaysRequest *request;
    bool again; /* from the first row on, once more */
} Poll;

struct Outbox {
    Manager *m;
    OutboxStore *store;
    Workers *workers; /* of the pumps */
    Delivery *deliveries;
    Poll *polls;
    OutboxRequest *requests;
    sd_event_source *timer;
    bool pumping;
    int64_t begun; /* what was queued before this may have been submitted by an agent of before */
};

/* outbox.c */
void outbox_pump(Outbox *o);
/* Writes a row's state and tells of it when it is another. */
int outbox_set_state(Outbox *o, OutboxRow *row, OutboxState state, const char *error);
void outbox_emit_state(Outbox *o, const OutboxRow *row);

/* outbox-status.c */
void outbox_status_start(Outbox *o, const char *relay);
void outbox_status_stop(Outbox *o);
/* A relay says what became of a message. */
void outbox_status_told(Outbox *o, const char *relay, const char *message, const char *state);
/* Stays connected to a relay as long as it has messages of ours. */
void outbox_status_keep(Outbox *o, const char *relay);

/* outbox-send.c */
void outbox_request_detach(OutboxRequest *q);

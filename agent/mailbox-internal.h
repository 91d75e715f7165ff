/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to the files mailbox*.c. */

#include "agent/body-hash.h"
#include "agent/contacts.h"
#include "agent/identity.h"
#include "agent/mail-pump.h"
#include "agent/mailbox.h"
#include "libhmsg/wire/package.h"

/* Why a message is in quarantine, besides an HmsgError; told as AUTHENTICATION_FAILED. */
#define REASON_REPLAYED 1001
#define REASON_EXPIRED 1002

#define LOST_KIDS_MAX 16u /* keys of recovered addresses for which mail is looked at, too */

typedef struct Intake Intake;
typedef struct Keeping Keeping;
/* r 0: the message is settled, k->row says how. Else it is as it was before. */
typedef void (*intake_done_t)(Intake *k, int r, const char *detail);

/* One message on its way into the inbox, or one there that is checked now. */
struct Intake {
    Intake *prev, *next; /* of the owner's queue */
    Mailbox *owner;
    InboxRow row; /* serial 0: not yet in the store */
    bool active;
    bool allow_unknown;
    char file[STORE_FILE_NAME_SIZE]; /* that is being filled */
    int fd;
    StoreBody body; /* of a new one */
    Buf bytes;      /* a package to be checked, however it is stored */
    int stream;     /* a stream to be checked, or -1 */
    RelaysRequest *fetch;
    BodyHash *hash;
    size_t kid; /* of ours, for which the id is being computed */
    ContactsRequest *ask;
    CipherJob *job;
    Package *package;
    bool unproven; /* any of several recipients can have made it */
    int64_t session_created, session_expires;
    intake_done_t done;
    void *userdata;
};

/* Acknowledging and listing at one relay. */
typedef struct MailboxRelay {
    struct MailboxRelay *prev, *next;
    Mailbox *owner;
    char relay[RELAY_TEXT_SIZE];
    RelaysRequest *acknowledge, *list;
    uint64_t listed; /* sequence number */
    int list_result; /* of the last listing */
    bool behind;     /* something was not fetched: list again */
    char fault[200]; /* why */
} MailboxRelay;

struct MailboxRequest {
    MailboxRequest *prev, *next;
    Mailbox *owner; /* NULL: finished */
    sd_event_source *later;
    char detail[256];
    InboxRow row;
    mailbox_read_t read_done;
    mailbox_sync_t sync_done;
    mailbox_copy_t copy_done;
    void *userdata;
    /* read */
    bool allow_unknown;
    int destination; /* -1: read into memory */
    int source;      /* -1: of the row; else what is read, or copied */
    Intake *check;
    ContactsRequest *ask; /* who a kept one is from, which is then in sender and trust */
    ContactTrust trust;
    CipherJob *job;
    MailPump *pump;
    bool opened, pumped;
    int open_result, pump_result;
    OpenInfo info;
    char sender[ADDRESS_SIZE_MAX + 1], sender_kid[HASH_TEXT_SIZE], format[8];
    MailHead head;
    uint64_t written;
    /* sync */
    uint64_t fetched_before;
};

struct Mailbox {
    Manager *m;
    Inbox *inbox;
    Workers *workers; /* of the pumps */
    Intake *queue;
    unsigned n_queue, n_active;
    MailboxRelay *relays;
    MailboxRequest *requests;
    sd_event_source *timer;
    uint64_t fetched;
    int64_t rechecked; /* serial up to which rows are being checked anew */
    bool rechecking, pumping;
    Keeping *keeping; /* what is being kept */
    sd_event_source *start;
    sd_event_source *keep_turn;
    int64_t kept; /* serial up to which rows were looked at */
    bool keep_wanted, keep_failed, keep_changed;
};

/* mailbox-intake.c */
int intake_new(Mailbox *b, intake_done_t done, void *userdata, Intake **ret);
Intake *intake_free(Intake *k);
DEFINE_CLEANUP(Intake *, intake_free)
/* A new message: fetch, compare with its id, check, store. May end at once, by its callback. */
void intake_fetch(Intake *k);
void intake_finish(Intake *k, int r, const char *detail);

/* mailbox-check.c: what is known of the body decides; ends by its callback, perhaps at once. */
void intake_check(Intake *k);
/* Reads the body of a row and checks all that needs no key: package, kid, skid and what is said of the
 * session are there then. */
int intake_identify(Intake *k);

/* mailbox-keep.c: encrypts to our key of now what hangs on former ones, one after the other, and lets these
 * go when nothing does any more. */
void mailbox_keep(Mailbox *b);
Keeping *keeping_free(Keeping *k);
DEFINE_CLEANUP(Keeping *, keeping_free)

/* mailbox.c */
/* What could not be done now is tried again after a while. */
void mailbox_try_later(Mailbox *b);
MailboxRelay *mailbox_relay(Mailbox *b, const char *relay);
void mailbox_list(MailboxRelay *l);
/* Puts a message into the queue unless it is known. */
void mailbox_enqueue(Mailbox *b, const char *relay, const RelaysMessage *message);
void mailbox_acknowledge(Mailbox *b, const char *relay);
bool mailbox_busy(const Mailbox *b, const char *relay);

/* mailbox-sync.c: something has ended that a Sync may wait for. */
void mailbox_sync_check(Mailbox *b);

/* mailbox-read.c */
/* The body of q->row as a descriptor, at its start. */
int mailbox_body_fd(MailboxRequest *q, int *ret);
/* Opens source to q->destination; ends by q->read_done. */
int mailbox_open_to_fd(MailboxRequest *q, int source);
void mailbox_read_fail(MailboxRequest *q, int r, const char *detail);
int mailbox_request_alloc(Mailbox *b, MailboxRequest **ret);
void mailbox_request_detach(MailboxRequest *q);

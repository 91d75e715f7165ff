/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* relay.conf(5), read and checked. */

#include "libhmsg/base/buf.h"
#include "libhmsg/wire/address.h"
#include "server/postgres.h"

#define OPTIONS_ERROR_SIZE 512u

/* Who may register a name that is new here. */
typedef enum OptionMode {
    REGISTRATION_OPEN,   /* everybody */
    REGISTRATION_INVITE, /* with an invitation */
    REGISTRATION_CLOSED, /* nobody */
} OptionMode;

/* Where messages are. */
typedef enum OptionStore {
    STORE_SQLITE,   /* in the data folder */
    STORE_POSTGRES, /* in a database that other relays may share */
} OptionStore;

typedef struct Options {
    Relay relay;                  /* [relay] host: the part behind @ of its addresses, without pin */
    bool host_has_port;           /* else the port of its addresses is the one that it listens on */
    char *config;                 /* where it was read from */
    char *listen;                 /* [relay] listen: ADDR:PORT; port 0: a free one */
    char *data;                   /* [relay] data: folder */
    OptionStore store;            /* [relay] store */
    PostgresOptions postgres;     /* [postgres] connection, passfile, certificate, quorum */
    char *monitor;                /* [monitor] listen: ADDR:PORT; NULL: none */
    char *key;                    /* [identity] key */
    char *passphrase;             /* [identity] passphrase: file */
    char *pin;                    /* [identity] pin: file */
    char *tcti;                   /* [identity] tcti; NULL: of the TPM's usual device */
    uint64_t identity_age;        /* [identity] rotate-days, in seconds; 0: for ever */
    OptionMode registration;      /* [registration] mode: of names */
    bool guests;                  /* [registration] guests */
    uint64_t key_age;             /* [store] data-key-days, in seconds; 0: for ever */
    unsigned loops;               /* [limits] threads; 0: one for each core */
    unsigned connections;         /* [limits] connections */
    unsigned address_connections; /* [limits] connections-per-address; 0: as many as connections */
    uint64_t attachment_size;     /* [limits] attachment-size: largest body */
    uint64_t mailbox_size;        /* [limits] mailbox-size: bytes of all messages of one mailbox */
    uint64_t mailbox_messages;    /* [limits] mailbox-messages */
    uint64_t store_size;          /* [limits] store-size: bytes of all messages; 0: what the disk holds */
    uint64_t sender_rate;         /* [limits] sender-rate: messages per minute of one sender */
    uint64_t stranger_rate;       /* [limits] stranger-rate: of all guests of a network, and of a mailbox */
    uint64_t stranger_share;      /* [limits] stranger-share: percent of a mailbox, of all guests */
    uint64_t message_lifetime;    /* [limits] message-lifetime: seconds until a message expires */
    uint64_t rotation_grace;      /* [limits] rotation-grace: seconds in which a former key gets messages */
} Options;

/* HMSG_ERROR_INVALID_ARGS: error says what is wrong, one line for people. Paths in the file are relative to
 * its folder. */
int options_load(const char *path, Options *ret, char error[static OPTIONS_ERROR_SIZE]);
void options_done(Options *o);

/* Does the text of a host name a port? */
bool options_host_has_port(const char *host);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The agent as a whole: owns the event loop and every object; the objects know each other only through it. A
 * pointer is NULL until its object is made and again while the agent shuts down. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "libhmsg/base/config.h"
#include "libhmsg/base/macro.h"

typedef struct Access Access;
typedef struct Channels Channels;
typedef struct Cipher Cipher;
typedef struct Contacts Contacts;
typedef struct Expiry Expiry;
typedef struct Gate Gate;
typedef struct Identity Identity;
typedef struct KeyCache KeyCache;
typedef struct Keyring Keyring;
typedef struct Launcher Launcher;
typedef struct Logind Logind;
typedef struct Mail Mail;
typedef struct Mailbox Mailbox;
typedef struct Outbox Outbox;
typedef struct Relays Relays;
typedef struct Rules Rules;
typedef struct SessionIn SessionIn;
typedef struct SessionOut SessionOut;
typedef struct Store Store;
typedef struct Unlocker Unlocker;
typedef struct Vault Vault;

#define AGENT_BUS_NAME "org.hmsg.Agent1"
#define AGENT_OBJECT_PATH "/org/hmsg/Agent1"
#define AGENT_INTERFACE "org.hmsg.Agent1"
#define AGENT_ACCESS_INTERFACE "org.hmsg.Agent1.Access"
#define AGENT_CIPHER_INTERFACE "org.hmsg.Agent1.Cipher"
#define AGENT_IDENTITY_INTERFACE "org.hmsg.Agent1.Identity"
#define AGENT_CONTACTS_INTERFACE "org.hmsg.Agent1.Contacts"
#define AGENT_MAIL_INTERFACE "org.hmsg.Agent1.Mail"
#define AGENT_SESSIONS_INTERFACE "org.hmsg.Agent1.Sessions"

/* Where everything is; strings are owned. */
typedef struct Places {
    char *config_file;
    char *data_dir;    /* $XDG_DATA_HOME/hmsg, mode 0700 */
    char *tcti;        /* of tss2-tctildr: "device:/dev/tpmrm0" */
    char *bus_address; /* of the session bus */
    char *system_bus_address;
    char *courier;  /* the program */
    char *pinentry; /* the program */
    bool trace;     /* log at debug level */
} Places;

typedef struct Manager {
    Places places;
    Config *config; /* the user's, overridden by the administrator's */
    int data_fd;    /* the data folder; locked (flock) by this agent */
    sd_event *event;
    sd_bus *bus;               /* the session bus */
    sd_event_source *patience; /* with the TPM, before the name is taken */
    bool named;                /* the name has been asked for */
    Launcher *launcher;
    Keyring *keyring;
    Gate *gate;
    Access *access;
    Channels *channels;
    Identity *identity;
    Unlocker *unlocker;
    SessionIn *session_in;
    SessionOut *session_out;
    Cipher *cipher;
    KeyCache *key_cache;
    Logind *logind;
    Expiry *expiry;
    Vault *vault;
    bool known; /* the identity: the TPM has answered, or is not there */
    /* the mail half; made by mail_start(), in this order, once the vault is open */
    Store *store;
    Contacts *contacts;
    Relays *relays;
    Mailbox *mailbox;
    Outbox *outbox;
    Rules *rules; /* after it */
} Manager;

/* Takes over launcher and keyring, which were made before any thread. -EBUSY: another agent has the folder.
 */
int manager_new(const Places *places, Launcher *launcher, Keyring *keyring, Manager **ret);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager *, manager_free)

/* Until SIGTERM or SIGINT. */
int manager_run(Manager *m);

/* All interfaces at AGENT_OBJECT_PATH of b: the session bus or a channel. */
int manager_publish(Manager *m, sd_bus *b);

/* Sends a signal without content to the session bus and to every channel; types and arguments as
 * sd_bus_message_append. For KeyChanged, Received, StateChanged. */
int manager_emit(Manager *m, const char *interface, const char *member, const char *types, ...);
int manager_emit_property(Manager *m, const char *interface, const char *property);

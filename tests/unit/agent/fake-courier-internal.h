/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Private to the files fake-courier*.c. */

#include <string.h>
#include <systemd/sd-bus.h>

#include "libhmsg/wire/capability.h"
#include "libhmsg/wire/mailbox-settings.h"
#include "libhmsg/wire/proof.h"
#include "tests/unit/agent/fake-courier.h"

#define HOST "relay.example"
#define FAKE_NONCES 8u
#define ERROR_NAME "org.hmsg.Courier1.Error."

typedef struct Letter {
    char id[HASH_TEXT_SIZE];
    GBytes *body;
    uint64_t seq;
} Letter;

typedef struct Entry {
    const TestPerson *person;
    char *name, *statement;
    char *chain; /* that the directory gives to whoever names a key; NULL: none */
} Entry;

struct FakeCourier {
    Double *d;
    Manager *m;
    char *folder;
    sd_bus *bus;
    Fault fault;
    EVP_PKEY *identity_private;
    RsaKey *identity;
    EcKey *online, *other_online;
    uint8_t pin[PIN_SIZE];
    char relay[256];
    char former[256];       /* by which it was known before its key changed */
    EVP_PKEY *next_private; /* announced */
    uint8_t next_pin[PIN_SIZE];
    char *successions;
    Ticks ticks;
    uint8_t nonces[FAKE_NONCES][NONCE_SIZE]; /* handed out lately */
    unsigned n_nonces;
    uint8_t nonce[NONCE_SIZE]; /* of the request that was read last */
    uint8_t exporter[EXPORTER_SIZE];
    Secret *pop, *ack;
    bool logged_in, listening, registered;
    uint8_t skid[KID_SIZE];         /* who has logged in last */
    char *own_statement, *own_name; /* what the agent has registered; NULL: nothing */
    GPtrArray *own_former;          /* kids and skids that it has given up */
    unsigned n_steps;               /* of the last rotation */
    unsigned links;                 /* of the last registration */
    GHashTable *counts;
    GPtrArray *letters, *entries;
    uint64_t seq;
    int kept_fd;
    Buf submitted;
    char submitted_id[HASH_TEXT_SIZE];
    char *submitted_capability;
    char *capability; /* what contacts_capability says; NULL: none */
    uint64_t granted; /* number of the only capability; 0: none */
    uint64_t granted_uses, granted_expires;
    FakeSettings settings;
    unsigned n_submitted;
    GString *emitted;
    const TestPerson *resolved;
    int resolve_result;
    FakeDevice device; /* that the resolved one names, if it has a person */
};

int fake_fail(sd_bus_error *e, const char *name, const char *text);
/* As whom the agent has registered; false: it has not. The caller frees it. */
bool fake_own_identity(const FakeCourier *f, IdentityStatement *ret);
/* What every method begins with. */
int fake_enter(FakeCourier *f, sd_bus_message *m, bool login, sd_bus_error *e);
char *fake_relay_statement(FakeCourier *f);
char *fake_sign_online(FakeCourier *f, JwsDraft *draft, bool forged);

/* Calls that belong to a connection run side by side: a request is for one of the nonces. */
#define MATCH_NONCE(f, b, call)                                                                              \
    ({                                                                                                       \
        int match_ = -1;                                                                                     \
        for (unsigned i_ = 0; match_ != 0 && i_ < FAKE_NONCES; i_++) {                                       \
            memcpy((b).nonce, (f)->nonces[i_], NONCE_SIZE);                                                  \
            match_ = (call);                                                                                 \
        }                                                                                                    \
        memcpy((f)->nonce, (b).nonce, NONCE_SIZE);                                                           \
        match_;                                                                                              \
    })

static inline RequestBinding fake_expected(const FakeCourier *f)
{
    RequestBinding b = {0};

    memcpy(b.pin, f->pin, PIN_SIZE);
    memcpy(b.exporter, f->exporter, EXPORTER_SIZE);
    return b;
}

/* fake-courier-directory.c */
int fake_method_register(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_rotate(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_unregister(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_lookup(sd_bus_message *m, void *userdata, sd_bus_error *e);

/* fake-courier-mail.c */
int fake_method_submit(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_status(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_list(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_fetch(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_acknowledge(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_grant(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_capabilities(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_settings(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_set_settings(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_revoke(sd_bus_message *m, void *userdata, sd_bus_error *e);
int fake_method_listen(sd_bus_message *m, void *userdata, sd_bus_error *e);
void fake_letter_free(gpointer p);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A courier with a relay behind it, in the event loop of the test: the interface org.hmsg.Courier1 on a
 * socket pair, one relay with keys in software, its directory and one mailbox. It checks all that the agent
 * signs, and lies when it is told to. Also what the mail half needs besides: a store, contacts_resolve,
 * manager_emit. */

#include "tests/lib/person.h"
#include "tests/unit/agent/double.h"

typedef enum Fault {
    FAULT_NONE,
    FAULT_UNREACHABLE,       /* every call */
    FAULT_PIN,               /* the relay has another key: every call */
    FAULT_STATEMENT,         /* relay statements are signed by another key */
    FAULT_LOGIN_NONCE,       /* the response is to another request */
    FAULT_LOGIN_LOST,        /* the first call after a login says LoginRequired */
    FAULT_BINDING_NAME,      /* the directory answers for another name */
    FAULT_BINDING_KEYS,      /* the binding is of other keys than the statement */
    FAULT_BINDING_FORGED,    /* not signed by the online key */
    FAULT_POP,               /* a challenge of another form: a decryption that the relay has no right to */
    FAULT_RECEIPT_BODY,      /* for another body */
    FAULT_RECEIPT_SUBMITTER, /* for another's submission */
    FAULT_RECEIPT_FORGED,    /* not signed by the online key */
    FAULT_SUBMIT_NOT_FOUND,  /* no such mailbox */
    FAULT_SUBMIT_BUSY,       /* retry=7 */
    FAULT_STATUS_EARLY,      /* delivered is told before the receipt */
    FAULT_FETCH_OTHER,       /* another body than that of the id */
    FAULT_FETCH_KEEP,        /* the descriptor of a body is kept */
    FAULT_ACKNOWLEDGE_OTHER, /* an id is said to be acknowledged that was not asked for */
    FAULT_LIST_ENDLESS,      /* the same page again and again, and there is more */
    FAULT_ROTATE_LOST,       /* the answer to a rotation, which is made */
    FAULT_REGISTER_LOST,     /* the answer to a registration, which is made */
    FAULT_CHAIN,             /* registrations with a chain are refused */
    FAULT_UNKNOWN_KEY,       /* Login: NotFound until a registration */
    FAULT_SETTINGS_OLD,      /* the relay is from before settings */
    FAULT_SETTINGS_CONFLICT, /* they are of a former revision */
} Fault;

typedef struct FakeCourier FakeCourier;

/* What the relay was told last of our mailbox. */
typedef struct FakeSettings {
    uint64_t revision, lifetime;
    unsigned allowed, blocked;
} FakeSettings;

/* Sets up the manager of d: launcher, store in a folder of its own. */
FakeCourier *fake_courier_new(Double *d);
void fake_courier_free(FakeCourier *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeCourier, fake_courier_free)

void fake_courier_fault(FakeCourier *f, Fault fault);
/* The relay says which key it will have next. */
void fake_courier_announce(FakeCourier *f);
/* Its next tick, with this id; of the ticks before it says the same as before. number 0: the next one. */
void fake_courier_tick(FakeCourier *f, uint64_t number, uint8_t id);
/* It has another key: the one announced, or a new one. signer: whose statement says so; NULL: nobody's. */
typedef enum Signer {
    SIGNER_NONE,
    SIGNER_FORMER,
    SIGNER_THIEF,
} Signer;
void fake_courier_change_key(FakeCourier *f, Signer signer);
/* "relay.example:7443#PIN" */
const char *fake_courier_relay(const FakeCourier *f);
/* The courier's process ends. */
void fake_courier_die(FakeCourier *f);
/* Is the agent registered there, by whatever key? */
bool fake_courier_has_us(const FakeCourier *f);
/* How many devices our statement there names. */
unsigned fake_courier_devices(const FakeCourier *f);
/* How many links the chain of the last registration had, which was followed. */
unsigned fake_courier_links(const FakeCourier *f);
FakeSettings *fake_courier_settings(FakeCourier *f);
/* The relay forgets us. */
void fake_courier_forget(FakeCourier *f);
/* How many steps the last rotation had. */
unsigned fake_courier_steps(const FakeCourier *f);
/* The connection to the relay ends. */
void fake_courier_disconnect(FakeCourier *f);
/* How often a method was called. */
unsigned fake_courier_count(const FakeCourier *f, const char *method);

/* The directory has him under this name (NULL: a guest). */
void fake_courier_know(FakeCourier *f, const TestPerson *p, const char *name);

/* A message waits; tells of it when somebody listens. Returns its id, owned by f. */
const char *fake_courier_mail(FakeCourier *f, const void *body, size_t size);
/* Tells of a message at another relay, to which nobody listens. */
void fake_courier_mail_elsewhere(FakeCourier *f, const char *relay);
/* Changes the body whose descriptor was kept. */
void fake_courier_change_body(FakeCourier *f);
unsigned fake_courier_waiting(const FakeCourier *f);
unsigned fake_courier_submitted(const FakeCourier *f);
/* The recipient names this device, and what comes of it when that is asked for. */
typedef struct FakeDevice {
    const TestPerson *person;
    int r;
    ContactTrust trust;
    bool agrees;
} FakeDevice;
void fake_courier_device(FakeCourier *f, const FakeDevice *d);
/* The code that is known of all recipients; and the one that came with the last submission. */
void fake_courier_capability(FakeCourier *f, const char *code);
const char *fake_courier_submitted_capability(const FakeCourier *f);
/* The body that was submitted last. */
const Buf *fake_courier_body(const FakeCourier *f);
/* Tells that the message that was submitted last was delivered. */
void fake_courier_deliver(FakeCourier *f);

/* Signals that were emitted, as "Member argument argument…", the oldest first; cleared by it. */
char *fake_courier_emitted(FakeCourier *f);
/* What contacts_resolve answers: this person at this relay, with this trust. */
void fake_courier_resolve(FakeCourier *f, const TestPerson *p, int r);

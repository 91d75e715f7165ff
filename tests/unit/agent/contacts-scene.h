/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of contacts share: a real store, and a directory that says what the test tells it to. */

#include "agent/contacts-internal.h"
#include "agent/identity.h"
#include "tests/lib/person.h"

#define RELAY "relay.example:7443#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define BOB "bob@relay.example"

/* What the directory says next. */
typedef struct Directory {
    int r;
    const TestPerson *owner;
    const char *address;
    const char *given; /* the owner's statement; NULL: one is made */
    uint64_t generation;
    bool guest;
    const char *previous; /* the statement that the owner's follows; NULL: none */
    bool home_fails;      /* look-ups by name do, those by kid do not */
    bool strange;         /* no relay has a pin */
    bool silent;          /* answers when release is called */
    RelaysRequest *held;
    unsigned asked;
    /* The way to the owner's keys that it tells those who name the key with which that begins. */
    const Rotation *rotation;
    char from[CONTACT_KID_TEXT]; /* that was named last; "" */
} Directory;

typedef struct Fixture {
    Manager m;
    Directory directory;
    unsigned key_changes;
    char *folder;
    IdentityPublic own;
    TestPerson *me;
    const TestPerson *own_former; /* our keys of before, with what they signed; NULL: none */
    char *own_rotation;
    const TestPerson *alice, *bob, *eve;
} Fixture;

/* What a request ended with. */
typedef struct Outcome {
    bool done;
    int r;
    char *detail;
    char kid[CONTACT_KID_TEXT];
    ContactTrust trust;
    char *address;
    char *relay;
    int64_t retired;
} Outcome;

typedef struct ContactsTest {
    const char *name;
    void (*f)(Fixture *f, gconstpointer data);
} ContactsTest;
/* What main() returns. */
int contacts_scene_main(int argc, char **argv, const ContactsTest *tests, size_t n);

/* The answer of a silent directory to what it holds. */
void directory_release(RelaysRequest *q);

/* Asks afresh, and does not wait. */
ContactsRequest *contacts_scene_begin(Fixture *f, const char *recipient, Outcome *o);
/* Until o is done; frees q. */
void contacts_scene_run(Fixture *f, Outcome *o, ContactsRequest *q);
void contacts_scene_resolve(Fixture *f, const char *recipient, bool fresh, Outcome *o);
void contacts_scene_sender(Fixture *f, const char *skid, Outcome *o);
void contacts_scene_add(Fixture *f, const ContactAddition *a, Outcome *o);

void outcome_clear(Outcome *o);
void outcome_expect(const Outcome *o, ContactTrust trust, const TestPerson *who);

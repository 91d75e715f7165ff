/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Contacts over a real store and a directory in this file. */

#include <errno.h>
#include <string.h>

#include "agent/contact-store.h"
#include "agent/contacts-internal.h"
#include "agent/contacts-manage.h"
#include "agent/contacts.h"
#include "agent/identity.h"
#include "agent/relays.h"
#include "agent/store.h"
#include "libhmsg/base/error.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"

#define RELAY "relay.example:7443#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define BOB "bob@relay.example"

/* What the directory says next. */
typedef struct Directory {
    int r;
    const TestPerson *owner;
    const char *address;
    bool guest;
    bool home_fails; /* look-ups by name do, those by kid do not */
    bool silent;     /* answers when release is called */
    RelaysRequest *held;
    unsigned asked;
} Directory;

struct RelaysRequest {
    sd_event_source *defer;
    bool by_name;
    relays_lookup_t done;
    void *userdata;
};

typedef struct Fixture {
    Manager m;
    Directory directory;
    unsigned key_changes;
    char *folder;
    IdentityPublic own;
    TestPerson *me;
} Fixture;

static Fixture *current; /* the doubles below have no other way to it */
static TestPerson *alice, *bob, *eve;

RelaysRequest *relays_request_free(RelaysRequest *q)
{
    if (!q)
        return NULL;
    if (current->directory.held == q)
        current->directory.held = NULL;
    (void)sd_event_source_disable_unref(q->defer);
    free(q);
    return NULL;
}

static int answer(sd_event_source *source, void *userdata)
{
    RelaysRequest *q = userdata;
    Directory *d = &current->directory;
    IdentityStatement identity = {0};
    Binding binding = {0};

    if (d->r != 0 || (q->by_name && d->home_fails)) {
        q->done(d->r ? d->r : HMSG_ERROR_NOT_FOUND, "the directory says no", NULL, q->userdata);
        return 0;
    }
    g_autofree char *statement = test_person_statement(d->owner, d->address);
    g_assert_cmpint(identity_statement_parse(statement, strlen(statement), 4000000000, &identity), ==, 0);
    if (!d->guest || q->by_name)
        g_strlcpy(binding.name, "somebody", sizeof(binding.name));
    const DirectoryEntry entry = {RELAY, statement, &identity, &binding};
    q->done(0, "", &entry, q->userdata);
    identity_statement_done(&identity);
    return 0;
}

static void release(RelaysRequest *q)
{
    g_assert_cmpint(sd_event_add_defer(current->m.event, &q->defer, answer, q), >=, 0);
}

static int ask(bool by_name, relays_lookup_t done, void *userdata, RelaysRequest **ret)
{
    RelaysRequest *q = calloc(1, sizeof(*q));

    g_assert_nonnull(q);
    current->directory.asked++;
    q->by_name = by_name;
    q->done = done;
    q->userdata = userdata;
    if (current->directory.silent)
        current->directory.held = q;
    else
        release(q);
    *ret = q;
    return 0;
}

int relays_lookup_name(Relays *r, const Relay *relay, const char *name, bool trust_relay,
                       relays_lookup_t done, void *userdata, RelaysRequest **ret)
{
    return ask(true, done, userdata, ret);
}

int relays_lookup_kid(Relays *r, const char *relay, const char *kid, relays_lookup_t done, void *userdata,
                      RelaysRequest **ret)
{
    return ask(false, done, userdata, ret);
}

size_t relays_ours(Relays *r, const char *const **ret)
{
    static const char *const ours[] = {RELAY};

    *ret = ours;
    return 1;
}

int relays_each_registration(Relays *r, relays_registration_t f, void *userdata)
{
    return f("me@relay.example", RELAY, "connected", "", userdata);
}

const IdentityPublic *identity_public(const Identity *i)
{
    return &current->own;
}

int manager_emit(Manager *m, const char *interface, const char *member, const char *types, ...)
{
    g_assert_cmpstr(interface, ==, AGENT_CONTACTS_INTERFACE);
    g_assert_cmpstr(member, ==, "KeyChanged");
    current->key_changes++;
    return 0;
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->folder = test_folder_new();
    current = f;
    f->me = test_person_new();
    f->own.decrypt = f->me->decrypt;
    f->own.sign = f->me->sign;
    memcpy(f->own.kid, f->me->kid, sizeof(f->own.kid));
    memcpy(f->own.skid, f->me->skid, sizeof(f->own.skid));
    g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
    g_assert_cmpint(store_new(f->folder, &f->m.store), ==, 0);
    /* never looked into: the doubles answer in their place */
    f->m.relays = (Relays *)f;
    f->m.identity = (Identity *)f;
    g_assert_cmpint(contacts_new(&f->m, &f->m.contacts), ==, 0);
    f->directory = (Directory){.owner = bob, .address = BOB};
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)contacts_free(f->m.contacts);
    (void)store_free(f->m.store);
    sd_event_unref(f->m.event);
    test_person_free(f->me);
    test_folder_remove(f->folder);
}

/* What a request ended with. */
typedef struct Outcome {
    bool done;
    int r;
    char *detail;
    char kid[CONTACT_KID_TEXT];
    ContactTrust trust;
    char *address;
    char *relay;
} Outcome;

static void outcome_clear(Outcome *o)
{
    g_free(o->detail);
    g_free(o->address);
    g_free(o->relay);
    *o = (Outcome){0};
}

static void end(Outcome *o, int r, const char *detail)
{
    g_assert_false(o->done);
    o->done = true;
    o->r = r;
    o->detail = g_strdup(detail);
}

static void on_resolved(int r, const char *detail, const Recipient *p, void *userdata)
{
    Outcome *o = userdata;

    end(o, r, detail);
    g_assert_true((r == 0) == (p != NULL));
    if (!p)
        return;
    memcpy(o->kid, p->kid, sizeof(o->kid));
    o->trust = p->trust;
    o->address = g_strdup(p->address);
    o->relay = g_strdup(p->relay);
}

static void on_sender(int r, const char *detail, const Sender *s, void *userdata)
{
    Outcome *o = userdata;

    end(o, r, detail);
    memcpy(o->kid, s->kid, sizeof(o->kid));
    o->trust = s->trust;
    o->address = g_strdup(s->address);
}

static void on_contact(int r, const char *detail, const Contact *p, void *userdata)
{
    Outcome *o = userdata;

    end(o, r, detail);
    if (!p)
        return;
    memcpy(o->kid, p->keys.kid, sizeof(o->kid));
    o->trust = contact_trust(p);
    o->address = g_strdup(p->address);
}

static void run(Fixture *f, Outcome *o, ContactsRequest *q)
{
    g_assert_false(o->done);
    while (!o->done)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    (void)contacts_request_free(q);
}

static void resolve(Fixture *f, const char *recipient, bool fresh, Outcome *o)
{
    const ResolveOptions options = {.fresh = fresh};
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_resolve(f->m.contacts, recipient, &options, on_resolved, o, &q), ==, 0);
    run(f, o, q);
}

static void check_sender(Fixture *f, const char *skid, Outcome *o)
{
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_check_sender(f->m.contacts, skid, NULL, on_sender, o, &q), ==, 0);
    run(f, o, q);
}

static void add(Fixture *f, const ContactAddition *a, Outcome *o)
{
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_add(f->m.contacts, a, on_contact, o, &q), ==, 0);
    run(f, o, q);
}

static void expect_trust(const Outcome *o, ContactTrust trust, const TestPerson *who)
{
    g_assert_cmpint(o->r, ==, 0);
    g_assert_cmpint(o->trust, ==, trust);
    g_assert_cmpstr(o->kid, ==, who->kid);
}

static char *fingerprint_of(const TestPerson *p)
{
    uint8_t fingerprint[SHA256_SIZE];
    char text[FINGERPRINT_TEXT_SIZE];

    g_assert_cmpint(fingerprint_make(p->decrypt, p->sign, fingerprint), ==, 0);
    fingerprint_text(fingerprint, text);
    return g_strdup(text);
}

static void test_first_use(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    resolve(f, BOB, false, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    g_assert_cmpstr(o.address, ==, BOB);
    g_assert_cmpstr(o.relay, ==, RELAY);
    g_assert_cmpuint(f->directory.asked, ==, 1);

    /* known now: no network */
    resolve(f, "bob@Relay.Example:7443", false, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    g_assert_cmpuint(f->directory.asked, ==, 1);
    resolve(f, BOB, true, &o);
    g_assert_cmpuint(f->directory.asked, ==, 2);

    g_autofree char *by_kid = g_strdup_printf("key:%s", bob->kid);
    resolve(f, by_kid, false, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    g_assert_cmpuint(f->directory.asked, ==, 2);
    outcome_clear(&o);
}

static void test_relay_away(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    resolve(f, BOB, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    g_assert_cmpstr(o.detail, ==, "the directory says no");

    f->directory.r = 0;
    resolve(f, BOB, false, &o);
    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    resolve(f, BOB, true, &o);
    expect_trust(&o, CONTACT_PINNED, bob);

    /* gone from the directory: no mailbox, so no message; but a file can be encrypted */
    f->directory.r = HMSG_ERROR_NOT_FOUND;
    resolve(f, BOB, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_NOT_FOUND);
    resolve(f, BOB, false, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    outcome_clear(&o);
}

static ContactsRequest *begin(Fixture *f, const char *recipient, Outcome *o)
{
    const ResolveOptions options = {.fresh = true};
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_resolve(f->m.contacts, recipient, &options, on_resolved, o, &q), ==, 0);
    return q;
}

/* Who is pinned is not waited for without end; who is not can be had from the directory alone. */
static void test_relay_silent(Fixture *f, gconstpointer data)
{
    Outcome pinned = {0}, unknown = {0}, left = {0};
    ContactsRequest *q, *other;

    resolve(f, BOB, false, &pinned);
    f->directory.silent = true;
    q = begin(f, BOB, &pinned);
    f->directory.address = "eve@relay.example";
    f->directory.owner = eve;
    other = begin(f, f->directory.address, &unknown);
    RelaysRequest *held = f->directory.held;
    run(f, &pinned, q);
    expect_trust(&pinned, CONTACT_PINNED, bob);
    g_assert_false(unknown.done);
    g_assert_true(f->directory.held == held);
    release(held);
    run(f, &unknown, other);
    expect_trust(&unknown, CONTACT_PINNED, eve);

    /* an answer ends the wait, and so does the end of contacts */
    f->directory = (Directory){.owner = bob, .address = BOB, .silent = true};
    q = begin(f, BOB, &pinned);
    g_assert_nonnull(q->patience);
    release(f->directory.held);
    while (!q->defer)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    g_assert_null(q->patience);
    run(f, &pinned, q);
    expect_trust(&pinned, CONTACT_PINNED, bob);
    q = begin(f, BOB, &left);
    f->m.contacts = contacts_free(f->m.contacts);
    g_assert_null(q->patience);
    (void)contacts_request_free(q);
    outcome_clear(&pinned);
    outcome_clear(&unknown);
}

/* A key that the user holds, for an address whose relay was never asked: no pin of the relay, nothing to
 * fall back on. */
static void test_relay_slow(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);
    Outcome o = {0};
    ContactsRequest *q;

    g_assert_cmpint(rsa_key_to_pem(bob->decrypt, &pem), ==, 0);
    add(f, &(ContactAddition){.address = BOB, .key = pem.data, .key_size = pem.size}, &o);
    g_assert_cmpint(o.r, ==, 0);
    f->directory.silent = true;
    q = begin(f, BOB, &o);
    g_assert_null(q->patience);
    release(f->directory.held);
    run(f, &o, q);
    outcome_clear(&o);
}

static void test_changed(Fixture *f, gconstpointer data)
{
    g_autofree char *old = fingerprint_of(bob);
    g_autofree char *new = fingerprint_of(eve);
    _cleanup_(contact_freep) Contact *p = NULL;
    Outcome o = {0};
    Sender sender;

    resolve(f, BOB, false, &o);
    uint64_t generation = contacts_generation(f->m.contacts);
    f->directory.owner = eve;
    for (int i = 0; i < 2; i++) {
        resolve(f, BOB, true, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
        g_assert_nonnull(strstr(o.detail, "has changed"));
    }
    g_assert_cmpuint(f->key_changes, ==, 1);
    g_assert_cmpuint(contacts_generation(f->m.contacts), >, generation);
    /* neither key is believed now */
    check_sender(f, bob->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_CHANGED);
    check_sender(f, eve->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_CHANGED);
    resolve(f, BOB, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);

    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, old, &p), ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, "", &p), ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, new, &p), ==, 0);
    resolve(f, BOB, false, &o);
    expect_trust(&o, CONTACT_VERIFIED, eve);
    g_assert_cmpint(contacts_known_sender(f->m.contacts, bob->skid, &sender), ==, 0);
    g_assert_cmpint(sender.trust, ==, CONTACT_NONE);
    outcome_clear(&o);
}

static void test_changed_back(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    resolve(f, BOB, false, &o);
    f->directory.owner = eve;
    resolve(f, BOB, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    f->directory.owner = bob;
    resolve(f, BOB, true, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    outcome_clear(&o);
}

static void test_block(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    g_assert_cmpint(contacts_block(f->m.contacts, BOB, true), ==, HMSG_ERROR_NOT_FOUND);
    resolve(f, BOB, false, &o);
    g_assert_cmpint(contacts_block(f->m.contacts, BOB, true), ==, 0);
    resolve(f, BOB, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    check_sender(f, bob->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_BLOCKED);
    g_assert_cmpint(contacts_block(f->m.contacts, bob->kid, false), ==, 0);
    resolve(f, BOB, false, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    g_assert_cmpint(contacts_forget(f->m.contacts, BOB), ==, 0);
    g_assert_cmpint(contacts_forget(f->m.contacts, BOB), ==, HMSG_ERROR_NOT_FOUND);
    outcome_clear(&o);
}

static void test_senders(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    check_sender(f, f->me->skid, &o);
    expect_trust(&o, CONTACT_VERIFIED, f->me);
    g_assert_cmpstr(o.address, ==, "me@relay.example");
    g_assert_cmpuint(f->directory.asked, ==, 0);

    f->directory.r = HMSG_ERROR_NOT_FOUND;
    check_sender(f, bob->skid, &o);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpint(o.trust, ==, CONTACT_NONE);
    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    check_sender(f, bob->skid, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);

    f->directory.r = 0;
    check_sender(f, bob->skid, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    g_assert_cmpstr(o.address, ==, BOB);

    /* a directory that names a decrypt key as somebody's says nothing about who signed */
    check_sender(f, bob->kid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_NONE);
    outcome_clear(&o);
}

static void test_guests(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    f->directory = (Directory){.owner = alice, .address = "alice@elsewhere.example", .guest = true};
    f->directory.home_fails = true;
    check_sender(f, alice->skid, &o);
    expect_trust(&o, CONTACT_PINNED, alice);
    g_assert_cmpstr(o.address, ==, ""); /* nobody has confirmed it */

    f->directory.owner = eve;
    f->directory.home_fails = false;
    check_sender(f, eve->skid, &o);
    expect_trust(&o, CONTACT_PINNED, eve);
    g_assert_cmpstr(o.address, ==, "alice@elsewhere.example");
    outcome_clear(&o);
}

static void test_add(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX), export = BUF_MAX(KEY_FILE_SIZE_MAX);
    g_autofree char *statement = test_person_statement(alice, "alice@relay.example");
    Outcome o = {0};

    g_assert_cmpint(rsa_key_to_pem(eve->decrypt, &pem), ==, 0);
    g_assert_cmpint(buf_printf(&export, "{\"hmsg\":1,\"identity\":\"%s\"}", statement), ==, 0);

    ContactAddition a = {.address = "", .key = pem.data, .key_size = pem.size};
    add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_INVALID_ARGS); /* nobody could name it */
    a.name = "eve";
    add(f, &a, &o);
    expect_trust(&o, CONTACT_PINNED, eve);
    resolve(f, "eve", false, &o);
    expect_trust(&o, CONTACT_PINNED, eve);
    g_assert_cmpuint(f->directory.asked, ==, 0);

    a = (ContactAddition){.address = "", .key = export.data, .key_size = export.size};
    add(f, &a, &o);
    expect_trust(&o, CONTACT_PINNED, alice);
    g_assert_cmpstr(o.address, ==, "alice@relay.example");
    a.name = "eve";
    add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_ALREADY_EXISTS);
    a = (ContactAddition){.address = "alice@relay.example", .key = pem.data, .key_size = pem.size};
    add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_ALREADY_EXISTS);

    a = (ContactAddition){.address = BOB, .name = "Bobby"};
    add(f, &a, &o);
    expect_trust(&o, CONTACT_PINNED, bob);
    resolve(f, "Bobby", false, &o);
    expect_trust(&o, CONTACT_PINNED, bob);

    static const char *const unfit[] = {"", "a@b", "-x", "key:x", "a\nb", "\x1b[2J"};
    for (size_t i = 0; i < ELEMENTSOF(unfit); i++) {
        a.name = unfit[i];
        add(f, &a, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_INVALID_ARGS);
    }
    a = (ContactAddition){.address = "", .name = "x", .key = "garbage", .key_size = 7};
    add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_BAD_PACKAGE);
    outcome_clear(&o);
}

static void test_bad_recipients(Fixture *f, gconstpointer data)
{
    static const char *const bad[] = {
        "@",    "bob@",    "@relay.example",      "BOB@relay.example", "bob@relay.example#x",
        "key:", "key:abc", "bob@relay.example:0", "bob@relay..example"};
    Outcome o = {0};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        resolve(f, bad[i], false, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_INVALID_ARGS);
    }
    resolve(f, "nobody", false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpuint(f->directory.asked, ==, 0);
    outcome_clear(&o);
}

static void never(int r, const char *detail, const Recipient *p, void *userdata)
{
    g_assert_not_reached();
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    ContactsRequest *q = NULL, *left = NULL;

    g_assert_cmpint(contacts_resolve(f->m.contacts, BOB, NULL, never, NULL, &q), ==, 0);
    (void)contacts_request_free(q);
    g_assert_cmpint(contacts_resolve(f->m.contacts, "nobody", NULL, never, NULL, &q), ==, 0);
    (void)contacts_request_free(q);
    g_assert_cmpint(sd_event_run(f->m.event, 0), ==, 0);

    /* one that outlives its object */
    g_assert_cmpint(contacts_resolve(f->m.contacts, BOB, NULL, never, NULL, &left), ==, 0);
    f->m.contacts = contacts_free(f->m.contacts);
    g_assert_cmpint(sd_event_run(f->m.event, 0), ==, 0);
    (void)contacts_request_free(left);
}

static void test_restart(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    resolve(f, BOB, false, &o);
    f->directory.owner = eve;
    resolve(f, BOB, true, &o);
    (void)contacts_free(f->m.contacts);
    (void)store_free(f->m.store);
    g_assert_cmpint(store_new(f->folder, &f->m.store), ==, 0);
    g_assert_cmpint(contacts_new(&f->m, &f->m.contacts), ==, 0);
    resolve(f, BOB, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    outcome_clear(&o);
}

static void test_recipient_from_key(void)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(recipient_freep) Recipient *p = NULL;

    g_assert_cmpint(rsa_key_to_pem(bob->decrypt, &pem), ==, 0);
    g_assert_cmpint(recipient_from_key(pem.data, pem.size, &p), ==, 0);
    g_assert_cmpstr(p->kid, ==, bob->kid);
    g_assert_cmpstr(p->skid, ==, "");
    g_assert_cmpint(p->trust, ==, CONTACT_NONE);
    p = recipient_free(p);
    g_assert_cmpint(recipient_from_key(pem.data, pem.size - 30, &p), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_null(p);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/contacts/first-use", test_first_use},   {"/contacts/relay-away", test_relay_away},
        {"/contacts/changed", test_changed},       {"/contacts/changed-back", test_changed_back},
        {"/contacts/block", test_block},           {"/contacts/senders", test_senders},
        {"/contacts/guests", test_guests},         {"/contacts/add", test_add},
        {"/contacts/bad", test_bad_recipients},    {"/contacts/cancel", test_cancel},
        {"/contacts/restart", test_restart},       {"/contacts/relay-silent", test_relay_silent},
        {"/contacts/relay-slow", test_relay_slow},
    };
    int status;

    g_test_init(&argc, &argv, NULL);
    alice = test_person_new();
    bob = test_person_new();
    eve = test_person_new();
    for (size_t i = 0; i < ELEMENTSOF(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].f, tear_down);
    g_test_add_func("/contacts/recipient-from-key", test_recipient_from_key);
    status = g_test_run();
    test_person_free(alice);
    test_person_free(bob);
    test_person_free(eve);
    return status;
}

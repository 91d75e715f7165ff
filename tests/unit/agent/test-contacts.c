/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Contacts over a real store and a directory that is a double. */

#include <errno.h>
#include <string.h>

#include "agent/contact-store.h"
#include "agent/contacts-manage.h"
#include "agent/contacts.h"
#include "agent/store.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/contacts-scene.h"

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

    contacts_scene_resolve(f, BOB, false, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    g_assert_cmpstr(o.address, ==, BOB);
    g_assert_cmpstr(o.relay, ==, RELAY);
    g_assert_cmpuint(f->directory.asked, ==, 1);

    /* known now: no network */
    contacts_scene_resolve(f, "bob@Relay.Example:7443", false, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    g_assert_cmpuint(f->directory.asked, ==, 1);
    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpuint(f->directory.asked, ==, 2);

    g_autofree char *by_kid = g_strdup_printf("key:%s", f->bob->kid);
    contacts_scene_resolve(f, by_kid, false, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    g_assert_cmpuint(f->directory.asked, ==, 2);
    outcome_clear(&o);
}

static void test_changed(Fixture *f, gconstpointer data)
{
    g_autofree char *old = fingerprint_of(f->bob);
    g_autofree char *new = fingerprint_of(f->eve);
    _cleanup_(contact_freep) Contact *p = NULL;
    Outcome o = {0};
    Sender sender;

    contacts_scene_resolve(f, BOB, false, &o);
    uint64_t generation = contacts_generation(f->m.contacts);
    f->directory.owner = f->eve;
    for (int i = 0; i < 2; i++) {
        contacts_scene_resolve(f, BOB, true, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
        g_assert_nonnull(strstr(o.detail, "has changed"));
    }
    g_assert_cmpuint(f->key_changes, ==, 1);
    g_assert_cmpuint(contacts_generation(f->m.contacts), >, generation);
    /* neither key is believed now */
    contacts_scene_sender(f, f->bob->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_CHANGED);
    contacts_scene_sender(f, f->eve->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_CHANGED);
    contacts_scene_resolve(f, BOB, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);

    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, old, &p), ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, "", &p), ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, new, &p), ==, 0);
    contacts_scene_resolve(f, BOB, false, &o);
    outcome_expect(&o, CONTACT_VERIFIED, f->eve);
    g_assert_cmpint(contacts_known_sender(f->m.contacts, f->bob->skid, &sender), ==, 0);
    g_assert_cmpint(sender.trust, ==, CONTACT_NONE);
    outcome_clear(&o);
}

static void test_changed_back(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    contacts_scene_resolve(f, BOB, false, &o);
    f->directory.owner = f->eve;
    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    f->directory.owner = f->bob;
    contacts_scene_resolve(f, BOB, true, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    outcome_clear(&o);
}

static void test_block(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    g_assert_cmpint(contacts_block(f->m.contacts, BOB, true), ==, HMSG_ERROR_NOT_FOUND);
    contacts_scene_resolve(f, BOB, false, &o);
    g_assert_cmpint(contacts_block(f->m.contacts, BOB, true), ==, 0);
    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    contacts_scene_sender(f, f->bob->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_BLOCKED);
    g_assert_cmpint(contacts_block(f->m.contacts, f->bob->kid, false), ==, 0);
    contacts_scene_resolve(f, BOB, false, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    g_assert_cmpint(contacts_forget(f->m.contacts, BOB), ==, 0);
    g_assert_cmpint(contacts_forget(f->m.contacts, BOB), ==, HMSG_ERROR_NOT_FOUND);
    outcome_clear(&o);
}

static void expect_capability(Fixture *f, const char *recipient, const char *code)
{
    char found[HASH_TEXT_SIZE];

    g_assert_cmpint(contacts_capability(f->m.contacts, recipient, f->bob->kid, found), ==, 0);
    g_assert_cmpstr(found, ==, code);
}

static int take_capable(const Contact *p, void *userdata)
{
    *(bool *)userdata = p->capable;
    return 0;
}

/* It stays with the contact, whatever name it is asked for by, and goes with it. */
static void test_capability(Fixture *f, gconstpointer data)
{
    static const char first[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                      second[] = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    ContactAddition a = {.address = BOB, .capability = "short"};
    bool capable = false;
    Outcome o = {0};

    expect_capability(f, BOB, "");
    contacts_scene_add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_INVALID_ARGS);
    a.capability = first;
    contacts_scene_add(f, &a, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    expect_capability(f, BOB, first);
    expect_capability(f, f->bob->kid, first);
    expect_capability(f, "nobody", first); /* by the key */
    g_assert_cmpint(contacts_each(f->m.contacts, take_capable, &capable), ==, 0);
    g_assert_true(capable);
    a.capability = second;
    contacts_scene_add(f, &a, &o);
    expect_capability(f, BOB, second);
    a.capability = NULL;
    contacts_scene_add(f, &a, &o);
    expect_capability(f, BOB, second);
    g_assert_cmpint(contacts_forget(f->m.contacts, BOB), ==, 0);
    expect_capability(f, BOB, "");
    contacts_scene_add(f, &a, &o);
    expect_capability(f, BOB, "");
    outcome_clear(&o);
}

static void test_senders(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    contacts_scene_sender(f, f->me->skid, &o);
    outcome_expect(&o, CONTACT_VERIFIED, f->me);
    g_assert_cmpstr(o.address, ==, "me@relay.example");
    g_assert_cmpuint(f->directory.asked, ==, 0);

    f->directory.r = HMSG_ERROR_NOT_FOUND;
    contacts_scene_sender(f, f->bob->skid, &o);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpint(o.trust, ==, CONTACT_NONE);
    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    contacts_scene_sender(f, f->bob->skid, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);

    f->directory.r = 0;
    contacts_scene_sender(f, f->bob->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    g_assert_cmpstr(o.address, ==, BOB);

    /* a directory that names a decrypt key as somebody's says nothing about who signed */
    contacts_scene_sender(f, f->bob->kid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_NONE);
    outcome_clear(&o);
}

static void test_guests(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    f->directory = (Directory){.owner = f->alice, .address = "alice@elsewhere.example", .guest = true};
    f->directory.home_fails = true;
    contacts_scene_sender(f, f->alice->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->alice);
    g_assert_cmpstr(o.address, ==, ""); /* nobody has confirmed it */

    f->directory.owner = f->eve;
    f->directory.home_fails = false;
    contacts_scene_sender(f, f->eve->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpstr(o.address, ==, "alice@elsewhere.example");
    outcome_clear(&o);
}

/* The same keys under two addresses: whoever is blocked under one does not get in under the other. */
static void test_two_addresses(Fixture *f, gconstpointer data)
{
    static const char *const addresses[] = {"alice@relay.example", "alice@other.example"};
    Outcome o = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
        f->directory = (Directory){.owner = f->alice, .address = addresses[i]};
        contacts_scene_resolve(f, addresses[i], true, &o);
        outcome_expect(&o, CONTACT_PINNED, f->alice);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
        g_autofree char *kid = g_strconcat("key:", f->alice->kid, NULL);

        g_assert_cmpint(contacts_block(f->m.contacts, addresses[i], true), ==, 0);
        contacts_scene_sender(f, f->alice->skid, &o);
        g_assert_cmpint(o.trust, ==, CONTACT_BLOCKED);
        contacts_scene_resolve(f, kid, false, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
        g_assert_cmpint(contacts_block(f->m.contacts, addresses[i], false), ==, 0);
    }
    contacts_scene_sender(f, f->alice->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->alice);
    outcome_clear(&o);
}

/* A guest's mail does not send us to a relay that the guest chose; and a guest need not have a home. */
static void test_homeless_guests(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    f->directory =
        (Directory){.owner = f->alice, .address = "alice@elsewhere.example", .guest = true, .strange = true};
    contacts_scene_sender(f, f->alice->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->alice);
    g_assert_cmpstr(o.address, ==, "");
    g_assert_cmpuint(f->directory.asked, ==, 1); /* for the key, nothing more */

    f->directory = (Directory){.owner = f->eve, .address = "", .guest = true};
    contacts_scene_sender(f, f->eve->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpstr(o.address, ==, "");
    outcome_clear(&o);
}

static void test_add(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX), export = BUF_MAX(KEY_FILE_SIZE_MAX);
    g_autofree char *statement = test_person_statement(f->alice, "alice@relay.example");
    Outcome o = {0};

    g_assert_cmpint(rsa_key_to_pem(f->eve->decrypt, &pem), ==, 0);
    g_assert_cmpint(buf_printf(&export, "{\"hmsg\":1,\"identity\":\"%s\"}", statement), ==, 0);

    ContactAddition a = {.address = "", .key = pem.data, .key_size = pem.size};
    contacts_scene_add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_INVALID_ARGS); /* nobody could name it */
    a.name = "eve";
    contacts_scene_add(f, &a, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    contacts_scene_resolve(f, "eve", false, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpuint(f->directory.asked, ==, 0);

    a = (ContactAddition){.address = "", .key = export.data, .key_size = export.size};
    contacts_scene_add(f, &a, &o);
    outcome_expect(&o, CONTACT_PINNED, f->alice);
    g_assert_cmpstr(o.address, ==, "alice@relay.example");
    a.name = "eve";
    contacts_scene_add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_ALREADY_EXISTS);
    a = (ContactAddition){.address = "alice@relay.example", .key = pem.data, .key_size = pem.size};
    contacts_scene_add(f, &a, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_ALREADY_EXISTS);

    a = (ContactAddition){.address = BOB, .name = "Bobby"};
    contacts_scene_add(f, &a, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    contacts_scene_resolve(f, "Bobby", false, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);

    static const char *const unfit[] = {"", "a@b", "-x", "key:x", "a\nb", "\x1b[2J"};
    for (size_t i = 0; i < ELEMENTSOF(unfit); i++) {
        a.name = unfit[i];
        contacts_scene_add(f, &a, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_INVALID_ARGS);
    }
    a = (ContactAddition){.address = "", .name = "x", .key = "garbage", .key_size = 7};
    contacts_scene_add(f, &a, &o);
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
        contacts_scene_resolve(f, bad[i], false, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_INVALID_ARGS);
    }
    contacts_scene_resolve(f, "nobody", false, &o);
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

    contacts_scene_resolve(f, BOB, false, &o);
    f->directory.owner = f->eve;
    contacts_scene_resolve(f, BOB, true, &o);
    (void)contacts_free(f->m.contacts);
    (void)store_free(f->m.store);
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->m.store), ==, 0);
    g_assert_cmpint(contacts_new(&f->m, &f->m.contacts), ==, 0);
    contacts_scene_resolve(f, BOB, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    outcome_clear(&o);
}

static void test_recipient_from_key(Fixture *f, gconstpointer data)
{
    _cleanup_(buf_done) Buf pem = BUF_MAX(KEY_FILE_SIZE_MAX);
    _cleanup_(recipient_freep) Recipient *p = NULL;

    g_assert_cmpint(rsa_key_to_pem(f->bob->decrypt, &pem), ==, 0);
    g_assert_cmpint(recipient_from_key(pem.data, pem.size, &p), ==, 0);
    g_assert_cmpstr(p->kid, ==, f->bob->kid);
    g_assert_cmpstr(p->skid, ==, "");
    g_assert_cmpint(p->trust, ==, CONTACT_NONE);
    p = recipient_free(p);
    g_assert_cmpint(recipient_from_key(pem.data, pem.size - 30, &p), ==, HMSG_ERROR_BAD_PACKAGE);
    g_assert_null(p);
}

int main(int argc, char **argv)
{
    static const ContactsTest tests[] = {
        {"/contacts/first-use", test_first_use},
        {"/contacts/changed", test_changed},
        {"/contacts/changed-back", test_changed_back},
        {"/contacts/block", test_block},
        {"/contacts/capability", test_capability},
        {"/contacts/senders", test_senders},
        {"/contacts/guests", test_guests},
        {"/contacts/two-addresses", test_two_addresses},
        {"/contacts/homeless-guests", test_homeless_guests},
        {"/contacts/add", test_add},
        {"/contacts/bad", test_bad_recipients},
        {"/contacts/cancel", test_cancel},
        {"/contacts/restart", test_restart},
        {"/contacts/recipient-from-key", test_recipient_from_key},
    };

    return contacts_scene_main(argc, argv, tests, ELEMENTSOF(tests));
}

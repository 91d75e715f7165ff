/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Devices that contacts name in what they sign. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/contacts-scene.h"

#define LAPTOP "bob+laptop@relay.example"

static Devices naming(const TestPerson *p)
{
    Devices d = {.n = 1};

    memcpy(d.list[0].kid, rsa_key_thumbprint(p->decrypt), KID_SIZE);
    memcpy(d.list[0].skid, rsa_key_thumbprint(p->sign), KID_SIZE);
    return d;
}

typedef struct Found {
    bool done;
    int r;
    size_t devices;
    bool agrees;
    Contacts *contacts;
    const char *owner;
    char address[ADDRESS_SIZE_MAX + 1];
} Found;

static void on_found(int r, const char *detail, const Recipient *p, void *userdata)
{
    Found *f = userdata;

    f->done = true;
    f->r = r;
    if (r != 0)
        return;
    f->devices = p->devices.n;
    g_strlcpy(f->address, p->address, sizeof(f->address));
    f->agrees = contacts_device_agrees(f->contacts, f->owner, p);
}

/* relay NULL: somebody, not a device */
static Found resolve(Fixture *f, const char *recipient, const char *relay, const TestPerson *owner)
{
    const ResolveOptions options = {.fresh = true, .allow_untrusted = relay != NULL, .relay = relay};
    _cleanup_(contacts_request_freep) ContactsRequest *q = NULL;
    Found found = {.contacts = f->m.contacts, .owner = owner->kid};

    g_assert_cmpint(contacts_resolve(f->m.contacts, recipient, &options, on_found, &found, &q), ==, 0);
    while (!found.done)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    return found;
}

static Found resolve_device(Fixture *f)
{
    g_autofree char *who = g_strdup_printf("key:%s", f->eve->kid);

    return resolve(f, who, RELAY, f->bob);
}

/* Eve's keys are those of bob's laptop here. */
static void test_agree(Fixture *f, gconstpointer data)
{
    const Devices laptop = naming(f->eve), bob = naming(f->bob), alice = naming(f->alice);
    const int64_t now = clock_realtime();
    g_autofree char *names = test_person_statement_devices(f->bob, BOB, &laptop, now);
    g_autofree char *agrees = test_person_statement_devices(f->eve, LAPTOP, &bob, now);
    g_autofree char *other = test_person_statement_devices(f->eve, LAPTOP, &alice, now + 1);
    Found found;

    f->directory.given = names;
    found = resolve(f, BOB, NULL, f->bob);
    g_assert_cmpint(found.r, ==, 0);
    g_assert_cmpuint(found.devices, ==, 1);
    f->directory.owner = f->eve;
    f->directory.given = agrees;
    found = resolve_device(f);
    g_assert_cmpint(found.r, ==, 0);
    g_assert_cmpstr(found.address, ==, LAPTOP);
    g_assert_true(found.agrees);
    /* known by now, and asked for all the same: it has changed its mind */
    f->directory.given = other;
    unsigned asked = f->directory.asked;
    found = resolve_device(f);
    g_assert_cmpuint(f->directory.asked, ==, asked + 1);
    g_assert_cmpint(found.r, ==, 0);
    g_assert_false(found.agrees);
    /* and the relay does not bring back what it said before */
    f->directory.given = agrees;
    found = resolve_device(f);
    g_assert_cmpint(found.r, ==, 0);
    g_assert_false(found.agrees);
    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    found = resolve_device(f);
    g_assert_cmpint(found.r, ==, 0); /* what is pinned serves */
    g_assert_false(found.agrees);
}

static void test_unknown(Fixture *f, gconstpointer data)
{
    f->directory.owner = f->eve;
    f->directory.r = HMSG_ERROR_NOT_FOUND;
    g_assert_cmpint(resolve_device(f).r, ==, HMSG_ERROR_NOT_FOUND);
    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    g_assert_cmpint(resolve_device(f).r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
}

/* Whether a contact names us, as is known here. */
static void test_us(Fixture *f, gconstpointer data)
{
    const Devices us = naming(f->me);
    g_autofree char *names = test_person_statement_devices(f->bob, BOB, &us, clock_realtime());
    bool agrees = true;

    g_assert_cmpint(contacts_names_us(f->m.contacts, BOB, &agrees), ==, 0);
    g_assert_false(agrees);
    g_assert_cmpuint(resolve(f, BOB, NULL, f->bob).devices, ==, 0);
    g_assert_cmpint(contacts_names_us(f->m.contacts, BOB, &agrees), ==, 0);
    g_assert_false(agrees);
    f->directory.given = names;
    g_assert_cmpuint(resolve(f, BOB, NULL, f->bob).devices, ==, 1);
    g_assert_cmpint(contacts_names_us(f->m.contacts, BOB, &agrees), ==, 0);
    g_assert_true(agrees);
}

int main(int argc, char **argv)
{
    static const ContactsTest tests[] = {
        {"/contacts/devices-agree", test_agree},
        {"/contacts/devices-unknown", test_unknown},
        {"/contacts/devices-us", test_us},
    };

    return contacts_scene_main(argc, argv, tests, ELEMENTSOF(tests));
}

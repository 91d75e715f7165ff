/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Contacts whose relay is away, silent or slow. */

#include "libhmsg/base/error.h"
#include "tests/unit/agent/contacts-scene.h"

static void test_relay_away(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    contacts_scene_resolve(f, BOB, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    g_assert_cmpstr(o.detail, ==, "the directory says no");

    f->directory.r = 0;
    contacts_scene_resolve(f, BOB, false, &o);
    f->directory.r = HMSG_ERROR_RELAY_UNAVAILABLE;
    contacts_scene_resolve(f, BOB, true, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);

    /* gone from the directory: no mailbox, so no message; but a file can be encrypted */
    f->directory.r = HMSG_ERROR_NOT_FOUND;
    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_NOT_FOUND);
    contacts_scene_resolve(f, BOB, false, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    outcome_clear(&o);
}

/* Who is pinned is not waited for without end; who is not can be had from the directory alone. */
static void test_relay_silent(Fixture *f, gconstpointer data)
{
    Outcome pinned = {0}, unknown = {0}, left = {0};
    ContactsRequest *q, *other;

    contacts_scene_resolve(f, BOB, false, &pinned);
    f->directory.silent = true;
    q = contacts_scene_begin(f, BOB, &pinned);
    f->directory.address = "eve@relay.example";
    f->directory.owner = f->eve;
    other = contacts_scene_begin(f, f->directory.address, &unknown);
    RelaysRequest *held = f->directory.held;
    contacts_scene_run(f, &pinned, q);
    outcome_expect(&pinned, CONTACT_PINNED, f->bob);
    g_assert_false(unknown.done);
    g_assert_true(f->directory.held == held);
    directory_release(held);
    contacts_scene_run(f, &unknown, other);
    outcome_expect(&unknown, CONTACT_PINNED, f->eve);

    /* an answer ends the wait, and so does the end of contacts */
    f->directory = (Directory){.owner = f->bob, .address = BOB, .silent = true};
    q = contacts_scene_begin(f, BOB, &pinned);
    g_assert_nonnull(q->patience);
    directory_release(f->directory.held);
    while (!q->defer)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    g_assert_null(q->patience);
    contacts_scene_run(f, &pinned, q);
    outcome_expect(&pinned, CONTACT_PINNED, f->bob);
    q = contacts_scene_begin(f, BOB, &left);
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

    g_assert_cmpint(rsa_key_to_pem(f->bob->decrypt, &pem), ==, 0);
    contacts_scene_add(f, &(ContactAddition){.address = BOB, .key = pem.data, .key_size = pem.size}, &o);
    g_assert_cmpint(o.r, ==, 0);
    f->directory.silent = true;
    q = contacts_scene_begin(f, BOB, &o);
    g_assert_null(q->patience);
    directory_release(f->directory.held);
    contacts_scene_run(f, &o, q);
    outcome_clear(&o);
}

int main(int argc, char **argv)
{
    static const ContactsTest tests[] = {
        {"/contacts/relay-away", test_relay_away},
        {"/contacts/relay-silent", test_relay_silent},
        {"/contacts/relay-slow", test_relay_slow},
    };

    return contacts_scene_main(argc, argv, tests, ELEMENTSOF(tests));
}

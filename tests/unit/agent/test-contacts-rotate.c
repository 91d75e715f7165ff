/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Contacts whose keys change: followed when the pinned key has signed for the new ones, else refused. */

#include <string.h>

#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/contacts-scene.h"

static void add_step(Rotation *r, const TestPerson *p)
{
    RotationKeys *k = &r->keys[r->n++];

    memcpy(k->skid, rsa_key_thumbprint(p->sign), KID_SIZE);
    memcpy(k->kid, rsa_key_thumbprint(p->decrypt), KID_SIZE);
    k->retired = clock_realtime() - 100;
}

/* From now on the directory has other keys for bob, and the way to them from one pair of before, or none. */
static void rotate(Fixture *f, const TestPerson *from, const TestPerson *to, uint64_t generation)
{
    static Rotation way;

    way = (Rotation){.generation = generation - 1};
    if (from)
        add_step(&way, from);
    f->directory.rotation = from ? &way : NULL;
    f->directory.owner = to;
    f->directory.generation = generation;
}

static void verify_bob(Fixture *f, const TestPerson *p)
{
    char text[FINGERPRINT_TEXT_SIZE];
    uint8_t fingerprint[SHA256_SIZE];
    Contact *c = NULL;

    g_assert_cmpint(fingerprint_make(p->decrypt, p->sign, fingerprint), ==, 0);
    fingerprint_text(fingerprint, text);
    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, text, &c), ==, 0);
    (void)contact_free(c);
}

static int count_one(const Contact *p, void *userdata)
{
    (*(unsigned *)userdata)++;
    return 0;
}

static unsigned count_contacts(Fixture *f)
{
    unsigned n = 0;

    g_assert_cmpint(contacts_each(f->m.contacts, count_one, &n), ==, 0);
    return n;
}

static char superseded[CONTACT_KID_TEXT];

static void on_superseded(const char *kid, void *userdata)
{
    g_strlcpy(superseded, kid, sizeof(superseded));
}

/* A look-up for a message: what was verified stays so, and nobody is warned. */
static void test_follow(Fixture *f, gconstpointer data)
{
    uint64_t before = contacts_generation(f->m.contacts);
    Outcome o = {0};
    Sender s;

    contacts_on_superseded(f->m.contacts, on_superseded, NULL);
    superseded[0] = 0;
    contacts_scene_resolve(f, BOB, true, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    g_assert_cmpstr(f->directory.from, ==, "");
    rotate(f, f->bob, f->eve, 1);
    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpstr(f->directory.from, ==, f->bob->kid);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpstr(superseded, ==, f->bob->kid);
    g_assert_cmpuint(f->key_changes, ==, 0);
    g_assert_cmpuint(contacts_generation(f->m.contacts), >, before);
    verify_bob(f, f->eve);
    rotate(f, f->eve, f->alice, 2);
    contacts_scene_resolve(f, BOB, true, &o);
    outcome_expect(&o, CONTACT_VERIFIED, f->alice);
    g_assert_cmpuint(f->key_changes, ==, 0);
    g_assert_cmpuint(count_contacts(f), ==, 1);
    /* what the former keys signed before is still theirs, and nothing later */
    g_assert_cmpint(contacts_known_sender(f->m.contacts, f->bob->skid, &s), ==, 0);
    g_assert_cmpint(s.trust, ==, CONTACT_VERIFIED);
    g_assert_cmpint(s.retired, >, 0);
    g_assert_cmpint(sender_trust_at(&s, s.retired - 1), ==, CONTACT_VERIFIED);
    g_assert_cmpint(sender_trust_at(&s, s.retired + CLOCK_SKEW_MAX + 1), ==, CONTACT_SUPERSEDED);
    g_assert_cmpint(contacts_known_sender(f->m.contacts, f->alice->skid, &s), ==, 0);
    g_assert_cmpint(s.retired, ==, 0);
    g_assert_cmpint(sender_trust_at(&s, INT64_MAX), ==, CONTACT_VERIFIED);
    outcome_clear(&o);
}

/* No way, a way from elsewhere, a way from the same keys under another number. */
static void test_not_led(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    for (int i = 0; i < 3; i++) {
        f->directory = (Directory){.owner = f->bob, .address = BOB};
        contacts_scene_resolve(f, BOB, true, &o);
        outcome_expect(&o, CONTACT_PINNED, f->bob);
        rotate(f, i == 0 ? NULL : i == 1 ? f->alice : f->bob, f->eve, i == 2 ? 7 : 1);
        contacts_scene_resolve(f, BOB, true, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
        g_assert_cmpuint(f->key_changes, ==, (unsigned)i + 1);
        /* the true directory is asked again, and says how it came about */
        if (i == 0) {
            rotate(f, f->bob, f->eve, 1);
            contacts_scene_resolve(f, BOB, true, &o);
            outcome_expect(&o, CONTACT_PINNED, f->eve);
        }
        g_assert_cmpint(contacts_forget(f->m.contacts, BOB), ==, 0);
    }
    outcome_clear(&o);
}

/* Back to keys that were given up: refused, even when somebody signs for it, and even by word of the user. */
static void test_back(Fixture *f, gconstpointer data)
{
    char text[FINGERPRINT_TEXT_SIZE];
    uint8_t fingerprint[SHA256_SIZE];
    Contact *c = NULL;
    Outcome o = {0};

    contacts_scene_resolve(f, BOB, true, &o);
    rotate(f, f->bob, f->eve, 1);
    contacts_scene_resolve(f, BOB, true, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    rotate(f, f->eve, f->bob, 2);
    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    g_assert_cmpuint(f->key_changes, ==, 1);
    g_assert_cmpint(fingerprint_make(f->bob->decrypt, f->bob->sign, fingerprint), ==, 0);
    fingerprint_text(fingerprint, text);
    g_assert_cmpint(contacts_verify(f->m.contacts, BOB, text, &c), ==, HMSG_ERROR_UNTRUSTED);
    outcome_clear(&o);
}

/* Blocked stays blocked. */
static void test_blocked(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpint(contacts_block(f->m.contacts, BOB, true), ==, 0);
    rotate(f, f->bob, f->eve, 1);
    contacts_scene_sender(f, f->eve->skid, &o);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpint(o.trust, ==, CONTACT_BLOCKED);
    outcome_clear(&o);
}

/* Mail by a key that is not known, of an address that is: the way from the pinned key is asked for. */
static void test_sender(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    contacts_scene_resolve(f, BOB, true, &o);
    rotate(f, f->bob, f->eve, 1);
    contacts_scene_sender(f, f->eve->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpstr(o.address, ==, BOB);
    g_assert_cmpint(o.retired, ==, 0);
    g_assert_cmpuint(f->key_changes, ==, 0);
    g_assert_cmpuint(count_contacts(f), ==, 1);
    /* without a way it is another's key */
    rotate(f, NULL, f->alice, 2);
    contacts_scene_sender(f, f->alice->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_CHANGED);
    g_assert_cmpuint(f->key_changes, ==, 1);
    outcome_clear(&o);
}

/* The same for one who is a guest at our relay, and lives elsewhere. */
static void test_guest(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    contacts_scene_resolve(f, BOB, true, &o);
    f->directory.guest = true;
    rotate(f, f->bob, f->eve, 1);
    contacts_scene_sender(f, f->eve->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpstr(o.address, ==, BOB);
    g_assert_cmpuint(f->key_changes, ==, 0);
    g_assert_cmpuint(count_contacts(f), ==, 1);
    outcome_clear(&o);
}

/* Mail under way by a key that was given up, of somebody who was never heard of before. */
static void test_late_mail(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    rotate(f, f->bob, f->eve, 1);
    contacts_scene_sender(f, f->bob->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpint(o.retired, >, 0);
    /* of whom there is no word any more */
    contacts_scene_sender(f, f->alice->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_NONE);
    outcome_clear(&o);
}

/* Our own former key is ours, and no more than that. */
static void test_own(Fixture *f, gconstpointer data)
{
    Outcome o = {0};
    Sender s;

    f->own_former = f->bob;
    f->own_rotation = test_person_rotate(f->bob, f->me, 1);
    g_assert_cmpint(contacts_known_sender(f->m.contacts, f->bob->skid, &s), ==, 0);
    g_assert_cmpint(s.trust, ==, CONTACT_VERIFIED);
    g_assert_cmpint(sender_trust_at(&s, s.retired), ==, CONTACT_VERIFIED);
    g_assert_cmpint(sender_trust_at(&s, s.retired + CLOCK_SKEW_MAX + 1), ==, CONTACT_SUPERSEDED);
    contacts_scene_sender(f, f->bob->skid, &o);
    g_assert_cmpint(o.trust, ==, CONTACT_VERIFIED);
    g_assert_cmpint(o.retired, >, 0);
    g_assert_cmpint(contacts_known_sender(f->m.contacts, f->me->skid, &s), ==, 0);
    g_assert_cmpint(s.retired, ==, 0);
    outcome_clear(&o);
}

/* A guest without an address, known by a key alone, has others: the same contact, by the statement that the
 * new one follows and the way from the known key; without that way, another one. */
static void test_nameless(Fixture *f, gconstpointer data)
{
    Outcome o = {0};
    Contact *p = NULL;

    f->directory.address = "";
    f->directory.guest = true;
    contacts_scene_sender(f, f->bob->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->bob);
    g_assert_cmpstr(o.address, ==, "");
    g_assert_cmpint(contact_store_find(f->m.contacts->store, CONTACT_BY_SKID, f->bob->skid, &p), ==, 0);
    g_autofree char *first = g_strdup(buf_text(&p->keys.statement));
    (void)contact_free(p);
    rotate(f, f->bob, f->eve, 1);
    f->directory.previous = first;
    contacts_scene_sender(f, f->eve->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpstr(f->directory.from, ==, f->bob->kid);
    g_assert_cmpuint(count_contacts(f), ==, 1);
    g_assert_cmpuint(f->key_changes, ==, 0);
    contacts_scene_sender(f, f->bob->skid, &o);
    g_assert_cmpint(o.retired, >, 0);

    /* who only says so is somebody else, and takes nothing over */
    g_assert_cmpint(contact_store_find(f->m.contacts->store, CONTACT_BY_SKID, f->eve->skid, &p), ==, 0);
    g_autofree char *second = g_strdup(buf_text(&p->keys.statement));
    (void)contact_free(p);
    rotate(f, NULL, f->alice, 2);
    f->directory.previous = second;
    contacts_scene_sender(f, f->alice->skid, &o);
    outcome_expect(&o, CONTACT_PINNED, f->alice);
    g_assert_cmpuint(count_contacts(f), ==, 2);
    g_assert_cmpint(contact_store_find(f->m.contacts->store, CONTACT_BY_SKID, f->eve->skid, &p), ==, 0);
    g_assert_cmpstr(p->keys.kid, ==, f->eve->kid);
    (void)contact_free(p);
    outcome_clear(&o);
}

static void resolve_key(Fixture *f, const TestPerson *p, Outcome *o)
{
    g_autofree char *text = g_strconcat("key:", p->kid, NULL);

    contacts_scene_resolve(f, text, false, o);
}

/* By a key that its owner has given up: what it led to, from the directory, and of a contact. */
static void test_former_kid(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    rotate(f, f->bob, f->eve, 1);
    resolve_key(f, f->bob, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpuint(f->directory.asked, ==, 1);
    resolve_key(f, f->bob, &o);
    outcome_expect(&o, CONTACT_PINNED, f->eve);
    g_assert_cmpuint(f->directory.asked, ==, 1);
    g_assert_cmpint(contacts_block(f->m.contacts, BOB, true), ==, 0);
    resolve_key(f, f->bob, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    /* it does not lead there */
    resolve_key(f, f->alice, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_NOT_FOUND);
    outcome_clear(&o);
}

/* Our own, too. */
static void test_own_former_kid(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    f->own_former = f->bob;
    resolve_key(f, f->bob, &o);
    outcome_expect(&o, CONTACT_VERIFIED, f->me);
    g_assert_cmpuint(f->directory.asked, ==, 0);
    outcome_clear(&o);
}

/* What a contact has given up is forgotten with it. */
static void test_forget(Fixture *f, gconstpointer data)
{
    Outcome o = {0};
    Sender s;

    contacts_scene_resolve(f, BOB, true, &o);
    rotate(f, f->bob, f->eve, 1);
    contacts_scene_resolve(f, BOB, true, &o);
    g_assert_cmpint(contacts_forget(f->m.contacts, BOB), ==, 0);
    g_assert_cmpint(contacts_known_sender(f->m.contacts, f->bob->skid, &s), ==, 0);
    g_assert_cmpint(s.trust, ==, CONTACT_NONE);
    g_assert_cmpint(s.retired, ==, 0);
    outcome_clear(&o);
}

int main(int argc, char **argv)
{
    static const ContactsTest tests[] = {
        {"/contacts-rotate/follow", test_follow},
        {"/contacts-rotate/not-led", test_not_led},
        {"/contacts-rotate/back", test_back},
        {"/contacts-rotate/blocked", test_blocked},
        {"/contacts-rotate/sender", test_sender},
        {"/contacts-rotate/guest", test_guest},
        {"/contacts-rotate/late-mail", test_late_mail},
        {"/contacts-rotate/own", test_own},
        {"/contacts-rotate/forget", test_forget},
        {"/contacts-rotate/nameless", test_nameless},
        {"/contacts-rotate/former-kid", test_former_kid},
        {"/contacts-rotate/own-former-kid", test_own_former_kid},
    };

    return contacts_scene_main(argc, argv, tests, ELEMENTSOF(tests));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/agent/contacts-scene.h"

#include <string.h>

#include "agent/store.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/lib/process.h"

struct RelaysRequest {
    sd_event_source *defer;
    bool by_name;
    char from[CONTACT_KID_TEXT];
    relays_lookup_t done;
    void *userdata;
};

static Fixture *current; /* the doubles below have no other way to it */

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

static const Rotation *way_from(const Directory *d, const char *from)
{
    uint8_t key[KID_SIZE];

    if (!d->rotation || base64url_decode_exact(from, strlen(from), key, sizeof(key)) != 0)
        return NULL;
    return memcmp(key, d->rotation->keys[0].kid, KID_SIZE) == 0 /* public */ ||
                   memcmp(key, d->rotation->keys[0].skid, KID_SIZE) == 0 /* public */
               ? d->rotation
               : NULL;
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
    g_autofree char *statement =
        d->given ? g_strdup(d->given)
                 : test_person_statement_after(d->owner, d->address, d->generation, d->previous);
    g_assert_cmpint(identity_statement_parse(statement, strlen(statement), 4000000000, &identity), ==, 0);
    if (!d->guest || q->by_name)
        g_strlcpy(binding.name, "somebody", sizeof(binding.name));
    const DirectoryEntry entry = {RELAY, statement, &identity, &binding, way_from(d, q->from)};
    q->done(0, "", &entry, q->userdata);
    identity_statement_done(&identity);
    return 0;
}

void directory_release(RelaysRequest *q)
{
    g_assert_cmpint(sd_event_add_defer(current->m.event, &q->defer, answer, q), >=, 0);
}

static int ask(bool by_name, const char *from, relays_lookup_t done, void *userdata, RelaysRequest **ret)
{
    RelaysRequest *q = calloc(1, sizeof(*q));

    g_assert_nonnull(q);
    current->directory.asked++;
    q->by_name = by_name;
    g_strlcpy(q->from, from ? from : "", sizeof(q->from));
    memcpy(current->directory.from, q->from, sizeof(q->from));
    q->done = done;
    q->userdata = userdata;
    if (current->directory.silent)
        current->directory.held = q;
    else
        directory_release(q);
    *ret = q;
    return 0;
}

int relays_lookup_name(Relays *r, const Relay *relay, const char *name, const char *from, bool trust_relay,
                       relays_lookup_t done, void *userdata, RelaysRequest **ret)
{
    return ask(true, from, done, userdata, ret);
}

int relays_lookup_kid(Relays *r, const char *relay, const char *kid, relays_lookup_t done, void *userdata,
                      RelaysRequest **ret)
{
    return ask(false, kid, done, userdata, ret);
}

bool relays_knows(Relays *r, const Relay *relay)
{
    return !current->directory.strange;
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

bool identity_is_ours(const Identity *i, const char *skid)
{
    return strcmp(current->own.skid, skid) == 0 ||
           (current->own_former && strcmp(current->own_former->skid, skid) == 0);
}

size_t identity_kids(const Identity *i, uint8_t ret[static IDENTITY_KIDS_MAX][KID_SIZE])
{
    size_t n = 0;

    memcpy(ret[n++], current->me->kids[0], KID_SIZE);
    if (current->own_former)
        memcpy(ret[n++], current->own_former->kids[0], KID_SIZE);
    return n;
}

const char *identity_rotation(const Identity *i, size_t n)
{
    return n == 0 ? current->own_rotation : NULL;
}

int manager_emit(Manager *m, const char *interface, const char *member, const char *types, ...)
{
    g_assert_cmpstr(interface, ==, AGENT_CONTACTS_INTERFACE);
    g_assert_cmpstr(member, ==, "KeyChanged");
    current->key_changes++;
    return 0;
}

/* Made once, for keys take their time. */
typedef struct People {
    TestPerson *alice, *bob, *eve;
} People;

static void set_up(Fixture *f, gconstpointer data)
{
    const People *people = data;

    f->alice = people->alice;
    f->bob = people->bob;
    f->eve = people->eve;
    f->folder = test_folder_new();
    current = f;
    f->me = test_person_new();
    f->own.decrypt = f->me->decrypt;
    f->own.sign = f->me->sign;
    memcpy(f->own.kid, f->me->kid, sizeof(f->own.kid));
    memcpy(f->own.skid, f->me->skid, sizeof(f->own.skid));
    g_assert_cmpint(sd_event_new(&f->m.event), >=, 0);
    g_assert_cmpint(store_new(f->folder, "", NULL, &f->m.store), ==, 0);
    /* never looked into: the doubles answer in their place */
    f->m.relays = (Relays *)f;
    f->m.identity = (Identity *)f;
    g_assert_cmpint(contacts_new(&f->m, &f->m.contacts), ==, 0);
    f->directory = (Directory){.owner = f->bob, .address = BOB};
}

static void tear_down(Fixture *f, gconstpointer data)
{
    (void)contacts_free(f->m.contacts);
    (void)store_free(f->m.store);
    sd_event_unref(f->m.event);
    test_person_free(f->me);
    g_free(f->own_rotation);
    test_folder_remove(f->folder);
}

void outcome_clear(Outcome *o)
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
    o->retired = s->retired;
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

void contacts_scene_run(Fixture *f, Outcome *o, ContactsRequest *q)
{
    g_assert_false(o->done);
    while (!o->done)
        g_assert_cmpint(sd_event_run(f->m.event, UINT64_MAX), >=, 0);
    (void)contacts_request_free(q);
}

void contacts_scene_resolve(Fixture *f, const char *recipient, bool fresh, Outcome *o)
{
    const ResolveOptions options = {.fresh = fresh};
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_resolve(f->m.contacts, recipient, &options, on_resolved, o, &q), ==, 0);
    contacts_scene_run(f, o, q);
}

void contacts_scene_sender(Fixture *f, const char *skid, Outcome *o)
{
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_check_sender(f->m.contacts, skid, NULL, on_sender, o, &q), ==, 0);
    contacts_scene_run(f, o, q);
}

void contacts_scene_add(Fixture *f, const ContactAddition *a, Outcome *o)
{
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_add(f->m.contacts, a, on_contact, o, &q), ==, 0);
    contacts_scene_run(f, o, q);
}

void outcome_expect(const Outcome *o, ContactTrust trust, const TestPerson *who)
{
    g_assert_cmpint(o->r, ==, 0);
    g_assert_cmpint(o->trust, ==, trust);
    g_assert_cmpstr(o->kid, ==, who->kid);
}

ContactsRequest *contacts_scene_begin(Fixture *f, const char *recipient, Outcome *o)
{
    const ResolveOptions options = {.fresh = true};
    ContactsRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(contacts_resolve(f->m.contacts, recipient, &options, on_resolved, o, &q), ==, 0);
    return q;
}

int contacts_scene_main(int argc, char **argv, const ContactsTest *tests, size_t n)
{
    People people;
    int status;

    g_test_init(&argc, &argv, NULL);
    people = (People){test_person_new(), test_person_new(), test_person_new()};
    for (size_t i = 0; i < n; i++)
        g_test_add(tests[i].name, Fixture, &people, set_up, tests[i].f, tear_down);
    status = g_test_run();
    test_person_free(people.alice);
    test_person_free(people.bob);
    test_person_free(people.eve);
    return status;
}

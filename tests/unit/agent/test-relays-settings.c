/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a relay is to do with our mail it is told when it can be, and again when it does not know it any more.
 */

#include <string.h>

#include "agent/contact-rules.h"
#include "agent/contact-store.h"
#include "agent/relays-internal.h"
#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/fake-courier.h"

typedef struct Fixture {
    Double *d;
    Manager *m;
    FakeCourier *courier;
} Fixture;

static void start(Fixture *f)
{
    g_assert_cmpint(relays_new(f->m, &f->m->relays), ==, 0);
    relays_identity_changed(f->m->relays);
}

static void on_done(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    g_assert_cmpint(r, ==, 0);
    *(bool *)userdata = true;
}

static void set_up(Fixture *f, gconstpointer data)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    g_autofree char *address = NULL;
    bool done = false;

    f->d = double_new();
    f->m = double_manager(f->d);
    f->courier = fake_courier_new(f->d);
    start(f);
    address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    g_assert_cmpint(relays_register(f->m->relays, address, NULL, false, on_done, &done, &q), ==, 0);
    double_run(f->d, &done);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_free(f->courier);
    double_free(f->d);
}

static Connection *connection(Fixture *f)
{
    return connection_find(f->m->relays, fake_courier_relay(f->courier));
}

/* Until we are connected, and nothing is under way. */
static void settle(Fixture *f)
{
    while (!relays_is_listening(f->m->relays, fake_courier_relay(f->courier)) || connection(f)->settings)
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
}

static void restart(Fixture *f)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_die(f->courier);
    start(f);
    settle(f);
}

/* A contact with a sign key of these bytes. */
static void add_contact(Fixture *f, uint8_t number, bool blocked)
{
    _cleanup_(contact_store_freep) ContactStore *s = NULL;
    _cleanup_(contact_freep) Contact *p = NULL;
    uint8_t bytes[KID_SIZE] = {number};

    g_assert_cmpint(contact_store_new(store_db(f->m->store), &s), ==, 0);
    g_assert_cmpint(contact_new(&p), ==, 0);
    base64url_encode(bytes, sizeof(bytes), p->keys.skid);
    bytes[1] = 1;
    base64url_encode(bytes, sizeof(bytes), p->keys.kid);
    g_assert_cmpint(buf_append_string(&p->keys.decrypt_spki, "key"), ==, 0);
    p->blocked = blocked;
    p->allowed = !blocked;
    g_assert_cmpint(contact_store_save(s, p), ==, 0);
}

static unsigned told(const Fixture *f)
{
    return fake_courier_count(f->courier, "SetSettings");
}

static void expect(Fixture *f, unsigned n, unsigned allowed, unsigned blocked, uint64_t lifetime)
{
    const FakeSettings *s = fake_courier_settings(f->courier);

    settle(f);
    g_assert_cmpuint(told(f), ==, n);
    g_assert_cmpuint(s->allowed, ==, allowed);
    g_assert_cmpuint(s->blocked, ==, blocked);
    g_assert_cmpuint(s->lifetime, ==, lifetime);
}

static void test_told(Fixture *f, gconstpointer data)
{
    settle(f);
    restart(f);
    g_assert_cmpuint(told(f), ==, 0); /* there is nothing to say */
    add_contact(f, 1, true);
    relays_rules_changed(f->m->relays);
    expect(f, 1, 0, 1, 0);
    relays_rules_changed(f->m->relays);
    expect(f, 1, 0, 1, 0); /* it has not changed */
    add_contact(f, 2, false);
    restart(f);
    expect(f, 2, 1, 1, 0);
    restart(f);
    expect(f, 2, 1, 1, 0);
    g_assert_cmpint(db_exec(store_db(f->m->store), "DELETE FROM contacts"), ==, 0);
    relays_rules_changed(f->m->relays);
    expect(f, 3, 0, 0, 0);
}

/* It has gone back to a former state, or forward under our former one. */
static void test_restored(Fixture *f, gconstpointer data)
{
    settle(f);
    add_contact(f, 1, true);
    relays_rules_changed(f->m->relays);
    expect(f, 1, 0, 1, 0);
    *fake_courier_settings(f->courier) = (FakeSettings){.revision = 5, .allowed = 3};
    restart(f);
    expect(f, 2, 0, 1, 0);
    fake_courier_settings(f->courier)->revision = GENERATION_MAX - 10;
    restart(f);
    expect(f, 3, 0, 1, 0);
    g_assert_cmpuint(fake_courier_settings(f->courier)->revision, ==, GENERATION_MAX - 9);
    /* our store is lost, and with it what was told */
    g_assert_cmpint(db_exec(store_db(f->m->store), "DELETE FROM contacts; DELETE FROM mailbox_settings"), ==,
                    0);
    restart(f);
    expect(f, 4, 0, 0, 0);
}

static void test_lifetime(Fixture *f, gconstpointer data)
{
    uint64_t seconds = 1;

    settle(f);
    g_assert_cmpint(relays_lifetime(f->m->relays, "", &seconds), ==, 0);
    g_assert_cmpuint(seconds, ==, 0);
    g_assert_cmpint(relays_set_lifetime(f->m->relays, "", MAILBOX_LIFETIME_MIN - 1), ==,
                    HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(relays_set_lifetime(f->m->relays, "", MESSAGE_EXPIRY_MAX + 1), ==,
                    HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(relays_set_lifetime(f->m->relays, "bob@relay.example", 7200), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(relays_set_lifetime(f->m->relays, "alice@relay.example", 7200), ==, 0);
    expect(f, 1, 0, 0, 7200);
    g_assert_cmpint(relays_lifetime(f->m->relays, "alice@relay.example", &seconds), ==, 0);
    g_assert_cmpuint(seconds, ==, 7200);
    add_contact(f, 1, false);
    relays_rules_changed(f->m->relays);
    expect(f, 2, 1, 0, 7200);
    g_assert_cmpint(relays_set_lifetime(f->m->relays, "", 0), ==, 0);
    expect(f, 3, 1, 0, 0);
}

/* A change is told at once, also when the one before could not be; so it is on the next connection. */
static void test_at_once(Fixture *f, gconstpointer data)
{
    settle(f);
    fake_courier_fault(f->courier, FAULT_SETTINGS_CONFLICT);
    add_contact(f, 1, true);
    relays_rules_changed(f->m->relays);
    expect(f, 2, 0, 0, 0);
    g_assert_nonnull(connection(f)->settings_later);
    fake_courier_fault(f->courier, FAULT_NONE);
    add_contact(f, 2, true);
    relays_rules_changed(f->m->relays);
    expect(f, 3, 0, 2, 0);
    g_assert_null(connection(f)->settings_later);
    fake_courier_fault(f->courier, FAULT_SETTINGS_CONFLICT);
    add_contact(f, 3, false);
    relays_rules_changed(f->m->relays);
    expect(f, 5, 0, 2, 0);
    g_assert_nonnull(connection(f)->settings_later);
    fake_courier_fault(f->courier, FAULT_NONE);
    fake_courier_disconnect(f->courier);
    while (told(f) < 6)
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
    expect(f, 6, 1, 2, 0);
}

/* While it is away nothing fails, and several changes at once are told in the end. */
static void test_late(Fixture *f, gconstpointer data)
{
    settle(f);
    fake_courier_fault(f->courier, FAULT_SETTINGS_OLD);
    add_contact(f, 1, true);
    relays_rules_changed(f->m->relays);
    expect(f, 0, 0, 0, 0);
    g_assert_null(connection(f)->settings_later); /* of no use */
    fake_courier_fault(f->courier, FAULT_SETTINGS_CONFLICT);
    relays_rules_changed(f->m->relays);
    expect(f, 2, 0, 0, 0); /* once more at once */
    g_assert_nonnull(connection(f)->settings_later);
    fake_courier_fault(f->courier, FAULT_NONE);
    g_assert_cmpint(sd_event_source_set_time_relative(connection(f)->settings_later, 0), >=, 0);
    while (connection(f)->settings_later)
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
    expect(f, 3, 0, 1, 0);
    add_contact(f, 2, true);
    relays_rules_changed(f->m->relays);
    g_assert_cmpint(relays_set_lifetime(f->m->relays, "", 3600), ==, 0);
    settle(f);
    g_assert_cmpuint(fake_courier_settings(f->courier)->blocked, ==, 2);
    g_assert_cmpuint(fake_courier_settings(f->courier)->lifetime, ==, 3600);
    fake_courier_fault(f->courier, FAULT_LOGIN_LOST);
    add_contact(f, 3, false);
    relays_rules_changed(f->m->relays);
    settle(f);
    g_assert_cmpuint(fake_courier_settings(f->courier)->allowed, ==, 1);
}

/* One key in several contacts, and more than a relay takes. */
static void test_rules(Fixture *f, gconstpointer data)
{
    _cleanup_(mailbox_settings_done) MailboxSettings s = {0};
    Db *db = store_db(f->m->store);
    size_t left_out = 1;

    add_contact(f, 1, true);
    add_contact(f, 1, false);
    add_contact(f, 2, false);
    g_assert_cmpint(contact_rules(db, &s, &left_out), ==, 0);
    g_assert_cmpuint(s.n_senders, ==, 2);
    g_assert_cmpuint(left_out, ==, 0);
    g_assert_cmpuint(s.senders[0].skid[0], ==, 1);
    g_assert_false(s.senders[0].allowed);
    g_assert_true(s.senders[1].allowed);
    mailbox_settings_done(&s);
    g_assert_cmpint(
        db_exec(db, "UPDATE contacts SET new_skid = 'AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'"), ==, 0);
    g_assert_cmpint(contact_rules(db, &s, &left_out), ==, 0);
    g_assert_cmpuint(s.n_senders, ==, 3); /* of the one that is blocked */
    g_assert_cmpuint(s.senders[1].skid[0], ==, 3);
    g_assert_false(s.senders[1].allowed);
    mailbox_settings_done(&s);
    g_assert_cmpint(db_begin(db), ==, 0);
    for (unsigned i = 0; i < SENDER_RULES_MAX; i++) {
        g_autofree char *sql = g_strdup_printf(
            "INSERT INTO contacts(kid, skid, decrypt_spki, generation, verified, blocked, added, confirmed, "
            "allowed)"
            " VALUES('%u', '%cAA%04uAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', x'01', 1, 0, 0, 0, 0, 1)",
            i, 'Z', i);
        g_assert_cmpint(db_exec(db, sql), ==, 0);
    }
    g_assert_cmpint(db_commit(db), ==, 0);
    g_assert_cmpint(contact_rules(db, &s, &left_out), ==, 0);
    g_assert_cmpuint(s.n_senders, ==, SENDER_RULES_MAX);
    g_assert_cmpuint(left_out, ==, 3);
    g_assert_cmpuint(s.senders[0].skid[0], ==, 1); /* what is blocked comes first */
    g_assert_cmpint(mailbox_settings_check(&s), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/relays-settings/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("told", test_told);
    ADD("restored", test_restored);
    ADD("lifetime", test_lifetime);
    ADD("at-once", test_at_once);
    ADD("late", test_late);
    ADD("rules", test_rules);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A relay changes its key: who follows, and whom nobody does. */

#include <string.h>

#include "agent/relays-internal.h"
#include "agent/store.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/fake-courier.h"

typedef struct Fixture {
    Double *d;
    Manager *m;
    FakeCourier *courier;
    TestPerson *bob;
    char *first; /* the relay with the pin that it had first */
    Relay relay, bare;
} Fixture;

typedef struct Outcome {
    bool done;
    int r;
    char detail[RELAYS_DETAIL_SIZE], relay[RELAY_TEXT_SIZE];
} Outcome;

static void set_up(Fixture *f, gconstpointer data)
{
    f->d = double_new();
    f->m = double_manager(f->d);
    f->courier = fake_courier_new(f->d);
    f->bob = test_person_new();
    fake_courier_know(f->courier, f->bob, "bob");
    f->first = g_strdup(fake_courier_relay(f->courier));
    g_assert_cmpint(relay_parse(f->first, &f->relay), ==, 0);
    g_assert_cmpint(relay_parse("relay.example", &f->bare), ==, 0);
    g_assert_cmpint(relays_new(f->m, &f->m->relays), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_free(f->courier);
    double_free(f->d);
    test_person_free(f->bob);
    g_free(f->first);
}

static void on_lookup(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    Outcome *o = userdata;

    o->done = true;
    o->r = r;
    g_strlcpy(o->detail, detail, sizeof(o->detail));
    if (entry)
        g_strlcpy(o->relay, entry->relay, sizeof(o->relay));
}

static Outcome look_up(Fixture *f, const Relay *relay)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(relays_lookup_name(f->m->relays, relay, "bob", NULL, false, on_lookup, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    return o;
}

static void expect_refused(Fixture *f, const Relay *relay)
{
    Outcome o = look_up(f, relay);

    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    g_assert_nonnull(strstr(o.detail, "does not have the pinned key"));
}

/* We go on calling it what we called it first; whoever asks by any of its pins gets there. */
static void expect_followed(Fixture *f)
{
    const Relay *const asked[] = {&f->relay, &f->bare};

    for (size_t i = 0; i < G_N_ELEMENTS(asked); i++) {
        Outcome o = look_up(f, asked[i]);

        g_assert_cmpint(o.r, ==, 0);
        g_assert_cmpstr(o.relay, ==, f->first);
    }
    Relay now;
    g_assert_cmpint(relay_parse(fake_courier_relay(f->courier), &now), ==, 0);
    Outcome o = look_up(f, &now);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpstr(o.relay, ==, f->first);
}

static void restart(Fixture *f)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_die(f->courier);
    g_assert_cmpint(relays_new(f->m, &f->m->relays), ==, 0);
}

static void test_announced(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    fake_courier_announce(f->courier);
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0); /* hears of it */
    restart(f);
    fake_courier_change_key(f->courier, SIGNER_NONE);
    expect_followed(f);
    unsigned probes = fake_courier_count(f->courier, "Probe");
    g_assert_cmpuint(probes, ==, 1);
    restart(f);
    expect_followed(f);
    g_assert_cmpuint(fake_courier_count(f->courier, "Probe"), ==, probes);
}

static void test_signed(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        fake_courier_change_key(f->courier, SIGNER_FORMER);
        expect_followed(f);
    }
}

static void test_refused(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    fake_courier_change_key(f->courier, SIGNER_NONE);
    expect_refused(f, &f->relay);
    expect_refused(f, &f->bare);
    g_assert_cmpuint(fake_courier_count(f->courier, "Probe"), ==, 2);
}

static void test_thief(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    fake_courier_change_key(f->courier, SIGNER_THIEF);
    expect_refused(f, &f->relay);
}

/* The key that we know has named another: even its own word for a third does not count then. */
static void test_stolen(Fixture *f, gconstpointer data)
{
    fake_courier_announce(f->courier);
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    fake_courier_announce(f->courier);
    fake_courier_change_key(f->courier, SIGNER_FORMER);
    expect_refused(f, &f->relay);
}

/* Its new pin is known first, then somebody gives out an address with the former one. */
static void test_old_address(Fixture *f, gconstpointer data)
{
    Relay now;

    fake_courier_change_key(f->courier, SIGNER_FORMER);
    g_assert_cmpint(relay_parse(fake_courier_relay(f->courier), &now), ==, 0);
    g_assert_cmpint(look_up(f, &now).r, ==, 0);
    Outcome o = look_up(f, &f->relay);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpstr(o.relay, ==, fake_courier_relay(f->courier));
}

/* Its former pin is known, then somebody gives out an address with the new one. */
static void test_new_address(Fixture *f, gconstpointer data)
{
    Relay now;

    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    fake_courier_change_key(f->courier, SIGNER_FORMER);
    g_assert_cmpint(relay_parse(fake_courier_relay(f->courier), &now), ==, 0);
    restart(f);
    Outcome o = look_up(f, &now);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpstr(o.relay, ==, f->first);
    expect_followed(f);
}

/* An address with the pin of somebody else who is there now does not make them the relay that we know. */
static void test_strange_address(Fixture *f, gconstpointer data)
{
    static const Signer signers[] = {SIGNER_NONE, SIGNER_THIEF};
    Relay now;

    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(signers); i++) {
        fake_courier_change_key(f->courier, signers[i]);
        g_assert_cmpint(relay_parse(fake_courier_relay(f->courier), &now), ==, 0);
        expect_refused(f, &now);
        if (i == 0) /* the courier of the test knows of one former key */
            expect_refused(f, &f->bare);
    }
    /* that nobody answers says nothing of keys */
    fake_courier_fault(f->courier, FAULT_UNREACHABLE);
    g_assert_cmpint(look_up(f, &now).r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
}

/* How often was it told that a relay has gone back? */
static unsigned times_told(Fixture *f)
{
    g_autofree char *emitted = fake_courier_emitted(f->courier);
    unsigned n = 0;

    for (const char *at = emitted; (at = strstr(at, "RelayRestored")); at++)
        n++;
    return n;
}

static void test_ticks(Fixture *f, gconstpointer data)
{
    /* as long as each follows on the one before, and when some were missed */
    for (uint8_t i = 1; i < 4; i++) {
        fake_courier_tick(f->courier, 0, i);
        g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    }
    fake_courier_tick(f->courier, 0, 4);
    fake_courier_tick(f->courier, 0, 5);
    restart(f);
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    for (uint8_t i = 6; i < 6 + 2 * TICKS_MAX; i++)
        fake_courier_tick(f->courier, 0, i);
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    g_assert_cmpuint(times_told(f), ==, 0);
    g_assert_false(ticks_went_back(f->m->relays, f->first));
}

static void test_other_tick(Fixture *f, gconstpointer data)
{
    fake_courier_tick(f->courier, 0, 1);
    fake_courier_tick(f->courier, 0, 2);
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    /* the second was another one, and there is a third */
    fake_courier_tick(f->courier, 2, 3);
    fake_courier_tick(f->courier, 3, 4);
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    g_assert_cmpuint(times_told(f), ==, 1);
    g_assert_true(ticks_went_back(f->m->relays, f->first));
    /* once, and known still after a restart */
    restart(f);
    fake_courier_tick(f->courier, 0, 5);
    g_assert_cmpint(look_up(f, &f->relay).r, ==, 0);
    g_assert_cmpuint(times_told(f), ==, 0);
    g_assert_true(ticks_went_back(f->m->relays, f->first));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Fixture *, gconstpointer);
    } tests[] = {
        {"/relays-pins/announced", test_announced},
        {"/relays-pins/signed", test_signed},
        {"/relays-pins/refused", test_refused},
        {"/relays-pins/thief", test_thief},
        {"/relays-pins/stolen", test_stolen},
        {"/relays-pins/old-address", test_old_address},
        {"/relays-pins/new-address", test_new_address},
        {"/relays-pins/strange-address", test_strange_address},
        {"/relays-pins/ticks", test_ticks},
        {"/relays-pins/other-tick", test_other_tick},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].f, tear_down);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Telling a relay of new keys: before the next login, after whatever was missed, and once. */

#include <string.h>

#include "agent/relays-internal.h"
#include "agent/store.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/fake-courier.h"

#define ADDRESS "alice@relay.example"

typedef struct Fixture {
    Double *d;
    Manager *m;
    FakeCourier *courier;
} Fixture;

typedef struct Outcome {
    bool done;
    int r;
} Outcome;

static void set_up(Fixture *f, gconstpointer data)
{
    f->d = double_new();
    f->m = double_manager(f->d);
    f->courier = fake_courier_new(f->d);
    g_assert_cmpint(relays_new(f->m, &f->m->relays), ==, 0);
    relays_identity_changed(f->m->relays);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_free(f->courier);
    double_free(f->d);
}

static void on_done(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Outcome *o = userdata;

    g_assert_false(o->done);
    *o = (Outcome){true, r};
}

static void do_register(Fixture *f)
{
    g_autofree char *address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(relays_register(f->m->relays, address, NULL, false, on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
}

/* Something that needs a login, as a member or as a guest. */
static int ask(Fixture *f, bool member)
{
    g_autofree char *id = g_strnfill(HASH_TEXT_SIZE - 1, 'A');
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    const char *relay = fake_courier_relay(f->courier);
    Outcome o = {0};

    if (member)
        g_assert_cmpint(relays_list(f->m->relays, relay, 0, on_done, &o, &q), ==, 0);
    else
        g_assert_cmpint(relays_status(f->m->relays, relay, id, on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    return o.r;
}

static void rotate(Fixture *f)
{
    double_rotate(f->d);
    relays_identity_changed(f->m->relays);
}

/* The agent starts again. */
static void restart(Fixture *f)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_die(f->courier);
    g_assert_cmpint(relays_new(f->m, &f->m->relays), ==, 0);
    relays_identity_changed(f->m->relays);
}

static int copy_state(const char *address, const char *relay, const char *state, const char *error,
                      void *userdata)
{
    g_strlcpy(userdata, state, 32);
    return 1;
}

static void expect_state(Fixture *f, const char *expected)
{
    char state[32] = "";

    g_assert_cmpint(relays_each_registration(f->m->relays, copy_state, state), ==, 1);
    g_assert_cmpstr(state, ==, expected);
}

static unsigned rotations(const Fixture *f)
{
    return fake_courier_count(f->courier, "Rotate");
}

static void test_member(Fixture *f, gconstpointer data)
{
    const char *const *ours;

    do_register(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    rotate(f);
    expect_state(f, "rotating");
    g_assert_cmpuint(relays_ours(f->m->relays, &ours), ==, 1);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    g_assert_cmpuint(fake_courier_steps(f->courier), ==, 1);
    g_assert_cmpuint(fake_courier_count(f->courier, "Register"), ==, 1);
    /* once */
    restart(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    /* and again with the next */
    rotate(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 2);
}

/* By itself, since we are registered there. */
static void test_unasked(Fixture *f, gconstpointer data)
{
    do_register(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    rotate(f);
    while (!relays_is_listening(f->m->relays, fake_courier_relay(f->courier)))
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    expect_state(f, "connected");
}

/* The relay was away, the agent ended, and keys were rotated twice more. */
static void test_catch_up(Fixture *f, gconstpointer data)
{
    do_register(f);
    fake_courier_fault(f->courier, FAULT_UNREACHABLE);
    rotate(f);
    g_assert_cmpint(ask(f, true), ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    rotate(f);
    restart(f);
    g_assert_cmpint(ask(f, true), ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    rotate(f);
    g_assert_cmpuint(rotations(f), ==, 0);
    fake_courier_fault(f->courier, FAULT_NONE);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    g_assert_cmpuint(fake_courier_steps(f->courier), ==, 3);
}

/* The relay made it and could not say so: it is asked what it has, and says it. */
static void test_lost(Fixture *f, gconstpointer data)
{
    do_register(f);
    fake_courier_fault(f->courier, FAULT_ROTATE_LOST);
    rotate(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    g_assert_false(rotate_is_due(f->m->relays, fake_courier_relay(f->courier)));
    fake_courier_fault(f->courier, FAULT_NONE);
    rotate(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 2);
    g_assert_cmpuint(fake_courier_steps(f->courier), ==, 1);
}

/* The agent ended before it heard that; before it rotated once more, or after. */
static void test_ended(Fixture *f, gconstpointer data)
{
    for (unsigned again = 0; again < 2; again++) {
        fake_courier_fault(f->courier, FAULT_NONE);
        do_register(f);
        unsigned before = rotations(f);

        fake_courier_fault(f->courier, FAULT_ROTATE_LOST);
        rotate(f);
        while (rotations(f) == before)
            g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
        restart(f);
        expect_state(f, "rotating");
        fake_courier_fault(f->courier, FAULT_NONE);
        if (again)
            rotate(f);
        g_assert_cmpint(ask(f, true), ==, 0);
        g_assert_cmpuint(rotations(f), ==, before + 1 + again);
        g_assert_cmpuint(fake_courier_steps(f->courier), ==, 1);
        g_assert_false(rotate_is_due(f->m->relays, fake_courier_relay(f->courier)));
    }
}

/* Keys change once more while the relay's answer to the change before is on its way. */
static void test_meanwhile(Fixture *f, gconstpointer data)
{
    do_register(f);
    rotate(f);
    while (rotations(f) == 0)
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
    rotate(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 2);
    g_assert_cmpuint(fake_courier_steps(f->courier), ==, 1);
    /* what was noted is what the relay has, also for the next one */
    rotate(f);
    restart(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 3);
}

/* The relay has a key of before the one that we remember: it is found there all the same. */
static void test_gone_back(Fixture *f, gconstpointer data)
{
    _cleanup_(db_statement_freep) DbStatement *put = NULL;

    do_register(f);
    fake_courier_fault(f->courier, FAULT_UNREACHABLE);
    rotate(f);
    g_assert_cmpint(db_prepare(store_db(f->m->store), "UPDATE registrations SET kid = ?1", &put), ==, 0);
    db_bind_text(put, 1, identity_public(f->m->identity)->kid);
    g_assert_cmpint(db_run(put), ==, 0);
    rotate(f);
    restart(f);
    fake_courier_fault(f->courier, FAULT_NONE);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    g_assert_cmpuint(fake_courier_steps(f->courier), ==, 2);
    g_assert_false(rotate_is_due(f->m->relays, fake_courier_relay(f->courier)));
}

/* The relay registers us and its answer is lost, then the keys change: the name is ours still. */
static void test_registered_before(Fixture *f, gconstpointer data)
{
    g_autofree char *address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    fake_courier_fault(f->courier, FAULT_REGISTER_LOST);
    g_assert_cmpint(relays_register(f->m->relays, address, NULL, false, on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    fake_courier_fault(f->courier, FAULT_NONE);
    rotate(f);
    rotate(f);
    do_register(f);
    g_assert_cmpuint(rotations(f), ==, 1);
    g_assert_cmpuint(fake_courier_steps(f->courier), ==, 2);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_false(rotate_is_due(f->m->relays, fake_courier_relay(f->courier)));
}

static RelaysRequest *begin_registration(Fixture *f, Outcome *o)
{
    g_autofree char *address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    RelaysRequest *q = NULL;

    g_assert_cmpint(relays_register(f->m->relays, address, NULL, false, on_done, o, &q), ==, 0);
    return q;
}

static RelaysRequest *begin_login(Fixture *f, Outcome *o)
{
    RelaysRequest *q = NULL;

    do_register(f);
    g_assert_cmpint(relays_list(f->m->relays, fake_courier_relay(f->courier), 0, on_done, o, &q), ==, 0);
    return q;
}

static RelaysRequest *begin_end(Fixture *f, Outcome *o)
{
    RelaysRequest *q = NULL;

    do_register(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpint(relays_unregister(f->m->relays, ADDRESS, on_done, o, &q), ==, 0);
    return q;
}

typedef RelaysRequest *(*begin_t)(Fixture *f, Outcome *o);

/* Keys change after that many steps of what was begun, unless it has ended by then: it comes true all the
 * same, once.
 */
static bool change_after(begin_t begin, unsigned steps)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    bool ends = begin == begin_end, over;
    const char *const *ours;
    Fixture f = {0};
    Outcome o = {0};

    set_up(&f, NULL);
    q = begin(&f, &o);
    for (unsigned i = 0; i < steps && !o.done; i++)
        g_assert_cmpint(sd_event_run(f.m->event, UINT64_MAX), >=, 0);
    over = o.done;
    rotate(&f);
    double_run(f.d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
    q = relays_request_free(q);
    g_assert_cmpuint(relays_ours(f.m->relays, &ours), ==, ends ? 0 : 1);
    g_assert_cmpint(fake_courier_has_us(f.courier), ==, !ends);
    if (!ends)
        g_assert_cmpint(ask(&f, true), ==, 0); /* by the keys of now */
    g_assert_false(rotate_is_due(f.m->relays, fake_courier_relay(f.courier)));
    tear_down(&f, NULL);
    return over;
}

static void test_any_moment(gconstpointer data)
{
    begin_t begin = *(const begin_t *)data;
    unsigned steps = 0;

    double_reuse_keys();
    while (!change_after(begin, steps))
        steps++;
    g_assert_cmpuint(steps, >, 5);
}

static void test_guest(Fixture *f, gconstpointer data)
{
    fake_courier_fault(f->courier, FAULT_UNKNOWN_KEY);
    g_assert_cmpint(ask(f, false), ==, 0);
    g_assert_cmpuint(fake_courier_count(f->courier, "Register"), ==, 1);
    rotate(f);
    rotate(f);
    g_assert_cmpint(ask(f, false), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    g_assert_cmpuint(fake_courier_steps(f->courier), ==, 2);
    g_assert_cmpuint(fake_courier_count(f->courier, "Register"), ==, 1);
}

/* Unasked, and not for ever connected because of it. */
static void test_guest_unasked(Fixture *f, gconstpointer data)
{
    fake_courier_fault(f->courier, FAULT_UNKNOWN_KEY);
    g_assert_cmpint(ask(f, false), ==, 0);
    fake_courier_fault(f->courier, FAULT_UNREACHABLE);
    rotate(f);
    restart(f);
    g_assert_true(rotate_is_due(f->m->relays, fake_courier_relay(f->courier)));
    fake_courier_fault(f->courier, FAULT_UNKNOWN_KEY);
    relays_hurry(f->m->relays);
    while (fake_courier_count(f->courier, "Listen") == 0 ||
           connection_find(f->m->relays, fake_courier_relay(f->courier))->telling)
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
    g_assert_false(rotate_is_due(f->m->relays, fake_courier_relay(f->courier)));
    g_assert_false(relays_is_listening(f->m->relays, fake_courier_relay(f->courier)));
    /* not again */
    restart(f);
    g_assert_null(connection_find(f->m->relays, fake_courier_relay(f->courier)));
}

/* A relay that never heard of us. */
static void test_stranger(Fixture *f, gconstpointer data)
{
    rotate(f);
    fake_courier_fault(f->courier, FAULT_UNKNOWN_KEY);
    g_assert_cmpint(ask(f, false), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 0);
    g_assert_cmpuint(fake_courier_count(f->courier, "Register"), ==, 1);
}

/* Ending a registration, or making it anew, tells of the new keys first. */
static void test_register_again(Fixture *f, gconstpointer data)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    const char *const *ours;
    Outcome o = {0};

    do_register(f);
    rotate(f);
    do_register(f);
    g_assert_cmpuint(rotations(f), ==, 1);
    rotate(f);
    g_assert_cmpint(relays_unregister(f->m->relays, ADDRESS, on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpuint(rotations(f), ==, 2);
    g_assert_cmpuint(fake_courier_count(f->courier, "Unregister"), ==, 1);
    g_assert_cmpuint(relays_ours(f->m->relays, &ours), ==, 0);
}

static void do_unregister(Fixture *f)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(relays_unregister(f->m->relays, ADDRESS, on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
}

/* The relay has forgotten us, as we wanted: it is led to the keys of now, from all that it had. */
static void test_back(Fixture *f, gconstpointer data)
{
    do_register(f);
    g_assert_cmpuint(fake_courier_links(f->courier), ==, 0);
    rotate(f);
    g_assert_cmpint(ask(f, true), ==, 0);
    do_unregister(f);
    fake_courier_forget(f->courier);
    do_register(f); /* by the same keys as last */
    g_assert_cmpuint(fake_courier_links(f->courier), ==, 1);
    do_unregister(f);
    fake_courier_forget(f->courier);
    rotate(f);
    rotate(f);
    restart(f);
    do_register(f);
    g_assert_cmpuint(fake_courier_links(f->courier), ==, 2);
    g_assert_cmpuint(rotations(f), ==, 1);
}

/* An administrator has deleted us, of which we know nothing, before the relay was told of new keys. */
static void test_deleted(Fixture *f, gconstpointer data)
{
    do_register(f);
    fake_courier_forget(f->courier);
    fake_courier_fault(f->courier, FAULT_UNREACHABLE);
    rotate(f);
    g_assert_cmpint(ask(f, true), ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    fake_courier_fault(f->courier, FAULT_NONE);
    do_register(f);
    g_assert_cmpuint(fake_courier_links(f->courier), ==, 1);
    g_assert_cmpuint(rotations(f), ==, 0);
    g_assert_cmpint(ask(f, true), ==, 0);
}

/* A relay that does not know of chains takes us without. From then on its contacts begin anew. */
static void test_chainless(Fixture *f, gconstpointer data)
{
    do_register(f);
    do_unregister(f);
    fake_courier_forget(f->courier);
    rotate(f);
    fake_courier_fault(f->courier, FAULT_CHAIN);
    unsigned before = fake_courier_count(f->courier, "Register");
    do_register(f);
    g_assert_cmpuint(fake_courier_count(f->courier, "Register"), ==, before + 2);
    g_assert_cmpuint(fake_courier_links(f->courier), ==, 0);
    g_assert_cmpint(ask(f, true), ==, 0);
}

/* Each time by other keys. */
static void test_many(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 6; i++) {
        do_register(f);
        do_unregister(f);
        fake_courier_forget(f->courier);
        rotate(f);
    }
    do_register(f);
    g_assert_cmpuint(fake_courier_links(f->courier), ==, 6);
}

/* Nothing is signed while we are locked, and it is made up for. */
static void test_locked(Fixture *f, gconstpointer data)
{
    do_register(f);
    double_rotate(f->d);
    double_lock(f->d);
    relays_identity_changed(f->m->relays);
    g_assert_cmpint(ask(f, true), ==, HMSG_ERROR_LOCKED);
    g_assert_cmpuint(rotations(f), ==, 0);
    double_unlock(f->d);
    relays_identity_changed(f->m->relays);
    g_assert_cmpint(ask(f, true), ==, 0);
    g_assert_cmpuint(rotations(f), ==, 1);
}

int main(int argc, char **argv)
{
    static const begin_t registration = begin_registration, login = begin_login, end = begin_end;

    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/relays-rotate/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("member", test_member);
    ADD("unasked", test_unasked);
    ADD("back", test_back);
    ADD("deleted", test_deleted);
    ADD("chainless", test_chainless);
    ADD("many", test_many);
    ADD("catch-up", test_catch_up);
    ADD("lost", test_lost);
    ADD("ended", test_ended);
    ADD("meanwhile", test_meanwhile);
    ADD("registered-before", test_registered_before);
    ADD("gone-back", test_gone_back);
    ADD("guest", test_guest);
    ADD("guest-unasked", test_guest_unasked);
    ADD("stranger", test_stranger);
    ADD("register-again", test_register_again);
    ADD("locked", test_locked);
    g_test_add_data_func("/relays/rotate/any-moment/registration", &registration, test_any_moment);
    g_test_add_data_func("/relays/rotate/any-moment/login", &login, test_any_moment);
    g_test_add_data_func("/relays/rotate/any-moment/end", &end, test_any_moment);
    return g_test_run();
}

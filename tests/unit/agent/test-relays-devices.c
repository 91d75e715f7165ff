/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a relay is to know of our devices it is told when it can be, however long that takes, and once. */

#include <string.h>

#include "agent/own-devices.h"
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

static void set_up(Fixture *f, gconstpointer data)
{
    f->d = double_new();
    f->m = double_manager(f->d);
    f->courier = fake_courier_new(f->d);
    start(f);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_free(f->courier);
    double_free(f->d);
}

static void restart(Fixture *f)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_die(f->courier);
    start(f);
}

static void await_listening(Fixture *f)
{
    while (!relays_is_listening(f->m->relays, fake_courier_relay(f->courier)))
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
}

static void on_done(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    g_assert_cmpint(r, ==, 0);
    *(bool *)userdata = true;
}

static void do_register(Fixture *f)
{
    g_autofree char *address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    bool done = false;

    g_assert_cmpint(relays_register(f->m->relays, address, NULL, false, on_done, &done, &q), ==, 0);
    double_run(f->d, &done);
}

static void add_device(Fixture *f)
{
    OwnDevice d = {.address = "phone@relay.example", .added = 1};
    uint8_t bytes[KID_SIZE] = {1};

    base64url_encode(bytes, sizeof(bytes), d.kid);
    bytes[0] = 2;
    base64url_encode(bytes, sizeof(bytes), d.skid);
    g_assert_cmpint(own_devices_add(store_db(f->m->store), &d), ==, 0);
}

static unsigned registrations(const Fixture *f)
{
    return fake_courier_count(f->courier, "Register");
}

static void await_told(Fixture *f, unsigned n)
{
    await_listening(f);
    while (registrations(f) < n || connection_find(f->m->relays, fake_courier_relay(f->courier))->devices)
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
    g_assert_cmpuint(registrations(f), ==, n);
}

static void test_catch_up(Fixture *f, gconstpointer data)
{
    do_register(f);
    await_told(f, 1); /* there are none: nothing is told */
    g_assert_cmpuint(fake_courier_devices(f->courier), ==, 0);
    add_device(f);
    restart(f);
    await_told(f, 2);
    g_assert_cmpuint(fake_courier_devices(f->courier), ==, 1);
    restart(f);
    await_told(f, 2); /* once */
    g_assert_cmpint(own_devices_remove(store_db(f->m->store), "phone@relay.example"), ==, 0);
    restart(f);
    await_told(f, 3);
    g_assert_cmpuint(fake_courier_devices(f->courier), ==, 0);
    /* new keys bring it along */
    add_device(f);
    double_rotate(f->d);
    restart(f);
    await_told(f, 3);
    g_assert_cmpuint(fake_courier_devices(f->courier), ==, 1);
}

/* An answer that is lost, a lock. */
static void test_again(Fixture *f, gconstpointer data)
{
    Connection *c;

    do_register(f);
    add_device(f);
    fake_courier_fault(f->courier, FAULT_REGISTER_LOST);
    restart(f);
    await_told(f, 3); /* and once more, as for any answer that is lost */
    c = connection_find(f->m->relays, fake_courier_relay(f->courier));
    g_assert_nonnull(c->devices_later);
    fake_courier_fault(f->courier, FAULT_NONE);
    g_assert_cmpint(sd_event_source_set_time_relative(c->devices_later, 0), >=, 0);
    await_told(f, 4);
    g_assert_null(c->devices_later);
    /* nor does a new connection wait for that time */
    g_assert_cmpint(own_devices_remove(store_db(f->m->store), "phone@relay.example"), ==, 0);
    fake_courier_fault(f->courier, FAULT_REGISTER_LOST);
    relays_identity_changed(f->m->relays);
    await_told(f, 6);
    g_assert_nonnull(c->devices_later);
    fake_courier_fault(f->courier, FAULT_NONE);
    fake_courier_disconnect(f->courier);
    while (registrations(f) < 7)
        g_assert_cmpint(sd_event_run(f->m->event, UINT64_MAX), >=, 0);
    await_told(f, 7);
    g_assert_null(c->devices_later);
    add_device(f);
    relays_identity_changed(f->m->relays);
    await_told(f, 8);
    g_assert_cmpint(own_devices_remove(store_db(f->m->store), "phone@relay.example"), ==, 0);
    double_lock(f->d);
    relays_identity_changed(f->m->relays);
    await_told(f, 8);
    double_unlock(f->d);
    relays_identity_changed(f->m->relays);
    await_told(f, 9);
    g_assert_cmpuint(fake_courier_devices(f->courier), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/relays-devices/catch-up", Fixture, NULL, set_up, test_catch_up, tear_down);
    g_test_add("/relays-devices/again", Fixture, NULL, set_up, test_again, tear_down);
    return g_test_run();
}

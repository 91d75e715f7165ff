/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sending capabilities as the agent asks for them: what is signed by the login's key the fake courier checks.
 */

#include <string.h>

#include "agent/relays-internal.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/fake-courier.h"

typedef struct Fixture {
    Double *d;
    Manager *m;
    FakeCourier *courier;
} Fixture;

typedef struct Outcome {
    bool done;
    int r;
    char address[ADDRESS_SIZE_MAX + 1];
    uint64_t number;
    size_t n;
    RelaysCapability first;
} Outcome;

static void on_done(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Outcome *o = userdata;

    g_assert_false(o->done);
    g_assert_true((r == 0) == (result != NULL));
    o->done = true;
    o->r = r;
    if (!result)
        return;
    o->number = result->number;
    o->n = result->n;
    if (result->address)
        g_strlcpy(o->address, result->address, sizeof(o->address));
    if (result->capabilities && result->n > 0)
        o->first = result->capabilities[0];
}

static void set_up(Fixture *f, gconstpointer data)
{
    f->d = double_new();
    f->m = double_manager(f->d);
    f->courier = fake_courier_new(f->d);
    g_assert_cmpint(relays_new(f->m, &f->m->relays), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_free(f->courier);
    double_free(f->d);
}

static void enter(Fixture *f)
{
    g_autofree char *address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(relays_register(f->m->relays, address, NULL, false, on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
}

static Outcome grant(Fixture *f, const char *address, uint64_t uses, const char *name)
{
    const CapabilityGrant g = {.hash = {7}, .uses = uses, .expires = clock_realtime() + 1000};
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    o.r = relays_grant(f->m->relays, address, &g, name, on_done, &o, &q);
    if (o.r == 0)
        double_run(f->d, &o.done);
    return o;
}

static Outcome list(Fixture *f)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(relays_capabilities(f->m->relays, "", on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
    return o;
}

static Outcome take_back(Fixture *f, uint64_t number)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(relays_revoke(f->m->relays, "alice@relay.example", number, on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    return o;
}

static void test_whole(Fixture *f, gconstpointer data)
{
    g_autofree char *address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    g_autofree char *long_name = g_strnfill(CAPABILITY_NAME_SIZE_MAX + 1, 'n');
    const char *pin = strchr(fake_courier_relay(f->courier), '#');
    Outcome o;

    g_assert_cmpint(grant(f, "", 3, "").r, ==, HMSG_ERROR_NOT_FOUND); /* no mailbox yet */
    enter(f);
    g_assert_cmpint(grant(f, "bob@relay.example", 3, "").r, ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(grant(f, "alice", 3, "").r, ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpint(grant(f, "", 3, long_name).r, ==, HMSG_ERROR_INVALID_ARGS);
    g_assert_cmpuint(fake_courier_count(f->courier, "Grant"), ==, 0);
    g_assert_cmpuint(list(f).n, ==, 0);
    o = grant(f, address, 3, "for the shop");
    g_assert_cmpint(o.r, ==, 0);
    g_assert_true(g_str_has_prefix(o.address, "alice@relay.example#"));
    g_assert_true(g_str_has_suffix(o.address, pin));
    g_assert_cmpuint(o.number, ==, 5);
    o = list(f);
    g_assert_cmpuint(o.n, ==, 1);
    g_assert_cmpuint(o.first.number, ==, 5);
    g_assert_cmpuint(o.first.uses, ==, 3);
    g_assert_cmpstr(o.first.name, ==, "for the shop");
    g_assert_cmpint(take_back(f, 6).r, ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(take_back(f, 5).r, ==, 0);
    g_assert_cmpuint(list(f).n, ==, 0);
    /* its name went with it */
    g_assert_cmpint(grant(f, "", 9, "").r, ==, 0);
    o = list(f);
    g_assert_cmpuint(o.first.uses, ==, 9);
    g_assert_cmpstr(o.first.name, ==, "");
}

/* The MAC is of the login that there is when it is sent. */
static void test_login_lost(Fixture *f, gconstpointer data)
{
    enter(f);
    g_assert_cmpint(grant(f, "", 3, "").r, ==, 0);
    fake_courier_fault(f->courier, FAULT_LOGIN_LOST);
    g_assert_cmpint(grant(f, "", 4, "").r, ==, 0);
    fake_courier_fault(f->courier, FAULT_LOGIN_LOST);
    g_assert_cmpint(take_back(f, 5).r, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, test) g_test_add("/relays-capability/" name, Fixture, NULL, set_up, test, tear_down)
    ADD("whole", test_whole);
    ADD("login-lost", test_login_lost);
    return g_test_run();
}

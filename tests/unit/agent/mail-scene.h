/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the tests of mailbox and outbox share: the agent's half of mail over doubles and the fake courier. */

#include "agent/cipher.h"
#include "agent/relays.h"
#include "agent/session-in.h"
#include "agent/session-out.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/fake-courier.h"

typedef struct Scene {
    Double *d;
    Manager *m;
    FakeCourier *courier;
    TestPerson *alice, *me; /* me: the public keys of the agent's own identity */
} Scene;

static inline void scene_open(Scene *s)
{
    const IdentityPublic *own;

    s->d = double_new();
    s->m = double_manager(s->d);
    s->courier = fake_courier_new(s->d);
    g_assert_cmpint(session_in_new(s->m, &s->m->session_in), ==, 0);
    g_assert_cmpint(session_out_new(s->m, &s->m->session_out), ==, 0);
    g_assert_cmpint(cipher_new(s->m, &s->m->cipher), ==, 0);
    g_assert_cmpint(relays_new(s->m, &s->m->relays), ==, 0);
    s->alice = test_person_new();
    own = identity_public(s->m->identity);
    s->me = g_new0(TestPerson, 1);
    s->me->decrypt = rsa_key_ref(own->decrypt);
    s->me->sign = rsa_key_ref(own->sign);
}

static inline void scene_close(Scene *s)
{
    s->m->relays = relays_free(s->m->relays);
    s->m->cipher = cipher_free(s->m->cipher);
    s->m->session_out = session_out_free(s->m->session_out);
    s->m->session_in = session_in_free(s->m->session_in);
    fake_courier_free(s->courier);
    double_free(s->d);
    test_person_free(s->alice);
    test_person_free(s->me);
}

static inline void scene_on_registered(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    g_assert_cmpint(r, ==, 0);
    *(bool *)userdata = true;
}

/* A mailbox at the relay, at which the agent then listens. */
static inline void scene_register(Scene *s)
{
    g_autofree char *address = g_strdup_printf("me@%s", fake_courier_relay(s->courier));
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    bool done = false;

    g_assert_cmpint(relays_register(s->m->relays, address, NULL, false, scene_on_registered, &done, &q), ==,
                    0);
    double_run(s->d, &done);
    while (!relays_is_listening(s->m->relays, fake_courier_relay(s->courier)))
        double_turn(s->d);
}

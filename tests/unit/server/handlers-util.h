/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A relay without a network, and what people do with it. */

#include "server/handlers.h"
#include "tests/lib/person.h"
#include "tests/lib/process.h"
#include "tests/unit/server/http-double.h"

#define TEST_HOST "relay.example"
#define TEST_PERSONS 3

/* A request that is answered with this status. */
#define EXPECT(expected, call)                                                                               \
    do {                                                                                                     \
        g_autoptr(DoubleAnswer) answer_ = (call);                                                            \
        g_assert_cmpuint(answer_->status, ==, (expected));                                                   \
    } while (0)

/* People, numbered from 0; the same ones in all tests of a process. */
const TestPerson *test_person(unsigned number);

typedef struct TestRelay {
    char *folder;
    Options options;
    RelayKey *key;
    Handlers *handlers;
} TestRelay;

/* Fixture functions; change options between them by test_relay_restart. */
void test_relay_set_up(TestRelay *f, gconstpointer data);
void test_relay_tear_down(TestRelay *f, gconstpointer data);
void test_relay_restart(TestRelay *f);
DoubleConnection *test_relay_connect(TestRelay *f);

/* A nonce of this connection. */
void test_nonce(DoubleConnection *c, uint8_t ret[static NONCE_SIZE]);

/* What goes into a registration; all of it can be spoilt before it is sent. */
typedef struct TestRegistration {
    char *statement;
    RegisterRequest request;
    EVP_PKEY *signer;
    uint8_t skid[KID_SIZE];
    Secret *pop;
    bool wrong_answer;
    const char *invite;
    json_t *steps; /* of a rotation */
    json_t *chain; /* of who comes back with other keys */
} TestRegistration;
/* Challenges the relay and prepares what is right; name "" for a guest. */
void test_registration_init(TestRelay *f, DoubleConnection *c, const TestPerson *p, const char *name,
                            TestRegistration *ret);
/* The same for a rotation by one step; previous: the statement that is registered. */
void test_rotation_init(TestRelay *f, DoubleConnection *c, const TestPerson *from, const TestPerson *to,
                        uint64_t generation, const char *address, const char *previous,
                        TestRegistration *ret);
/* One more step, which says that `by` has signed it. */
void test_rotation_step(TestRegistration *g, const TestPerson *by, const char *rotate);
/* Sends and frees. */
DoubleAnswer *test_registration_send(DoubleConnection *c, TestRegistration *g);
/* All in one; the status. */
unsigned test_register_person(TestRelay *f, DoubleConnection *c, const TestPerson *p, const char *name);

/* A login request ready to be spoilt; signed and sent. *ret_ack (may be NULL): the key for acknowledgements.
 */
typedef struct TestLogin {
    LoginRequest request;
    Secret *own;
} TestLogin;
void test_login_init(TestRelay *f, DoubleConnection *c, TestLogin *ret);
DoubleAnswer *test_login_send(TestRelay *f, DoubleConnection *c, const TestPerson *p, TestLogin *l,
                              Secret **ret_ack);
/* A new connection on which p is logged in. */
DoubleConnection *test_login(TestRelay *f, const TestPerson *p, Secret **ret_ack);

/* The online key that the statement "relay" in an answer vouches for. */
EcKey *test_online(TestRelay *f, const json_t *answer);
const char *test_text(const json_t *j, const char *name);

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Relays through a courier that answers as the test says: what is believed, and what is not. */

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/courier-link.h"
#include "agent/identity.h"
#include "agent/relays-internal.h"
#include "agent/store.h"
#include "libhmsg/base/error.h"
#include "tests/unit/agent/fake-courier.h"

typedef struct Fixture {
    Double *d;
    Manager *m;
    FakeCourier *courier;
    TestPerson *bob;
    Relay relay, bare;
} Fixture;

typedef struct Outcome {
    bool done;
    int r;
    char *detail;
    char *address;
} Outcome;

static void set_up(Fixture *f, gconstpointer data)
{
    f->d = double_new();
    f->m = double_manager(f->d);
    f->courier = fake_courier_new(f->d);
    f->bob = test_person_new();
    fake_courier_know(f->courier, f->bob, "bob");
    g_assert_cmpint(relay_parse(fake_courier_relay(f->courier), &f->relay), ==, 0);
    g_assert_cmpint(relay_parse("relay.example", &f->bare), ==, 0);
    g_assert_cmpint(relays_new(f->m, &f->m->relays), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    f->m->relays = relays_free(f->m->relays);
    fake_courier_free(f->courier);
    double_free(f->d);
    test_person_free(f->bob);
}

static void outcome_clear(Outcome *o)
{
    g_free(o->detail);
    g_free(o->address);
    *o = (Outcome){0};
}

static void on_lookup(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    Outcome *o = userdata;

    g_assert_false(o->done);
    g_assert_true((r == 0) == (entry != NULL));
    o->done = true;
    o->r = r;
    o->detail = g_strdup(detail);
    if (entry)
        o->address = g_strdup(entry->identity->address);
}

static void on_done(int r, const char *detail, const RelaysResult *result, void *userdata)
{
    Outcome *o = userdata;

    g_assert_false(o->done);
    o->done = true;
    o->r = r;
    o->detail = g_strdup(detail);
}

static void look_up(Fixture *f, const Relay *relay, bool trust, Outcome *o)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(relays_lookup_name(f->m->relays, relay, "bob", NULL, trust, on_lookup, o, &q), ==, 0);
    g_assert_false(o->done);
    double_run(f->d, &o->done);
}

static void test_pin(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    /* nobody has told us its pin: it says one, which is named and not believed */
    look_up(f, &f->bare, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    g_assert_nonnull(strstr(o.detail, fake_courier_relay(f->courier)));
    g_assert_cmpuint(fake_courier_count(f->courier, "LookupName"), ==, 0);
    look_up(f, &f->bare, true, &o);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpstr(o.address, ==, "bob@relay.example");
    /* known from now on */
    unsigned probes = fake_courier_count(f->courier, "Probe");
    look_up(f, &f->bare, false, &o);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpuint(fake_courier_count(f->courier, "Probe"), ==, probes);
    /* and another pin is not */
    Relay other = f->relay;
    other.pin[5] ^= 1;
    look_up(f, &other, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    outcome_clear(&o);
}

/* More relays than are spoken to at a time, one after the other; those that are kept stay. */
static void test_many_relays(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    for (unsigned i = 0; i < RELAYS_CONNECTIONS_MAX + 10; i++) {
        Relay relay = f->relay;
        Connection *c = NULL;

        relay.port = (uint16_t)(10000 + i);
        g_assert_cmpint(connection_get(f->m->relays, &relay, true, &c), ==, 0);
        g_assert_cmpuint(f->m->relays->n_connections, <=, RELAYS_CONNECTIONS_MAX);
        c->kept = i < RELAYS_CONNECTIONS_MAX / 2;
    }
    for (unsigned i = 0; i < RELAYS_CONNECTIONS_MAX / 2; i++) {
        g_autofree char *name = g_strdup_printf("relay.example:%u#", 10000 + i);
        g_autofree char *text = g_strconcat(name, strchr(fake_courier_relay(f->courier), '#') + 1, NULL);

        g_assert_nonnull(connection_find(f->m->relays, text));
    }
    look_up(f, &f->relay, false, &o);
    g_assert_cmpint(o.r, ==, 0);
    outcome_clear(&o);
}

static void test_wrong_pin(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    fake_courier_fault(f->courier, FAULT_PIN);
    look_up(f, &f->relay, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_UNTRUSTED);
    outcome_clear(&o);
}

static void test_lies(Fixture *f, gconstpointer data)
{
    static const Fault faults[] = {FAULT_STATEMENT, FAULT_BINDING_NAME, FAULT_BINDING_KEYS,
                                   FAULT_BINDING_FORGED};
    Outcome o = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        fake_courier_fault(f->courier, faults[i]);
        look_up(f, &f->relay, false, &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_null(o.address);
    }
    fake_courier_fault(f->courier, FAULT_NONE);
    look_up(f, &f->relay, false, &o);
    g_assert_cmpint(o.r, ==, 0);
    outcome_clear(&o);
}

static void test_unreachable(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    fake_courier_fault(f->courier, FAULT_UNREACHABLE);
    look_up(f, &f->relay, false, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    look_up(f, &f->bare, true, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    outcome_clear(&o);
}

static void do_register(Fixture *f, const char *name, Outcome *o)
{
    g_autofree char *address = g_strdup_printf("%s@%s", name, fake_courier_relay(f->courier));
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(relays_register(f->m->relays, address, NULL, false, on_done, o, &q), ==, 0);
    double_run(f->d, &o->done);
}

/* What is no code of an invitation is refused before anybody is asked. */
static void test_invite(Fixture *f, gconstpointer data)
{
    g_autofree char *address = g_strdup_printf("alice@%s", fake_courier_relay(f->courier));
    g_autofree char *large = g_strnfill(INVITE_SIZE_MAX + 1, 'x');
    _cleanup_(fd_closep) int code = memfd_create("code", MFD_CLOEXEC);
    _cleanup_(fd_closep) int empty = memfd_create("empty", MFD_CLOEXEC);
    const RelaysInvite bad[] = {{"code", code}, {NULL, empty}, {NULL, STDIN_FILENO}, {"", -1}, {large, -1}};
    const RelaysInvite good[] = {{NULL, code}, {"code", -1}};
    RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(write(code, "code", 4), ==, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_cmpint(relays_register(f->m->relays, address, &bad[i], false, on_done, &o, &q), ==,
                        HMSG_ERROR_INVALID_ARGS);
    g_assert_null(q);
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        outcome_clear(&o);
        g_assert_cmpint(relays_register(f->m->relays, address, &good[i], false, on_done, &o, &q), ==, 0);
        double_run(f->d, &o.done);
        g_assert_cmpint(o.r, ==, 0);
        q = relays_request_free(q);
    }
    outcome_clear(&o);
}

static void test_register(Fixture *f, gconstpointer data)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;
    const char *const *ours;
    Outcome o = {0};

    do_register(f, "taken", &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_ALREADY_EXISTS);
    g_assert_cmpuint(relays_ours(f->m->relays, &ours), ==, 0);
    do_register(f, "alice", &o);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpuint(relays_ours(f->m->relays, &ours), ==, 1);
    g_assert_cmpstr(ours[0], ==, fake_courier_relay(f->courier));

    outcome_clear(&o);
    g_assert_cmpint(relays_unregister(f->m->relays, "alice@relay.example", on_done, &o, &q), ==, 0);
    double_run(f->d, &o.done);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpuint(relays_ours(f->m->relays, &ours), ==, 0);
    outcome_clear(&o);
}

/* A challenge that is not of the form gets no answer: the relay could have sent a session key. */
static void test_oracle(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    fake_courier_fault(f->courier, FAULT_POP);
    do_register(f, "alice", &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(fake_courier_count(f->courier, "Challenge"), ==, 1);
    g_assert_cmpuint(fake_courier_count(f->courier, "Register"), ==, 0);
    outcome_clear(&o);
}

static void test_registration_lies(Fixture *f, gconstpointer data)
{
    static const Fault faults[] = {FAULT_BINDING_NAME, FAULT_BINDING_KEYS, FAULT_BINDING_FORGED,
                                   FAULT_STATEMENT};
    const char *const *ours;
    Outcome o = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        fake_courier_fault(f->courier, faults[i]);
        do_register(f, "alice", &o);
        g_assert_cmpint(o.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
        g_assert_cmpuint(relays_ours(f->m->relays, &ours), ==, 0);
    }
    outcome_clear(&o);
}

static void list(Fixture *f, Outcome *o)
{
    _cleanup_(relays_request_freep) RelaysRequest *q = NULL;

    outcome_clear(o);
    g_assert_cmpint(relays_list(f->m->relays, fake_courier_relay(f->courier), 0, on_done, o, &q), ==, 0);
    double_run(f->d, &o->done);
}

static void test_login(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    do_register(f, "alice", &o);
    list(f, &o);
    g_assert_cmpint(o.r, ==, 0);
    unsigned logins = fake_courier_count(f->courier, "Login");
    g_assert_cmpuint(logins, >, 0);
    list(f, &o);
    g_assert_cmpuint(fake_courier_count(f->courier, "Login"), ==, logins);

    /* the connection was another one: log in again, once */
    fake_courier_fault(f->courier, FAULT_LOGIN_LOST);
    list(f, &o);
    g_assert_cmpint(o.r, ==, 0);
    g_assert_cmpuint(fake_courier_count(f->courier, "Login"), ==, logins + 1);
    outcome_clear(&o);
}

static void test_login_of_another(Fixture *f, gconstpointer data)
{
    Outcome o = {0};

    fake_courier_fault(f->courier, FAULT_LOGIN_NONCE);
    do_register(f, "alice", &o);
    list(f, &o);
    g_assert_cmpint(o.r, ==, HMSG_ERROR_AUTHENTICATION_FAILED);
    g_assert_cmpuint(fake_courier_count(f->courier, "List"), ==, 0);
    outcome_clear(&o);
}

/* What the courier's errors mean. */
static void test_courier_errors(void)
{
    static const struct {
        const char *name, *text;
        int error;
        unsigned retry;
        bool login, unreachable;
    } cases[] = {
        {"org.hmsg.Courier1.Error.Unreachable", "no", HMSG_ERROR_RELAY_UNAVAILABLE, 0, false, true},
        {"org.hmsg.Courier1.Error.PinMismatch", "pin=x It is another", HMSG_ERROR_UNTRUSTED, 0, false, false},
        {"org.hmsg.Courier1.Error.LoginRequired", "", HMSG_ERROR_RELAY_UNAVAILABLE, 0, true, false},
        {"org.hmsg.Courier1.Error.NotFound", "", HMSG_ERROR_NOT_FOUND, 0, false, false},
        {"org.hmsg.Courier1.Error.Conflict", "", HMSG_ERROR_ALREADY_EXISTS, 0, false, false},
        {"org.hmsg.Courier1.Error.TooLarge", "", HMSG_ERROR_TOO_LARGE, 0, false, false},
        {"org.hmsg.Courier1.Error.Busy", "retry=17 slowly", HMSG_ERROR_RELAY_UNAVAILABLE, 17, false, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const sd_bus_error e = SD_BUS_ERROR_MAKE_CONST(cases[i].name, cases[i].text);
        CourierError got;

        courier_error_read(&e, &got);
        g_assert_cmpint(got.error, ==, cases[i].error);
        g_assert_cmpuint(got.retry_after, ==, cases[i].retry);
        g_assert_true(got.login_required == cases[i].login);
        g_assert_true(got.unreachable == cases[i].unreachable);
        /* the marks are not for people */
        g_assert_null(strchr(got.detail, '='));
    }
    /* a hostile text is printable, and ends */
    g_autofree char *text = g_strnfill(5000, '\x1b');
    const sd_bus_error e = SD_BUS_ERROR_MAKE_CONST("org.hmsg.Courier1.Error.Refused", text);
    CourierError got;
    courier_error_read(&e, &got);
    g_assert_null(strchr(got.detail, '\x1b'));
    /* a courier that ended is not a network that does not work */
    const sd_bus_error ended = SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_NO_REPLY, "Connection terminated");
    courier_error_read(&ended, &got);
    g_assert_cmpint(got.error, ==, HMSG_ERROR_RELAY_UNAVAILABLE);
    g_assert_false(got.unreachable);
    g_assert_nonnull(strstr(got.detail, "the courier"));
}

static void never(int r, const char *detail, const DirectoryEntry *entry, void *userdata)
{
    g_assert_not_reached();
}

static void test_cancel(Fixture *f, gconstpointer data)
{
    RelaysRequest *q = NULL;
    Outcome o = {0};

    g_assert_cmpint(relays_lookup_name(f->m->relays, &f->relay, "bob", NULL, false, never, NULL, &q), ==, 0);
    (void)relays_request_free(q);
    g_assert_cmpint(relays_lookup_name(f->m->relays, &f->relay, "bob", NULL, false, never, NULL, &q), ==, 0);
    double_turn(f->d);
    double_turn(f->d);
    (void)relays_request_free(q);
    look_up(f, &f->relay, false, &o);
    g_assert_cmpint(o.r, ==, 0);

    /* one that outlives its object */
    g_assert_cmpint(relays_lookup_name(f->m->relays, &f->relay, "bob", NULL, false, never, NULL, &q), ==, 0);
    f->m->relays = relays_free(f->m->relays);
    double_turn(f->d);
    (void)relays_request_free(q);
    outcome_clear(&o);
}

/* An agent that was killed right after a rotation, before it had heard of it, knows its key all the same when
 * the next one comes: it will have to prove both. */
static void test_own_key(Fixture *f, gconstpointer data)
{
    _cleanup_(db_statement_freep) DbStatement *find = NULL;
    bool row = false;

    g_assert_cmpint(
        db_prepare(store_db(f->m->store), "SELECT 1 FROM own_keys WHERE skid = ?1 AND kid = ?2", &find), ==,
        0);
    db_bind_text(find, 1, identity_public(f->m->identity)->skid);
    db_bind_text(find, 2, identity_public(f->m->identity)->kid);
    g_assert_cmpint(db_step(find, &row), ==, 0);
    g_assert_true(row);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*f)(Fixture *f, gconstpointer data);
    } tests[] = {
        {"/relays/own-key", test_own_key},   {"/relays/pin", test_pin},
        {"/relays/many", test_many_relays},  {"/relays/wrong-pin", test_wrong_pin},
        {"/relays/lies", test_lies},         {"/relays/unreachable", test_unreachable},
        {"/relays/register", test_register}, {"/relays/invite", test_invite},
        {"/relays/oracle", test_oracle},     {"/relays/registration-lies", test_registration_lies},
        {"/relays/login", test_login},       {"/relays/login-of-another", test_login_of_another},
        {"/relays/cancel", test_cancel},
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].f, tear_down);
    g_test_add_func("/relays/courier-errors", test_courier_errors);
    return g_test_run();
}

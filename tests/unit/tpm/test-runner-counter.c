/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters in NV memory, behind a man in the middle. */
#include <errno.h>
#include <string.h>

#include "tests/unit/tpm/direct.h"
#include "tests/unit/tpm/relay.h"
#include "tests/unit/tpm/util.h"

#define CC_NV_UNDEFINE 0x122u
#define CC_NV_DEFINE 0x12au
#define CC_NV_INCREMENT 0x134u
#define RC_NV_SPACE 0x14bu
#define RC_NV_DEFINED 0x14cu
#define RC_NV_RATE 0x920u

typedef struct Fixture {
    TestSwtpm *tpm;
    Relay *relay;
    TpmRunner *runner;
    TpmCounter counter;
    uint64_t first;
} Fixture;

static int make(TpmRunner *r, Answer *a)
{
    answer_clear(a);
    g_assert_cmpint(tpm_runner_counter_new(r, NULL, answer_note, a, NULL), ==, 0);
    answer_await(r, a);
    return a->r;
}

static int look(TpmRunner *r, const TpmCounter *c, Answer *a)
{
    answer_clear(a);
    g_assert_cmpint(tpm_runner_counter_read(r, c, answer_note, a, NULL), ==, 0);
    answer_await(r, a);
    return a->r;
}

static int raise_to(TpmRunner *r, const TpmCounter *c, uint64_t to, Answer *a)
{
    answer_clear(a);
    g_assert_cmpint(tpm_runner_counter_raise(r, c, to, answer_note, a, NULL), ==, 0);
    answer_await(r, a);
    return a->r;
}

static int take_away(TpmRunner *r, const TpmCounter *c, Answer *a)
{
    answer_clear(a);
    g_assert_cmpint(tpm_runner_counter_remove(r, c, answer_note, a, NULL), ==, 0);
    answer_await(r, a);
    return a->r;
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    f->tpm = test_swtpm_new(NULL);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
    g_assert_cmpint(make(f->runner, &a), ==, 0);
    f->counter = a.counter;
    f->first = a.counter_value;
    g_assert_cmpuint(f->counter.index, >=, 0x01800000u);
    g_assert_cmpuint(f->counter.index, <=, 0x01bfffffu);
    g_assert_cmpuint(f->first, >, 0);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    tpm_runner_free(f->runner);
    relay_free(f->relay);
    test_swtpm_free(f->tpm);
}

static void assert_value(Fixture *f, uint64_t value)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(look(f->runner, &f->counter, &a), ==, 0);
    g_assert_cmpuint(a.counter_value, ==, value);
}

static void test_raise(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    assert_value(f, f->first);
    g_assert_cmpint(raise_to(f->runner, &f->counter, f->first + 3, &a), ==, 0);
    g_assert_cmpuint(a.counter_value, ==, f->first + 3);
    unsigned before = relay_count(f->relay, CC_NV_INCREMENT);
    g_assert_cmpint(raise_to(f->runner, &f->counter, f->first + 3, &a), ==, 0);
    g_assert_cmpint(raise_to(f->runner, &f->counter, 0, &a), ==, 0);
    g_assert_cmpuint(a.counter_value, ==, f->first + 3);
    g_assert_cmpint(raise_to(f->runner, &f->counter, f->first + 4 + TPM_COUNTER_RAISE_MAX, &a), ==, -ERANGE);
    g_assert_cmpint(raise_to(f->runner, &f->counter, UINT64_MAX, &a), ==, -ERANGE);
    g_assert_cmpuint(relay_count(f->relay, CC_NV_INCREMENT), ==, before);
    test_swtpm_reset(f->tpm);
    assert_value(f, f->first + 3);
}

/* Nobody on the way learns the authorization value, and without it nothing can be done. */
static void test_secret(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    TpmCounter other = f->counter;

    other.auth[0] ^= 1;
    g_assert_cmpint(look(f->runner, &other, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(raise_to(f->runner, &other, f->first + 1, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_DESTROYED);
    g_assert_cmpint(do_probe(f->runner, &a), ==, 0);
    g_assert_cmpuint(a.facts.lockout_counter, ==, 0);
    assert_value(f, f->first);
    g_assert_cmpint(raise_to(f->runner, &f->counter, f->first + 1, &a), ==, 0);
    g_assert_cmpint(take_away(f->runner, &f->counter, &a), ==, 0);
    for (size_t i = 0; i + 8 <= TPM_AUTH_SIZE; i++)
        g_assert_false(relay_saw(f->relay, f->counter.auth + i, 8));
}

static void test_remove(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    g_assert_cmpint(take_away(f->runner, &f->counter, &a), ==, 0);
    g_assert_cmpint(look(f->runner, &f->counter, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_DESTROYED);
    g_assert_cmpint(make(f->runner, &a), ==, 0);
    g_assert_cmpuint(a.counter_value, >, f->first);
}

static int make_as(TpmRunner *r, const TpmCounter *c, Answer *a)
{
    answer_clear(a);
    g_assert_cmpint(tpm_runner_counter_new(r, c, answer_note, a, NULL), ==, 0);
    answer_await(r, a);
    return a->r;
}

/* Chosen before it is made, so that one whose making was cut short can be found again; and no other. */
static void test_chosen(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};
    TpmCounter c, other;

    g_assert_cmpint(tpm_counter_choose(&c), ==, 0);
    g_assert_cmpint(make_as(f->runner, &c, &a), ==, 0);
    g_assert_cmpuint(a.counter.index, ==, c.index);
    uint64_t value = a.counter_value;
    g_assert_cmpint(make_as(f->runner, &c, &a), ==, 0);
    g_assert_cmpuint(a.counter_value, ==, value);
    other = c;
    other.auth[0] ^= 1;
    g_assert_cmpint(make_as(f->runner, &other, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(take_away(f->runner, &other, &a), ==, HMSG_ERROR_NOT_FOUND);
    g_assert_cmpint(look(f->runner, &c, &a), ==, 0);
    g_assert_cmpint(take_away(f->runner, &c, &a), ==, 0);
    g_assert_cmpint(take_away(f->runner, &c, &a), ==, HMSG_ERROR_NOT_FOUND);
}

static void test_faults(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    relay_refuse(f->relay, CC_NV_INCREMENT, RC_NV_RATE, 7);
    g_assert_cmpint(raise_to(f->runner, &f->counter, f->first + 1, &a), ==, 0);
    relay_refuse(f->relay, CC_NV_DEFINE, RC_NV_DEFINED, 2);
    g_assert_cmpint(make(f->runner, &a), ==, 0);
    relay_refuse(f->relay, CC_NV_DEFINE, RC_NV_SPACE, 1);
    g_assert_cmpint(make(f->runner, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_NV_ROOM);
    relay_reset(f->relay);
    g_assert_cmpint(raise_to(f->runner, &f->counter, f->first + 2, &a), ==, 0);
    assert_value(f, f->first + 2);
}

static void owner_password(Fixture *f)
{
    Direct d;

    f->runner = tpm_runner_free(f->runner);
    f->relay = (relay_free(f->relay), NULL);
    direct_open(&d, test_swtpm_tcti(f->tpm));
    direct_persist(&d, direct_primary(&d, false));
    direct_owner_password(&d, "owner");
    direct_close(&d);
    f->relay = relay_new(f->tpm);
    f->runner = runner_new(relay_tcti(f->relay));
}

static void test_owner(Fixture *f, gconstpointer data)
{
    g_auto(Answer) a = {0};

    owner_password(f);
    g_assert_cmpint(make(f->runner, &a), ==, HMSG_ERROR_TPM_UNAVAILABLE);
    g_assert_cmpint(a.problem.reason, ==, TPM_REASON_NV_AUTH);
    g_assert_nonnull(strstr(tpm_reason_help(a.problem.reason), "--generation none"));
    g_assert_cmpint(take_away(f->runner, &f->counter, &a), ==, 0);
    g_assert_cmpuint(relay_count(f->relay, CC_NV_UNDEFINE), >, 0);
    assert_value(f, f->first + 1);
}

static void add_tests(void)
{
    g_test_add("/tpm/counter/raise", Fixture, NULL, set_up, test_raise, tear_down);
    g_test_add("/tpm/counter/secret", Fixture, NULL, set_up, test_secret, tear_down);
    g_test_add("/tpm/counter/remove", Fixture, NULL, set_up, test_remove, tear_down);
    g_test_add("/tpm/counter/chosen", Fixture, NULL, set_up, test_chosen, tear_down);
    g_test_add("/tpm/counter/faults", Fixture, NULL, set_up, test_faults, tear_down);
    g_test_add("/tpm/counter/owner", Fixture, NULL, set_up, test_owner, tear_down);
}

int main(int argc, char *argv[])
{
    return tpm_test_main(argc, argv, add_tests);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/budget.h"

#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>

#define SECOND UINT64_C(1000000)
#define START (1000 * SECOND)
#define ALICE "alice--------------------------------------"
#define MALLORY "mallory------------------------------------"

/* With these lines in agent.conf. */
static int make(const char *lines, Budget **ret)
{
    _cleanup_(config_freep) Config *config = NULL;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("hmsg-XXXXXX", &path, NULL);

    g_assert_true(g_close(fd, NULL));
    g_assert_true(g_file_set_contents(path, lines, -1, NULL));
    g_assert_cmpint(config_load(path, &config, NULL), ==, 0);
    g_assert_cmpint(g_unlink(path), ==, 0);
    return budget_new(config, ret);
}

static unsigned taken(Budget *b, const char *skid, uint64_t now)
{
    unsigned n = 0, wait = 0;

    while (n < 1000 && budget_take(b, skid, now, &wait))
        n++;
    g_assert_true(n == 1000 || wait > 0);
    return n;
}

static void test_senders(void)
{
    _cleanup_(budget_freep) Budget *b = NULL;

    g_assert_cmpint(make("[sessions]\nburst = 5\nper-minute = 60\n", &b), ==, 0);
    g_assert_cmpuint(taken(b, MALLORY, START), ==, 5);
    /* which costs nobody else anything */
    g_assert_cmpuint(taken(b, ALICE, START), ==, 5);
    g_assert_cmpuint(taken(b, NULL, START), ==, 5);
    g_assert_cmpuint(taken(b, MALLORY, START + SECOND), ==, 1);
    g_assert_cmpuint(taken(b, NULL, START + 2 * SECOND), ==, 2);
    g_assert_cmpuint(taken(b, ALICE, START + 100 * SECOND), ==, 5);
    g_assert_cmpuint(budget_senders(b), ==, 3);
}

static void test_wait(void)
{
    _cleanup_(budget_freep) Budget *b = NULL;
    unsigned wait = 0;

    g_assert_cmpint(make("[sessions]\nburst = 1\nper-minute = 6\n", &b), ==, 0);
    g_assert_true(budget_take(b, ALICE, START, &wait));
    g_assert_false(budget_take(b, ALICE, START + 1, &wait));
    g_assert_cmpuint(wait, ==, 10);
    g_assert_true(budget_take(b, ALICE, START + wait * SECOND, &wait));
}

static void test_settings(void)
{
    static const char *const bad[] = {"burst = 0", "burst = many", "per-minute = -1", "burst = 1000001",
                                      "per-minute = 1000001"};
    _cleanup_(budget_freep) Budget *usual = NULL, *endless = NULL;
    Budget *none = NULL;

    g_assert_cmpint(make("", &usual), ==, 0);
    unsigned n = taken(usual, ALICE, START);
    g_assert_true(n >= 10 && n < 1000);
    g_assert_cmpint(make("[sessions]\nper-minute = 0\n", &endless), ==, 0);
    g_assert_cmpuint(taken(endless, ALICE, START), ==, 1000);
    g_assert_cmpuint(budget_senders(endless), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *lines = g_strdup_printf("[sessions]\n%s\n", bad[i]);

        g_assert_cmpint(make(lines, &none), ==, -EINVAL);
        g_assert_null(none);
    }
}

/* Memory has an end, and he who has taken the most is not the one who is forgotten. */
static void test_many(void)
{
    _cleanup_(budget_freep) Budget *b = NULL;
    unsigned wait = 0;

    g_assert_cmpint(make("[sessions]\nburst = 5\nper-minute = 60\n", &b), ==, 0);
    g_assert_cmpuint(taken(b, MALLORY, START), ==, 5);
    for (unsigned i = 0; i < 3 * BUDGET_SENDERS_MAX; i++) {
        g_autofree char *skid = g_strdup_printf("%043u", i);

        g_assert_true(budget_take(b, skid, START, &wait));
        g_assert_cmpuint(budget_senders(b), <=, BUDGET_SENDERS_MAX);
    }
    g_assert_cmpuint(taken(b, MALLORY, START), ==, 0);
    /* after a while none of them counts any more */
    for (unsigned i = 0; i < BUDGET_SENDERS_MAX; i++) {
        g_autofree char *skid = g_strdup_printf("late%039u", i);

        g_assert_true(budget_take(b, skid, START + 1000 * SECOND, &wait));
    }
    g_assert_cmpuint(budget_senders(b), <=, BUDGET_SENDERS_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/budget/senders", test_senders);
    g_test_add_func("/budget/wait", test_wait);
    g_test_add_func("/budget/settings", test_settings);
    g_test_add_func("/budget/many", test_many);
    return g_test_run();
}

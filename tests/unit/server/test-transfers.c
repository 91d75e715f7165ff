/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/transfers.h"

#include <glib.h>

#include "server/problem.h"

static void test_limit(void)
{
    const uint8_t alice[KID_SIZE] = {1}, bob[KID_SIZE] = {2};
    Transfers *t = NULL;
    Transfer *all[TRANSFERS_MAX] = {NULL}, *other = NULL, *more = NULL;
    g_assert_cmpint(transfers_new(&t), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        g_assert_cmpint(transfer_begin(t, alice, &all[i]), ==, 0);
    g_assert_cmpint(transfer_begin(t, alice, &more), ==, PROBLEM_TOO_MANY_REQUESTS);
    g_assert_null(more);
    g_assert_cmpint(transfer_begin(t, bob, &other), ==, 0);
    /* one from the middle gives room for one */
    all[7] = transfer_end(all[7]);
    g_assert_cmpint(transfer_begin(t, alice, &all[7]), ==, 0);
    g_assert_cmpint(transfer_begin(t, alice, &more), ==, PROBLEM_TOO_MANY_REQUESTS);
    /* the last may end after everything else has */
    t = transfers_unref(t);
    other = transfer_end(other);
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        all[i] = transfer_end(all[i]);
}

static void test_all(void)
{
    Transfers *t = NULL;
    Transfer **all = g_new0(Transfer *, TRANSFERS_ALL_MAX), *more = NULL;
    uint8_t user[KID_SIZE] = {0};
    g_assert_cmpint(transfers_new(&t), ==, 0);
    for (size_t i = 0; i < TRANSFERS_ALL_MAX; i++) {
        user[0] = (uint8_t)(i / TRANSFERS_MAX);
        g_assert_cmpint(transfer_begin(t, user, &all[i]), ==, 0);
    }
    user[1] = 1;
    g_assert_cmpint(transfer_begin(t, user, &more), ==, PROBLEM_UNAVAILABLE);
    g_assert_null(more);
    all[99] = transfer_end(all[99]);
    g_assert_cmpint(transfer_begin(t, user, &all[99]), ==, 0);
    g_assert_cmpint(transfer_begin(t, user, &more), ==, PROBLEM_UNAVAILABLE);
    for (size_t i = 0; i < TRANSFERS_ALL_MAX; i++)
        all[i] = transfer_end(all[i]);
    t = transfers_unref(t);
    g_free(all);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/transfers/limit", test_limit);
    g_test_add_func("/transfers/all", test_all);
    return g_test_run();
}

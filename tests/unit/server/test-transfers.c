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
        g_assert_cmpint(transfer_begin(t, alice, false, &all[i]), ==, 0);
    g_assert_cmpint(transfer_begin(t, alice, false, &more), ==, PROBLEM_TOO_MANY_REQUESTS);
    g_assert_null(more);
    g_assert_cmpint(transfer_begin(t, bob, false, &other), ==, 0);
    /* one from the middle gives room for one */
    all[7] = transfer_end(all[7]);
    g_assert_cmpint(transfer_begin(t, alice, false, &all[7]), ==, 0);
    g_assert_cmpint(transfer_begin(t, alice, false, &more), ==, PROBLEM_TOO_MANY_REQUESTS);
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
        g_assert_cmpint(transfer_begin(t, user, false, &all[i]), ==, 0);
    }
    user[1] = 1;
    g_assert_cmpint(transfer_begin(t, user, false, &more), ==, PROBLEM_UNAVAILABLE);
    g_assert_null(more);
    all[99] = transfer_end(all[99]);
    g_assert_cmpint(transfer_begin(t, user, false, &all[99]), ==, 0);
    g_assert_cmpint(transfer_begin(t, user, false, &more), ==, PROBLEM_UNAVAILABLE);
    for (size_t i = 0; i < TRANSFERS_ALL_MAX; i++)
        all[i] = transfer_end(all[i]);
    t = transfers_unref(t);
    g_free(all);
}

/* However many guests somebody is, there is room for who is registered. */
static void test_guests(void)
{
    Transfers *t = NULL;
    Transfer **all = g_new0(Transfer *, TRANSFERS_GUESTS_MAX), *more = NULL, *member = NULL;
    uint8_t user[KID_SIZE] = {0};
    g_assert_cmpint(transfers_new(&t), ==, 0);
    for (size_t i = 0; i < TRANSFERS_GUESTS_MAX; i++) {
        user[0] = (uint8_t)(i / TRANSFERS_MAX);
        g_assert_cmpint(transfer_begin(t, user, true, &all[i]), ==, 0);
    }
    user[1] = 1;
    g_assert_cmpint(transfer_begin(t, user, true, &more), ==, PROBLEM_UNAVAILABLE);
    g_assert_null(more);
    g_assert_cmpint(transfer_begin(t, user, false, &member), ==, 0);
    all[5] = transfer_end(all[5]);
    g_assert_cmpint(transfer_begin(t, user, true, &all[5]), ==, 0);
    member = transfer_end(member);
    for (size_t i = 0; i < TRANSFERS_GUESTS_MAX; i++)
        all[i] = transfer_end(all[i]);
    t = transfers_unref(t);
    g_free(all);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/transfers/limit", test_limit);
    g_test_add_func("/transfers/all", test_all);
    g_test_add_func("/transfers/guests", test_guests);
    return g_test_run();
}

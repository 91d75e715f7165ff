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

/* n of them, each user having as many as he may. */
static Transfer **begin_many(Transfers *t, bool guests, size_t n)
{
    Transfer **all = g_new0(Transfer *, n);
    uint8_t user[KID_SIZE] = {0};
    for (size_t i = 0; i < n; i++) {
        user[0] = (uint8_t)(i / TRANSFERS_MAX);
        g_assert_cmpint(transfer_begin(t, user, guests, &all[i]), ==, 0);
    }
    return all;
}

static void end_many(Transfer **all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        all[i] = transfer_end(all[i]);
    g_free(all);
}

static void test_all(void)
{
    const uint8_t user[KID_SIZE] = {0, 1};
    Transfers *t = NULL;
    Transfer *more = NULL;
    g_assert_cmpint(transfers_new(&t), ==, 0);
    Transfer **all = begin_many(t, false, TRANSFERS_ALL_MAX);
    g_assert_cmpint(transfer_begin(t, user, false, &more), ==, PROBLEM_UNAVAILABLE);
    g_assert_null(more);
    all[99] = transfer_end(all[99]);
    g_assert_cmpint(transfer_begin(t, user, false, &all[99]), ==, 0);
    g_assert_cmpint(transfer_begin(t, user, false, &more), ==, PROBLEM_UNAVAILABLE);
    end_many(all, TRANSFERS_ALL_MAX);
    t = transfers_unref(t);
}

/* However many guests somebody is, there is room for who is registered. */
static void test_guests(void)
{
    const uint8_t user[KID_SIZE] = {0, 1};
    Transfers *t = NULL;
    Transfer *more = NULL, *member = NULL;
    g_assert_cmpint(transfers_new(&t), ==, 0);
    Transfer **all = begin_many(t, true, TRANSFERS_GUESTS_MAX);
    g_assert_cmpint(transfer_begin(t, user, true, &more), ==, PROBLEM_UNAVAILABLE);
    g_assert_null(more);
    g_assert_cmpint(transfer_begin(t, user, false, &member), ==, 0);
    all[5] = transfer_end(all[5]);
    g_assert_cmpint(transfer_begin(t, user, true, &all[5]), ==, 0);
    member = transfer_end(member);
    end_many(all, TRANSFERS_GUESTS_MAX);
    t = transfers_unref(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/transfers/limit", test_limit);
    g_test_add_func("/transfers/all", test_all);
    g_test_add_func("/transfers/guests", test_guests);
    return g_test_run();
}

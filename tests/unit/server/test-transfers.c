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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/transfers/limit", test_limit);
    return g_test_run();
}

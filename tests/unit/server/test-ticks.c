/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server/ticks.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "tests/lib/process.h"

static void test_advance(void)
{
    char *folder = test_folder_new();
    Ticks before = {0}, t;

    for (uint64_t i = 1; i <= 2 * TICKS_MAX; i++) {
        g_assert_cmpint(ticks_advance(folder, &t), ==, 0);
        g_assert_cmpuint(t.number, ==, i);
        g_assert_cmpuint(t.n, ==, MIN(i, TICKS_MAX));
        if (i > 1)
            g_assert_cmpmem(t.ids[1], (t.n - 1) * TICK_SIZE, before.ids, (t.n - 1) * TICK_SIZE);
        g_assert_cmpint(memcmp(t.ids[0], before.ids[0], TICK_SIZE), !=, 0); /* public */
        before = t;
    }
    test_folder_remove(folder);
}

/* A file that cannot be read is not taken for none. */
static void test_damaged(void)
{
    static const char *const bad[] = {"", "{}", "[]", "{\"tick\":5}", "{\"tick\":5,\"ticks\":\"AA\"}"};
    char *folder = test_folder_new();
    g_autofree char *path = g_build_filename(folder, "ticks", NULL);
    Ticks t;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_true(g_file_set_contents(path, bad[i], -1, NULL));
        g_assert_cmpint(ticks_advance(folder, &t), ==, -EBADMSG);
    }
    test_folder_remove(folder);
    g_assert_cmpint(ticks_advance("/nonexistent", &t), ==, -ENOENT);
}

/* What a copy has, and what becomes of it. */
static void test_before(void)
{
    char *folder = test_folder_new(), *copy = test_folder_new();
    g_autofree char *path = g_build_filename(copy, "ticks", NULL);
    Ticks now = {0}, before = {0}, restored;

    g_assert_cmpint(ticks_before(folder, &before), ==, 0);
    g_assert_cmpuint(before.n, ==, 0);
    for (uint64_t i = 1; i <= 2 * TICKS_MAX; i++) {
        const Ticks former = now;

        g_assert_cmpint(ticks_advance(folder, &now), ==, 0);
        g_assert_cmpint(ticks_before(folder, &before), ==, 0);
        g_assert_cmpuint(before.number, ==, i - 1);
        g_assert_cmpuint(before.n, ==, MIN(i, TICKS_MAX) - 1);
        g_assert_cmpmem(before.ids, before.n * TICK_SIZE, former.ids, before.n * TICK_SIZE);
        g_assert_cmpint(ticks_save(copy, &before), ==, 0);
        g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS) == (i > 1));
    }
    /* the tick that was left out is another one then */
    g_assert_cmpint(ticks_advance(copy, &restored), ==, 0);
    g_assert_cmpuint(restored.number, ==, now.number);
    g_assert_cmpint(memcmp(restored.ids[0], now.ids[0], TICK_SIZE), !=, 0); /* public */
    g_assert_cmpmem(restored.ids[1], TICK_SIZE, now.ids[1], TICK_SIZE);
    test_folder_remove(folder);
    test_folder_remove(copy);
}

static void test_time(void)
{
    char *folder = test_folder_new();
    const int64_t now = g_get_real_time() / G_USEC_PER_SEC;
    Ticks t;

    g_assert_cmpint(ticks_time(folder), ==, 0);
    g_assert_cmpint(ticks_set_time("/nonexistent", 1000), ==, -ENOENT);
    g_assert_cmpint(ticks_set_time(folder, 500), ==, 0); /* the ticks are in a database */
    g_assert_cmpint(ticks_set_time(folder, 600), ==, 0);
    g_assert_cmpint(ticks_time(folder), ==, 600);
    g_assert_cmpint(ticks_advance(folder, &t), ==, 0);
    g_assert_cmpint(ticks_time(folder), >=, now - 1);
    g_assert_cmpint(ticks_set_time(folder, 1000), ==, 0);
    g_assert_cmpint(ticks_time(folder), ==, 1000);
    test_folder_remove(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ticks/advance", test_advance);
    g_test_add_func("/ticks/damaged", test_damaged);
    g_test_add_func("/ticks/before", test_before);
    g_test_add_func("/ticks/time", test_time);
    return g_test_run();
}

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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ticks/advance", test_advance);
    g_test_add_func("/ticks/damaged", test_damaged);
    return g_test_run();
}

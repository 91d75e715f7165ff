/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "libhmsg/base/config.h"

static int load(const char *text, gssize size, Config **ret, unsigned *ret_line)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("config-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_true(g_file_set_contents(path, text, size, NULL));
    int r = config_load(path, ret, ret_line);
    g_unlink(path);
    close(fd);
    return r;
}

static void test_values(void)
{
    _cleanup_(config_freep) Config *c = NULL;
    uint64_t n;
    bool b;
    g_assert_cmpint(load("# c\n[a]\nx = 1 2\ny=5M\nt = 15 min\nyes=no\n\n[b]\nx=3", -1, &c, NULL), ==, 0);
    g_assert_cmpstr(config_get(c, "a", "x", NULL), ==, "1 2");
    g_assert_cmpstr(config_get(c, "b", "x", NULL), ==, "3");
    g_assert_cmpstr(config_get(c, "b", "z", "no"), ==, "no");
    g_assert_cmpuint(config_line(c, "b", "x"), ==, 9);
    g_assert_cmpuint(config_line(c, "b", "z"), ==, 0);
    g_assert_cmpint(config_get_number(c, "a", "y", 0, 0, UINT64_MAX, &n), ==, 0);
    g_assert_cmpuint(n, ==, 5u << 20);
    g_assert_cmpint(config_get_number(c, "a", "y", 0, 0, 100, &n), ==, -EINVAL);
    g_assert_cmpint(config_get_number(c, "a", "x", 0, 0, 100, &n), ==, -EINVAL);
    g_assert_cmpint(config_get_seconds(c, "a", "t", 0, &n), ==, 0);
    g_assert_cmpuint(n, ==, 900);
    g_assert_cmpint(config_get_bool(c, "a", "yes", true, &b), ==, 0);
    g_assert_false(b);
    g_assert_cmpint(config_get_bool(c, "a", "x", true, &b), ==, -EINVAL);
}

static void test_refuses(void)
{
    static const struct {
        const char *text;
        gssize size;
        unsigned line;
    } bad[] = {{"x=1", -1, 1}, {"[a]\nx", -1, 2},  {"[a]\nx=1\nx=2", -1, 3}, {"[]", -1, 1},
               {"[a", -1, 1},  {"[a]\n=1", -1, 2}, {"[a]\nx=\0001", 8, 0}};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Config *c = NULL;
        unsigned line = 99;
        g_assert_cmpint(load(bad[i].text, bad[i].size, &c, &line), ==, -EBADMSG);
        g_assert_cmpuint(line, ==, bad[i].line);
        g_assert_null(c);
    }
    Config *c = NULL;
    g_assert_cmpint(config_load("/nonexistent", &c, NULL), ==, -ENOENT);
}

static void test_merge(void)
{
    _cleanup_(config_freep) Config *user = NULL, *admin = NULL;
    g_assert_cmpint(load("[a]\nx=1\ny=2", -1, &user, NULL), ==, 0);
    g_assert_cmpint(load("[a]\nx=9\nz=3", -1, &admin, NULL), ==, 0);
    g_assert_cmpint(config_merge(user, admin), ==, 0);
    g_assert_cmpstr(config_get(user, "a", "x", NULL), ==, "9");
    g_assert_cmpstr(config_get(user, "a", "y", NULL), ==, "2");
    g_assert_cmpstr(config_get(user, "a", "z", NULL), ==, "3");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/config/values", test_values);
    g_test_add_func("/base/config/refuses", test_refuses);
    g_test_add_func("/base/config/merge", test_merge);
    return g_test_run();
}
